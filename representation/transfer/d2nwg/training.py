"""The three stages of training a `WeightGenerator`: autoencoder, alignment of the dataset encoder, diffusion."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from representation.training_state import decay_after, update_average
from representation.transfer.d2nwg.alignment import alignment_loss
from representation.transfer.d2nwg.generator import GeneratorConfig, WeightGenerator, ZooEntry

VAE_BETAS = (0.5, 0.9)


@dataclass(frozen=True)
class GeneratorTraining:
    """How the stages are trained.

    Attributes:
        vae_steps: of the autoencoder, by Adam with betas 0.5 and 0.9.
        vae_lr: its step size.
        align_steps: of the dataset encoder of "set", by AdamW.
        align_lr: its step size.
        steps: of the diffusion, by AdamW, with a cosine.
        lr: its largest step size.
        warmup: steps in which it rises linearly.
        average: largest decay of the moving average of weights, which is what samples.
        batch: heads of a step.
        progress: whether it is shown.
    """

    vae_steps: int = 3000
    vae_lr: float = 1.115e-3
    align_steps: int = 1000
    align_lr: float = 1e-4
    steps: int = 4000
    lr: float = 1e-3
    warmup: int = 100
    average: float = 0.999
    batch: int = 64
    progress: bool = False


def train_generator(
    zoo: Sequence[ZooEntry], config: GeneratorConfig, training: GeneratorTraining, seed: int
) -> WeightGenerator:
    """Train all stages on a zoo.

    Args:
        zoo: heads of one shape, with at least `config.shots` support samples of each class, of which others are drawn
            every time.
        config: of the generator.
        training: of the stages.
        seed: of weights, order, shots and noise.

    Returns:
        The generator, in evaluation mode.

    Raises:
        ValueError: fewer than two heads, of different shapes, or with too few samples.
    """
    if len(zoo) < 2:
        raise ValueError(f"zoo: expected at least two heads, found {len(zoo)}")
    classes, shots, width = zoo[0].support.shape
    if shots < config.shots:
        raise ValueError(f"support: expected at least {config.shots} samples of each class, found {shots}")
    shapes = {name: list(value.shape) for name, value in zoo[0].state.items()}
    model = WeightGenerator(config, shapes, classes, width, len(zoo), seed)
    vectors, supports = model.take_in(zoo)
    generator = torch.Generator().manual_seed(seed)

    def drawn() -> Tensor:
        return torch.randint(len(zoo), (training.batch,), generator=generator)

    def vae_loss() -> Tensor:
        return model.vae.loss(model.parts(vectors[drawn()]), generator).total

    vae = torch.optim.Adam(model.vae.parameters(), training.vae_lr, betas=VAE_BETAS)
    _descend(vae, vae_loss, training.vae_steps, "autoencoder", training.progress)
    with torch.no_grad():
        latents = model.latents(vectors).unflatten(0, (len(zoo), config.layers))
    if config.condition == "set":

        def align_loss() -> Tensor:
            rows = drawn()
            told = model.dataset(model.standardised(_some_shots(supports[rows], config.shots, generator)))
            return alignment_loss(latents[rows].flatten(1), told)

        aligned = torch.optim.AdamW(model.dataset.parameters(), training.align_lr)
        _descend(aligned, align_loss, training.align_steps, "alignment", training.progress)
        model.dataset.requires_grad_(False)
        model.dataset.project.requires_grad_(True)
    model.diffusion.fit_scale(latents[: training.batch])
    average = copy.deepcopy(model)
    trained = [p for part in (model.diffusion, model.dataset, model.places) for p in part.parameters()]
    optimizer = torch.optim.AdamW([p for p in trained if p.requires_grad], training.lr)
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 1e-3, total_iters=training.warmup),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, training.steps - training.warmup)),
        ],
        [training.warmup],
    )

    def diffusion_loss() -> Tensor:
        rows = drawn()
        told = model.condition(_some_shots(supports[rows], config.shots, generator))
        return model.diffusion.loss(latents[rows].flatten(0, 1), told, generator)

    def follow(step: int) -> None:
        schedule.step()
        update_average(average, model, decay_after(step, training.average, "ratio"))

    _descend(optimizer, diffusion_loss, training.steps, "diffusion", training.progress, follow)
    return average.requires_grad_(True).eval()


def _some_shots(supports: Tensor, shots: int, generator: torch.Generator) -> Tensor:
    """As many samples of each class of supports (B, C, n, d), drawn anew."""
    places = torch.rand(supports.shape[:3], generator=generator).argsort(dim=2)[:, :, :shots]
    return supports.gather(2, places[..., None].expand(-1, -1, -1, supports.shape[3]))


def _descend(
    optimizer: torch.optim.Optimizer,
    loss: Callable[[], Tensor],
    steps: int,
    name: str,
    progress: bool,
    after: Callable[[int], None] = lambda step: None,
) -> None:
    numbers: Iterable[int] = tqdm(range(steps), desc=name, unit="step", disable=not progress)
    for step in numbers:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        after(step)

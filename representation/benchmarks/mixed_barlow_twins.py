"""Do mixtures keep Barlow Twins from fitting few pictures too well?

A hundred handwritten digits without their labels, slight changes, an encoder 64-256-128 with batch normalisation and a
projector 128-256, 600 epochs; and 400 renders without their labels (`python -m sim.renders`), the small network of
convolutions, 100 epochs. Measured at several epochs: right nearest neighbours, among what was trained on, of what is
held out, each vote weighed by exp(cosine / 0.5). The baseline, Barlow Twins, differs in nothing but the mixtures. The
claim of Mixed Barlow Twins (arXiv 2312.02151) at this size is modest: they do no harm, and neighbours do not become
worse with time.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

from representation.benchmarks.claims import BenchOptions, Claim
from representation.data.batches import BatchOrder
from representation.data.frames import LABEL, Frames, open_frames
from representation.embedding import embed
from representation.pretraining.mixed_barlow_twins import Config, MixedBarlowTwins, Projector, draw_mixture, new
from representation.probes import knn_probe

DIGIT_SEEDS = 5  # at least
TRAINING, TESTED, EPOCHS, MEASURED = 100, 597, 600, (50, 100, 200, 400, 600)
EARLY = 100  # epoch
FRAMES, TESTED_FRAMES, FRAME_EPOCHS, FRAME_BATCH, FRAMES_MEASURED = 400, 600, 100, 100, (12, 25, 50, 100)
TEMPERATURE = 0.5  # of votes
WIDTH, DIM, LR, LAMBDA_REG = 128, 256, 1e-3, 4.0


def changed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Views (B, 64) of digits (B, 8, 8) in [0, 1]: moved by at most a pixel sideways, of another contrast, noisy."""
    ways = torch.randint(-1, 2, (len(images),), generator=generator)
    columns = (torch.arange(8) - ways[:, None]) % 8
    moved = images.gather(2, columns[:, None].expand(-1, 8, -1))
    contrast = 0.8 + 0.4 * torch.rand(len(images), 1, 1, generator=generator)
    return (moved * contrast + 0.1 * torch.randn(moved.shape, generator=generator)).flatten(1)


def curve(lambda_reg: float, images: Tensor, labels: Tensor, seed: int, epochs: int) -> dict[int, float]:
    """Right nearest neighbours among the first digits of the last ones, by epoch.

    Args:
        lambda_reg: weight of the mixtures; 0 for Barlow Twins.
        images: (N, 8, 8) in [0, 1].
        labels: (N,), which only measure.
        seed: of weights, views and mixtures.
        epochs: of the training, whose batch is all first digits.
    """
    generator, mixing = (torch.Generator().manual_seed(seed) for _ in range(2))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, WIDTH))
    twins = MixedBarlowTwins(encoder, Projector(WIDTH, DIM, DIM, generator), 1 / DIM, lambda_reg, normalize_rows=False)
    optimizer = torch.optim.Adam(twins.parameters(), LR)
    found = {}
    for epoch in range(1, epochs + 1):
        views = [changed(images[:TRAINING], generator) for _ in range(2)]
        optimizer.zero_grad()
        twins.train()(*views, **draw_mixture(TRAINING, mixing)).total.backward()
        optimizer.step()
        if epoch in MEASURED or epoch == epochs:
            with torch.no_grad():
                z = encoder.eval()(images.flatten(1)).numpy()
            train, test = ((z[rows], labels[rows].numpy()) for rows in (slice(0, TRAINING), slice(-TESTED, None)))
            found[epoch] = right_neighbours(train, test, "digit")
    return found


def right_neighbours(train: tuple[NDArray, NDArray], test: tuple[NDArray, NDArray], name: str) -> float:
    """Share of held-out labels that neighbours tell."""
    return knn_probe(train, test, name, temperature=TEMPERATURE).score


def frame_curve(lambda_reg: float, training: Frames, tested: Frames, seed: int, epochs: int) -> dict[int, float]:
    """Right nearest neighbours among the training frames of the tested ones, by epoch; otherwise as of `curve`."""
    config = Config(resolution=training.images.shape[1], lambda_reg=lambda_reg)
    objective = new(config, training, seed)
    optimizer = torch.optim.Adam(objective.parameters(), LR)
    order = BatchOrder(np.arange(len(training)), FRAME_BATCH, seed)
    found, steps = {}, len(training) // FRAME_BATCH
    for epoch in range(1, epochs + 1):
        objective.train()
        for step in range((epoch - 1) * steps, epoch * steps):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            optimizer.zero_grad()
            objective(objective.batch(training, order[step], generator)).total.backward()
            optimizer.step()
        if epoch in FRAMES_MEASURED or epoch == epochs:
            objective.eval()
            train, test = ((embed(objective.encoder, part), part.columns[LABEL]) for part in (training, tested))
            found[epoch] = right_neighbours(train, test, LABEL)
    return found


def run_frames(seed: int, frames: Frames, epochs: int = FRAME_EPOCHS) -> dict[str, dict[int, float]]:
    """Curves of both, by the same frames, views and first weights."""
    order = np.random.default_rng(seed).permutation(len(frames))
    training, tested = (frames.subset(rows) for rows in (order[:FRAMES], order[FRAMES : FRAMES + TESTED_FRAMES]))
    return {
        name: frame_curve(weight, training, tested, seed, epochs)
        for name, weight in (("mixed", LAMBDA_REG), ("plain", 0.0))
    }


def run_seed(seed: int, epochs: int = EPOCHS) -> dict[str, float]:
    """Curves of both, by the same digits, views and first weights; "end" is the last epoch."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(seed))
    images = (torch.tensor(digits.images, dtype=torch.float32) / 16)[order]
    labels = torch.tensor(digits.target)[order]
    found = {}
    for name, weight in (("mixed", LAMBDA_REG), ("plain", 0.0)):
        measured = curve(weight, images, labels, seed, epochs)
        found |= {f"{name}, epoch {epoch}": score for epoch, score in measured.items()}
        found[f"{name}, end"] = measured[epochs]
    return found


def run(options: BenchOptions) -> list[Claim]:
    """Nearest neighbours at the end beside Barlow Twins, and beside what they were before."""
    frames = open_frames(options.data)
    seeds = range(max(DIGIT_SEEDS, options.seeds))
    found = [run_seed(seed, options.steps(EPOCHS)) for seed in seeds]
    early = f"mixed, epoch {EARLY}" if options.scale == 1 else "mixed, end"
    curves = [run_frames(seed, frames, options.steps(FRAME_EPOCHS)) for seed in range(options.seeds)]

    def by_seed(name: str) -> tuple[float, ...]:
        return tuple(one[name] for one in found)

    def of_frames(epoch: int, least: float | None) -> Claim:
        ours, plain = (tuple(one[name][epoch] for one in curves) for name in ("mixed", "plain"))
        claim = f"renders: right neighbours of held-out ones, {FRAMES} trained on, epoch {epoch}"
        return Claim(claim, "without mixtures", ours, plain, least)

    held_out, (*before, last) = "digits: right neighbours of held-out ones, 100 trained on", curves[0]["mixed"]
    return [
        Claim(held_out, "without mixtures", by_seed("mixed, end"), by_seed("plain, end"), -0.005),
        Claim(held_out, f"itself at epoch {EARLY}", by_seed("mixed, end"), by_seed(early), -0.005),
        *(of_frames(epoch, None) for epoch in before),
        of_frames(last, 0.0),
    ]

"""Training of all subjects together, and of a new subject's adapter under the decoder that they left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from representation.transfer.neural_cross_subject.contrast import cosine_between, mixco, mixco_nce, soft_clip_loss
from representation.transfer.neural_cross_subject.model import CrossSubjectModel
from representation.transfer.neural_cross_subject.recordings import SubjectBatch, SubjectLoader

FINAL_DIVISOR = 1000


@dataclass(frozen=True)
class FitOptions:
    """How models are trained; the defaults are the paper's.

    Attributes:
        epochs: passes over the subject with most batches; the others begin again.
        lr: peak learning rate of AdamW.
        weight_decay: of matrices.
        warmup_epochs: until the peak.
        mix_share: of the epochs, in which signals are mixed (BiMixCo); SoftCLIP follows.
        mix_probability: share of the signals that is mixed.
        mix_beta: of the distribution of the mixture.
        mix_temperature: of BiMixCo.
        temperatures: of SoftCLIP, at its beginning and end.
        global_weights: of the contrast of class tokens with pictures and texts, in both stages.
        contrast_weight: of all contrast.
        prior_weight: of the prior's loss.
        readout_weight: of that of the numbers that are read out.
        random_weights: whether the sum is weighted anew at each step, by a softmax of normal numbers.
        noise: deviation of what is added to signals, over that of their channels.
        settle_epochs: after the change of stages, in which batches are cut.
        settle_batch: samples that are left of them.
        average_gradients: whether subjects make one step together, and not one each in turn.
        mixed_precision: whether networks run in bfloat16 on a GPU.
        seed: of all that is drawn.
    """

    epochs: int = 50
    lr: float = 3e-4
    weight_decay: float = 0.01
    warmup_epochs: int = 2
    mix_share: float = 0.35
    mix_probability: float = 0.5
    mix_beta: float = 0.15
    mix_temperature: float = 0.006
    temperatures: tuple[float, float] = (0.004, 0.006)
    global_weights: tuple[float, float] = (0.5, 0.2)
    contrast_weight: float = 1.0
    prior_weight: float = 30.0
    readout_weight: float = 1.0
    random_weights: bool = True
    noise: float = 0.01
    settle_epochs: int = 2
    settle_batch: int = 12
    average_gradients: bool = False
    mixed_precision: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or not 0 <= self.mix_share <= 1 or not self.lr > 0:
            found = f"{self.epochs}, {self.mix_share} and {self.lr}"
            raise ValueError(f"epochs, mix_share, lr: expected at least 1, in [0, 1] and above 0, found {found}")

    @property
    def mix_epochs(self) -> int:
        """Epochs of the first stage."""
        return round(self.mix_share * self.epochs)


PUBLISHED = FitOptions()


def flat_directions(tokens: Tensor) -> Tensor:
    """(B, N D) of length 1, of tokens (B, N, D): what is retrieved by."""
    return F.normalize(tokens.flatten(1), dim=1)


def subject_losses(
    model: CrossSubjectModel,
    subject: str,
    batch: SubjectBatch,
    options: FitOptions,
    epoch: int,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Losses of one subject's batch that are not weighted among each other: contrast, prior, and numbers read out.

    Args:
        model: it.
        subject: whose batch this is.
        batch: it.
        options: temperatures and weights within the contrast.
        epoch: from 0; tells the stage.
        generator: on the CPU; of mixtures, noise and diffusion.
    """
    adapter, signals = model.adapter(subject), batch.signals
    signals = signals + options.noise * adapter.deviation * torch.randn(
        signals.shape, generator=generator
    ).to(signals)  # fmt: skip
    mixing = epoch < options.mix_epochs
    unmixed = torch.ones(len(signals), dtype=torch.bool, device=signals.device)
    if mixing:
        signals, perm, betas = mixco(signals, options.mix_beta, options.mix_probability, generator)
        unmixed = (betas == 1) | (perm == torch.arange(len(perm), device=perm.device))
        temperature = options.mix_temperature
    else:
        done = (epoch - options.mix_epochs) / max(1, options.epochs - options.mix_epochs - 1)
        temperature = cosine_between(*options.temperatures, done)

    def contrast(pred: Tensor, target: Tensor) -> Tensor:
        if mixing:
            return mixco_nce(pred, target, temperature, perm, betas)
        return soft_clip_loss(pred, target, temperature)

    backbone, projected = model(signals, subject)
    tokens = model.targets(batch.tokens)
    losses = {}
    if options.contrast_weight:
        losses["contrast"] = contrast(flat_directions(projected), flat_directions(tokens))
        weight = options.global_weights[0 if mixing else 1]
        if weight:
            whole = F.normalize(projected[:, 0], dim=1)
            losses["contrast"] = losses["contrast"] + weight * contrast(whole, F.normalize(tokens[:, 0], dim=1))
            if batch.texts is not None:
                losses["contrast"] = losses["contrast"] + weight * contrast(whole, F.normalize(batch.texts, dim=1))
    if bool(unmixed.any()):
        if model.prior is not None:
            losses["prior"] = model.prior.loss(backbone[unmixed], tokens[unmixed], generator)
        if model.readouts:
            errors = [
                readout.errors(backbone[unmixed], batch.values[name][unmixed]).mean()
                for name, readout in model.readouts.items()
            ]
            losses["readout"] = torch.stack(errors).mean()
    return losses


def weighted_sum(losses: Mapping[str, Tensor], options: FitOptions, generator: torch.Generator) -> Tensor:
    """Sum of losses, with shares that are drawn anew where options say so."""
    weights = {
        "contrast": options.contrast_weight, "prior": options.prior_weight, "readout": options.readout_weight,
    }  # fmt: skip
    shares = torch.ones(len(losses))
    if options.random_weights and len(losses) > 1:
        shares = torch.randn(len(losses), generator=generator).softmax(dim=0)
    return sum(float(s) * weights[name] * loss for s, (name, loss) in zip(shares, losses.items(), strict=True))


def grouped(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict]:
    """Parameters for AdamW: matrices with weight decay, biases and norms without."""
    matrices, others = [], []
    for parameter in parameters:
        (matrices if parameter.ndim > 1 else others).append(parameter)
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


class Optimiser:
    """AdamW whose learning rate rises to its peak and falls to almost nothing (OneCycle).

    Args:
        parameters: groups for AdamW; a group may have a learning rate `lr` of its own.
        options: the rest.
        steps: that there will be.
    """

    def __init__(self, parameters: Sequence[dict], options: FitOptions, steps: int) -> None:
        self._adam = torch.optim.AdamW(parameters, options.lr, fused=True)
        peaks = [group["lr"] for group in self._adam.param_groups]
        risen = min(0.5, options.warmup_epochs / options.epochs)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._adam, peaks, total_steps=max(2, steps) + 1, pct_start=risen, final_div_factor=FINAL_DIVISOR
        )

    def step(self) -> None:
        """Follow the gradients and forget them; what has none stays as it is."""
        self._adam.step()
        self._schedule.step()
        self._adam.zero_grad(set_to_none=True)


def _endless(loader: SubjectLoader) -> Iterator[SubjectBatch]:
    while True:
        yield from loader


def rounds(
    loaders: Mapping[str, SubjectLoader], options: FitOptions, progress: bool
) -> Iterator[tuple[int, dict[str, SubjectBatch]]]:
    """Number of the epoch and a batch of every subject."""
    settling = range(options.mix_epochs, options.mix_epochs + options.settle_epochs) if options.mix_epochs else range(0)
    longest = max(map(len, loaders.values()))
    streams = {name: _endless(loader) for name, loader in loaders.items()}
    for epoch in tqdm(range(options.epochs), desc="epochs", unit="epoch", disable=not progress):
        for _ in range(longest):
            batches = {name: next(stream) for name, stream in streams.items()}
            if epoch in settling:
                batches = {name: _first(batch, options.settle_batch) for name, batch in batches.items()}
            yield epoch, batches


def _first(batch: SubjectBatch, count: int) -> SubjectBatch:
    values = {name: column[:count] for name, column in batch.values.items()}
    signals, tokens, texts, latents = (
        None if part is None else part[:count] for part in (batch.signals, batch.tokens, batch.texts, batch.latents)
    )
    return SubjectBatch(signals, tokens, texts, values, latents)


def on_device(batch: SubjectBatch, device: torch.device) -> SubjectBatch:
    """The batch where networks are."""
    values = {name: column.to(device) for name, column in batch.values.items()}
    signals, tokens, texts, latents = (
        None if part is None else part.to(device)
        for part in (batch.signals, batch.tokens, batch.texts, batch.latents)
    )  # fmt: skip
    return SubjectBatch(signals, tokens, texts, values, latents)


@contextmanager
def seeded(seed: int) -> Iterator[torch.Generator]:
    """A generator on the CPU; dropout inside follows the seed too, and nothing outside is changed."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


def _train(
    model: CrossSubjectModel,
    loaders: Mapping[str, SubjectLoader],
    parameters: Sequence[dict],
    options: FitOptions,
    progress: bool,
) -> list[dict[str, float]]:
    device = next(model.parameters()).device
    count = options.epochs * max(map(len, loaders.values()))
    optimiser = Optimiser(parameters, options, count * (1 if options.average_gradients else len(loaders)))
    log: list[dict[str, float]] = []
    model.train()
    with seeded(options.seed) as generator:
        for epoch, batches in rounds(loaders, options, progress):
            row: dict[str, float] = {"epoch": epoch}
            for subject, batch in batches.items():
                with torch.autocast(device.type, torch.bfloat16, options.mixed_precision and device.type == "cuda"):
                    losses = subject_losses(model, subject, on_device(batch, device), options, epoch, generator)
                    total = weighted_sum(losses, options, generator)
                if options.average_gradients:
                    total = total / len(batches)
                total.backward()
                if not options.average_gradients:
                    optimiser.step()
                row |= {f"{subject}/{name}": float(loss.detach()) for name, loss in losses.items()}
            if options.average_gradients:
                optimiser.step()
            log.append(row)
    model.eval()
    return log


def _expect_fit(model: CrossSubjectModel, name: str, loader: SubjectLoader) -> None:
    data, config = loader.data, model.config
    if tuple(data.tokens.shape[1:]) != (config.n_tokens, config.out_dim):
        wanted = (config.n_tokens, config.out_dim)
        raise ValueError(f"{name}: tokens: expected {wanted} of a sample, found {tuple(data.tokens.shape[1:])}")
    if data.texts is not None and data.texts.shape[2] != config.out_dim:
        raise ValueError(f"{name}: texts: expected {config.out_dim} numbers, found {data.texts.shape[2]}")
    for key, count in config.readouts.items():
        found = data.values[key].shape[1] if key in data.values else None
        if found != count:
            raise ValueError(f"{name}: {key}: expected {count} numbers of a sample, found {found}")


def fit_joint(
    model: CrossSubjectModel,
    loaders: Mapping[str, SubjectLoader],
    options: FitOptions = PUBLISHED,
    progress: bool = False,
) -> list[dict[str, float]]:
    """Train adapters, decoder and prior on all subjects; each has its batch in every round.

    Statistics of signals and of what is read out, and the centre of targets, are taken from the loaders' data first.

    Args:
        model: has the adapters; in evaluation mode afterwards.
        loaders: by subject.
        options: how.
        progress: whether a bar is shown.

    Returns:
        One row per round: `epoch`, and `SUBJECT/LOSS` of each, not weighted.

    Raises:
        ValueError: no subjects, ones without an adapter, or targets of other shapes than the model's.
    """
    if not loaders:
        raise ValueError("loaders: expected at least one subject, found none")
    for name, loader in loaders.items():
        _expect_fit(model, name, loader)
        model.adapter(name).set_statistics(loader.data.signals.to(next(model.parameters()).device))
    if model.config.centred:
        model.centre.copy_(torch.cat([loader.data.tokens for loader in loaders.values()]).mean(dim=0))
    for name, readout in model.readouts.items():
        readout.set_statistics(torch.cat([loader.data.values[name] for loader in loaders.values()]))
    return _train(model, loaders, grouped(model.parameters(), options.weight_decay), options, progress)


def fit_new_subject(
    model: CrossSubjectModel,
    loader: SubjectLoader,
    name: str = "new",
    freeze_decoder: bool = True,
    options: FitOptions = PUBLISHED,
    progress: bool = False,
) -> list[dict[str, float]]:
    """Give the model one more subject: train an adapter for it, and leave everything else as it is.

    Args:
        model: trained on other subjects; gets the adapter `name`, and is in evaluation mode afterwards.
        loader: the new subject's samples.
        name: of the subject.
        freeze_decoder: otherwise all but the adapters of others learns too, at a tenth of the rate.
        options: how.
        progress: whether a bar is shown.

    Returns:
        See `fit_joint`.

    Raises:
        ValueError: the name is taken, or targets of other shapes than the model's.
    """
    _expect_fit(model, name, loader)
    model.add_subject(name, loader.data.signals.shape[1])
    adapter = model.adapter(name)
    adapter.set_statistics(loader.data.signals.to(next(adapter.parameters()).device))
    shared = [
        p for part in (model.decoder, model.projector, model.readouts, model.prior) if part for p in part.parameters()
    ]
    parameters = grouped(adapter.parameters(), options.weight_decay)
    if not freeze_decoder:
        slow = grouped(shared, options.weight_decay)
        parameters += [{**group, "lr": options.lr / 10} for group in slow]
    before = [parameter.requires_grad for parameter in shared]
    for parameter in shared:
        parameter.requires_grad_(not freeze_decoder)
    try:
        return _train(model, {name: loader}, parameters, options, progress)
    finally:
        for parameter, wanted in zip(shared, before, strict=True):
            parameter.requires_grad_(wanted)


def fit_known_subject(
    model: CrossSubjectModel,
    loader: SubjectLoader,
    name: str,
    options: FitOptions = PUBLISHED,
    progress: bool = False,
) -> list[dict[str, float]]:
    """Fine-tune the model on one of its subjects: all but the adapters of others; statistics stay as they are.

    Args:
        model: in evaluation mode afterwards.
        loader: the subject's samples.
        name: of the subject.
        options: how.
        progress: whether a bar is shown.

    Returns:
        See `fit_joint`.

    Raises:
        ValueError: no such subject, or targets of other shapes than the model's.
    """
    model.adapter(name)
    _expect_fit(model, name, loader)
    return _train(model, {name: loader}, grouped(model.parameters(), options.weight_decay), options, progress)


@torch.no_grad()
def retrieval_top1(predicted: Tensor, target: Tensor) -> float:
    """Share of predictions (n, N, D) that are more like their own target (n, N, D) than any other, by cosine."""
    if predicted.shape != target.shape:
        raise ValueError(f"predicted: expected {tuple(target.shape)} as the targets, found {tuple(predicted.shape)}")
    nearest = (flat_directions(predicted) @ flat_directions(target).T).argmax(dim=1)
    return float((nearest == torch.arange(len(target), device=nearest.device)).float().mean())

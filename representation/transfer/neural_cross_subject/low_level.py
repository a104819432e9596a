"""The low-level pipeline: a coarse picture, as a latent of an autoencoder, from the same signals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.transfer.neural_cross_subject.contrast import soft_clip_loss
from representation.transfer.neural_cross_subject.model import CrossSubjectModel, SubjectAdapter
from representation.transfer.neural_cross_subject.recordings import SubjectLoader
from representation.transfer.neural_cross_subject.training import (
    PUBLISHED,
    FitOptions,
    Optimiser,
    grouped,
    on_device,
    rounds,
    seeded,
)

CHANNELS, GROUPS, UPSAMPLED = 64, 8, 4
CONTRAST_WEIGHT = 0.1


class _Mixer(nn.Module):
    """x + Dropout(SiLU(LayerNorm(Linear(x)))), without a bias."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        linear = nn.Linear(width, width, bias=False)
        self.layers = nn.Sequential(linear, nn.LayerNorm(width), nn.SiLU(), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class _Convolutions(nn.Module):
    """A residual block of an autoencoder's decoder."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(GROUPS, before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1),
            nn.GroupNorm(GROUPS, after), nn.SiLU(), nn.Conv2d(after, after, 3, padding=1),
        )  # fmt: skip
        self.short = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.short(x) + self.layers(x)


class LowLevelModel(nn.Module):
    """Latents (B, C, S, S) of signals, with the feature of a `CrossSubjectModel` merged in where it is given.

    Args:
        dims: width v of the signals of each subject, by name.
        high_dim: width of the high-level feature; the common space here has the same.
        latent: C and S; S is a multiple of 4.
        out_dim: width of the vector for the contrast; that of the class token.
        first_dropout: see `SubjectAdapter`.
        dropout: of everything else.
        drop_signal: probability that a null vector stands for the low-level signal in training.
        seed: of the weights.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        high_dim: int = 4096,
        latent: tuple[int, int] = (4, 64),
        out_dim: int = 768,
        first_dropout: float = 0.5,
        dropout: float = 0.15,
        drop_signal: float = 0.4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        channels, side = latent
        if side % UPSAMPLED:
            raise ValueError(f"latent: expected a side that is a multiple of {UPSAMPLED}, found {side}")
        self.side, self.drop_signal = side // UPSAMPLED, drop_signal
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.adapters = nn.ModuleDict(
                {name: SubjectAdapter(dim, high_dim, 1, first_dropout, dropout) for name, dim in dims.items()}
            )
            self.mixers = nn.Sequential(*(_Mixer(high_dim, dropout) for _ in range(4)))
            self.null_signal, self.null_high = (nn.Parameter(0.02 * torch.randn(high_dim)) for _ in range(2))
            self.merge = _Mixer(high_dim, dropout)
            self.to_map = nn.Linear(high_dim, CHANNELS * self.side**2)
            self.norm = nn.GroupNorm(1, CHANNELS)
            self.contrast = nn.Linear(high_dim, out_dim)
            grow = nn.Upsample(scale_factor=2, mode="nearest")
            self.decoder = nn.Sequential(
                _Convolutions(CHANNELS, 2 * CHANNELS), grow,
                _Convolutions(2 * CHANNELS, CHANNELS), grow,
                _Convolutions(CHANNELS, CHANNELS // 2),
                nn.GroupNorm(GROUPS, CHANNELS // 2), nn.SiLU(), nn.Conv2d(CHANNELS // 2, channels, 3, padding=1),
            )  # fmt: skip

    def forward(
        self, x: Tensor, subject: str, high: Tensor | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Latents (B, C, S, S), and vectors (B, out_dim) for the contrast.

        Args:
            x: signals (B, v) of one subject.
            subject: its name.
            high: (B, high_dim), see `CrossSubjectModel.features`; a learned one stands for it if None.
            generator: on the CPU; draws in training where the signal is hidden.
        """
        if subject not in self.adapters:
            raise ValueError(f"subject: expected one of {list(self.adapters)}, found {subject!r}")
        low = self.mixers(self.adapters[subject](x))
        if self.training and high is not None:
            hidden = torch.rand(len(low), generator=generator).to(low) < self.drop_signal
            low = torch.where(hidden[:, None], self.null_signal, low)
        merged = self.merge(low + (self.null_high if high is None else high))
        grid = self.norm(self.to_map(merged).unflatten(1, (CHANNELS, self.side, self.side)))
        return self.decoder(grid), self.contrast(merged)


def fit_low_level(
    model: LowLevelModel,
    loaders: Mapping[str, SubjectLoader],
    high: CrossSubjectModel | None = None,
    options: FitOptions = PUBLISHED,
    progress: bool = False,
) -> list[dict[str, float]]:
    """Train latents by their mean absolute error, and the contrast vector by SoftCLIP with the class token.

    Args:
        model: in evaluation mode afterwards.
        loaders: by subject; their data have latents.
        high: gives the high-level feature, and is not trained; None for none.
        options: rates, epochs and seed; `average_gradients` is not looked at, each subject makes its step.
        progress: whether a bar is shown.

    Returns:
        One row per round: `epoch`, and `SUBJECT/latent` and `SUBJECT/contrast` of each.

    Raises:
        ValueError: data without latents.
    """
    device = next(model.parameters()).device
    for name, loader in loaders.items():
        if loader.data.latents is None:
            raise ValueError(f"{name}: expected latents, found none")
        model.adapters[name].set_statistics(loader.data.signals.to(device))
    options = replace(options, settle_epochs=0)
    steps = options.epochs * max(map(len, loaders.values())) * len(loaders)
    optimiser, log = Optimiser(grouped(model.parameters(), options.weight_decay), options, steps), []
    model.train()
    with seeded(options.seed) as generator:
        for epoch, batches in rounds(loaders, options, progress):
            row: dict[str, float] = {"epoch": epoch}
            for subject, given in batches.items():
                batch = on_device(given, device)
                feature = None
                if high is not None:
                    with torch.no_grad():
                        feature = high.eval().features(batch.signals, subject)
                latents, vectors = model(batch.signals, subject, feature, generator)
                directions = F.normalize(vectors, dim=1), F.normalize(batch.tokens[:, 0], dim=1)
                losses = {
                    "latent": F.l1_loss(latents, batch.latents),
                    "contrast": soft_clip_loss(*directions, options.temperatures[1]),
                }
                (losses["latent"] + CONTRAST_WEIGHT * losses["contrast"]).backward()
                optimiser.step()
                row |= {f"{subject}/{name}": float(loss.detach()) for name, loss in losses.items()}
            log.append(row)
    model.eval()
    return log

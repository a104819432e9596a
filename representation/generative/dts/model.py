"""`DTSModel`: an autoencoder of windows by LSTMs, whose vector has named groups of numbers (section 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

LEAST_LOGVAR, MOST_LOGVAR = -8.0, 4.0


@dataclass(frozen=True)
class DTSConfig:
    """Sizes and weights.

    Attributes:
        latent: numbers D of a vector.
        groups: names of its groups and how many numbers each has, in order; they sum to D.
        hidden: numbers of the LSTMs' states.
        alpha: weight of the mutual information of vector and window; 0 makes the individual objective a beta-VAE's.
        beta: weight of the whole KL divergence, at least 1. `alpha` may exceed it by a half.
        group_beta: weight of KL(q(z) || p(z)) in the group objective, in [0, 1]: above 1 nothing bounds it.
        targets: weight of what the groups are to tell and not to tell, beside a likelihood that is a sum over a window.
        adversary: weight of the groups' adversaries among that.
        sigma: standard deviation of a signal around what is decoded, in units of the signal.
        learn_sigma: whether it is trained.
        masked: share of the decoder's previous values that are hidden in training.
        fed: whether the decoder sees z at each step, and not only at the start.
    """

    latent: int = 8
    groups: Mapping[str, int] = field(default_factory=lambda: {"behaviour": 5, "domain": 3})
    hidden: int = 64
    alpha: float = 4.0
    beta: float = 4.0
    group_beta: float = 0.5
    targets: float = 20.0
    adversary: float = 1.0
    sigma: float = 0.1
    learn_sigma: bool = False
    masked: float = 0.3
    fed: bool = True

    def __post_init__(self) -> None:
        if sum(self.groups.values()) != self.latent or min(self.groups.values(), default=0) < 1:
            raise ValueError(f"groups: expected sizes from 1 that sum to {self.latent}, found {dict(self.groups)}")
        if self.hidden < 1 or self.sigma <= 0 or not 0 <= self.masked <= 1:
            raise ValueError(
                f"hidden, sigma, masked: expected from 1, above 0 and in [0, 1], found {self.hidden}, {self.sigma} "
                f"and {self.masked}"
            )
        if self.beta < 1 or not 0 <= self.alpha <= self.beta + 0.5:
            raise ValueError(
                f"alpha, beta: expected beta from 1 and alpha from 0 to beta + 0.5, found {self.alpha} and {self.beta}"
            )
        if not 0 <= self.group_beta <= 1 or min(self.targets, self.adversary) < 0:
            raise ValueError(
                f"group_beta, targets, adversary: expected in [0, 1] and from 0, found {self.group_beta}, "
                f"{self.targets} and {self.adversary}"
            )

    def columns(self, group: str) -> slice:
        """Where the numbers of a group are.

        Raises:
            ValueError: no such group.
        """
        if group not in self.groups:
            raise ValueError(f"group: expected one of {', '.join(self.groups)}, found {group!r}")
        names = list(self.groups)
        first = sum(self.groups[name] for name in names[: names.index(group)])
        return slice(first, first + self.groups[group])


class DTSOutput(NamedTuple):
    """What a pass over windows gives.

    Attributes:
        decoded: (B, T, C).
        z: (B, D) that were decoded.
        mu: (B, D) means of z.
        logvar: (B, D) logarithms of its variances.
        log_sigma: scalar, of the signals around what is decoded.
    """

    decoded: Tensor
    z: Tensor
    mu: Tensor
    logvar: Tensor
    log_sigma: Tensor


class DTSModel(nn.Module):
    """Encodes windows of signals (B, T, C) to vectors (B, D), and decodes these.

    Args:
        channels: number C of signals.
        config: sizes and weights.
        seed: of the first weights.
    """

    def __init__(self, channels: int, config: DTSConfig, seed: int = 0) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels: expected at least 1, found {channels}")
        self.channels, self.config = channels, config
        hidden, latent = config.hidden, config.latent
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = nn.LSTM(channels, hidden, batch_first=True, bidirectional=True)
            self.posterior = nn.Linear(2 * hidden, 2 * latent)
            self.start = nn.Linear(latent, hidden)
            self.decoder = nn.LSTM(channels + (latent if config.fed else 0), hidden, batch_first=True)
            self.last = nn.Linear(hidden, channels)
        self.log_sigma = nn.Parameter(torch.tensor(math.log(config.sigma)), requires_grad=config.learn_sigma)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log variances, both (B, D), of the vectors of windows (B, T, C).

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        self._check(x)
        states = self.encoder(x)[1][0]
        mu, raw = self.posterior(torch.cat([states[0], states[1]], dim=1)).chunk(2, dim=1)
        return mu, raw.clamp(LEAST_LOGVAR, MOST_LOGVAR)

    def decode(self, z: Tensor, length: int) -> Tensor:
        """Windows (B, T, C) of vectors (B, D): each step is decoded from those decoded before."""
        state, steps = self._first_state(z), []
        previous = z.new_zeros(len(z), 1, self.channels)
        for _ in range(length):
            out, state = self.decoder(self._inputs(previous, z), state)
            previous = self.last(out)
            steps.append(previous)
        return torch.cat(steps, dim=1)

    def decode_known(self, z: Tensor, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Windows (B, T, C) of vectors (B, D), where each step is decoded from those of x before it.

        Args:
            z: vectors.
            x: (B, T, C), as known.
            seen: (B, T) whether the decoder sees a step of x when it decodes the next one; all of them if left out.
        """
        known = x if seen is None else x * seen[:, :, None]
        previous = torch.cat([torch.zeros_like(x[:, :1]), known[:, :-1]], dim=1)
        return self.last(self.decoder(self._inputs(previous, z), self._first_state(z))[0])

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> DTSOutput:
        """In training z is drawn and windows are decoded with x known in part; else z is its mean, and x unknown.

        Args:
            x: (B, T, C).
            generator: draws z and what the decoder does not see; needed in training.

        Raises:
            ValueError: as `encode`, or none in training.
        """
        mu, logvar = self.encode(x)
        if not self.training:
            return DTSOutput(self.decode(mu, x.shape[1]), mu, mu, logvar, self.log_sigma)
        if generator is None:
            raise ValueError("generator: expected a torch.Generator in training, found None")
        z = sample(mu, logvar, generator)
        seen = torch.rand(x.shape[:2], generator=generator, device=x.device) >= self.config.masked
        return DTSOutput(self.decode_known(z, x, seen.to(x.dtype)), z, mu, logvar, self.log_sigma)

    def _first_state(self, z: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.start(z))[None]
        return hidden, torch.zeros_like(hidden)

    def _inputs(self, previous: Tensor, z: Tensor) -> Tensor:
        if not self.config.fed:
            return previous
        return torch.cat([previous, z[:, None].expand(-1, previous.shape[1], -1)], dim=2)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 3 or x.shape[2] != self.channels or not min(x.shape):
            raise ValueError(f"x: expected windows (B, T, {self.channels}), found {tuple(x.shape)}")
        if not torch.isfinite(x).all():
            raise ValueError("x: expected finite numbers, found others")


def sample(mu: Tensor, logvar: Tensor, generator: torch.Generator) -> Tensor:
    """Draw vectors (B, D) of means and log variances."""
    noise = torch.randn(mu.shape, generator=generator, dtype=mu.dtype, device=mu.device)
    return mu + (logvar / 2).exp() * noise


@torch.no_grad()
def latent_traversal(model: DTSModel, x: Tensor, dim: int, values: Sequence[float]) -> Tensor:
    """What a number of a vector does: windows (V, T, C) that are decoded while it takes V values.

    Args:
        model: whose.
        x: (T, C), the window whose other numbers are kept.
        dim: which number.
        values: that it takes.

    Raises:
        ValueError: no such number, no values, or as `DTSModel.encode`.
    """
    if not 0 <= dim < model.config.latent or not len(values):
        raise ValueError(
            f"dim, values: expected 0 to {model.config.latent - 1} and some, found {dim} and {list(values)}"
        )
    z = model.encode(x[None])[0].repeat(len(values), 1)
    z[:, dim] = torch.as_tensor(values, dtype=z.dtype, device=z.device)
    return model.decode(z, len(x))

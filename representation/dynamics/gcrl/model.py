"""`GCRL`: latent causes of the motion of two agents, and the futures that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.dynamics.gcrl.flows import Flow, MixturePrior
from representation.interface import Loss

SYSTEM = "gcrl"
AGENTS, HIDDEN = 2, 32
VARIANCE = 0.5
"""Of each observed and foretold coordinate, square metres."""


@dataclass(frozen=True)
class GCRLConfig:
    """Sizes.

    Attributes:
        observed: steps of the past.
        future: steps that are foretold.
        z_dim: numbers of what holds everywhere, of each agent; even.
        s_dim: numbers of what is special to a place, of each scene; even.
        latent: numbers that an encoder says of an agent.
        n_env: components of the prior of s.
        samples: of z and s, for each loss.
        coupled: whether samples are weighed by how well they foretell; if not, the best of 20 counts.
    """

    observed: int = 8
    future: int = 12
    z_dim: int = 2
    s_dim: int = 2
    latent: int = 8
    n_env: int = 5
    samples: int = 10
    coupled: bool = False


class Posterior(nn.Module):
    """A diagonal normal of what an encoder says."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(width, HIDDEN), nn.LeakyReLU(), nn.Linear(HIDDEN, HIDDEN), nn.LeakyReLU())
        self.mean, self.log_variance = nn.Linear(HIDDEN, dim), nn.Linear(HIDDEN, dim)
        for layer in (self.trunk[0], self.trunk[2], self.mean, self.log_variance):
            nn.init.normal_(layer.weight, std=0.1)
            nn.init.zeros_(layer.bias)

    def forward(self, said: Tensor) -> torch.distributions.Normal:
        """Normals (..., dim) of (..., width)."""
        inside = self.trunk(said)
        return torch.distributions.Normal(self.mean(inside), (self.log_variance(inside).exp() + 1e-16).sqrt())


class _Joined(nn.Module):
    """Adds what is made of a vector and s to the vector."""

    def __init__(self, dim: int, s_dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim + s_dim, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, inside: Tensor, s: Tensor) -> Tensor:
        return inside + self.net(torch.cat([inside, s], dim=-1))


class Decoder(nn.Module):
    """Coordinates (..., steps, agents, 2) of z (..., agents, z_dim) and s (..., s_dim)."""

    def __init__(self, config: GCRLConfig, steps: int) -> None:
        super().__init__()
        self.steps, scene, wide = steps, AGENTS * config.z_dim, 2 * AGENTS * steps
        self.first, self.second = _Joined(scene, config.s_dim), _Joined(8, config.s_dim)
        self.widen = nn.Sequential(nn.Linear(scene, 8), nn.ReLU(), nn.Linear(8, 8))
        self.read = nn.Sequential(nn.Linear(8, wide), nn.ReLU(), nn.Linear(wide, wide))

    def forward(self, z: Tensor, s: Tensor) -> Tensor:
        """Decode them."""
        inside = self.second(self.widen(self.first(z.flatten(-2), s)), s)
        return self.read(inside).unflatten(-1, (AGENTS, self.steps, 2)).transpose(-3, -2)


class GCRL(nn.Module):
    """Forecasts of two agents."""

    def __init__(self, config: GCRLConfig) -> None:
        super().__init__()
        self.config = config
        tracks = 2 * config.observed
        wide = AGENTS * config.latent
        self.invariant_encoder = nn.Sequential(
            nn.Linear(AGENTS * tracks, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, wide)
        )
        self.variant_encoder = nn.Sequential(nn.Linear(tracks, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, wide))
        self.x_to_z, self.x_to_s = Posterior(config.latent, config.z_dim), Posterior(wide, config.s_dim)
        self.flow_z, self.flow_s = Flow(config.z_dim), Flow(config.s_dim)
        self.prior_s = MixturePrior(config.n_env, config.s_dim)
        self.past_decoder = Decoder(config, config.observed)
        self.future_decoder = Decoder(config, config.future)

    @property
    def z_side(self) -> tuple[nn.Module, ...]:
        """What makes z, and its prior."""
        return self.invariant_encoder, self.x_to_z, self.flow_z

    def posteriors(self, past: Tensor) -> tuple[torch.distributions.Normal, torch.distributions.Normal]:
        """Normals of z (B, agents, z_dim) and of s (B, s_dim), of pasts (B, observed, agents, 2).

        Raises:
            ValueError: another number of steps or agents.
        """
        if past.shape[1:] != (self.config.observed, AGENTS, 2):
            raise ValueError(f"past: expected (B, {self.config.observed}, {AGENTS}, 2), found {tuple(past.shape)}")
        said = self.invariant_encoder(past.transpose(1, 2).flatten(1))
        relative = past[:, :, 1] - past[:, :, 0]
        return self.x_to_z(said.unflatten(-1, (AGENTS, -1))), self.x_to_s(self.variant_encoder(relative.flatten(1)))

    def futures(self, past: Tensor, z: Tensor, s: Tensor) -> Tensor:
        """Positions (K, B, future, agents, 2) of samples of z and s; the decoder tells displacements."""
        return past[:, -1:] + self.future_decoder(z, s).cumsum(dim=-3)

    def elbo(self, past: Tensor, future: Tensor, z_prior: bool = True) -> Loss:
        """The negative bound, a mean over scenes.

        Args:
            past: (B, observed, agents, 2).
            future: (B, future, agents, 2).
            z_prior: whether z is drawn to its prior; not so while a model is adapted.
        """
        q_z, q_s = self.posteriors(past)
        z, s = q_z.rsample((self.config.samples,)), q_s.rsample((self.config.samples,))
        coupled = self.config.coupled
        told_past = self._likelihood(self.past_decoder(z, s), past)
        mapped, stretch = self.flow_s(s)
        evidence = told_past + self.prior_s.log_prob(mapped) + stretch - q_s.log_prob(s).sum(dim=-1)
        if z_prior:
            mapped, stretch = self.flow_z(z)
            normal = -0.5 * mapped.square() - 0.5 * math.log(2 * math.pi)
            evidence = evidence + (normal.sum(dim=-1) + stretch - q_z.log_prob(z).sum(dim=-1)).sum(dim=-1)
        if coupled:
            told = self._likelihood(self.futures(past, z, s), future)
            bound = coupled_bound(told, evidence)
        else:
            z, s = q_z.rsample((20,)), q_s.rsample((20,))
            told = self._likelihood(self.futures(past, z, s), future)
            bound = evidence.mean(dim=0) + told.amax(dim=0)
        parts = {"past": -told_past.mean(), "future": -told.amax(dim=0).mean()}
        return Loss(-bound.mean(), {name: value.detach() for name, value in parts.items()})

    def _likelihood(self, told: Tensor, true: Tensor) -> Tensor:
        """Log likelihoods (K, B), without their constant where samples are not coupled."""
        if self.config.coupled:
            return log_likelihood(told, true)
        return -(told - true).square().sum(dim=(-3, -2, -1))

    @torch.no_grad()
    def predict(self, past: Tensor, k: int, generator: torch.Generator) -> Tensor:
        """Futures (k, B, future, agents, 2) that may follow pasts (B, observed, agents, 2)."""
        q_z, q_s = self.posteriors(past)
        noise_z, noise_s = (torch.randn((k, *q.mean.shape), generator=generator) for q in (q_z, q_s))
        return self.futures(past, q_z.mean + q_z.stddev * noise_z, q_s.mean + q_s.stddev * noise_s)

    def save(self, directory: Path) -> None:
        """Write what `registry.load_encoder` reads."""
        save_encoder(self, SYSTEM, self.config, directory)


def log_likelihood(told: Tensor, true: Tensor) -> Tensor:
    """Log densities (K, B) of tracks (B, T, agents, 2) by normals about (K, B, T, agents, 2)."""
    count = math.prod(true.shape[1:])
    squares = (told - true).square().sum(dim=(-3, -2, -1))
    return -0.5 * squares / VARIANCE - 0.5 * count * math.log(2 * math.pi * VARIANCE)


def coupled_bound(told: Tensor, evidence: Tensor) -> Tensor:
    """Log q(y | x), plus the evidence of samples weighed by how well they foretell y; (B,) of (K, B) and (K, B)."""
    return told.logsumexp(dim=0) - math.log(len(told)) + (told.softmax(dim=0) * evidence).sum(dim=0)


def load(directory: Path) -> GCRL:
    """Read what `GCRL.save` wrote.

    Raises:
        ValueError: damaged.
    """
    found = read_config(directory)["config"]
    try:
        model = GCRL(GCRLConfig(**found))
    except TypeError as error:
        raise ValueError(f"{directory}: expected the fields of GCRLConfig, found {found!r:.200}") from error
    load_weights(model, directory)
    return model.eval()

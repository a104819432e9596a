"""`GCRL`: latent causes of the motion of agents, and the futures that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.dynamics.gcrl.flows import Flow, MixturePrior
from representation.dynamics.gcrl.graph import FutureGraphDecoder, GraphEncoder, PastGraphDecoder
from representation.dynamics.gcrl.pair import AGENTS, HIDDEN, PairDecoder, PairEncoder, RelativeEncoder
from representation.interface import Loss

SYSTEM = "gcrl"
Network = Literal["pair", "graph"]
VARIANCE = 0.5
"""Of each observed and foretold coordinate, square metres."""


@dataclass(frozen=True)
class GCRLConfig:
    """Sizes.

    Attributes:
        observed: steps of the past.
        future: steps that are foretold.
        z_dim: numbers of what holds everywhere, of each agent; even.
        s_dim: numbers of what is special to a place, of each scene, or agent; even.
        latent: numbers that an encoder says of an agent.
        n_env: components of the prior of s.
        samples: of z and s, for each loss.
        coupled: whether samples are weighed by how well they foretell; if not, the best of 20 counts.
        network: perceptrons for a pair of agents, or a graph for any number; there s too is of each agent.
        period_s: time between two steps.
    """

    observed: int = 8
    future: int = 12
    z_dim: int = 2
    s_dim: int = 2
    latent: int = 8
    n_env: int = 5
    samples: int = 10
    coupled: bool = False
    network: Network = "pair"
    period_s: float = 0.4

    def __post_init__(self) -> None:
        if self.network not in get_args(Network):
            raise ValueError(f"network: expected one of {', '.join(get_args(Network))}, found {self.network!r}")
        if not self.period_s > 0:
            raise ValueError(f"period_s: expected a positive number, found {self.period_s!r}")


GRAPH = GCRLConfig(z_dim=8, s_dim=8, latent=64, network="graph")
"""Sizes of the published model of any number of agents."""


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


class GCRL(nn.Module):
    """Forecasts of some agents. In scenes of a graph, an agent that is not there is NaN throughout."""

    def __init__(self, config: GCRLConfig) -> None:
        super().__init__()
        self.config = config
        z_dim, s_dim, latent = config.z_dim, config.s_dim, config.latent
        pair = config.network == "pair"
        self.invariant_encoder = PairEncoder(config.observed, latent) if pair else GraphEncoder(latent)
        self.variant_encoder = RelativeEncoder(config.observed, latent) if pair else GraphEncoder(latent)
        self.x_to_z = Posterior(latent, z_dim)
        self.x_to_s = Posterior(AGENTS * latent if pair else latent, s_dim)
        self.flow_z, self.flow_s = Flow(z_dim), Flow(s_dim)
        self.prior_s = MixturePrior(config.n_env, s_dim)
        if pair:
            self.past_decoder: nn.Module = PairDecoder(z_dim, s_dim, config.observed)
            self.future_decoder: nn.Module = PairDecoder(z_dim, s_dim, config.future)
        else:
            self.past_decoder = PastGraphDecoder(z_dim, s_dim)
            self.future_decoder = FutureGraphDecoder(z_dim, s_dim, config.future)

    @property
    def z_side(self) -> tuple[nn.Module, ...]:
        """What makes z, and its prior."""
        return self.invariant_encoder, self.x_to_z, self.flow_z

    def posteriors(self, past: Tensor) -> tuple[torch.distributions.Normal, torch.distributions.Normal]:
        """Normals of z (B, agents, z_dim) and of s (B, s_dim), of pasts (B, observed, agents, 2).

        Those of a graph are s (B, agents, s_dim); what they say of an agent that is not there means nothing.

        Raises:
            ValueError: another number of steps or agents, or nobody there.
        """
        agents = AGENTS if self.config.network == "pair" else past.shape[2] if past.dim() == 4 else "agents"
        if past.shape[1:] != (self.config.observed, agents, 2):
            raise ValueError(f"past: expected (B, {self.config.observed}, {agents}, 2), found {tuple(past.shape)}")
        absent = past.isnan().any(dim=(1, 3))
        if absent.any() if self.config.network == "pair" else absent.all(dim=1).any():
            raise ValueError(f"past: expected agents that are there, found {int(absent.sum())} that are NaN")
        return self.x_to_z(self.invariant_encoder(past)), self.x_to_s(self.variant_encoder(past))

    def futures(self, past: Tensor, z: Tensor, s: Tensor) -> Tensor:
        """Positions (K, B, future, agents, 2) of samples of z and s; the decoder tells displacements."""
        return past[:, -1:] + self.future_decoder(z, s, past).cumsum(dim=-3)

    def elbo(self, past: Tensor, future: Tensor, z_prior: bool = True) -> Loss:
        """The negative bound, a mean over scenes, which count alike however many agents they have.

        Args:
            past: (B, observed, agents, 2).
            future: (B, future, agents, 2).
            z_prior: whether z is drawn to its prior; not so while a model is adapted.
        """
        q_z, q_s = self.posteriors(past)
        there = ~past.isnan().any(dim=(1, 3))
        z, s = q_z.rsample((self.config.samples,)), q_s.rsample((self.config.samples,))
        coupled = self.config.coupled
        told_past = self._likelihood(self.past_decoder(z, s, past), past)
        mapped, stretch = self.flow_s(s)
        evidence_s = self.prior_s.log_prob(mapped) + stretch - q_s.log_prob(s).sum(dim=-1)
        if self.config.network == "graph":
            evidence_s = (evidence_s * there).sum(dim=-1)
        evidence = told_past + evidence_s
        if z_prior:
            mapped, stretch = self.flow_z(z)
            normal = -0.5 * mapped.square() - 0.5 * math.log(2 * math.pi)
            evidence_z = normal.sum(dim=-1) + stretch - q_z.log_prob(z).sum(dim=-1)
            evidence = evidence + (evidence_z * there).sum(dim=-1)
        if coupled:
            told = self._likelihood(self.futures(past, z, s), future)
            bound = coupled_bound(told, evidence)
        else:
            z, s = q_z.rsample((20,)), q_s.rsample((20,))
            told = self._likelihood(self.futures(past, z, s), future)
            bound = evidence.mean(dim=0) + told.amax(dim=0)
        parts = {"past": -told_past.mean(), "future": -told.amax(dim=0).mean()}
        by_pair = AGENTS / there.sum(dim=1)
        return Loss(-(bound * by_pair).mean(), {name: value.detach() for name, value in parts.items()})

    def _likelihood(self, told: Tensor, true: Tensor) -> Tensor:
        """Log likelihoods (K, B), without their constant where samples are not coupled."""
        if self.config.coupled:
            return log_likelihood(told, true)
        return -squared_error(told, true)

    @torch.no_grad()
    def predict(self, past: Tensor, k: int, generator: torch.Generator) -> Tensor:
        """Futures (k, B, future, agents, 2) that may follow pasts (B, observed, agents, 2)."""
        q_z, q_s = self.posteriors(past)
        noise_z, noise_s = (torch.randn((k, *q.mean.shape), generator=generator) for q in (q_z, q_s))
        return self.futures(past, q_z.mean + q_z.stddev * noise_z, q_s.mean + q_s.stddev * noise_s)

    def save(self, directory: Path) -> None:
        """Write what `registry.load_model` reads."""
        save_encoder(self, SYSTEM, self.config, directory)


def squared_error(told: Tensor, true: Tensor) -> Tensor:
    """Sums (K, B) of squares of what tracks (K, B, T, agents, 2) are off those (B, T, agents, 2) that are there."""
    return torch.where(true.isnan(), 0.0, told - true).square().sum(dim=(-3, -2, -1))


def log_likelihood(told: Tensor, true: Tensor) -> Tensor:
    """Log densities (K, B) of tracks (B, T, agents, 2) by normals about (K, B, T, agents, 2)."""
    count = (~true.isnan()).sum(dim=(-3, -2, -1))
    return -0.5 * squared_error(told, true) / VARIANCE - 0.5 * count.to(told) * math.log(2 * math.pi * VARIANCE)


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
    except (TypeError, ValueError) as error:
        raise ValueError(f"{directory}: expected the fields of GCRLConfig, found {found!r:.200}") from error
    load_weights(model, directory)
    return model.eval()

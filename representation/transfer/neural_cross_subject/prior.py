"""A diffusion model of an encoder's tokens, conditioned on those that a decoder made of a signal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

LARGEST_BETA = 0.999
KEPT = (0.35, 0.40)  # share of the condition's tokens that training sees


@dataclass(frozen=True)
class PriorConfig:
    """Sizes of the network and the diffusion.

    Attributes:
        layers: of the transformer.
        heads: of its attention.
        feedforward: width of its inner layers, over that of the tokens.
        timesteps: of the diffusion.
        drop: probability that the condition, and independently the noisy tokens, are hidden in training.
    """

    layers: int = 6
    heads: int = 12
    feedforward: int = 4
    timesteps: int = 100
    drop: float = 0.2


def cosine_betas(timesteps: int, offset: float = 0.008) -> Tensor:
    """Variances (T,) of the steps, by which the signal falls along a squared cosine (Nichol and Dhariwal, 2021)."""
    places = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)
    left = torch.cos((places + offset) / (1 + offset) * math.pi / 2).square()
    return (1 - left[1:] / left[:-1]).clamp(0, LARGEST_BETA)


class PriorNetwork(nn.Module):
    """A transformer decoder: noisy tokens, after one for the time, look at the condition's tokens.

    Args:
        n_tokens: N.
        width: D of a token.
        config: the rest.
    """

    def __init__(self, n_tokens: int, width: int, config: PriorConfig = PriorConfig()) -> None:
        super().__init__()
        if width % config.heads:
            raise ValueError(f"width: expected a multiple of {config.heads} heads, found {width}")
        layer = nn.TransformerDecoderLayer(
            width, config.heads, config.feedforward * width, dropout=0.0, activation="gelu", batch_first=True
        )
        self.layers = nn.TransformerDecoder(layer, config.layers)
        self.time = nn.Embedding(config.timesteps, width)
        shape, scale = (1, n_tokens, width), width**-0.5
        self.position, self.condition_position, self.null_condition, self.null_tokens = (
            nn.Parameter(scale * torch.randn(shape)) for _ in range(4)
        )
        self.n_tokens = n_tokens
        self.kept: Tensor | None = None
        """(B, k) places of the condition's tokens that the last pass saw; None for all."""

    def forward(
        self,
        noisy: Tensor,
        times: Tensor,
        condition: Tensor,
        hide_condition: Tensor | None = None,
        hide_tokens: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Tokens (B, N, D) without noise.

        Args:
            noisy: (B, N, D).
            times: (B,) from 0.
            condition: (B, N, D).
            hide_condition: (B,) where learned tokens stand for the condition.
            hide_tokens: (B,) where learned tokens stand for the noisy ones.
            generator: on the CPU; draws which tokens of the condition training sees.
        """
        if condition.shape[1] != self.n_tokens or noisy.shape != condition.shape:
            found = tuple(noisy.shape), tuple(condition.shape)
            raise ValueError(f"noisy, condition: expected (B, {self.n_tokens}, D) both, found {found}")
        if hide_condition is not None:
            condition = torch.where(hide_condition[:, None, None], self.null_condition, condition)
        if hide_tokens is not None:
            noisy = torch.where(hide_tokens[:, None, None], self.null_tokens, noisy)
        memory = condition + self.condition_position
        self.kept = None
        if self.training:
            self.kept = self._drawn_places(len(memory), generator).to(memory.device)
            memory = memory.gather(1, self.kept[:, :, None].expand(-1, -1, memory.shape[2]))
        queries = torch.cat([self.time(times)[:, None], noisy + self.position], dim=1)
        return self.layers(queries, memory)[:, -self.n_tokens :]

    def _drawn_places(self, batch: int, generator: torch.Generator | None) -> Tensor:
        least, most = math.ceil(KEPT[0] * self.n_tokens), math.floor(KEPT[1] * self.n_tokens)
        if least > most:  # so few tokens that no number of them lies between
            least = most = max(1, round(sum(KEPT) / 2 * self.n_tokens))
        count = int(torch.randint(least, most + 1, (), generator=generator))
        return torch.rand(batch, self.n_tokens, generator=generator).argsort(dim=1)[:, :count]


class TokenDiffusionPrior(nn.Module):
    """Diffusion in a few steps whose network tells the tokens themselves, and not their noise.

    Args:
        net: predicts them.
        timesteps: T.
        drop: see `PriorConfig`.
        scale: factor of the tokens in the diffusion; the root of their width if None.
    """

    def __init__(self, net: PriorNetwork, timesteps: int = 100, drop: float = 0.2, scale: float | None = None) -> None:
        super().__init__()
        self.net, self.timesteps, self.drop = net, timesteps, drop
        self.width = net.position.shape[2]
        self.scale = self.width**0.5 if scale is None else scale
        betas = cosine_betas(timesteps)
        kept = (1 - betas).cumprod(dim=0)
        before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
        schedule = {
            "signal": kept.sqrt(),
            "noise": (1 - kept).sqrt(),
            "of_start": betas * before.sqrt() / (1 - kept),
            "of_noisy": (1 - before) * (1 - betas).sqrt() / (1 - kept),
            "deviation": (betas * (1 - before) / (1 - kept)).sqrt(),
        }
        for name, values in schedule.items():
            self.register_buffer(name, values.float())

    def q_sample(self, start: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """Tokens (B, N, D) with the noise of their times (B,)."""
        return self.signal[times][:, None, None] * start + self.noise[times][:, None, None] * noise

    def loss(self, cond: Tensor, target: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean squared error of tokens (B, N, D), scaled, that are told from noisy ones; `generator` is on the CPU."""
        count, device = len(target), target.device
        times = torch.randint(self.timesteps, (count,), generator=generator).to(device)
        noise = torch.randn(target.shape, generator=generator).to(target)
        hidden = [(torch.rand(count, generator=generator) < self.drop).to(device) for _ in range(2)]
        start = self.scale * target
        return F.mse_loss(self.net(self.q_sample(start, times, noise), times, cond, *hidden, generator), start)

    @torch.no_grad()
    def sample(self, cond: Tensor, generator: torch.Generator | None = None, guidance: float = 1.0) -> Tensor:
        """Tokens (B, N, D) drawn for a condition of that shape; all tokens of the condition are seen.

        Args:
            cond: tokens of a decoder.
            generator: on the CPU.
            guidance: how much farther than the condition says the network goes from what it tells without one.
        """
        training = self.net.training
        self.net.eval()
        tokens = torch.randn(cond.shape, generator=generator).to(cond)
        everywhere = torch.ones(len(cond), dtype=torch.bool, device=cond.device)
        for time in reversed(range(self.timesteps)):
            times = torch.full((len(cond),), time, device=cond.device)
            start = self.net(tokens, times, cond)
            if guidance != 1:
                free = self.net(tokens, times, cond, hide_condition=everywhere)
                start = free + guidance * (start - free)
            tokens = self.of_start[time] * start + self.of_noisy[time] * tokens
            if time:
                noise = torch.randn(cond.shape, generator=generator).to(cond)
                tokens = tokens + self.deviation[time] * noise
        self.net.train(training)
        return tokens / self.scale

"""`WeightDiffusion`: latents of weights out of noise, given a vector of the dataset that they are for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.transfer.d2nwg.conv_blocks import Middle, PlaceAttention, ResidualBlock, norm, sinusoids

BETA = (0.0015, 0.0155)


def sqrt_linear_betas(steps: int, beta: tuple[float, float]) -> Tensor:
    """Noise (T,) that each step adds; its root rises linearly from the root of the first to that of the last."""
    if steps < 2 or not 0 < beta[0] <= beta[1] < 1:
        raise ValueError(f"steps, beta: expected at least 2, and rising in (0, 1), found {steps}, {beta}")
    return torch.linspace(beta[0] ** 0.5, beta[1] ** 0.5, steps, dtype=torch.float64).square()


def scaled_beta(steps: int) -> tuple[float, float]:
    """The range of betas for 1024 steps, for fewer: larger by as much, so that the last latents are noise too."""
    return BETA[0] * 1024 / steps, BETA[1] * 1024 / steps


class MLPDenoiser(nn.Module):
    """A perceptron with residual layers, for small latents.

    Args:
        latent: numbers of a latent.
        condition: numbers of the dataset's vector.
        hidden: units.
        layers: residual ones.
    """

    def __init__(self, latent: int, condition: int, hidden: int = 512, layers: int = 3) -> None:
        super().__init__()
        self.latent, self.condition, self.hidden = latent, condition, hidden
        self.first = nn.Linear(latent + condition, hidden)
        self.time = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
            for _ in range(layers)
        )
        self.last = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, latent))

    def forward(self, z: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """Noise (B, latent) in latents (B, latent) at steps (B,), given conditions (B, condition)."""
        x = self.first(torch.cat([z, c], dim=1))
        time = self.time(sinusoids(t, self.hidden))
        for layer in self.layers:
            x = x + layer(x + time)
        return self.last(x)


class UNetDenoiser(nn.Module):
    """A U-Net on latents seen as a square picture, with the dataset's vector as a second channel.

    Args:
        latent: numbers of a latent, a square.
        condition: numbers of the dataset's vector; a linear layer brings it to `latent` if it has others.
        channels: of the first level.
        mult: channels of each level, as multiples.
        blocks: residual blocks of a level.
        attention: factors by which the side is smaller where there is attention.
        heads: of it.

    Raises:
        ValueError: the latent is no square that can be halved as often as there are levels.
    """

    def __init__(
        self,
        latent: int,
        condition: int,
        channels: int = 256,
        mult: Sequence[int] = (1, 1, 1, 2),
        blocks: int = 2,
        attention: Sequence[int] = (4, 8),
        heads: int = 2,
    ) -> None:
        super().__init__()
        self.latent, self.condition, self.channels = latent, condition, channels
        self.side = round(latent**0.5)
        if self.side**2 != latent or self.side % 2 ** (len(mult) - 1):
            raise ValueError(
                f"latent: expected a square of a multiple of {2 ** (len(mult) - 1)} for {len(mult)} levels, "
                f"found {latent}"
            )
        self.project = nn.Identity() if condition == latent else nn.Linear(condition, latent)
        width = 4 * channels
        self.time = nn.Sequential(nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, width))
        self.first = nn.Conv2d(2, channels, 3, padding=1)
        self.down, kept, now, factor = nn.ModuleList(), [channels], channels, 1

        def attend(number: int) -> nn.Module:
            return PlaceAttention(number, heads) if factor in attention else nn.Identity()

        for level, multiple in enumerate(mult):
            for _ in range(blocks):
                self.down.append(
                    nn.ModuleList([ResidualBlock(now, channels * multiple, width), attend(channels * multiple)])
                )
                now = channels * multiple
                kept.append(now)
            if level < len(mult) - 1:
                self.down.append(nn.ModuleList([ResidualBlock(now, now, width, "down"), nn.Identity()]))
                kept.append(now)
                factor *= 2
        self.middle = Middle(now, heads, width)
        self.up = nn.ModuleList()
        for level in reversed(range(len(mult))):
            for number in range(blocks + 1):
                out = channels * mult[level]
                parts: list[nn.Module] = [ResidualBlock(now + kept.pop(), out, width), attend(out)]
                now = out
                if level and number == blocks:
                    parts.append(ResidualBlock(now, now, width, "up"))
                self.up.append(nn.ModuleList(parts))
            factor //= 2
        self.last = nn.Sequential(norm(now), nn.SiLU(), nn.Conv2d(now, 1, 3, padding=1))
        nn.init.zeros_(self.last[-1].weight)
        nn.init.zeros_(self.last[-1].bias)

    def forward(self, z: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """Noise (B, latent) in latents (B, latent) at steps (B,), given conditions (B, condition)."""
        picture = torch.stack([z, self.project(c)], dim=1).unflatten(2, (self.side, self.side))
        time = self.time(sinusoids(t, self.channels))
        x = self.first(picture)
        kept = [x]
        for block, attention in self.down:
            x = attention(block(x, time))
            kept.append(x)
        x = self.middle(x, time)
        for block, attention, *larger in self.up:
            x = attention(block(torch.cat([x, kept.pop()], dim=1), time))
            for resize in larger:
                x = resize(x, time)
        return self.last(x).flatten(1)


class WeightDiffusion(nn.Module):
    """Gaussian diffusion of latents; the denoiser tells the noise.

    Args:
        denoiser: takes latents (B, L), steps (B,) and conditions, and has `latent` and `condition`.
        T: steps.
        beta: of the first and the last step; for fewer steps than 1024 take larger ones, see `scaled_beta`.
        cond: "concat" joins conditions to the latents, "none" leaves them out.

    Attributes:
        std: that latents are divided by; set by `fit_scale`.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        T: int = 1024,  # noqa: N803
        beta: tuple[float, float] = BETA,
        cond: Literal["concat", "none"] = "concat",
    ) -> None:
        super().__init__()
        if cond not in ("concat", "none"):
            raise ValueError(f"cond: expected concat or none, found {cond!r}")
        self.denoiser, self.steps, self.cond = denoiser, T, cond
        betas = sqrt_linear_betas(T, beta)
        self.register_buffer("betas", betas, persistent=False)
        self.register_buffer("kept", (1 - betas).cumprod(0), persistent=False)
        self.register_buffer("std", torch.tensor(1.0))

    def fit_scale(self, latents: Tensor) -> None:
        """Take the deviation of some latents (B, L), the first batch, as that of all."""
        self.std.copy_(latents.std().clamp(min=1e-8))

    def loss(self, z: Tensor, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean squared error of the told noise, at random steps, of latents (B, L) under conditions (B, D)."""
        t = torch.randint(self.steps, (len(z),), generator=generator).to(z.device)
        noise = torch.randn(z.shape, generator=generator).to(z)
        return F.mse_loss(self.told(self.noised(z / self.std, t, noise), t, c), noise)

    def noised(self, z: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Scaled latents (B, L) after steps (B,) of the noise."""
        kept = self.kept[t][:, None].to(z)
        return kept.sqrt() * z + (1 - kept).sqrt() * noise

    def told(self, z: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """The denoiser's noise."""
        return self.denoiser(z, t, torch.zeros_like(c) if self.cond == "none" else c)

    @torch.no_grad()
    def sample(
        self,
        c: Tensor,
        n: int,
        steps: int = 50,
        eta: float = 0.0,
        generator: torch.Generator | None = None,
        start: Tensor | None = None,
        strength: float = 1.0,
    ) -> Tensor:
        """Latents (n, L) of one condition, by DDIM.

        Args:
            c: (D,) or (n, D).
            n: how many.
            steps: of the sampler, at most T.
            eta: 0 is determined by the first noise, 1 with all steps is ancestral sampling.
            generator: draws the noise.
            start: latents (n, L) to vary, instead of noise only.
            strength: share of the noising that these are put through first.

        Raises:
            ValueError: steps or strength out of range.
        """
        if not 1 <= steps <= self.steps or not 0 < strength <= 1:
            raise ValueError(f"steps, strength: expected 1 to {self.steps} and in (0, 1], found {steps}, {strength}")
        c = c.expand(n, -1)
        first = max(1, round(strength * self.steps)) - 1
        times = torch.linspace(first, 0, min(steps, first + 1)).round().long().tolist()
        z = torch.randn(n, self.denoiser.latent, generator=generator).to(c)
        if start is not None:
            z = self.noised(start / self.std, torch.full((n,), first), z)
        for place, t in enumerate(times):
            now = self.kept[t]
            before = self.kept[times[place + 1]] if place + 1 < len(times) else torch.ones_like(now)
            noise = self.told(z, torch.full((n,), t, device=c.device), c)
            clean = (z - float((1 - now).sqrt()) * noise) / float(now.sqrt())
            spread = eta * float(((1 - before) / (1 - now) * (1 - now / before)).clamp(min=0).sqrt())
            z = float(before.sqrt()) * clean + max(float(1 - before) - spread**2, 0.0) ** 0.5 * noise
            if spread:
                z = z + spread * torch.randn(z.shape, generator=generator).to(z)
        return z * self.std

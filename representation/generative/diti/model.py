"""`DiTi`: an encoder and a correction of a frozen diffusion model, taught slice by slice; `PDAE` has one slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from representation.generative.adm_unet import AttentionBlock, GroupNorm32
from representation.generative.denoiser import LINEAR, at
from representation.generative.diti.shift_unet import ShiftUNet
from representation.generative.diti.slicer import TimeSlicer

Mode = Literal["base", "stop_grad", "dual"]
ATTENTION_SIDE, LAST_SIDE, ATTENTION_HEADS = 16, 4, 4


class PictureEncoder(nn.Module):
    """Pictures (B, C, R, R) in [-1, 1] to vectors (B, d): strided convolutions, attention at 16 x 16, a linear layer.

    Args:
        resolution: side R, pixels: a power of two of at least 16.
        latent_dim: d; the paper has 512.
        channels: of the first convolution; doubled by each before the attention.
        groups: of the group norms.
        seed: of the weights.
        picture_channels: C.

    Raises:
        ValueError: another side.
    """

    def __init__(
        self,
        resolution: int = 64,
        latent_dim: int = 512,
        channels: int = 64,
        groups: int = 32,
        seed: int = 0,
        picture_channels: int = 3,
    ) -> None:
        super().__init__()
        if resolution < ATTENTION_SIDE or resolution & (resolution - 1):
            raise ValueError(f"resolution: expected a power of two of at least {ATTENTION_SIDE}, found {resolution}")
        self.resolution, self.latent_dim = resolution, latent_dim
        attention_side = min(ATTENTION_SIDE, resolution // 2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            side, layers = resolution // 2, [nn.Conv2d(picture_channels, channels, 3, 2, 1)]
            while side > LAST_SIDE:
                if side == attention_side:
                    layers.append(AttentionBlock(channels, channels // ATTENTION_HEADS, groups))
                out = 2 * channels if side > attention_side else channels
                layers += [GroupNorm32(groups, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, 2, 1)]
                side, channels = side // 2, out
            layers += [GroupNorm32(groups, channels), nn.SiLU(), nn.Flatten()]
            self.layers = nn.Sequential(*layers, nn.Linear(channels * LAST_SIDE**2, latent_dim))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.layers(x.contiguous())


class DiTi(nn.Module):
    """See the package.

    Args:
        unet: a trained `ADMUNet`, which is frozen.
        encoder: pictures (B, C, R, R) in [-1, 1] to vectors (B, d).
        slicer: which of the d numbers are seen at which step.
        mode: "base" teaches all numbers that are seen at a step, "stop_grad" those of its own bin alone, "dual" is the
            sum of both losses.
        seed: of the branch.

    Raises:
        ValueError: an unknown mode.
    """

    def __init__(
        self, unet: nn.Module, encoder: nn.Module, slicer: TimeSlicer, mode: Mode = "base", seed: int = 0
    ) -> None:
        super().__init__()
        if mode not in ("base", "stop_grad", "dual"):
            raise ValueError(f"mode: expected base, stop_grad or dual, found {mode!r}")
        self.shift, self.encoder = ShiftUNet(unet, slicer.latent_dim, seed), encoder
        self.slicer, self.mode = slicer, mode

    def noise(self, x: Tensor, t: Tensor, z: Tensor) -> Tensor:
        """Corrected noise (B, C, R, R) in noisy pictures of steps (B,), by vectors (B, d) as they are."""
        noise, correction = self.shift(x, t, z)
        return noise + at(LINEAR.shift_coef, t, x) * correction

    def masked(self, z: Tensor, t: Tensor) -> Tensor:
        """Vectors (B, d) with 0 where numbers are not seen at steps (B,)."""
        return z * self._rows("masks", z, t)

    def _rows(self, kind: str, z: Tensor, t: Tensor) -> Tensor:
        return getattr(self.slicer, kind).to(z)[self.slicer.bin(t)]

    def loss(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Weighted squared error of the corrected noise.

        Args:
            x: pictures (B, C, R, R) in [-1, 1].
            t: steps (B,), drawn evenly.
            noise: (B, C, R, R) of the standard normal distribution.

        Raises:
            ValueError: pictures of another shape, or not finite.
        """
        return self.loss_of(self.encode(x), x, t, noise)

    def loss_of(self, z: Tensor, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The loss with given vectors (B, d); other arguments as of `loss`."""
        seen = []
        if self.mode != "stop_grad":
            seen.append(self.masked(z, t))
        if self.mode != "base":
            seen.append(z.detach() * self._rows("previous", z, t) + z * self._rows("own", z, t))
        noisy, weight = LINEAR.q_sample(x, t, noise), at(LINEAR.weight, t, x)
        losses = [(weight * (noise - self.noise(noisy, t, one)).square()).mean() for one in seen]
        return torch.stack(losses).sum()

    def encode(self, x: Tensor) -> Tensor:
        """Vectors (B, d) of pictures (B, C, R, R) in [-1, 1]; errors as of `loss`."""
        side = self.shift.unet.resolution
        shape = (self.shift.unet.picture_channels, side, side)
        if x.ndim != 4 or tuple(x.shape[1:]) != shape:
            raise ValueError(f"x: expected pictures (B, {', '.join(map(str, shape))}), found {tuple(x.shape)}")
        if not torch.isfinite(x).all():
            raise ValueError("x: expected finite numbers, found others")
        return self.encoder(x)

    @torch.no_grad()
    def invert(self, x: Tensor, z: Tensor, steps: int = 100) -> Tensor:
        """x_{T-1} from which pictures (B, C, R, R) come back by vectors (B, d)."""
        return LINEAR.ddim_invert(lambda noisy, t: self.noise(noisy, t, self.masked(z, t)), x, steps)

    @torch.no_grad()
    def decode(self, start: Tensor, z: Tensor, steps: int = 100, clip: bool = False) -> Tensor:
        """Pictures (B, C, R, R) of x_{T-1} and vectors (B, d), which are masked at each step as in training.

        Clipping is for a start that was drawn: it would break what `invert` found.
        """
        return LINEAR.ddim_sample(lambda noisy, t: self.noise(noisy, t, self.masked(z, t)), start, steps, clip)

    def reconstruct(self, x: Tensor, steps: int = 100) -> Tensor:
        """Pictures that come back."""
        z = self.encode(x).detach()
        return self.decode(self.invert(x, z, steps), z, steps)

    def swap(
        self, x: Tensor, x2: Tensor, slices: Sequence[int], steps: int = 100, start: Tensor | None = None
    ) -> Tensor:
        """Pictures with the numbers of some bins of other pictures.

        Args:
            x: (B, C, R, R) in [-1, 1].
            x2: likewise, or one for all.
            slices: numbers of the bins.
            steps: that are visited.
            start: what `invert` makes of `x`, if it is known.

        Raises:
            ValueError: no such bins.
        """
        z, other = self.encode(x).detach(), self.encode(x2).detach()
        changed = torch.where(self.slicer.slice_of(slices).to(z.device), other, z)
        return self.decode(self.invert(x, z, steps) if start is None else start, changed, steps)

    def move(
        self,
        x: Tensor,
        direction: Tensor,
        amount: float,
        numbers: int = 16,
        steps: int = 100,
        start: Tensor | None = None,
    ) -> Tensor:
        """Pictures moved along a direction (d,), such as the normal of a linear classifier.

        Args:
            x: (B, C, R, R) in [-1, 1].
            direction: only its largest `numbers` are moved, and it is brought to length 1.
            amount: how far.
            numbers: that are moved.
            steps: that are visited.
            start: see `swap`.

        Raises:
            ValueError: a direction of another shape, or of length 0.
        """
        if direction.shape != (self.slicer.latent_dim,) or not 0 < float(direction.norm()) < torch.inf:
            raise ValueError(
                f"direction: expected {self.slicer.latent_dim} finite numbers that are not all 0, "
                f"found {tuple(direction.shape)}"
            )
        kept = torch.zeros_like(direction)
        largest = direction.abs().topk(min(numbers, len(direction))).indices
        kept[largest] = direction[largest]
        z = self.encode(x).detach()
        start = self.invert(x, z, steps) if start is None else start
        return self.decode(start, z + amount * kept / kept.norm(), steps)


class PDAE(DiTi):
    """Zhang et al., Unsupervised Representation Learning from Pre-trained Diffusion Probabilistic Models, NeurIPS 2022:
    DiTi with one bin, so that every number is seen at every step.

    Args:
        unet: see `DiTi`.
        encoder: see `DiTi`.
        latent_dim: d.
        seed: of the branch.
    """  # noqa: D205

    def __init__(self, unet: nn.Module, encoder: nn.Module, latent_dim: int, seed: int = 0) -> None:
        super().__init__(unet, encoder, TimeSlicer(latent_dim, 1), "base", seed)

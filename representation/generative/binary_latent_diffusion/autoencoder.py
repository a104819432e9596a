"""`BinaryAutoencoder`: pictures to a grid of bits and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.interface import Loss
from representation.transfer.d2nwg.conv_blocks import Middle, PlaceAttention, ResidualBlock, norm


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes; the paper has, for 256 pixels, 128 channels times 1, 1, 2, 2, 4, 2 blocks, 256 features and 32 bits.

    Attributes:
        resolution: side R of the pictures.
        channels: of the first convolution.
        multipliers: of these, by level; each level but the last halves the side.
        res_blocks: residual blocks of a level.
        attention: sides of maps at which a level's blocks are followed by attention.
        features: of a place, before and after its bits.
        bits: c of a place.
        norm_first: whether the decoder normalises its features first.
        signed: whether the decoder sees bits as -1 and 1 rather than as 0 and 1.
        penalty: weight of p (1 - p), which makes the bits' probabilities sure.
    """

    resolution: int = 32
    channels: int = 16
    multipliers: tuple[int, ...] = (1, 2, 2)
    res_blocks: int = 1
    attention: tuple[int, ...] = (8,)
    features: int = 32
    bits: int = 16
    norm_first: bool = False
    signed: bool = False
    penalty: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.resolution, self.channels, *self.multipliers, self.res_blocks, self.features, self.bits)
        if min(numbers) < 1 or not self.multipliers or self.penalty < 0:
            raise ValueError(f"sizes: expected at least 1, and a level, found {asdict(self)}")
        if self.resolution % 2 ** (len(self.multipliers) - 1):
            raise ValueError(
                f"resolution: expected a multiple of {2 ** (len(self.multipliers) - 1)} for {len(self.multipliers)} "
                f"levels, found {self.resolution}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of places."""
        side = self.resolution // 2 ** (len(self.multipliers) - 1)
        return side, side

    @property
    def total_bits(self) -> int:
        """Bits c h w of a picture."""
        return self.bits * self.grid[0] * self.grid[1]


class Reconstruction(NamedTuple):
    """What an autoencoder makes of pictures.

    Attributes:
        pictures: (B, 3, R, R), that came back.
        probabilities: (B, c, h, w), of the bits.
    """

    pictures: Tensor
    probabilities: Tensor


class BinaryAutoencoder(nn.Module):
    """Convolutions to bits' probabilities, bits, and convolutions from the sum of an embedding of each bit.

    Args:
        config: sizes.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.generator = _encoder(config), _generator(config)
        self.proj = nn.Conv2d(config.features, config.bits, 1)
        self.embed = nn.Embedding(config.bits, config.features)

    @property
    def last_weight(self) -> Tensor:
        """Of the layer that gives pictures."""
        return self.generator[-1].weight

    def probabilities(self, x: Tensor) -> Tensor:
        """Probabilities (B, c, h, w) of bits, of pictures (B, 3, R, R) in [0, 1].

        Raises:
            ValueError: pictures of another size, or not finite.
        """
        expected = (3, self.config.resolution, self.config.resolution)
        if x.ndim != 4 or x.shape[1:] != expected:
            raise ValueError(f"x: expected pictures (B, {', '.join(map(str, expected))}), found {tuple(x.shape)}")
        if not bool(torch.isfinite(x).all()):
            raise ValueError("x: expected finite numbers, found others")
        return self.proj(self.encoder(2 * x - 1)).sigmoid()

    @torch.no_grad()
    def encode(self, x: Tensor, sample: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Bits (B, c, h, w) uint8 of pictures (B, 3, R, R): the likelier ones, or drawn ones, by a CPU generator."""
        p = self.probabilities(x)
        threshold = torch.rand(p.shape, generator=generator).to(p.device) if sample else 0.5
        return (p > threshold).to(torch.uint8)

    @torch.no_grad()
    def decode(self, bits: Tensor) -> Tensor:
        """Pictures (B, 3, R, R) in [0, 1] of bits (B, c, h, w).

        Raises:
            ValueError: of another shape, or not bits.
        """
        expected = (self.config.bits, *self.config.grid)
        if bits.ndim != 4 or bits.shape[1:] != expected:
            raise ValueError(f"bits: expected (B, {', '.join(map(str, expected))}), found {tuple(bits.shape)}")
        if not bool(((bits == 0) | (bits == 1)).all()):
            raise ValueError(f"bits: expected 0 and 1, found {bits.unique()[:5].tolist()}")
        return self._decoded(bits.float()).clamp(0, 1)

    def forward(self, x: Tensor, uniform: Tensor | None = None) -> Reconstruction:
        """Pictures through bits, past which gradients go as if these were their probabilities.

        Args:
            x: (B, 3, R, R) in [0, 1].
            uniform: (B, c, h, w) in [0, 1), by which bits are drawn; None takes the likelier ones.
        """
        p = self.probabilities(x)
        bits = (p > (0.5 if uniform is None else uniform)).to(p.dtype)
        return Reconstruction(self._decoded(bits + p - p.detach()), p)

    def loss(self, x: Tensor, uniform: Tensor | None = None) -> Loss:
        """Mean absolute error of the pictures, and the penalty; arguments as of `forward`."""
        return self.loss_of(x, self(x, uniform))

    def loss_of(self, x: Tensor, found: Reconstruction) -> Loss:
        """As `loss`, of what was made of the pictures."""
        error = (found.pictures - x).abs().mean()
        unsure = (found.probabilities * (1 - found.probabilities)).mean()
        return Loss(error + self.config.penalty * unsure, {"reconstruction": error, "unsure": unsure})

    def pack(self, bits: Tensor) -> Tensor:
        """Bytes (B, ceil(c h w / 8)) uint8 of bits (B, c, h, w)."""
        return torch.from_numpy(np.packbits(bits.cpu().numpy().astype(bool).reshape(len(bits), -1), axis=1))

    def unpack(self, packed: Tensor) -> Tensor:
        """Bits (B, c, h, w) uint8 of bytes.

        Raises:
            ValueError: not as many bytes as `pack` makes.
        """
        config = self.config
        expected = -(-config.total_bits // 8)
        if packed.dtype != torch.uint8 or packed.ndim != 2 or packed.shape[1] != expected:
            raise ValueError(f"packed: expected (B, {expected}) uint8, found {tuple(packed.shape)} {packed.dtype}")
        bits = np.unpackbits(packed.cpu().numpy(), axis=1, count=config.total_bits)
        return torch.from_numpy(bits).reshape(-1, config.bits, *config.grid)

    def _decoded(self, bits: Tensor) -> Tensor:
        values = 2 * bits - 1 if self.config.signed else bits
        return self.generator(torch.einsum("bchw,cd->bdhw", values, self.embed.weight))


class _Down(nn.Module):
    """Half the side, by a convolution with a stride."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H / 2, W / 2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


def _level(before: int, width: int, side: int, config: AutoencoderConfig) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(config.res_blocks):
        layers.append(ResidualBlock(before, width))
        if side in config.attention:
            layers.append(PlaceAttention(width))
        before = width
    return layers


def _encoder(config: AutoencoderConfig) -> nn.Sequential:
    side, before = config.resolution, config.channels
    layers: list[nn.Module] = [nn.Conv2d(3, before, 3, padding=1)]
    for number, multiplier in enumerate(config.multipliers):
        width = config.channels * multiplier
        if number:
            layers.append(_Down(before))
            side //= 2
        layers += _level(before, width, side, config)
        before = width
    return nn.Sequential(*layers, Middle(before), norm(before), nn.Conv2d(before, config.features, 3, padding=1))


def _generator(config: AutoencoderConfig) -> nn.Sequential:
    side, before = config.grid[0], config.channels * config.multipliers[-1]
    layers: list[nn.Module] = [norm(config.features)] if config.norm_first else []
    layers += [nn.Conv2d(config.features, before, 3, padding=1), Middle(before)]
    for number, multiplier in enumerate(reversed(config.multipliers)):
        width = config.channels * multiplier
        if number:
            layers += [nn.Upsample(scale_factor=2.0), nn.Conv2d(before, before, 3, padding=1)]
            side *= 2
        layers += _level(before, width, side, config)
        before = width
    return nn.Sequential(*layers, norm(before), nn.Conv2d(before, 3, 3, padding=1))

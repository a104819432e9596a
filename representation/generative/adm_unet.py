"""`ADMUNet`: the U-Net that tells the noise in pictures, with the names of weights of OpenAI's guided diffusion.

Source: Diffusion Models Beat GANs on Image Synthesis, Dhariwal and Nichol, NeurIPS 2021. It is written so that it can
be left early and its features be seen: `walk` goes through its blocks, which are numbered from 1 as they come: the
first convolution, the residual blocks and down-samplings of each level, the middle, and the residual blocks of each
level back, the last of which in a level also brings the map to the next side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.compatibility.released_weights import released_state

LONGEST = 10000.0  # of the waves of the time embedding
TIME_FACTOR = 4


@dataclass(frozen=True)
class UNetConfig:
    """Sizes.

    Attributes:
        resolution: side of the pictures, pixels.
        channels: of the first level; a multiple of `groups`.
        multipliers: channels of each level over those of the first.
        depth: residual blocks of a level on the way down; one more on the way up.
        attention: sides of the maps that have attention, pixels; the middle always has.
        head_channels: of a head of the attention; where a map has fewer, there is one head.
        picture_channels: of the pictures.
        out_channels: the first are the noise; a released network has as many again for its variance.
        groups: of the group norms.
        dropout: in the residual blocks.
    """

    resolution: int = 32
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 2)
    depth: int = 1
    attention: tuple[int, ...] = (8,)
    head_channels: int = 64
    picture_channels: int = 3
    out_channels: int = 3
    groups: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.channels % self.groups or self.channels < 1:
            raise ValueError(f"channels: expected a multiple of {self.groups} groups, found {self.channels}")
        if not self.multipliers or min(self.multipliers) < 1 or self.depth < 1:
            found = f"{self.multipliers} and {self.depth}"
            raise ValueError(f"multipliers, depth: expected at least 1 of each, found {found}")
        halvings = 2 ** (len(self.multipliers) - 1)
        if self.resolution % halvings or self.resolution < halvings:
            raise ValueError(f"resolution: expected a multiple of {halvings}, found {self.resolution}")


RELEASED_256 = UNetConfig(256, 256, (1, 1, 2, 2, 4, 4), 2, (32, 16, 8), 64, 3, 6)
"""`256x256_diffusion_uncond` of guided diffusion."""


def from_json(config: Mapping[str, Any], kind: type = UNetConfig) -> Any:
    """A configuration whose tuples came as lists.

    Raises:
        TypeError: unknown fields.
        ValueError: see `UNetConfig`.
    """
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in config.items()})


class GroupNorm32(nn.GroupNorm):
    """Group normalisation in 32-bit numbers."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps."""
        return super().forward(x.float()).to(x.dtype)


def modulated(h: Tensor, scale_shift: Tensor) -> Tensor:
    """(1 + scale) h + shift of maps (B, C, H, W), with both in (B, 2 C)."""
    scale, shift = scale_shift[..., None, None].chunk(2, dim=1)
    return h * (1 + scale) + shift


class ResidualBlock(nn.Module):
    """Two convolutions; time scales and shifts between them; `resample` halves or doubles the side in between.

    Args:
        before: channels of the input.
        out: of the output.
        time: numbers of the time embedding.
        config: groups and dropout.
        resample: "down", "up" or "".
    """

    def __init__(self, before: int, out: int, time: int, config: UNetConfig, resample: str = "") -> None:
        super().__init__()
        self.resample, self.out = resample, out
        self.in_layers = nn.Sequential(GroupNorm32(config.groups, before), nn.SiLU(), nn.Conv2d(before, out, 3, 1, 1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * out))
        last = zeroed(nn.Conv2d(out, out, 3, 1, 1))
        self.out_layers = nn.Sequential(GroupNorm32(config.groups, out), nn.SiLU(), nn.Dropout(config.dropout), last)
        self.skip_connection = nn.Identity() if before == out else nn.Conv2d(before, out, 1)

    def forward(self, x: Tensor, time: Tensor, extra: Tensor | None = None) -> Tensor:
        """Maps (B, before, H, W) to maps.

        Args:
            x: maps.
            time: embedding (B, D).
            extra: a second scale and shift (B, 2 out), after those of time.
        """
        h = self.in_layers[:2](x)
        if self.resample:
            h, x = (resampled(maps, self.resample) for maps in (h, x))
        h = modulated(self.out_layers[0](self.in_layers[2](h)), self.emb_layers(time))
        if extra is not None:
            h = modulated(h, extra)
        return self.skip_connection(x) + self.out_layers[1:](h)


class AttentionBlock(nn.Module):
    """Attention among all places of a map; softmax in 32-bit numbers."""

    def __init__(self, channels: int, head_channels: int, groups: int) -> None:
        super().__init__()
        self.heads = max(1, channels // head_channels)
        self.norm = GroupNorm32(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to maps."""
        flat = x.flatten(2)
        # Heads come before queries, keys and values in the released weights.
        q, k, v = self.qkv(self.norm(flat)).unflatten(1, (self.heads, 3, -1)).unbind(2)
        scale = q.shape[2] ** -0.25
        weight = torch.einsum("bhcq,bhck->bhqk", q * scale, k * scale)
        weight = weight.float().softmax(dim=-1).to(weight.dtype)
        h = torch.einsum("bhqk,bhck->bhcq", weight, v).flatten(1, 2)
        return (flat + self.proj_out(h)).view_as(x)


class Stage(nn.Sequential):
    """Modules of one number: a convolution, or a residual block with or without attention."""

    def forward(self, x: Tensor, time: Tensor, extras: Mapping[nn.Module, Tensor] | None = None) -> Tensor:
        """Maps to maps; `extras` are those of the residual blocks, see there."""
        for layer in self:
            if isinstance(layer, ResidualBlock):
                x = layer(x, time, None if extras is None else extras[layer])
            else:
                x = layer(x)
        return x


class ADMUNet(nn.Module):
    """Noisy pictures (B, C, R, R) and steps (B,), from 0 to 999, to the noise and what else is told.

    Args:
        config: sizes.
        seed: of the weights. The last convolution of every block and of the network is 0, so that a new network
            tells no noise, and is nearly linear.

    Attributes:
        num_blocks: blocks that are numbered.
        level_starts: numbers of the first residual block of each level on the way down.
    """

    def __init__(self, config: UNetConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._build(config)
        self.num_blocks = len(self.input_blocks) + 1 + len(self.output_blocks)
        self.level_starts = tuple(2 + level * (config.depth + 1) for level in range(len(config.multipliers)))

    def _build(self, config: UNetConfig) -> None:
        time, channels = TIME_FACTOR * config.channels, config.channels
        self.time_embed = nn.Sequential(nn.Linear(channels, time), nn.SiLU(), nn.Linear(time, time))
        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(config.picture_channels, channels, 3, 1, 1))])
        skips, side = [channels], config.resolution

        def attention(width: int) -> AttentionBlock:
            return AttentionBlock(width, config.head_channels, config.groups)

        def stage(before: int, out: int) -> list[nn.Module]:
            layers: list[nn.Module] = [ResidualBlock(before, out, time, config)]
            return [*layers, attention(out)] if side in config.attention else layers

        for level, multiplier in enumerate(config.multipliers):
            for _ in range(config.depth):
                self.input_blocks.append(Stage(*stage(channels, multiplier * config.channels)))
                channels = multiplier * config.channels
                skips.append(channels)
            if level < len(config.multipliers) - 1:
                self.input_blocks.append(Stage(ResidualBlock(channels, channels, time, config, "down")))
                skips.append(channels)
                side //= 2
        self.middle_block = Stage(
            ResidualBlock(channels, channels, time, config),
            attention(channels),
            ResidualBlock(channels, channels, time, config),
        )
        self.output_blocks = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(config.multipliers))):
            for number in range(config.depth + 1):
                layers = stage(channels + skips.pop(), multiplier * config.channels)
                channels = multiplier * config.channels
                if level and number == config.depth:
                    layers.append(ResidualBlock(channels, channels, time, config, "up"))
                    side *= 2
                self.output_blocks.append(Stage(*layers))
        last = zeroed(nn.Conv2d(channels, config.out_channels, 3, 1, 1))
        self.out = nn.Sequential(GroupNorm32(config.groups, channels), nn.SiLU(), last)

    @property
    def resolution(self) -> int:
        """Side of the pictures, pixels."""
        return self.config.resolution

    @property
    def picture_channels(self) -> int:
        """Channels of the pictures."""
        return self.config.picture_channels

    def time(self, t: Tensor) -> Tensor:
        """Embeddings (B, D) of steps (B,)."""
        return self.time_embed(waves(t, self.config.channels))

    def walk(self, x: Tensor, t: Tensor, additions: Mapping[int, Tensor] | None = None) -> Iterator[tuple[int, Tensor]]:
        """Numbers and features of the blocks, as they are computed.

        Args:
            x: noisy pictures (B, C, R, R).
            t: steps (B,).
            additions: maps to add to the features of some blocks on the way down, by their numbers.
        """
        time, skips, number = self.time(t), [], 0
        # With channels last, as frames come, torch's backward pass of small group norms crashes.
        h = x.contiguous()
        for stage in self.input_blocks:
            number += 1
            h = stage(h, time)
            if additions and number in additions:
                h = h + additions[number]
            skips.append(h)
            yield number, h
        h = self.middle_block(h, time)
        yield (number := number + 1), h
        for stage in self.output_blocks:
            h = stage(torch.cat([h, skips.pop()], dim=1), time)
            yield (number := number + 1), h

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Noise, and what else is told, (B, out_channels, R, R)."""
        for _, h in self.walk(x, t):
            last = h
        return self.out(last)


def waves(t: Tensor, width: int) -> Tensor:
    """Cosines and sines (B, width) of steps (B,)."""
    half = width // 2
    rates = torch.exp(-math.log(LONGEST) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def resampled(maps: Tensor, way: str) -> Tensor:
    """Maps of half the side, by means, or of twice the side, by the nearest."""
    return F.avg_pool2d(maps, 2) if way == "down" else F.interpolate(maps, scale_factor=2, mode="nearest")


def zeroed(module: nn.Module) -> nn.Module:
    """A module whose parameters are 0; in place."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def load_released(path: Path, config: UNetConfig = RELEASED_256) -> ADMUNet:
    """A network of guided diffusion; in evaluation mode.

    Args:
        path: safetensors with the released names, or the released file of torch.
        config: its sizes.

    Raises:
        ValueError: weights of another network; names the file.
    """
    with torch.device("meta"):
        network = ADMUNet(config)
    try:
        network.load_state_dict(released_state(path), assign=True)
    except RuntimeError as error:
        raise ValueError(f"{path}: expected the weights of a U-Net of guided diffusion: {error}") from error
    return network.eval()

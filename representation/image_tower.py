"""Small image towers that several systems train: strided convolutions, or a residual network with torchvision's names.

`TowerEncoder` is a tower with the size and the normalisation of its pictures, as an `Encoder`; `new_tower` makes one
with weights from a seed, `load_tower` reads it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.interface import Modality

Kind = Literal["convolutions", "resnet18", "resnet50"]
ModuleT = TypeVar("ModuleT", bound=nn.Module)
LAYERS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


@dataclass(frozen=True)
class TowerConfig:
    """Sizes of a tower.

    Attributes:
        kind: "convolutions" (four of stride 2 with batch norms), or a residual network of 18 or 50 layers.
        channels: of the first convolution; later ones have up to 8 times as many, 50 layers 32 times.
        resolution: side of the pictures, pixels.
        stem: of a residual network: "small" is a 3 x 3 convolution of stride 1, "large" is 7 x 7 of stride 2.
        pool: whether the stem of a residual network ends with a max-pool.
        blur: whether strided convolutions behind the stem get a binomial blur in front of them.
        mean: of the pictures' channels.
        std: their standard deviation.
    """

    kind: Kind = "convolutions"
    channels: int = 16
    resolution: int = 32
    stem: Literal["small", "large"] = "small"
    pool: bool = False
    blur: bool = False
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if self.kind != "convolutions" and self.kind not in LAYERS:
            raise ValueError(f"kind: expected convolutions, {' or '.join(LAYERS)}, found {self.kind!r}")
        if self.channels < 1 or self.resolution < 16:
            raise ValueError(
                f"channels, resolution: expected at least 1 and 16, found {self.channels} and {self.resolution}"
            )


class BlurConv(nn.Module):
    """A convolution behind a blur of its input with [1 2 1] x [1 2 1] / 16."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0])
        kernel = (row[:, None] * row / 16).expand(conv.in_channels, 1, 3, 3).clone()
        self.conv = conv
        self.register_buffer("blur_filter", kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to those of the convolution."""
        return self.conv(F.conv2d(x, self.blur_filter, padding=1, groups=x.shape[1]))


def _conv(channels: int, out: int, kernel: int, stride: int, blur: bool) -> nn.Module:
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
    return BlurConv(conv) if blur and stride > 1 else conv


class Block(nn.Module):
    """Residual block of two 3 x 3 convolutions, or of 1 x 1, 3 x 3 and 1 x 1 with four times the channels."""

    def __init__(self, channels: int, width: int, stride: int, bottleneck: bool, blur: bool) -> None:
        super().__init__()
        self.out = 4 * width if bottleneck else width
        sizes = (
            [(1, width, 1), (3, width, stride), (1, self.out, 1)] if bottleneck else [(3, width, stride), (3, width, 1)]
        )
        self.depth, before = len(sizes), channels
        for number, (kernel, out, step) in enumerate(sizes, 1):
            self.add_module(f"conv{number}", _conv(before, out, kernel, step, blur))
            self.add_module(f"bn{number}", nn.BatchNorm2d(out))
            before = out
        self.downsample: nn.Module | None = None
        if stride > 1 or channels != self.out:
            self.downsample = nn.Sequential(_conv(channels, self.out, 1, stride, blur), nn.BatchNorm2d(self.out))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to maps (B, out, H / stride, W / stride)."""
        y = x
        for number in range(1, self.depth + 1):
            y = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(y))
            y = F.relu(y) if number < self.depth else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResidualTower(nn.Module):
    """A residual network without classifier, named as in torchvision: normalised pictures to (B, width)."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        large, bottleneck = config.stem == "large", config.kind == "resnet50"
        channels = config.channels
        self.conv1 = nn.Conv2d(3, channels, 7 if large else 3, 2 if large else 1, 3 if large else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if config.pool else nn.Identity()
        for stage, blocks in enumerate(LAYERS[config.kind]):
            parts = []
            for number in range(blocks):
                stride = 2 if stage > 0 and number == 0 else 1
                parts.append(Block(channels, config.channels * 2**stage, stride, bottleneck, config.blur))
                channels = parts[-1].out
            self.add_module(f"layer{stage + 1}", nn.Sequential(*parts))
        self.width = channels

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, R, R) to the mean (B, width) of the last maps."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(images))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x.mean(dim=(2, 3))


class ConvolutionTower(nn.Sequential):
    """Four 3 x 3 convolutions of stride 2, each with batch norm and ReLU, and the mean of the last maps."""

    def __init__(self, config: TowerConfig) -> None:
        parts: list[nn.Module] = []
        before = 3
        for number in range(4):
            out = config.channels * 2**number
            parts += [nn.Conv2d(before, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            before = out
        super().__init__(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.width = before


class TowerEncoder(nn.Module):
    """A tower as an `Encoder` of pictures.

    Args:
        config: its sizes.
        system: whose it is, a name of the registry.
    """

    modality: Modality = "image"

    def __init__(self, config: TowerConfig, system: str) -> None:
        super().__init__()
        self.config, self._system = config, system
        self.tower = ConvolutionTower(config) if config.kind == "convolutions" else ResidualTower(config)
        self.width: int = self.tower.width
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, width) of pictures (B, 3, H, W) in [0, 1]: short side to the resolution, central square."""
        return self.tower((centered(inputs, self.config.resolution) - self.mean) / self.std)

    def save(self, directory: Path) -> None:
        """Write what `load_tower` reads."""
        save_encoder(self, self._system, self.config, directory)


def centered(images: Tensor, side: int) -> Tensor:
    """The central square of pictures (B, 3, H, W), brought to (B, 3, side, side)."""
    height, width = images.shape[-2:]
    shorter = min(height, width)
    top, left = (height - shorter) // 2, (width - shorter) // 2
    images = images[..., top : top + shorter, left : left + shorter]
    if shorter == side:
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)


def new_tower(config: TowerConfig, system: str, generator: torch.Generator) -> TowerEncoder:
    """An untrained tower with weights from a generator."""
    return draw_weights(TowerEncoder(config, system), generator)


def load_tower(directory: Path) -> TowerEncoder:
    """Read what `TowerEncoder.save` wrote; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    content = read_config(directory)
    try:
        fields = dict(content["config"])
        lists = {name: tuple(map(float, fields[name])) for name in ("mean", "std") if name in fields}
        encoder = TowerEncoder(TowerConfig(**(fields | lists)), content["system"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{directory}: expected the configuration of an image tower: {error}") from error
    load_weights(encoder, directory)
    return encoder.eval()


def draw_weights(module: ModuleT, generator: torch.Generator | None) -> ModuleT:
    """Draw the weights of all convolutions and linear layers (He et al., 2015) anew; biases become 0; in place."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return module

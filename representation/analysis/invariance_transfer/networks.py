"""Classifiers of small pictures that the study trains, with the layer below the head as features."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.pretraining.transformer_block import Block


class Classifier(nn.Module):
    """Features under a linear head.

    Args:
        body: pictures (B, 3, S, S) to features (B, width).
        width: of the features.
        classes: of the head.
    """

    def __init__(self, body: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, classes)

    def features(self, images: Tensor) -> Tensor:
        """Features (B, width)."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.head(self.body(images))


def _convolution(a: int, b: int, side: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, side, stride, side // 2, bias=False), nn.BatchNorm2d(b))


def _pooled(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Residual(nn.Module):
    """Convolutions beside a shortcut; `bottleneck` puts the wide ones between narrow ones."""

    def __init__(self, a: int, b: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        inner = b // 4 if bottleneck else b
        parts = [_convolution(a, inner, 1 if bottleneck else 3, 1 if bottleneck else stride), nn.ReLU()]
        if bottleneck:
            parts += [_convolution(inner, inner, 3, stride), nn.ReLU(), _convolution(inner, b, 1)]
        else:
            parts += [_convolution(inner, b)]
        self.parts = nn.Sequential(*parts)
        self.shortcut = nn.Identity() if a == b and stride == 1 else _convolution(a, b, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, a, H, W) to (B, b, H / stride, W / stride)."""
        return F.relu(self.parts(x) + self.shortcut(x))


def _resnet(blocks: tuple[int, ...], bottleneck: bool) -> tuple[nn.Module, int]:
    layers, channels = [_convolution(3, 64), nn.ReLU()], 64
    for stage, (width, count) in enumerate(zip((64, 128, 256, 512), blocks, strict=True)):
        out = 4 * width if bottleneck else width
        for number in range(count):
            layers.append(Residual(channels, out, 2 if stage and number == 0 else 1, bottleneck))
            channels = out
    return _pooled(*layers), channels


class DenseLayer(nn.Module):
    """Adds `growth` maps to those there are."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        narrow = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        wide = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.parts = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(), narrow, nn.BatchNorm2d(4 * growth), nn.ReLU(), wide
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, channels + growth, H, W)."""
        return torch.cat([x, self.parts(x)], dim=1)


def _densenet121(growth: int = 32) -> tuple[nn.Module, int]:
    layers, channels = [nn.Conv2d(3, 2 * growth, 3, padding=1, bias=False)], 2 * growth
    for stage, count in enumerate((6, 12, 24, 16)):
        for _ in range(count):
            layers.append(DenseLayer(channels, growth))
            channels += growth
        if stage < 3:
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
    return _pooled(*layers, nn.BatchNorm2d(channels), nn.ReLU()), channels


def _vgg11() -> tuple[nn.Module, int]:
    layers, channels = [], 3
    for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512):
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [_convolution(channels, width), nn.ReLU()]
        channels = width
    return _pooled(*layers), channels


def _conv4() -> tuple[nn.Module, int]:
    layers: list[nn.Module] = []
    for number, (a, b) in enumerate(pairwise((3, 24, 32, 64, 64))):
        layers += [_convolution(a, b), nn.ReLU(), *([nn.MaxPool2d(2)] if number < 3 else [])]
    return _pooled(*layers), 64


class VisionTransformer(nn.Module):
    """A ViT for small pictures: patches of 4 x 4 pixels, and the mean of all tokens."""

    def __init__(self, width: int = 192, depth: int = 6, heads: int = 6, patch: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.places = nn.Parameter(0.02 * torch.randn(1, width, 8, 8))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, width)."""
        maps = self.patches(images)
        x = (maps + F.interpolate(self.places, maps.shape[-2:], mode="bilinear")).flatten(2).mT
        for block in self.blocks:
            x = block(x)
        return self.norm(x).mean(dim=1)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, int]]] = {
    "conv4": _conv4,
    "resnet18": lambda: _resnet((2, 2, 2, 2), bottleneck=False),
    "resnet50": lambda: _resnet((3, 4, 6, 3), bottleneck=True),
    "densenet121": _densenet121,
    "vgg11": _vgg11,
    "vit": lambda: (VisionTransformer(), 192),
}


def new_classifier(architecture: str, classes: int, seed: int) -> Classifier:
    """An untrained classifier.

    Raises:
        ValueError: unknown architecture.
    """
    if architecture not in NETWORKS:
        raise ValueError(f"architecture: expected one of {', '.join(NETWORKS)}, found {architecture!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body, width = NETWORKS[architecture]()
        return Classifier(body, width, classes)


def train_classifier(
    model: Classifier, images: Tensor, labels: Tensor, epochs: int, batch: int, seed: int, lr: float = 1e-3
) -> Classifier:
    """Adam on cross-entropy; afterwards in evaluation mode."""
    optimizer, generator = torch.optim.Adam(model.parameters(), lr), torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=generator).split(batch):
            if len(rows) < 2:
                continue  # a batch of one has no statistics
            optimizer.zero_grad()
            F.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    return model.eval()

"""Segmentation: a head of UPerNet (Xiao et al., ECCV 2018) on a pyramid of maps, and how that is trained."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.selection.benchx.backends import FeatureBackend, evaluating
from representation.selection.benchx.cases import Cases
from representation.selection.benchx.classification import shuffled_batches
from representation.selection.benchx.metrics import confusion, segmentation_metrics
from representation.selection.benchx.outcome import Outcome
from representation.selection.benchx.picture_transforms import PictureTransform
from representation.selection.benchx.schedules import EarlyStopping, warmup_polynomial

BINS = (1, 2, 3, 6)
AUXILIARY_LEVEL, AUXILIARY_WEIGHT = 2, 0.4
START_FACTOR = 1e-6
_LEVELS = 4


@dataclass(frozen=True)
class SegmentationRecipe:
    """How a segmenter is trained; the defaults are the published ones.

    Attributes:
        channels: of the head; the published 512 for networks of convolutions, 768 for transformers.
        auxiliary_channels: of the second head.
        dropout: before the last layers.
        lr: of AdamW.
        weight_decay: likewise.
        steps: of the optimizer.
        batch_size: pictures of a step.
        warmup_steps: of the learning rate, which then falls in a line to 0.
        evaluate_every: steps between measurements.
        freeze: whether the encoder stays as it is, as the published ones of convolutions do.
        pictures: their preprocessing; crops are not drawn.
    """

    channels: int = 512
    auxiliary_channels: int = 256
    dropout: float = 0.1
    lr: float = 1e-4
    weight_decay: float = 0.05
    steps: int = 20_000
    batch_size: int = 8
    warmup_steps: int = 1500
    evaluate_every: int = 2000
    freeze: bool = False
    pictures: PictureTransform = field(default_factory=lambda: PictureTransform(512, 1.0))

    def __post_init__(self) -> None:
        if self.batch_size < 2 or not 0 <= self.warmup_steps < self.steps or self.evaluate_every < 1:
            raise ValueError(
                "recipe: expected batch_size of at least 2, 0 <= warmup_steps < steps and evaluate_every of at least "
                f"1, found {self}"
            )


class ConvNormReLU(nn.Sequential):
    """A convolution that keeps the size, batch norm and ReLU."""

    def __init__(self, channels: int, out: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()
        )


class Feature2Pyramid(nn.Module):
    """Makes a pyramid of four maps of one size: four times and twice as large, as they are, half as large."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rescale = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(channels, channels, 2, 2),
                    nn.BatchNorm2d(channels),
                    nn.GELU(),
                    nn.ConvTranspose2d(channels, channels, 2, 2),
                ),
                nn.ConvTranspose2d(channels, channels, 2, 2),
                nn.Identity(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps (B, C, h, w) four times to maps of four sizes, finest first."""
        return [layer(x) for layer, x in zip(self.rescale, maps, strict=True)]


def _resized(x: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


class PyramidPooling(nn.Module):
    """A map together with what it is on average in coarse bins."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.bins = nn.ModuleList(nn.Sequential(nn.AdaptiveAvgPool2d(b), ConvNormReLU(channels, out, 1)) for b in BINS)
        self.bottleneck = ConvNormReLU(channels + len(BINS) * out, out, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, out, h, w)."""
        return self.bottleneck(torch.cat([x, *(_resized(part(x), x.shape[-2:]) for part in self.bins)], dim=1))


class UPerHead(nn.Module):
    """Pyramid pooling on the coarsest map, added from there to all finer ones, and all of them fused."""

    def __init__(self, channels: list[int], width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.pooling = PyramidPooling(channels[-1], width)
        self.lateral = nn.ModuleList(ConvNormReLU(c, width, 1) for c in channels[:-1])
        self.smooth = nn.ModuleList(ConvNormReLU(width, width, 3) for _ in channels[:-1])
        self.fuse = ConvNormReLU(len(channels) * width, width, 3)
        self.classify = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(width, classes, 1))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Logits (B, C, h, w) at the size of the finest map."""
        levels = [layer(x) for layer, x in zip(self.lateral, maps[:-1], strict=True)] + [self.pooling(maps[-1])]
        for number in range(len(levels) - 1, 0, -1):
            finer = levels[number - 1]
            levels[number - 1] = finer + _resized(levels[number], finer.shape[-2:])
        levels = [layer(x) for layer, x in zip(self.smooth, levels[:-1], strict=True)] + levels[-1:]
        size = levels[0].shape[-2:]
        return self.classify(self.fuse(torch.cat([_resized(x, size) for x in levels], dim=1)))


class UPerNetSegmenter(nn.Module):
    """A backend under UPerNet, with a second head on the third map that helps in training.

    Maps of one size, as of transformers, first become a pyramid; a single map is taken four times for that.

    Args:
        backend: is trained too, unless frozen; a module.
        classes: logits of a pixel.
        channels: of the head.
        auxiliary_channels: of the second head.
        dropout: before the last layers.
        freeze: whether the backend stays as it is; it is then always in evaluation mode.
        side: of pictures that show the sizes of the maps, pixels.
        seed: of the heads.

    Raises:
        ValueError: fewer than two classes, or maps that grow.
    """

    def __init__(
        self,
        backend: FeatureBackend,
        classes: int,
        channels: int = 512,
        auxiliary_channels: int = 256,
        dropout: float = 0.1,
        freeze: bool = False,
        side: int = 224,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes: expected at least 2, found {classes}")
        self.backend: Any = backend
        self.freeze = freeze
        with evaluating(backend):
            maps = backend.feature_pyramid(torch.zeros(1, 3, side, side))
        widths, sides = [x.shape[1] for x in maps], [x.shape[-1] for x in maps]
        if sides != sorted(sides, reverse=True):
            raise ValueError(f"feature_pyramid: expected the finest map first, found sides {sides}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.neck: Feature2Pyramid | None = None
            if len(maps) == 1 or (len(maps) == _LEVELS and len(set(sides)) == 1):
                self.neck, widths = Feature2Pyramid(widths[0]), [widths[0]] * _LEVELS
            self.head = UPerHead(widths, channels, classes, dropout)
            self.level = min(AUXILIARY_LEVEL, len(widths) - 1)
            self.auxiliary = nn.Sequential(
                ConvNormReLU(widths[self.level], auxiliary_channels, 3),
                nn.Dropout2d(dropout),
                nn.Conv2d(auxiliary_channels, classes, 1),
            )
        self.train(self.training)

    def train(self, mode: bool = True) -> UPerNetSegmenter:
        """Set the mode; a frozen backend stays in evaluation mode."""
        super().train(mode)
        if self.freeze:
            self.backend.eval()
        return self

    def _maps(self, images: Tensor) -> list[Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            maps = self.backend.feature_pyramid(images)
        if self.neck is None:
            return maps
        return self.neck(maps * _LEVELS if len(maps) == 1 else maps)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C, H, W) of pictures (B, 3, H, W), as a whole."""
        return _resized(self.head(self._maps(images)), images.shape[-2:])

    def loss(self, images: Tensor, masks: Tensor) -> Tensor:
        """Cross-entropy with classes (B, H, W), and 0.4 of that of the second head."""
        maps = self._maps(images)
        main, second = (
            F.cross_entropy(_resized(logits, masks.shape[-2:]), masks)
            for logits in (self.head(maps), self.auxiliary(maps[self.level]))
        )
        return main + AUXILIARY_WEIGHT * second


def _views(cases: Cases, rows: NDArray) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pictures (M, H, W, 3) and masks (M, H, W) of all views of some cases."""
    if cases.masks is None:
        raise ValueError(f"cases: expected masks, found those of {cases.kind}")
    return cases.images[rows].reshape(-1, *cases.images.shape[2:]), cases.masks[rows].reshape(
        -1, *cases.masks.shape[2:]
    )


def segmentation_scores(model: UPerNetSegmenter, cases: Cases, rows: NDArray, recipe: SegmentationRecipe) -> dict:
    """`mdice`, `miou` and `mf` of all views of some cases, and `dice` of each class by name."""
    model.eval()
    device = next(model.parameters()).device
    images, masks = _views(cases, rows)
    counts = np.zeros((len(cases.names), len(cases.names)), dtype=np.int64)
    with torch.no_grad():
        for start in range(0, len(images), recipe.batch_size):
            part = slice(start, start + recipe.batch_size)
            logits = model(recipe.pictures.measuring(images[part], cases.grey).to(device))
            told = _resized(logits, masks.shape[1:]).argmax(dim=1).cpu().numpy()
            counts += confusion(told, masks[part], len(cases.names))
    found = segmentation_metrics(counts)
    each = {f"dice of {name}": float(value) for name, value in zip(cases.names, found.dice, strict=True)}
    return found.means() | {name: value for name, value in each.items() if np.isfinite(value)}


def fit_segmentation(
    backend: FeatureBackend,
    cases: Cases,
    splits: tuple[NDArray, NDArray, NDArray],
    recipe: SegmentationRecipe,
    seed: int = 0,
    device: str = "cpu",
) -> Outcome:
    """Train a segmenter on a copy of a backend and measure it; arguments as of `fit_classification`.

    Returns:
        Measures of the test rows by the weights with the largest mean Dice of the validation rows.

    Raises:
        ValueError: cases without masks, pictures that are not square, or fewer of them than two.
    """
    train, validation, test = splits
    images, masks = _views(cases, train)
    if images.shape[1] != images.shape[2] or len(images) < 2:
        raise ValueError(f"images: expected at least two square ones, found {images.shape}")
    side, generator = recipe.pictures.size, torch.Generator().manual_seed(seed)
    model = UPerNetSegmenter(
        copy.deepcopy(backend),
        len(cases.names),
        recipe.channels,
        recipe.auxiliary_channels,
        recipe.dropout,
        recipe.freeze,
        side,
        seed,
    ).to(device)
    trained = [
        p for name, p in model.named_parameters() if p.requires_grad and not (recipe.freeze and "backend." in name)
    ]
    optimizer = torch.optim.AdamW(trained, recipe.lr, betas=(0.9, 0.999), weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_polynomial(step, recipe.warmup_steps, recipe.steps, START_FACTOR)
    )
    kept, evaluations, step = EarlyStopping(recipe.steps), [], 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        while step < recipe.steps:
            for places in shuffled_batches(len(images), recipe.batch_size, generator):
                model.train()
                pixels = recipe.pictures.measuring(images[places.numpy()], cases.grey)
                shown = torch.from_numpy(np.ascontiguousarray(masks[places.numpy()])).long()
                shown = F.interpolate(shown[:, None].float(), (side, side), mode="nearest")[:, 0].long()
                if cases.mirrored:
                    mirrored = torch.rand(len(places), generator=generator) < 0.5
                    pixels, shown = (
                        torch.where(mirrored.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x) for x in (pixels, shown)
                    )
                optimizer.zero_grad()
                with torch.autocast("cuda", torch.bfloat16, enabled=device.startswith("cuda")):
                    loss = model.loss(pixels.to(device), shown.to(device))
                loss.backward()
                optimizer.step()
                schedule.step()
                step += 1
                if step % recipe.evaluate_every == 0 or step == recipe.steps:
                    found = segmentation_scores(model, cases, validation, recipe)
                    evaluations.append((step, found["mdice"]))
                    kept.update(found["mdice"], model)
                if step == recipe.steps:
                    break
    kept.restore(model)
    return Outcome("mdice", segmentation_scores(model, cases, test, recipe), kept.best, tuple(evaluations))

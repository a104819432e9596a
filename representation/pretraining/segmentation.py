"""Where each kind of thing is: a fully convolutional network tells it of every part of a picture, and sums it up.

A map says of each place what share of it shows each of some kinds. Seen as a distribution over the places, the map of
a kind has a mean: its place in the picture, finer than the map's own places. These places, with their spread and how
much of the picture the kind fills, are the vector of a picture, and what a policy acts on.

Sources: Fully Convolutional Networks for Semantic Segmentation, Long et al., CVPR 2015 (arXiv 1411.4038); the mean
place of a map from End-to-End Training of Deep Visuomotor Policies, Levine et al., JMLR 2016 (arXiv 1504.00702), which
also trains what sees before what acts. Takes pictures (B, 3, H, W) in [0, 1]; gives vectors (B, 7 K) of K kinds.

What differs from the papers: a small network without upsampling, whose target is the share of each kind in a place; the
maps of known kinds stand for learned ones; rare kinds count more in training, as a table fills most of a picture, and
as much less afterwards, so that shares are shares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.data.augmentations import jitter_colors
from representation.data.frames import SEGMENTATION, Frames
from representation.image_tower import draw_weights
from representation.interface import Loss, Modality
from representation.pretraining.small_encoder import resized

STRIDE = 4
"""Pixels on the side of a place of the map."""

NUMBERS = 7
"""That are told of the place of a kind, see `summed_up`."""

COUNTED_FRAMES, LEAST_SHARE = 500, 1e-4


@dataclass(frozen=True)
class Config:
    """A run of some minutes on two cores.

    Attributes:
        resolution: side of the pictures, pixels; a multiple of 4.
        channels: of the convolutions of stride 2, and of those behind them.
        kinds: names of the kinds that are told apart, the first one is everything else; those of the frames by default.
        jitter: strength of the change of colours.
        rarity: a kind counts by its share of the pixels to the power of minus this.
    """

    resolution: int = 96
    channels: tuple[int, int, int] = (24, 32, 48)
    kinds: tuple[str, ...] = ()
    jitter: float = 0.2
    rarity: float = 0.5

    def __post_init__(self) -> None:
        if self.resolution < STRIDE or self.resolution % STRIDE:
            raise ValueError(f"resolution: expected a multiple of {STRIDE}, found {self.resolution}")


def summed_up(shares: Tensor) -> Tensor:
    """Where in a picture a kind is, by its share in each place.

    Args:
        shares: (B, K, h, w) in [0, 1].

    Returns:
        (B, K, 7): how sure it is there, in [0, 1); the root of the share of the picture that it fills; mean x and y,
        from -1 (left, top) to 1; standard deviation of x and of y; their covariance. The last five fade to 0 where
        nothing is there.
    """
    shares = shares.float()
    height, width = shares.shape[2:]
    x = torch.arange(1 - width, width, 2, device=shares.device) / width
    y = torch.arange(1 - height, height, 2, device=shares.device) / height
    total = shares.sum(dim=(2, 3))
    there = total / (total + 0.5)  # half of a place: less may be noise
    columns, rows = shares.sum(dim=2), shares.sum(dim=3)
    least = total.clamp(min=1e-6)
    mean_x, mean_y = (columns * x).sum(-1) / least, (rows * y).sum(-1) / least
    variance_x = (columns * (x - mean_x[..., None]).square()).sum(-1) / least
    variance_y = (rows * (y - mean_y[..., None]).square()).sum(-1) / least
    products = torch.einsum("bkhw,h,w->bk", shares, y, x) / least
    told = torch.stack(
        [mean_x, mean_y, (variance_x + 1e-6).sqrt(), (variance_y + 1e-6).sqrt(), products - mean_x * mean_y], dim=-1
    )
    filled = (total / (height * width) + 1e-6).sqrt()
    return torch.cat([torch.stack([there, filled], dim=-1), told * there[..., None]], dim=-1)


class SegmentationEncoder(nn.Module):
    """An `Encoder`, `DenseEncoder` and `ThingFinder`.

    Args:
        config: with its kinds.
        generator: draws the first weights.
    """

    modality: Modality = "image"

    def __init__(self, config: Config, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config, self.width = config, NUMBERS * len(config.kinds)
        channels, layers = 3, []
        first, second, last = config.channels
        for out, size, stride in ((first, 5, 2), (second, 3, 2), (last, 3, 1), (last, 3, 1)):
            layers += [nn.Conv2d(channels, out, size, stride, size // 2), nn.BatchNorm2d(out), nn.ReLU()]
            channels = out
        self.features, self.head = nn.Sequential(*layers), nn.Conv2d(channels, len(config.kinds), 1)
        self.register_buffer("log_weights", torch.zeros(len(config.kinds)))
        draw_weights(self, generator)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the K kinds."""
        return self.config.kinds

    def logits(self, images: Tensor) -> Tensor:
        """Scores (B, K, R / 4, R / 4) of pictures (B, 3, R, R) in [0, 1]."""
        return self.head(self.features(2 * images - 1))

    def shares(self, logits: Tensor) -> Tensor:
        """Shares (B, K, h, w) of the kinds in each place, from scores of training in which kinds had weights."""
        return (logits.float() - self.log_weights[:, None, None]).softmax(dim=1)

    def find(self, images: Tensor) -> Tensor:
        """Where each kind is, (B, K, 7), see `summed_up`, for pictures (B, 3, H, W) in [0, 1]."""
        return summed_up(self.shares(self.logits(resized(images, self.config.resolution))))

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, 7 K) of pictures (B, 3, H, W) in [0, 1]."""
        return self.find(inputs).flatten(1)

    def dense(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, R / 4, R / 4) of pictures (B, 3, H, W) in [0, 1].

        Returns:
            The features, and how likely it is that something is there (B, R / 4, R / 4).
        """
        features = self.features(2 * resized(images, self.config.resolution) - 1)
        return features, 1 - self.shares(self.head(features))[:, 0]

    def save(self, directory: Path) -> None:
        """Write the encoder."""
        save_encoder(self, "segmentation", self.config, directory)


class SegmentationObjective(nn.Module):
    """Cross-entropy of the shares of kinds in each place, with the encoder's weights of the kinds.

    Args:
        encoder: what is trained.
    """

    needs = (SEGMENTATION,)

    def __init__(self, encoder: SegmentationEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Pictures (B, 3, R, R) in changed colours, and the shares (B, K, R / 4, R / 4) of the kinds."""
        config = self.encoder.config
        pixels = resized(frames.pixels(rows), config.resolution)
        shown = torch.from_numpy(np.ascontiguousarray(frames.columns[SEGMENTATION][rows])).long()
        kinds = F.one_hot(shown, len(config.kinds)).movedim(-1, 1).float()
        shares = F.adaptive_avg_pool2d(kinds, config.resolution // STRIDE)
        return {"images": jitter_colors(pixels, config.jitter, generator), "shares": shares}

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss of a batch; a part tells how much of the kinds was taken for others."""
        logits, shares = self.encoder.logits(batch["images"]).float(), batch["shares"]
        weighted = shares * self.encoder.log_weights.exp()[:, None, None]
        loss = -(weighted * logits.log_softmax(dim=1)).sum(dim=1).mean()
        with torch.no_grad():
            common = torch.minimum(self.encoder.shares(logits), shares).sum(dim=(0, 2, 3))
            missed = 1 - (common / shares.sum(dim=(0, 2, 3)).clamp(min=1e-6))[1:].mean()
        return Loss(loss, {"missed": missed})


def new(config: Config, frames: Frames, seed: int) -> SegmentationObjective:
    """An untrained encoder of the kinds of some frames.

    Raises:
        ValueError: the frames tell no kinds, or others than the configuration.
    """
    frames.need(SegmentationObjective.needs)
    kinds = tuple(frames.names.get(SEGMENTATION, ()))
    if len(kinds) < 2 or (config.kinds and config.kinds != kinds):
        raise ValueError(f"kinds: expected {list(config.kinds) or 'at least two'}, found {list(kinds)} in the frames")
    counted = frames.columns[SEGMENTATION][:: max(1, len(frames) // COUNTED_FRAMES)]
    if counted.shape[1:] != frames.images.shape[1:3] or counted.max(initial=0) >= len(kinds):
        raise ValueError(
            f"{SEGMENTATION}: expected a number below {len(kinds)} for each of {frames.images.shape[1:3]} pixels, "
            f"found up to {counted.max(initial=0)} for {counted.shape[1:]}"
        )
    found = np.bincount(counted.ravel(), minlength=len(kinds)) / counted.size
    weights = np.maximum(found, LEAST_SHARE) ** -config.rarity
    encoder = SegmentationEncoder(replace(config, kinds=kinds), torch.Generator().manual_seed(seed))
    encoder.log_weights.copy_(torch.from_numpy(np.log(weights / (weights @ found))))
    return SegmentationObjective(encoder)


def load(directory: Path) -> SegmentationEncoder:
    """Read an encoder that was saved; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    try:
        content = dict(read_config(directory)["config"])
        content |= {name: tuple(content[name]) for name in ("channels", "kinds")}
        encoder = SegmentationEncoder(Config(**content))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{directory}: expected the configuration of a segmentation encoder: {error}") from error
    load_weights(encoder, directory)
    return encoder.eval()

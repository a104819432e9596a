"""Training end to end on coordinates: classes, or the pictures themselves, are read from cosines to anchors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.compatibility.picture_encoder import PictureConfig, labels_of, new_backbone, views_of
from representation.compatibility.relative_representations.anchors import select_anchors
from representation.compatibility.relative_representations.encoder import SYSTEM, RelativeEncoder
from representation.compatibility.relative_representations.projection import RelativeLayer
from representation.data.frames import LABEL, Frames
from representation.image_tower import draw_weights
from representation.interface import Loss
from representation.pretraining.small_encoder import resized
from representation.registry import load_encoder

PICTURE_SIDE = 16  # pixels of a restored picture


@dataclass(frozen=True)
class Config(PictureConfig):
    """Coordinates of pictures.

    Attributes:
        anchors: pictures that all others are told by, drawn from the frames; 300 to 768 in the paper.
        anchors_of: directory of an encoder of this system whose anchors are taken instead: what it stored stays valid.
        loss: "labels" reads classes from the coordinates, "pictures" restores the pictures, without labels.
        hidden: numbers between the two layers of what reads them.
        bin_size: width of the bins that coordinates are rounded to while training; 0 does not round.
    """

    anchors: int = 64
    anchors_of: str = ""
    loss: Literal["labels", "pictures"] = "labels"
    hidden: int = 128
    bin_size: float = 0.0


def gaussian_loss(restored: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood per number, up to a constant, under the variance that is best for the batch.

    That variance is the batch's squared error (Rybkin et al., arXiv 2006.13202), so what remains is half its log.
    """
    return 0.5 + 0.5 * F.mse_loss(restored, target).log()


class RelativeObjective(nn.Module):
    """An encoder under a head that sees nothing but normalised coordinates."""

    def __init__(self, config: Config, encoder: RelativeEncoder, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder, self._config = encoder, config
        self.needs = (LABEL,) if config.loss == "labels" else ()
        self.layer = RelativeLayer(encoder.width, bin_size=config.bin_size or None)
        out = classes if config.loss == "labels" else 3 * PICTURE_SIDE**2
        head = nn.Sequential(nn.Linear(encoder.width, config.hidden), nn.Tanh(), nn.Linear(config.hidden, out))
        self.head = draw_weights(head, generator)

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Views, with their classes where these are what is read."""
        views = {"views": views_of(self._config, frames, rows, generator)}
        return views | ({"labels": labels_of(frames, rows)} if self._config.loss == "labels" else {})

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """Cross-entropy of the classes, or the loss of restored pictures."""
        out = self.head(self.layer.normalized(self.encoder(batch["views"])))
        if "labels" in batch:
            wrong = (out.argmax(dim=1) != batch["labels"]).float().mean()
            return Loss(F.cross_entropy(out, batch["labels"]), {"wrong": wrong})
        target = resized(batch["views"], PICTURE_SIDE).flatten(1)
        restored = out.sigmoid()
        return Loss(gaussian_loss(restored, target), {"mse": F.mse_loss(restored, target)})


def new(config: Config, frames: Frames, seed: int) -> RelativeObjective:
    """An untrained encoder with anchors out of the frames, or with those of another one.

    Raises:
        ValueError: fewer frames than anchors, an `anchors_of` of another system, or no labels where they are needed.
    """
    generator = torch.Generator().manual_seed(seed)
    if config.anchors_of:
        other = load_encoder(Path(config.anchors_of))
        if not isinstance(other, RelativeEncoder):
            raise ValueError(f"anchors_of: expected an encoder of {SYSTEM}, found {type(other).__name__}")
        anchors = other.anchor_inputs
    else:
        rows = select_anchors(torch.zeros(len(frames), 1), config.anchors, seed=seed)
        anchors = frames.pixels(rows.numpy())
    classes = 0
    if config.loss == "labels":
        frames.need((LABEL,))
        classes = int(labels_of(frames).max()) + 1
    encoder = RelativeEncoder(new_backbone(config, SYSTEM, generator), anchors)
    return RelativeObjective(config, encoder, classes, generator)

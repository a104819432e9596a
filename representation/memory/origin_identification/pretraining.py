"""Autoencoder and linear map, trained at once from frames; every frame is a class of its own.

What is made of a frame is drawn from its translations, where the frames have the column `origin` that tells them, and
goes through an edit besides. The map learns from the autoencoder's vectors, the autoencoder from the pictures alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.data.frames import Frames
from representation.interface import Loss
from representation.memory.origin_identification.autoencoder import SmallAutoencoder
from representation.memory.origin_identification.cosface import CosFaceHead
from representation.memory.origin_identification.edits import edited
from representation.memory.origin_identification.encoder import Config, OriginEncoder
from representation.pretraining.small_encoder import resized

ORIGIN = "origin"
"""Column: the row of the frame that a frame was made from; its own row for one that was made of none."""


class OriginObjective(nn.Module):
    """What is made of a frame lies next to it, by cosine.

    Args:
        encoder: what is trained.
        count: number of all frames.
        generator: draws the first class weights.
    """

    needs = ()

    def __init__(self, encoder: OriginEncoder, count: int, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder, config = encoder, encoder.config
        self.head = CosFaceHead(config.width, count, config.scale, config.margin, generator)

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """`images` (B x instances, 3, S, S), each frame's own first; their `labels`, and noise for the autoencoder."""
        config = self.encoder.config
        origin_of = frames.columns.get(ORIGIN, np.arange(len(frames)))
        origins, images = origin_of[rows], []
        made = {number: np.flatnonzero(origin_of == number) for number in np.unique(origins)}
        for number, draws in zip(
            origins, torch.rand(len(rows), config.instances - 1, generator=generator).tolist(), strict=True
        ):
            others = [made[number][int(draw * len(made[number]))] for draw in draws]
            images.append([number, *others])
        side = min(frames.images.shape[1:3])
        pictures = resized(frames.pixels(np.concatenate(images)), side).unflatten(0, (len(rows), config.instances))
        changed = edited(pictures[:, 1:].flatten(0, 1), generator, config.edits)
        pictures = torch.cat([pictures[:, :1], changed.unflatten(0, (len(rows), -1))], dim=1).flatten(0, 1)
        labels = torch.from_numpy(origins.astype(np.int64)).repeat_interleave(config.instances)
        noise = torch.randn(len(labels), self.encoder.autoencoder.numbers, generator=generator)
        return {"images": pictures, "labels": labels, "noise": noise}

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The autoencoder's loss and CosFace's, and how often the nearest frame of the batch is not the origin."""
        autoencoder, config = self.encoder.autoencoder, self.encoder.config
        vectors = autoencoder.vectors(batch["images"]).detach()
        projected = self.encoder.projection(vectors)
        cosface = self.head(projected, batch["labels"])
        parts = {"cosface": cosface, "wrong_origin": _wrong(projected.detach(), batch["labels"], config.instances)}
        if not isinstance(autoencoder, SmallAutoencoder):
            return Loss(cosface, parts)
        error, divergence = autoencoder.losses(batch["images"], batch["noise"])
        parts |= {"reconstruction": error, "divergence": divergence}
        return Loss(cosface + error + config.divergence * divergence, parts)


def new(config: Config, frames: Frames, seed: int) -> OriginObjective:
    """An untrained encoder with its classes.

    Raises:
        ValueError: origins that are no rows, an unknown edit, or no such autoencoder.
    """
    origins = frames.columns.get(ORIGIN)
    if origins is not None and not np.isin(origins, np.arange(len(frames))).all():
        raise ValueError(f"{ORIGIN}: expected rows of {len(frames)} frames, found {origins.min()} to {origins.max()}")
    generator = torch.Generator().manual_seed(seed)
    return OriginObjective(OriginEncoder(config, generator), len(frames), generator)


def _wrong(vectors: Tensor, labels: Tensor, instances: int) -> Tensor:
    """Share of what was made of frames whose nearest frame, of those of the batch, is another than its origin."""
    unit = F.normalize(vectors, dim=1).unflatten(0, (-1, instances))
    numbers = labels.view(-1, instances)[:, 0]
    nearest = numbers[(unit[:, 1:].flatten(0, 1) @ unit[:, 0].T).argmax(dim=1)]
    return (nearest != numbers.repeat_interleave(instances - 1)).float().mean()

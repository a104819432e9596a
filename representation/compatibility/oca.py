"""OCA: a new encoder whose first numbers lie in the old one's space, under a rotation that frees the rest.

The embedding has some more numbers than the old one. Its first ones are drawn to the old encoder's class prototypes; a
learned orthogonal map turns all of it before the classifier, which so may choose its own basis: a rotation changes no
distance, and classification does not pull the compatible part out of place.

Source: Backward-Compatible Aligned Representations via an Orthogonal Transformation Layer, BEW at ECCV 2024
(arXiv 2408.08793). Takes pictures with labels; gives unit vectors (B, dim_old + extra_dims). New ones are compared with
each other by all numbers, with old ones by the first `dim_old`, see `retrieval.prefix_similarity`.

What differs from the paper: the small network; logits may be cosines at a temperature (`Config.temperature`); the step
is that of the common training loop (AdamW). As in the published code, what is stored is the embedding before the
rotation, and the rotation has a bias; `rotated` is for the classifier alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.compatibility.class_logits import ClassLogits
from representation.compatibility.class_prototypes import (
    class_prototypes,
    known_classes,
    prototype_cross_entropy,
    read_prototypes,
)
from representation.compatibility.orthogonal_linear import OrthogonalLinear
from representation.compatibility.picture_encoder import (
    PictureConfig,
    features_of,
    labels_of,
    linear_map,
    load_headed,
    modality_of,
    new_backbone,
    save_headed,
    views_of,
)
from representation.data.frames import LABEL, Frames
from representation.embedding import embed
from representation.image_tower import draw_weights
from representation.interface import Encoder, Loss
from representation.registry import load_encoder

SYSTEM = "oca"


@dataclass(frozen=True)
class Config(PictureConfig):
    """A version of an encoder, after an older one or the first.

    Attributes:
        old: directory of the old encoder, of which only its class prototypes are used.
        prototypes: file of these instead, if the old encoder is gone. With neither, a first version is trained.
        dim: numbers of a first version's embedding; a later one has those of the old one and `extra_dims` more.
        extra_dims: a; 32 in the paper, beside 128.
        weights: of the classes, of the classes by prototypes, and of the cosine to the own prototype.
        smoothing: of the labels.
        temperature: of cosines as logits; 0 for plain products, as in the paper.
        rotate: whether there is the rotation; without it the classifier sees the embedding (an ablation).
        parametrization: of the rotation.
    """

    old: str = ""
    prototypes: str = ""
    dim: int = 64
    extra_dims: int = 16
    weights: tuple[float, float, float] = (5.0, 10.0, 5.0)
    smoothing: float = 0.1
    temperature: float = 10.0
    rotate: bool = True
    parametrization: Literal["matrix_exp", "cayley"] = "matrix_exp"


class OCAOutput(NamedTuple):
    """What the network makes of a batch.

    Attributes:
        logits: (B, C).
        compatible: (B, dim_old), the first numbers of the embedding; not of unit length.
        rotated: (B, D), turned and moved by the bias; for the classifier, not for retrieval.
        embedding: (B, D) of unit length; what is stored and compared.
    """

    logits: Tensor
    compatible: Tensor
    rotated: Tensor
    embedding: Tensor


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of what stands above the backbone; see `Config`.

    Attributes:
        project: whether a linear map follows the backbone, whose numbers may all be positive; else it has to give
            dim_old + extra_dims of both signs.
    """

    dim_old: int
    extra_dims: int
    num_classes: int
    temperature: float | None = None
    rotate: bool = True
    parametrization: Literal["matrix_exp", "cayley"] = "matrix_exp"
    project: bool = True


class OCAHead(nn.Module):
    """Features (B, feat_dim) to the output."""

    def __init__(self, feat_dim: int, config: HeadConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config, width = config, config.dim_old + config.extra_dims
        self.projection = linear_map(feat_dim, width, config.project)
        self.rotation: nn.Module = nn.Identity()
        if config.rotate:
            self.rotation = OrthogonalLinear(width, True, config.parametrization, generator)
        draw_weights(self.projection, generator)
        self.classifier = ClassLogits(width, config.num_classes, config.temperature, generator)

    def embed(self, features: Tensor) -> Tensor:
        """Unit vectors (B, D)."""
        return F.normalize(self.projection(features), dim=1)

    def forward(self, features: Tensor) -> OCAOutput:
        """All of the output."""
        embedding = self.embed(features)
        rotated = self.rotation(embedding)
        return OCAOutput(self.classifier(rotated), embedding[:, : self.config.dim_old], rotated, embedding)


class OCAEncoder(nn.Module):
    """An `Encoder` of unit vectors (B, dim_old + extra_dims).

    Args:
        backbone: an `Encoder`, or any callable of inputs to (B, feat_dim).
        feat_dim: numbers of its features.
        dim_old: numbers of the old encoder's vectors.
        extra_dims: numbers that are added to them.
        num_classes: number C of classes.
        generator: draws the head's first weights.
        head: further fields of `HeadConfig`.
    """

    def __init__(
        self,
        backbone: Any,
        feat_dim: int,
        dim_old: int,
        extra_dims: int,
        num_classes: int,
        generator: torch.Generator | None = None,
        **head: Any,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = OCAHead(feat_dim, HeadConfig(dim_old, extra_dims, num_classes, **head), generator)
        self.width, self.modality = dim_old + extra_dims, modality_of(backbone)

    def forward(self, x: Tensor) -> OCAOutput:
        """All of the output for inputs of the backbone."""
        return self.head(features_of(self.backbone, x))

    def encode(self, inputs: Tensor) -> Tensor:
        """The embedding (B, D)."""
        return self.head.embed(features_of(self.backbone, inputs))

    def save(self, directory: Path) -> None:
        """Write the head and, in `backbone/`, what stands below it."""
        save_headed(self.backbone, self.head, SYSTEM, self.head.config, directory)


def oca_loss(
    out: OCAOutput,
    labels: Tensor,
    prototypes: Tensor | None,
    weights: tuple[float, float, float] = (5.0, 10.0, 5.0),
    smoothing: float = 0.1,
) -> Loss:
    """Classes in the new basis, classes by old prototypes, and the cosine to the own prototype.

    Args:
        out: of the network.
        labels: classes (B,).
        prototypes: (C, dim_old) by the old encoder. A class without one is left out of the old space. None if there is
            no old space: what remains is the first term with weight 1.
        weights: of the three.
        smoothing: of the labels, in both cross-entropies.

    Returns:
        The loss, and its parts without weights.
    """
    classes = F.cross_entropy(out.logits, labels, label_smoothing=smoothing)
    if prototypes is None:
        return Loss(classes, {"classes": classes})
    compatible = F.normalize(out.compatible, dim=1)
    by_prototypes = prototype_cross_entropy(compatible, labels, prototypes, smoothing)
    cosine = off_prototype(compatible, labels, prototypes)
    total = weights[0] * classes + weights[1] * by_prototypes + weights[2] * cosine
    return Loss(total, {"classes": classes, "classes_by_prototypes": by_prototypes, "off_prototype": cosine})


def off_prototype(vectors: Tensor, labels: Tensor, prototypes: Tensor) -> Tensor:
    """1 minus the mean cosine of vectors (B, d) to the prototypes of their classes, where these have one."""
    counted = known_classes(prototypes)[labels]
    if not counted.any():
        return vectors.sum() * 0.0
    return 1 - F.cosine_similarity(prototypes[labels[counted]], vectors[counted], dim=1).mean()


class OCAObjective(nn.Module):
    """The loss on pictures."""

    needs = (LABEL,)

    def __init__(self, config: Config, encoder: OCAEncoder, prototypes: Tensor | None) -> None:
        super().__init__()
        self.encoder, self._config = encoder, config
        self.register_buffer("prototypes", prototypes, persistent=False)

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Views and classes."""
        return {"views": views_of(self._config, frames, rows, generator), "labels": labels_of(frames, rows)}

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss of a batch, and how often its classes are wrong."""
        out = self.encoder(batch["views"])
        loss = oca_loss(out, batch["labels"], self.prototypes, self._config.weights, self._config.smoothing)
        wrong = (out.logits.argmax(dim=1) != batch["labels"]).float().mean()
        return Loss(loss.total, loss.parts | {"wrong": wrong})


def new_with_prototypes(
    config: Config, frames: Frames, seed: int, prototypes: Tensor | None, backbone: Encoder | None = None
) -> OCAObjective:
    """An untrained head on a backbone, after an old encoder of which some prototypes are known.

    Args:
        config: all of it, but `old` and `prototypes`.
        frames: with labels.
        seed: of the first weights.
        prototypes: (C, dim_old); None for a first version.
        backbone: to build on; that of the configuration if None.
    """
    frames.need((LABEL,))
    generator = torch.Generator().manual_seed(seed)
    backbone = new_backbone(config, SYSTEM, generator) if backbone is None else backbone
    classes = int(labels_of(frames).max()) + 1
    dim_old, extra = (config.dim, 0) if prototypes is None else (prototypes.shape[1], config.extra_dims)
    if prototypes is not None:
        missing = max(0, classes - len(prototypes))
        prototypes = torch.cat([prototypes, prototypes.new_zeros(missing, dim_old)])
        classes = len(prototypes)
    encoder = OCAEncoder(
        backbone,
        backbone.width,
        dim_old,
        extra,
        classes,
        generator,
        temperature=config.temperature or None,
        rotate=config.rotate,
        parametrization=config.parametrization,
    )
    return OCAObjective(config, encoder, prototypes)


def new(config: Config, frames: Frames, seed: int) -> OCAObjective:
    """An untrained encoder, after the old one or the prototypes that the configuration names, or the first.

    Raises:
        ValueError: frames without labels, both an old encoder and prototypes, or a file that holds none.
    """
    if config.old and config.prototypes:
        raise ValueError(f"old, prototypes: expected one of them, found {config.old!r} and {config.prototypes!r}")
    prototypes = read_prototypes(Path(config.prototypes)) if config.prototypes else None
    if config.old:
        frames.need((LABEL,))
        labels = labels_of(frames)
        features = torch.from_numpy(embed(load_encoder(Path(config.old)), frames))
        prototypes = class_prototypes(features, labels, int(labels.max()) + 1)
    return new_with_prototypes(config, frames, seed, prototypes)


def _build(backbone: Encoder, config: Mapping[str, Any]) -> OCAEncoder:
    return OCAEncoder(backbone, backbone.width, **config)


def load(directory: Path) -> Any:
    """Read an encoder of this system; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    return load_headed(directory, SYSTEM, _build)

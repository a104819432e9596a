"""BT²: a new encoder that keeps all of an independently trained one, and of which a part lies in the old one's space.

A few numbers are added to the independent encoder's, and orthogonal matrices mix both: one part of the result is drawn
to the old encoder's vectors, the rest keeps what that part cannot tell, and nothing of the independent representation
is lost, since the mixture can be undone.

Source: BT²: Backward-compatible Training with Basis Transformation, Zhou et al., ICCV 2023 (arXiv 2211.03989). Takes
pictures with labels, the old encoder and an independent new one; gives vectors (B, dim_new + extra_dims), all of the
same length. New ones are compared with each other by all numbers, with old ones by the first `dim_old`.

What differs from the paper: the small network; logits may be cosines at a temperature (`Config.temperature`); features
of both other encoders are of the pictures as they are (the published code caches those of a random flip); the step is
that of the common training loop (AdamW).

Where the independent encoder's vectors may be negative, a backbone that ends in a ReLU cannot reach them: a linear map
follows it, but in published networks, whose independent encoder ends in a ReLU as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.compatibility.class_logits import ClassLogits
from representation.compatibility.class_prototypes import class_prototypes, prototype_cross_entropy
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
from representation.compatibility.released_weights import released_state, without_counts
from representation.data.frames import LABEL, Frames
from representation.embedding import embed
from representation.image_tower import TowerConfig, TowerEncoder, draw_weights
from representation.interface import Encoder, Loss
from representation.registry import load_encoder

SYSTEM = "bt2"
RELEASED_TOWER = TowerConfig("resnet50", 64, 224, "large", pool=True)
RELEASED_NAMES = {
    "resnet.": "backbone.tower.",
    "fc3.": "head.old_branch.",
    "fc_out.": "head.classifier.",
    "ortholinear_p.": "head.basis.p.",
    "ortholinear_old2.": "head.basis.q.",
}


@dataclass(frozen=True)
class Config(PictureConfig):
    """A version of an encoder after an older one.

    Attributes:
        old: directory of the encoder whose vectors are stored.
        new: directory of the independent one, which is to lose nothing.
        extra_dims: a; 32 in the paper, beside 128.
        scale: C, how much the independent part counts beside the added one; 2 or 3 in the paper.
        weights: of the cosine to the independent encoder, of the classes by old prototypes, and of the cosine to the
            old encoder, beside the classes.
        temperature: of cosines as logits; 0 for plain products, as in the paper.
    """

    old: str = ""
    new: str = ""
    extra_dims: int = 16
    scale: float = 2.0
    weights: tuple[float, float, float] = (1.0, 10.0, 5.0)
    temperature: float = 10.0


class BTOutput(NamedTuple):
    """A mixture.

    Attributes:
        compatible: (B, dim_old), its first numbers.
        embedding: (B, dim_new + extra_dims).
    """

    compatible: Tensor
    embedding: Tensor


class BTTransform(NamedTuple):
    """The parts that a mixture was made of: `old_part` (B, extra_dims) and `scaled_new_part` (B, dim_new)."""

    old_part: Tensor
    scaled_new_part: Tensor


class BasisTransform(nn.Module):
    """Mixes an independent vector with some added numbers by orthogonal matrices P and Q; can be undone.

    Args:
        dim_new: numbers of the independent vector.
        dim_old: numbers of the part that is to be compatible.
        extra_dims: numbers that are added.
        scale: C, that the independent vector is multiplied by.
        generator: draws the first matrices.

    Raises:
        ValueError: the mixture would be shorter than the part.
    """

    def __init__(
        self,
        dim_new: int,
        dim_old: int,
        extra_dims: int = 32,
        scale: float = 2.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if dim_new + extra_dims < dim_old:
            raise ValueError(
                f"dim_new + extra_dims: expected at least dim_old = {dim_old}, found {dim_new + extra_dims}"
            )
        self.dim_new, self.dim_old, self.extra_dims, self.scale = dim_new, dim_old, extra_dims, scale
        self.p = OrthogonalLinear(dim_new, bias=False, generator=generator)
        self.q = OrthogonalLinear(dim_old, bias=False, generator=generator)

    def forward(self, new_part: Tensor, old_part: Tensor) -> BTOutput:
        """The mixture of unit vectors (B, dim_new) and (B, extra_dims); its length is the root of 1 + C²."""
        mixed = torch.cat([old_part, self.p(self.scale * new_part)], dim=1)
        compatible = self.q(mixed[:, : self.dim_old])
        return BTOutput(compatible, torch.cat([compatible, mixed[:, self.dim_old :]], dim=1))

    def inverse(self, embedding: Tensor) -> BTTransform:
        """What a mixture was made of."""
        compatible, tail = embedding.split([self.dim_old, embedding.shape[1] - self.dim_old], dim=1)
        mixed = torch.cat([compatible @ self.q.matrix(), tail], dim=1)
        return BTTransform(mixed[:, : self.extra_dims], mixed[:, self.extra_dims :] @ self.p.matrix())


class BT2Output(NamedTuple):
    """What the network makes of a batch.

    Attributes:
        logits: (B, C).
        compatible: (B, dim_old), the first numbers of the embedding; not of unit length.
        new_part: (B, dim_new) of unit length, drawn to the independent encoder.
        embedding: (B, dim_new + extra_dims) of length root of 1 + C²; what is stored and compared.
    """

    logits: Tensor
    compatible: Tensor
    new_part: Tensor
    embedding: Tensor


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of what stands above the backbone; see `Config`.

    Attributes:
        project: whether a linear map follows the backbone; else it has to give dim_new + dim_old numbers.
    """

    dim_new: int
    dim_old: int
    num_classes: int
    extra_dims: int = 32
    scale: float = 2.0
    temperature: float | None = None
    project: bool = True


class BT2Head(nn.Module):
    """Features (B, feat_dim) to the output."""

    def __init__(self, feat_dim: int, config: HeadConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if not 0 < config.extra_dims <= config.dim_old:
            raise ValueError(f"extra_dims: expected 1 to dim_old = {config.dim_old}, found {config.extra_dims}")
        self.config, width = config, config.dim_new + config.dim_old
        self.projection = linear_map(feat_dim, width, config.project)
        self.old_branch = nn.Linear(width, config.dim_old)
        draw_weights(self.projection, generator)
        draw_weights(self.old_branch, generator)
        self.basis = BasisTransform(config.dim_new, config.dim_old, config.extra_dims, config.scale, generator)
        self.classifier = ClassLogits(config.dim_new, config.num_classes, config.temperature, generator)

    def forward(self, features: Tensor) -> BT2Output:
        """All of the output."""
        f = self.projection(features)
        new_part = F.normalize(f[:, : self.config.dim_new], dim=1)
        old_part = F.normalize(self.old_branch(f.relu())[:, : self.config.extra_dims], dim=1)
        compatible, embedding = self.basis(new_part, old_part)
        return BT2Output(self.classifier(new_part), compatible, new_part, embedding)


class BT2Encoder(nn.Module):
    """An `Encoder` of vectors (B, dim_new + extra_dims).

    Args:
        backbone: an `Encoder`, or any callable of inputs to (B, feat_dim).
        feat_dim: numbers of its features.
        dim_new: numbers of the independent encoder's vectors.
        dim_old: numbers of the old encoder's vectors.
        num_classes: number C of classes.
        extra_dims: numbers that are added.
        scale: how much the independent part counts.
        temperature: of cosines as logits; None for plain products.
        generator: draws the head's first weights.
        project: see `HeadConfig`.
    """

    def __init__(
        self,
        backbone: Any,
        feat_dim: int,
        dim_new: int,
        dim_old: int,
        num_classes: int,
        extra_dims: int = 32,
        scale: float = 2.0,
        temperature: float | None = None,
        generator: torch.Generator | None = None,
        project: bool = True,
    ) -> None:
        super().__init__()
        config = HeadConfig(dim_new, dim_old, num_classes, extra_dims, scale, temperature, project)
        self.backbone, self.head = backbone, BT2Head(feat_dim, config, generator)
        self.width, self.modality = dim_new + extra_dims, modality_of(backbone)

    def forward(self, x: Tensor) -> BT2Output:
        """All of the output for inputs of the backbone."""
        return self.head(features_of(self.backbone, x))

    def encode(self, inputs: Tensor) -> Tensor:
        """The embedding (B, dim_new + extra_dims)."""
        return self(inputs).embedding

    def save(self, directory: Path) -> None:
        """Write the head and, in `backbone/`, what stands below it."""
        save_headed(self.backbone, self.head, SYSTEM, self.head.config, directory)


def bt2_loss(
    out: BT2Output,
    labels: Tensor,
    old_feats: Tensor,
    new_feats: Tensor,
    prototypes: Tensor,
    weights: tuple[float, float, float] = (1.0, 10.0, 5.0),
) -> Loss:
    """Classes, classes by old prototypes, and the cosines to both other encoders.

    Args:
        out: of the network.
        labels: classes (B,).
        old_feats: (B, dim_old) of the same pictures by the old encoder.
        new_feats: (B, dim_new) by the independent one.
        prototypes: (C, dim_old) by the old encoder.
        weights: of the cosine to the independent encoder, of the prototypes, and of the cosine to the old encoder.

    Returns:
        The loss, and its parts without weights.
    """
    compatible = F.normalize(out.compatible, dim=1)
    parts = {
        "classes": F.cross_entropy(out.logits, labels),
        "off_new": 1 - F.cosine_similarity(new_feats, out.new_part, dim=1).mean(),
        "classes_by_prototypes": prototype_cross_entropy(compatible, labels, prototypes),
        "off_old": 1 - F.cosine_similarity(old_feats, compatible, dim=1).mean(),
    }
    total = sum(w * part for w, part in zip((1.0, *weights), parts.values(), strict=True))
    return Loss(total, parts)


def bct_loss(
    logits: Tensor, features: Tensor, labels: Tensor, prototypes: Tensor, alpha: float = 10.0, smoothing: float = 0.1
) -> Loss:
    """The older way, backward-compatible training (Shen et al., CVPR 2020): classes, and classes by old prototypes.

    Args:
        logits: (B, C).
        features: (B, dim_old), the whole of the new vectors.
        labels: classes (B,).
        prototypes: (C, dim_old) by the old encoder.
        alpha: weight of the second.
        smoothing: of the labels.
    """
    classes = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    by_prototypes = prototype_cross_entropy(F.normalize(features, dim=1), labels, prototypes, smoothing)
    return Loss(classes + alpha * by_prototypes, {"classes": classes, "classes_by_prototypes": by_prototypes})


class BT2Objective(nn.Module):
    """The loss on pictures; the features of both other encoders are made once, of the pictures as they are.

    Args:
        config: all of it, but `old` and `new`.
        encoder: what is trained.
        frames: with labels.
        old: the old encoder.
        independent: the independent one.
    """

    needs = (LABEL,)

    def __init__(self, config: Config, encoder: BT2Encoder, frames: Frames, old: Encoder, independent: Encoder) -> None:
        super().__init__()
        self.encoder, self._config = encoder, config
        self._old, self._new = (torch.from_numpy(embed(one, frames)) for one in (old, independent))
        prototypes = class_prototypes(self._old, labels_of(frames), encoder.head.config.num_classes)
        self.register_buffer("prototypes", prototypes, persistent=False)

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Views and classes, and the features of the same pictures by both other encoders."""
        views = views_of(self._config, frames, rows, generator)
        return {"views": views, "labels": labels_of(frames, rows), "old": self._old[rows], "new": self._new[rows]}

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss of a batch, and how often its classes are wrong."""
        out, labels = self.encoder(batch["views"]), batch["labels"]
        loss = bt2_loss(out, labels, batch["old"], batch["new"], self.prototypes, self._config.weights)
        return Loss(loss.total, loss.parts | {"wrong": (out.logits.argmax(dim=1) != labels).float().mean()})


def new_between(
    config: Config, frames: Frames, seed: int, old: Encoder, independent: Encoder, backbone: Encoder | None = None
) -> BT2Objective:
    """An untrained head on a backbone, between an old encoder and an independent one.

    Args:
        config: all of it, but `old` and `new`.
        frames: with labels.
        seed: of the first weights.
        old: the old encoder.
        independent: the independent one.
        backbone: to build on; that of the configuration if None.
    """
    frames.need((LABEL,))
    generator = torch.Generator().manual_seed(seed)
    backbone = new_backbone(config, SYSTEM, generator) if backbone is None else backbone
    encoder = BT2Encoder(
        backbone,
        backbone.width,
        independent.width,
        old.width,
        int(labels_of(frames).max()) + 1,
        config.extra_dims,
        config.scale,
        config.temperature or None,
        generator,
    )
    return BT2Objective(config, encoder, frames, old, independent)


def new(config: Config, frames: Frames, seed: int) -> BT2Objective:
    """An untrained encoder between the two that the configuration names.

    Raises:
        ValueError: frames without labels, or one of the two encoders is not named.
    """
    if not config.old or not config.new:
        raise ValueError(f"old, new: expected directories of two encoders, found {config.old!r} and {config.new!r}")
    return new_between(config, frames, seed, load_encoder(Path(config.old)), load_encoder(Path(config.new)))


def _build(backbone: Encoder, config: Mapping[str, Any]) -> BT2Encoder:
    return BT2Encoder(backbone, backbone.width, **config)


def load(directory: Path) -> Any:
    """Read an encoder of this system; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    return load_headed(directory, SYSTEM, _build)


def load_released(path: Path, extra_dims: int = 32, scale: float = 2.0) -> BT2Encoder:
    """A published network on a ResNet-50 that ends in a ReLU (`last_nonlin`); in evaluation mode.

    Args:
        path: a file of torch or of safetensors.
        extra_dims: the file does not tell it; `to_add_dim` of the configuration that it was trained with.
        scale: likewise, `C`.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape.
    """
    state = {name: value for name, value in released_state(path).items() if not name.startswith("resnet.fc.")}
    try:
        dim_old, width = state["fc3.weight"].shape[:2]
        classes, dim_new = state["fc_out.weight"].shape
        tower = TowerEncoder(RELEASED_TOWER, SYSTEM)
        last = tower.tower.layer4[2]
        inner, before = last.conv3.in_channels, last.conv3.out_channels
        last.conv3, last.bn3 = nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)
        last.downsample = nn.Sequential(nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width))
        tower.width = tower.tower.width = width
        encoder = BT2Encoder(tower, width, dim_new, dim_old, classes, extra_dims, scale, project=False)
        missing, unexpected = encoder.load_state_dict(
            {_renamed(k): _flat(k, v) for k, v in state.items()}, strict=False
        )
    except (KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: expected a published network of BT2, found another: {error}") from error
    missing = without_counts(missing)
    if missing or unexpected:
        raise ValueError(f"{path}: expected the tensors of BT2 on a ResNet-50, found {missing=}, {unexpected=}")
    return encoder.eval()


def _renamed(name: str) -> str:
    for theirs, ours in RELEASED_NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _flat(name: str, value: Tensor) -> Tensor:
    return value.flatten(1) if name == "fc3.weight" else value

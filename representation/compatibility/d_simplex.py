"""d-Simplex: all versions of an encoder are trained under the same frozen classifier, so that classes stay in place.

The rows of the classifier are the vertices of a regular simplex, for more classes than there will ever be. Each version
draws the vectors of a class to its vertex, and so vectors of different versions can be compared. A version that goes on
from an older one also keeps, by a contrastive loss (HOC), what the old one says of each picture.

Source: Stationary Representations: Optimally Approximating Compatibility and Implications for Improved Model
Replacements, Biondi et al., CVPR 2024 (arXiv 2405.02581). Takes pictures with labels; gives unit vectors (B, K - 1).

What differs from the paper: the small network and a small K (a vector has K - 1 numbers: with the paper's 1024, keep
them as float16); average accuracy counts zeros; the step is that of the common training loop (AdamW).

On classes that the old encoder has never seen, new queries in the old memory can do worse than old ones did: the new
encoder moves such classes to vertices of their own. HOC makes that less, not nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.compatibility.class_prototypes import class_prototypes, known_classes
from representation.compatibility.picture_encoder import (
    PictureConfig,
    features_of,
    labels_of,
    load_headed,
    modality_of,
    new_backbone,
    save_headed,
    views_of,
)
from representation.compatibility.released_weights import released_state, without_counts
from representation.compatibility.retrieval import prefix_similarity
from representation.data.frames import LABEL, Frames
from representation.image_tower import TowerConfig, TowerEncoder, draw_weights
from representation.interface import Encoder, Loss
from representation.registry import load_encoder

SYSTEM = "d_simplex"
RELEASED_TOWER = TowerConfig(
    "resnet18", 64, 32, "large", pool=True, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)
)
UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Config(PictureConfig):
    """The first or a later version of an encoder.

    Attributes:
        num_classes: K, the same for all versions, and more than there will be classes; 1024 in the paper.
        old: directory of the version before, which this one goes on from and is kept alike to; the first if empty.
        lam: weight of the classes beside HOC, which has the rest.
        mu: that cosines are multiplied by in HOC.
        mask: what HOC does with other pictures of the same class, see `HOCLoss`.
        from_end: whether classes are counted from the last vertex. Versions of two origins then do not collide, and
            are not comparable either.
    """

    num_classes: int = 64
    old: str = ""
    lam: float = 0.1
    mu: float = 10.0
    mask: Literal["zero", "neginf"] = "zero"
    from_end: bool = False


def simplex_vertices(
    num_classes: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Vertices (K, K - 1) of a regular simplex around the origin: unit vectors at cosines of -1 / (K - 1).

    Raises:
        ValueError: fewer than two classes.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes: expected at least 2, found {num_classes}")
    n = num_classes - 1
    last = torch.full((1, n), (1 - (1 + n) ** 0.5) / n, dtype=torch.float64)
    vertices = torch.cat([torch.eye(n, dtype=torch.float64), last])
    return F.normalize(vertices - vertices.mean(dim=0), dim=1).to(device=device, dtype=dtype)


class SimplexClassifier(nn.Module):
    """A frozen classifier, behind a linear map to its width if the features have another.

    Args:
        feature_dim: numbers of a feature.
        num_classes: K.
        projector_bias: whether the map has a bias.
        generator: draws the map's first weights.
    """

    def __init__(
        self,
        feature_dim: int,
        num_classes: int = 1024,
        projector_bias: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.projector: nn.Module = nn.Identity()
        if feature_dim != num_classes - 1:
            self.projector = draw_weights(nn.Linear(feature_dim, num_classes - 1, projector_bias), generator)
        self.register_buffer("weight", simplex_vertices(num_classes))

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K) and vectors z (B, K - 1), not of unit length, of features (B, feature_dim)."""
        z = self.projector(h)
        return z @ self.weight.T, z


class HOCLoss(nn.Module):
    """Higher-order compatibility: a new vector is nearer to the old one of its picture than to those of other classes.

    As in the published code, which is not equation 4 of the paper: rows are old vectors; what is nearest is not among
    what is summed up, so the loss may be negative; and each picture of the same class adds exp(0) to the sum.

    Args:
        mu: that cosines are multiplied by.
        mask: "zero" is that; "neginf" leaves pictures of the same class out of the sum.
    """

    def __init__(self, mu: float = 10.0, mask: Literal["zero", "neginf"] = "zero") -> None:
        super().__init__()
        if mask not in ("zero", "neginf"):
            raise ValueError(f"mask: expected zero or neginf, found {mask!r}")
        self.mu, self.fill = mu, 0.0 if mask == "zero" else -torch.inf

    def forward(self, new: Tensor, old: Tensor, labels: Tensor) -> Tensor:
        """The loss of unit vectors (B, d) by the new and (B, d) by the old encoder, of pictures of classes (B,).

        Raises:
            ValueError: vectors that are not of unit length.
        """
        for name, vectors in (("new", new), ("old", old)):
            off = float((vectors.detach().norm(dim=1) - 1).abs().max())
            if not off <= UNIT_TOLERANCE:
                raise ValueError(f"{name}: expected unit vectors, found lengths that are off by {off:.3g}")
        if new.dtype != torch.float64:
            new, old = new.float(), old.float()  # sums of exp(10) and more
        similar = self.mu * old @ new.T
        is_same = labels[:, None] == labels[None, :]
        others = similar.masked_fill(is_same, self.fill)
        counted = ~is_same.all(dim=1) if self.fill else torch.ones_like(labels, dtype=torch.bool)
        sums = torch.zeros_like(similar[:, 0])
        sums[counted] = others[counted].logsumexp(dim=1)
        return (sums - similar.diagonal()).mean()


def hoc_objective(
    logits: Tensor, labels: Tensor, new: Tensor, old: Tensor, lam: float = 0.1, mu: float = 10.0
) -> Tensor:
    """The loss of a version that goes on from an older one: `lam` times classes, and HOC with the rest."""
    return lam * F.cross_entropy(logits, labels) + (1 - lam) * HOCLoss(mu)(new, old, labels)


class DSimplexEncoder(nn.Module):
    """An `Encoder` of unit vectors (B, K - 1).

    Args:
        backbone: an `Encoder`, or any callable of inputs to (B, feature_dim).
        feature_dim: numbers of its features.
        num_classes: K.
        from_end: see `Config`.
        generator: draws the head's first weights.
    """

    def __init__(
        self,
        backbone: Any,
        feature_dim: int,
        num_classes: int,
        from_end: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.num_classes, self.from_end = backbone, num_classes, from_end
        self.head = SimplexClassifier(feature_dim, num_classes, generator=generator)
        self.width, self.modality = num_classes - 1, modality_of(backbone)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K) and vectors (B, K - 1), not of unit length."""
        return self.head(features_of(self.backbone, x))

    def encode(self, inputs: Tensor) -> Tensor:
        """Unit vectors (B, K - 1)."""
        return F.normalize(self(inputs)[1], dim=1)

    def vertices_of(self, labels: Tensor) -> Tensor:
        """Numbers (B,) of the vertices of classes."""
        return self.num_classes - 1 - labels if self.from_end else labels

    def save(self, directory: Path) -> None:
        """Write the head and, in `backbone/`, what stands below it."""
        config = {"num_classes": self.num_classes, "from_end": self.from_end}
        save_headed(self.backbone, self.head, SYSTEM, config, directory)


class DSimplexObjective(nn.Module):
    """Classes by the frozen classifier; beside an older version also HOC."""

    needs = (LABEL,)

    def __init__(self, config: Config, encoder: DSimplexEncoder, old: DSimplexEncoder | None) -> None:
        super().__init__()
        self.encoder, self._config = encoder, config
        self.old = None if old is None else old.eval().requires_grad_(False)
        self.hoc = HOCLoss(config.mu, config.mask)

    def train(self, mode: bool = True) -> DSimplexObjective:
        """Switch to training; the old version stays as it is."""
        super().train(mode)
        if self.old is not None:
            self.old.eval()
        return self

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Views and classes."""
        return {"views": views_of(self._config, frames, rows, generator), "labels": labels_of(frames, rows)}

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss of a batch, and how often its classes are wrong."""
        labels = self.encoder.vertices_of(batch["labels"])
        logits, z = self.encoder(batch["views"])
        classes = F.cross_entropy(logits, labels)
        parts = {"classes": classes, "wrong": (logits.argmax(dim=1) != labels).float().mean()}
        if self.old is None:
            return Loss(classes, parts)
        with torch.no_grad():
            before = self.old.encode(batch["views"])
        hoc = self.hoc(F.normalize(z, dim=1), before, labels)
        return Loss(self._config.lam * classes + (1 - self._config.lam) * hoc, parts | {"hoc": hoc})


def new_after(
    config: Config, frames: Frames, seed: int, old: DSimplexEncoder | None, backbone: Encoder | None = None
) -> DSimplexObjective:
    """A version after an older one, whose weights it starts from unless there is another backbone; or a first one.

    Args:
        config: all of it, but `old`.
        frames: with labels.
        seed: of the first weights.
        old: the version before; None for the first.
        backbone: to build on; if None, that of the configuration, or of the version before.

    Raises:
        ValueError: frames without labels or with too many classes, or a version of another K or order.
    """
    frames.need((LABEL,))
    classes = int(labels_of(frames).max()) + 1
    if classes > config.num_classes:
        raise ValueError(f"num_classes: expected at least the {classes} of the frames, found {config.num_classes}")
    if old is not None and (old.num_classes, old.from_end) != (config.num_classes, config.from_end):
        found = f"{old.num_classes} and {old.from_end}"
        raise ValueError(f"old: expected K {config.num_classes} and from_end {config.from_end}, found {found}")
    generator = torch.Generator().manual_seed(seed)
    if backbone is None and (old is None or config.base):
        backbone = new_backbone(config, SYSTEM, generator)
    if backbone is None:
        return DSimplexObjective(config, copy.deepcopy(old).train(), old)
    encoder = DSimplexEncoder(backbone, backbone.width, config.num_classes, config.from_end, generator)
    return DSimplexObjective(config, encoder, old)


def new(config: Config, frames: Frames, seed: int) -> DSimplexObjective:
    """A version after the one that the configuration names, or a first one.

    Raises:
        ValueError: see `new_after`; or `old` is an encoder of another system.
    """
    old = load_encoder(Path(config.old)) if config.old else None
    if old is not None and not isinstance(old, DSimplexEncoder):
        raise ValueError(f"old: expected an encoder of {SYSTEM}, found {type(old).__name__}")
    return new_after(config, frames, seed, old)


@torch.no_grad()
def compatibility_matrix(
    encoders: Sequence[Callable[[Tensor], Tensor]],
    query: tuple[Tensor, Tensor],
    gallery: tuple[Tensor, Tensor],
    protocol: Literal["template", "instance"] = "template",
) -> NDArray[np.float64]:
    """Accuracies (T, T) of queries by version t in the gallery of version k, in row t and column k <= t; 0 elsewhere.

    Args:
        encoders: T versions, oldest first; each takes inputs to vectors (N, d).
        query: inputs and classes.
        gallery: inputs and classes, of other things.
        protocol: "template" compares with the mean of each class, "instance" with the nearest single vector.
    """
    if protocol not in ("template", "instance"):
        raise ValueError(f"protocol: expected template or instance, found {protocol!r}")
    queries = [encode(query[0]) for encode in encoders]
    stored, labels = [encode(gallery[0]) for encode in encoders], gallery[1]
    if protocol == "template":
        stored = [class_prototypes(vectors, labels, int(labels.max()) + 1) for vectors in stored]
        known = known_classes(stored[0])
        stored, labels = [templates[known] for templates in stored], known.nonzero()[:, 0]
    matrix = np.zeros((len(encoders), len(encoders)))
    for t, asked in enumerate(queries):
        for k in range(t + 1):
            nearest = prefix_similarity(asked, stored[k]).argmax(dim=1)
            matrix[t, k] = float((labels[nearest] == query[1]).float().mean())
    return matrix


def average_compatibility(matrix: NDArray[np.float64]) -> float:
    """Share of pairs of versions k < t with which new queries do better in an old gallery than old ones did.

    Raises:
        ValueError: fewer than two versions.
    """
    if len(matrix) < 2:
        raise ValueError(f"matrix: expected at least 2 versions, found {len(matrix)}")
    later, earlier = np.tril_indices(len(matrix), -1)
    return float((matrix[later, earlier] > matrix[earlier, earlier]).mean())


def average_accuracy(matrix: NDArray[np.float64]) -> float:
    """Mean over all pairs of versions k <= t, in percent; the matrix holds shares."""
    return 100 * float(matrix[np.tril_indices(len(matrix))].mean())


def _build(backbone: Encoder, config: Mapping[str, Any]) -> DSimplexEncoder:
    return DSimplexEncoder(backbone, backbone.width, config["num_classes"], config["from_end"])


def load(directory: Path) -> Any:
    """Read an encoder of this system; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    return load_headed(directory, SYSTEM, _build)


def load_released(path: Path) -> DSimplexEncoder:
    """A published network on a ResNet-18; in evaluation mode.

    Args:
        path: a file of torch with the network under `net`, or one of safetensors with its names.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape.
    """
    state = {name.replace(".blocks.", "."): value for name, value in released_state(path, "net").items()}
    state.pop("fc2.weight", None)
    if "fc1.weight" not in state:
        raise ValueError(f"{path}: expected a published network of d-Simplex, found no fc1.weight")
    width, feature_dim = state["fc1.weight"].shape
    encoder = DSimplexEncoder(TowerEncoder(RELEASED_TOWER, SYSTEM), feature_dim, width + 1)
    names = {name.replace("backbone.", "backbone.tower.").replace("fc1.", "head.projector."): name for name in state}
    try:
        missing, unexpected = encoder.load_state_dict({ours: state[name] for ours, name in names.items()}, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{path}: expected a published network of d-Simplex, found another: {error}") from error
    missing = [name for name in without_counts(missing) if name != "head.weight"]
    if missing or unexpected:
        raise ValueError(f"{path}: expected the tensors of a ResNet-18, found {missing=}, {unexpected=}")
    return encoder.eval()

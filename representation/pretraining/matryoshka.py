"""Matryoshka representations: one vector whose every prefix of 2, 4, 8 ... numbers is a good vector by itself.

Source: Matryoshka Representation Learning, Kusupati, Bhatt, Rege et al., NeurIPS 2022 (arXiv 2205.13147). Pictures
(B, 3, H, W) become vectors (B, d); what uses them takes as many of their first numbers as it can afford.

`MatryoshkaLinear`, `MatryoshkaCELoss` and `matryoshka_contrastive_loss` train with labels or with pairs of views, on a
tower of our own or on any encoder of the stack (`Config.base`). `CascadeClassifier` asks the short prefixes first;
`NestedIndex` searches with short prefixes and sorts what it finds with longer ones. `load_released` reads the
published networks.

A cascade and a search save work behind the encoder only: the encoder runs once, and in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.data.augmentations import jitter_colors, random_squares
from representation.data.frames import LABEL, Frames
from representation.image_tower import TowerConfig, TowerEncoder, draw_weights, load_tower, new_tower
from representation.interface import Encoder, Loss, Modality
from representation.registry import load_encoder

SYSTEM, BASE = "matryoshka", "base"
FIRST_THRESHOLD = 0.1
RELEASED_TOWER = TowerConfig("resnet50", 64, 224, "large", pool=True, blur=True)
RELEASED_NESTING = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)


@dataclass(frozen=True)
class Config:
    """Nested vectors on a small tower, or on an encoder that is there already.

    Attributes:
        nesting: lengths of the prefixes, rising; the last is the length of the vector.
        loss: "labels" classifies with each prefix, "views" lets two views of a picture find each other with each.
        efficient: whether the classifiers share one matrix and one bias (MRL-E).
        label_smoothing: of the classifiers' loss.
        temperature: of the views' similarities.
        smallest_crop: side of the smallest random square, as a share of the picture's.
        jitter: strength of the random changes of colour.
        base: directory of an encoder to build on; a new tower if empty.
        freeze: whether that encoder stays as it is.
        tower: sizes of the new one.
    """

    nesting: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    loss: Literal["labels", "views"] = "labels"
    efficient: bool = False
    label_smoothing: float = 0.0
    temperature: float = 0.1
    smallest_crop: float = 0.7
    jitter: float = 0.2
    base: str = ""
    freeze: bool = False
    tower: TowerConfig = field(default_factory=TowerConfig)


def check_nesting(nesting: Sequence[int]) -> tuple[int, ...]:
    """The lengths of prefixes, if they are positive and rise.

    Raises:
        ValueError: they do not.
    """
    lengths = tuple(nesting)
    if not lengths or lengths[0] < 1 or any(b <= a for a, b in pairwise(lengths)):
        raise ValueError(f"nesting: expected rising positive lengths, found {lengths}")
    return lengths


def truncate(z: Tensor, length: int, normalize: bool = True) -> Tensor:
    """The first `length` numbers of vectors (B, d), brought to unit length after the cut."""
    prefix = z[..., :length]
    return F.normalize(prefix, dim=-1) if normalize else prefix


class MatryoshkaLinear(nn.Module):
    """A linear classifier on each prefix (section 3; MRL), or one whose columns all prefixes share (MRL-E).

    Args:
        nesting: lengths of the prefixes.
        num_classes: number C of classes.
        efficient: whether matrix and bias are shared.
        bias: whether there is one.
    """

    def __init__(self, nesting: Sequence[int], num_classes: int, efficient: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.nesting, self.efficient = check_nesting(nesting), efficient
        lengths = self.nesting[-1:] if efficient else self.nesting
        self.heads = nn.ModuleList([nn.Linear(length, num_classes, bias) for length in lengths])

    def forward(self, z: Tensor) -> list[Tensor]:
        """Logits (B, C) by each prefix of vectors (B, d)."""
        if self.efficient:
            head = self.heads[0]
            return [F.linear(z[:, :length], head.weight[:, :length], head.bias) for length in self.nesting]
        return [head(z[:, :length]) for length, head in zip(self.nesting, self.heads, strict=True)]


class MatryoshkaCELoss(nn.Module):
    """Sum over the prefixes of importance times cross-entropy (equation 1).

    Args:
        relative_importance: weight of each prefix; 1 for all if None.
        cross_entropy: further arguments of `torch.nn.functional.cross_entropy`.
    """

    def __init__(self, relative_importance: Sequence[float] | None = None, **cross_entropy: Any) -> None:
        super().__init__()
        self.cross_entropy = cross_entropy
        importance = None if relative_importance is None else torch.tensor(relative_importance)
        self.register_buffer("relative_importance", importance)

    def forward(self, logits: Sequence[Tensor], target: Tensor) -> Tensor:
        """The loss of logits (B, C) by each prefix and classes (B,)."""
        losses = torch.stack([F.cross_entropy(one, target, **self.cross_entropy) for one in logits])
        return _weighted_sum(losses, self.relative_importance)


def matryoshka_contrastive_loss(
    u: Tensor,
    v: Tensor,
    nesting: Sequence[int],
    temperature: float,
    relative_importance: Tensor | None = None,
) -> Tensor:
    """Sum over the prefixes of the symmetric InfoNCE loss, each prefix brought to unit length first.

    Args:
        u: vectors (B, d).
        v: vectors (B, d) of the same things.
        nesting: lengths of the prefixes.
        temperature: that divides the similarities.
        relative_importance: weight of each prefix; 1 for all if None.
    """
    own, losses = torch.arange(len(u), device=u.device), []
    for length in check_nesting(nesting):
        logits = truncate(u, length) @ truncate(v, length).T / temperature
        losses.append((F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2)
    return _weighted_sum(torch.stack(losses), relative_importance)


def _weighted_sum(losses: Tensor, importance: Tensor | None) -> Tensor:
    if importance is None:
        return losses.sum()
    if len(importance) != len(losses):
        raise ValueError(f"relative_importance: expected {len(losses)} weights, found {len(importance)}")
    return (importance.to(losses) * losses).sum()


class MatryoshkaEncoder(nn.Module):
    """An `Encoder` of nested vectors: another encoder, and a linear map to their length.

    Args:
        base: the other encoder.
        nesting: lengths of the prefixes.
    """

    modality: Modality

    def __init__(self, base: Encoder, nesting: Sequence[int]) -> None:
        super().__init__()
        self.base: Any = base
        self.nesting = check_nesting(nesting)
        self.width, self.modality = self.nesting[-1], base.modality
        self.head = nn.Linear(base.width, self.width)

    def encode(self, inputs: Tensor) -> Tensor:
        """Nested vectors (B, d); `truncate` cuts them."""
        return self.head(self.base.encode(inputs))

    def save(self, directory: Path) -> None:
        """Write the map and, in `base/`, the encoder below it."""
        save_encoder(self.head, SYSTEM, {"nesting": self.nesting}, directory)
        self.base.save(directory / BASE)


def load(directory: Path) -> MatryoshkaEncoder | TowerEncoder:
    """Read an encoder of this system; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    config = read_config(directory)["config"]
    if "nesting" not in config:  # the tower below the map
        return load_tower(directory)
    encoder = MatryoshkaEncoder(load_encoder(directory / BASE), config["nesting"])
    load_weights(encoder.head, directory)
    return encoder.eval()


class MatryoshkaObjective(nn.Module):
    """Classes by every prefix, or two views of a picture that find each other by every prefix."""

    def __init__(self, config: Config, encoder: MatryoshkaEncoder, classes: int) -> None:
        super().__init__()
        self.encoder, self._config = encoder, config
        self.needs = (LABEL,) if config.loss == "labels" else ()
        self.head = MatryoshkaLinear(config.nesting, classes, config.efficient) if classes else None
        self.criterion = MatryoshkaCELoss(label_smoothing=config.label_smoothing)
        if config.freeze:
            encoder.base.requires_grad_(False)

    def train(self, mode: bool = True) -> MatryoshkaObjective:
        """Switch to training; an encoder that stays as it is keeps its statistics, too."""
        super().train(mode)
        if self._config.freeze:
            self.encoder.base.eval()
        return self

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Random squares with changed colours: `first` with `labels`, or `first` and `second` of the same pictures."""
        pixels, config = frames.pixels(rows), self._config
        side = min(pixels.shape[-2:])

        def view() -> Tensor:
            return jitter_colors(
                random_squares(pixels, side, config.smallest_crop, generator), config.jitter, generator
            )

        if config.loss == "labels":
            return {"first": view(), "labels": torch.from_numpy(frames.columns[LABEL][rows].astype(np.int64))}
        return {"first": view(), "second": view()}

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The nested loss, and the errors of the shortest and the longest prefix."""
        z, nesting = self.encoder.encode(batch["first"]), self._config.nesting
        if self.head is not None:
            logits, right = self.head(z), batch["labels"]
            total = self.criterion(logits, right)
            found = [logits[0], logits[-1]]
        else:
            other, right = self.encoder.encode(batch["second"]), torch.arange(len(z), device=z.device)
            total = matryoshka_contrastive_loss(z, other, nesting, self._config.temperature)
            found = [truncate(z, length) @ truncate(other, length).T for length in (nesting[0], nesting[-1])]
        wrong = [1 - (one.argmax(dim=1) == right).float().mean() for one in found]
        return Loss(total, {f"wrong_by_{nesting[0]}": wrong[0], f"wrong_by_{nesting[-1]}": wrong[1]})


def new(config: Config, frames: Frames, seed: int) -> MatryoshkaObjective:
    """An untrained objective, on a new tower or on the encoder that the configuration names.

    Raises:
        ValueError: frames without labels, or classes without numbers, although labels are what it learns.
    """
    generator = torch.Generator().manual_seed(seed)
    base = load_encoder(Path(config.base)) if config.base else new_tower(config.tower, SYSTEM, generator)
    if config.freeze and not config.base:
        raise ValueError("freeze: expected a base to keep as it is, found none")
    encoder, classes = MatryoshkaEncoder(base, config.nesting), 0
    draw_weights(encoder.head, generator)
    if config.loss == "labels":
        frames.need((LABEL,))
        classes = int(frames.columns[LABEL].max()) + 1
    objective = MatryoshkaObjective(config, encoder, classes)
    if objective.head is not None:
        draw_weights(objective.head, generator)
    return objective


class CascadeClassifier:
    """Believes the shortest prefix that is sure enough.

    Args:
        nesting: lengths of the prefixes.
        ties: which of equally good thresholds is taken. "smallest" is the paper's code: two prefixes that are equally
            good on the held-out frames make the shorter one always believed. "largest" believes it less: dearer, safer.
    """

    def __init__(self, nesting: Sequence[int], ties: Literal["smallest", "largest"] = "smallest") -> None:
        self.nesting, self.ties = check_nesting(nesting), ties
        self.thresholds = np.ones(len(self.nesting) - 1)
        self.expected_dim = float(self.nesting[-1])

    def fit(self, logits: Sequence[Tensor], labels: Tensor, grid: int = 100) -> CascadeClassifier:
        """Choose the threshold between each two neighbouring prefixes by accuracy on held-out frames.

        Args:
            logits: (N, C) by each prefix.
            labels: (N,) classes.
            grid: number of thresholds that are tried, from 0.1 to 1.
        """
        sure, found = self._opinions(logits)
        right = found == labels.numpy()
        values = np.linspace(FIRST_THRESHOLD, 1.0, grid)
        for level in range(len(self.thresholds)):
            scores = np.array([np.where(sure[level] > t, right[level], right[level + 1]).mean() for t in values])
            best = np.flatnonzero(scores == scores.max())
            self.thresholds[level] = values[best[0] if self.ties == "smallest" else best[-1]]
        return self

    def predict(
        self, logits: Sequence[Tensor], max_level: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Classes (N,), and the level (N,) of the prefix that gave each; `expected_dim` is the mean length then.

        Args:
            logits: (N, C) by each prefix.
            max_level: the last one that may be asked; all may if None.
        """
        sure, found = self._opinions(logits)
        last = len(self.nesting) - 1 if max_level is None else max_level
        stops = np.concatenate([sure[:last] > self.thresholds[:last, None], np.ones((1, sure.shape[1]), bool)])
        levels = stops.argmax(axis=0)
        self.expected_dim = float(np.array(self.nesting)[levels].mean())
        return found[levels, np.arange(len(levels))], levels

    def _opinions(self, logits: Sequence[Tensor]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if len(logits) != len(self.nesting):
            raise ValueError(f"logits: expected those of {len(self.nesting)} prefixes, found {len(logits)}")
        best = torch.stack(list(logits)).detach().softmax(dim=-1).max(dim=-1)
        return best.values.numpy(), best.indices.numpy()


class NestedIndex:
    """Nearest neighbours among nested vectors, exactly or through a shortlist by short prefixes.

    Args:
        embeddings: (N, d) nested vectors.
        dims: lengths of prefixes that will be searched with.
    """

    def __init__(self, embeddings: Tensor, dims: Sequence[int]) -> None:
        self.dims = check_nesting(dims)
        if self.dims[-1] > embeddings.shape[1]:
            raise ValueError(f"dims: expected at most {embeddings.shape[1]}, found {self.dims[-1]}")
        self._prefixes = {length: truncate(embeddings, length) for length in self.dims}
        self._count = len(embeddings)

    def search(self, queries: Tensor, k: int, dim: int) -> NDArray[np.int64]:
        """Numbers (Q, k) of the nearest vectors by one prefix, nearest first; queries are (Q, d)."""
        similar = truncate(queries, dim) @ self._prefix(dim).T
        return similar.topk(min(k, self._count), dim=1).indices.numpy()

    def adaptive_search(
        self, queries: Tensor, k: int, shortlist_dim: int, shortlist: int, rerank_dim: int
    ) -> NDArray[np.int64]:
        """Numbers (Q, k): a shortlist by a short prefix, sorted by a longer one."""
        return self._resorted(queries, self.search(queries, shortlist, shortlist_dim), rerank_dim)[:, :k]

    def funnel_search(self, queries: Tensor, dims: Sequence[int], shortlists: Sequence[int]) -> NDArray[np.int64]:
        """Numbers (Q, last shortlist): ever fewer candidates, sorted by ever longer prefixes.

        Args:
            queries: (Q, d).
            dims: rising lengths; the first makes the first shortlist.
            shortlists: falling numbers of candidates; each is what is sorted by the next length. One fewer than
                `dims`, or as many, where the last is how many come back.
        """
        dims = check_nesting(dims)
        if len(shortlists) not in (len(dims) - 1, len(dims)) or list(shortlists) != sorted(shortlists, reverse=True):
            raise ValueError(f"shortlists: expected falling numbers for {len(dims)} lengths, found {shortlists}")
        found = self.search(queries, shortlists[0], dims[0])
        for dim, count in zip(dims[1:], shortlists, strict=False):
            found = self._resorted(queries, found[:, :count], dim)
        return found[:, : shortlists[-1]]

    def cost(self, dims: Sequence[int], shortlists: Sequence[int] = ()) -> int:
        """Multiply-adds of a query that goes through these lengths and shortlists."""
        return self._count * dims[0] + sum(k * dim for dim, k in zip(dims[1:], shortlists, strict=False))

    def _resorted(self, queries: Tensor, candidates: NDArray[np.int64], dim: int) -> NDArray[np.int64]:
        vectors = self._prefix(dim)[torch.from_numpy(candidates)]
        similar = torch.einsum("qd,qkd->qk", truncate(queries, dim), vectors)
        order = similar.argsort(dim=1, descending=True, stable=True).numpy()
        return np.take_along_axis(candidates, order, axis=1)

    def _prefix(self, dim: int) -> Tensor:
        if dim not in self._prefixes:
            raise ValueError(f"dim: expected one of {self.dims}, found {dim}")
        return self._prefixes[dim]


def mean_average_precision_at_k(matches: NDArray[np.bool_]) -> float:
    """Mean over the queries of precision at each match, summed and divided by k; matches are (Q, k), nearest first."""
    precision = matches.cumsum(axis=1) / np.arange(1, matches.shape[1] + 1)
    return float((precision * matches).mean())


def load_released(path: Path) -> tuple[TowerEncoder, MatryoshkaLinear]:
    """The tower and the classifier of a published network: MRL, or MRL-E in both of its forms.

    Args:
        path: a `.pt` file with a state dict, or one of safetensors with the same names.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape.
    """
    raw = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    state = {name.removeprefix("module."): value.float() for name, value in dict(raw).items()}
    head = {name: state.pop(name) for name in list(state) if name.startswith("fc.")}
    state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    numbers = [name.split(".")[1] for name in head if name.endswith(".weight") and name != "fc.weight"]
    head = {name.removeprefix("fc.").replace("nesting_classifier_", "heads."): value for name, value in head.items()}
    if "weight" in head:
        head = {f"heads.0.{name}": value for name, value in head.items()}
    try:
        classes, width = head["heads.0.weight"].shape
        efficient = len(numbers) <= 1
        shared = (*(length for length in RELEASED_NESTING if length < width), width)
        nesting = shared if efficient else RELEASED_NESTING[: len(numbers)]
        classifier = MatryoshkaLinear(nesting, classes, efficient, "heads.0.bias" in head)
        classifier.load_state_dict(head)
        encoder = TowerEncoder(RELEASED_TOWER, SYSTEM)
        missing, unexpected = encoder.tower.load_state_dict(state, strict=False)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: expected a published network of Matryoshka, found another: {error}") from error
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"{path}: expected the tensors of a blurred ResNet-50, found {missing=}, {unexpected=}")
    return encoder.eval(), classifier

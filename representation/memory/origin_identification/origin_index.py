"""`OriginIndex`: a gallery of frames that is asked where a picture comes from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True)
class Match:
    """Where a picture may come from.

    Attributes:
        ids: of the nearest of the gallery, the nearest first.
        scores: their cosines.
        origin: the first of the ids; None if its cosine is below the threshold.
    """

    ids: tuple[Hashable, ...]
    scores: tuple[float, ...]
    origin: Hashable | None


class OriginIndex:
    """Vectors of a gallery, compared one by one.

    Args:
        embed: pictures (B, 3, H, W) to vectors (B, D), such as `OriginIdentifier.embed` and `OriginEncoder.encode`.
    """

    def __init__(self, embed: Callable[[Tensor], Tensor]) -> None:
        self._embed, self._ids = embed, list[Hashable]()
        self._vectors: Tensor | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Sequence[Hashable], images: Tensor) -> None:
        """Put pictures (B, 3, H, W) into the gallery under ids."""
        with torch.no_grad():
            self.add_vectors(ids, self._embed(images))

    def add_vectors(self, ids: Sequence[Hashable], vectors: Tensor) -> None:
        """Put vectors (B, D) that were made before, such as a memory's, into the gallery under ids.

        Raises:
            ValueError: another number of ids, or of numbers.
        """
        if len(ids) != len(vectors):
            raise ValueError(f"ids: expected {len(vectors)}, one for each picture, found {len(ids)}")
        unit = F.normalize(vectors.float(), dim=1)
        if self._vectors is not None and unit.shape[1] != self._vectors.shape[1]:
            raise ValueError(f"vectors: expected {self._vectors.shape[1]} numbers, found {unit.shape[1]}")
        self._vectors = unit if self._vectors is None else torch.cat([self._vectors, unit])
        self._ids += ids

    def trace(self, images: Tensor, k: int = 5, threshold: float | None = None) -> list[Match]:
        """The most likely origins of each of some pictures (B, 3, H, W).

        Args:
            images: what is asked about.
            k: how many origins are told.
            threshold: least cosine of an origin; what is below has none. None takes the nearest always.

        Raises:
            ValueError: nothing is in the gallery.
        """
        with torch.no_grad():
            return self.trace_vectors(self._embed(images), k, threshold)

    def trace_vectors(self, vectors: Tensor, k: int = 5, threshold: float | None = None) -> list[Match]:
        """The same for vectors (B, D) that were made before."""
        if self._vectors is None:
            raise ValueError("gallery: expected some frames, found none")
        similar = F.normalize(vectors.float(), dim=1) @ self._vectors.T
        scores, places = similar.topk(min(k, len(self)), dim=1)
        found = []
        for row, where in zip(scores.tolist(), places.tolist(), strict=True):
            ids = tuple(self._ids[place] for place in where)
            known = threshold is None or row[0] >= threshold
            found.append(Match(ids, tuple(row), ids[0] if known else None))
        return found


def mean_average_precision(sim: ArrayLike, relevant: ArrayLike) -> float:
    """Mean over queries of the average precision of their rankings; what scores alike ranks as badly as it may.

    With one relevant item for a query it is the mean reciprocal rank.

    Args:
        sim: (Q, N) scores.
        relevant: (Q, N), which items are right.

    Raises:
        ValueError: other shapes, or a query without a relevant item.
    """
    scores, right = np.asarray(sim), np.asarray(relevant, bool)
    if scores.shape != right.shape or scores.ndim != 2 or not right.any(axis=1).all():
        raise ValueError(
            f"relevant: expected {scores.shape} with a relevant item in each row, found {right.shape} with "
            f"{int(right.any(axis=-1).sum())} such rows"
        )
    return float(np.mean([_average_precision(row, hits) for row, hits in zip(scores, right, strict=True)]))


def _average_precision(scores: NDArray, right: NDArray[np.bool_]) -> float:
    hits = right[np.lexsort((right, -scores))]  # of equal scores the wrong ones come first
    ranks = np.flatnonzero(hits) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).mean())

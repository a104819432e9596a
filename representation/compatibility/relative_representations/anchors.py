"""`select_anchors`: which samples all others will be told by."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor

Method = Literal["uniform", "fps", "kmeans", "stratified"]


def select_anchors(
    latents: Tensor, k: int, method: Method = "uniform", labels: Tensor | None = None, seed: int = 0
) -> Tensor:
    """Numbers (k,) of the samples that become anchors, all different.

    Args:
        latents: vectors (N, d).
        k: how many.
        method: "uniform" draws them (sorted); "fps" takes the farthest from those before; "kmeans" the nearest to the
            centres of k clusters; "stratified" draws as many of each class, up to one.
        labels: classes (N,), for "stratified".
        seed: of what is drawn.

    Raises:
        ValueError: fewer samples than anchors, an unknown method, or no labels where they are needed.
    """
    if not 1 <= k <= len(latents):
        raise ValueError(f"k: expected 1 to {len(latents)} anchors, as there are samples, found {k}")
    rng = np.random.default_rng(seed)
    if method == "uniform":
        chosen = np.sort(rng.permutation(len(latents))[:k])
    elif method == "fps":
        chosen = _farthest(latents, k, int(rng.integers(len(latents))))
    elif method == "kmeans":
        centers = KMeans(k, n_init=1, random_state=seed).fit(latents.numpy()).cluster_centers_
        chosen = _nearest(latents, torch.from_numpy(centers).to(latents))
    elif method == "stratified":
        if labels is None:
            raise ValueError("labels: expected classes for stratified anchors, found none")
        chosen = _stratified(labels.numpy(), k, rng)
    else:
        raise ValueError(f"method: expected uniform, fps, kmeans or stratified, found {method!r}")
    return torch.from_numpy(np.asarray(chosen, np.int64))


def _farthest(latents: Tensor, k: int, first: int) -> NDArray[np.int64]:
    chosen, distances = [first], torch.full((len(latents),), torch.inf)
    while len(chosen) < k:
        distances = torch.minimum(distances, (latents - latents[chosen[-1]]).norm(dim=1))
        distances[chosen] = -1.0  # equal samples are at no distance, and are still others
        chosen.append(int(distances.argmax()))
    return np.array(chosen)


def _nearest(latents: Tensor, centers: Tensor) -> NDArray[np.int64]:
    """The nearest sample of each centre that no centre before has."""
    distances = torch.cdist(centers, latents)
    chosen: list[int] = []
    for row in distances:
        row[chosen] = torch.inf
        chosen.append(int(row.argmin()))
    return np.array(chosen)


def _stratified(labels: NDArray, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Samples of all classes in turns, each class in a random order."""
    order = rng.permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for value in np.unique(labels):
        own = order[labels[order] == value]
        turn[own] = np.arange(len(own))
    return order[np.argsort(turn[order], kind="stable")][:k]

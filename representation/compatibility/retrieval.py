"""How well queries find their class among stored vectors, also where the two have different lengths."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

QUERIES_AT_A_TIME = 256


def prefix_similarity(a: Tensor, b: Tensor, normalize: bool = True) -> Tensor:
    """Inner products (N, M) of the numbers that vectors (N, p) and (M, q) both have: the first min(p, q).

    Args:
        a: queries.
        b: what is stored.
        normalize: whether each vector is brought to unit length first, over its own full length. Vectors of the
            shorter kind then keep it, so that the order of a query's hits is that of cosines of prefixes.
    """
    if normalize:
        a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    shared = min(a.shape[1], b.shape[1])
    return a[:, :shared] @ b[:, :shared].T


def retrieval_cmc_map(
    q_feat: Tensor, g_feat: Tensor, q_lab: Tensor, g_lab: Tensor, exclude_self: bool = True
) -> dict[str, float]:
    """Cumulative matching and mean average precision by `prefix_similarity`.

    Args:
        q_feat: queries (Q, p).
        g_feat: gallery (G, q).
        q_lab: classes (Q,).
        g_lab: classes (G,).
        exclude_self: queries and gallery are the same things in the same order, and none is to find itself.

    Returns:
        `top1` and `top5`, shares of queries with one of their class among so many first hits, and `mAP`, the mean
        over queries of precision at each match. Queries whose class the gallery lacks do not count.

    Raises:
        ValueError: lengths that do not fit, or no query has its class in the gallery.
    """
    for name, features, labels in (("query", q_feat, q_lab), ("gallery", g_feat, g_lab)):
        if len(features) != len(labels):
            raise ValueError(f"{name} labels: expected {len(features)}, found {len(labels)}")
    if exclude_self and len(q_feat) != len(g_feat):
        raise ValueError(f"exclude_self: expected a gallery of the {len(q_feat)} queries, found {len(g_feat)} vectors")
    firsts, precisions = [], []
    for start in range(0, len(q_feat), QUERIES_AT_A_TIME):
        rows = torch.arange(start, min(start + QUERIES_AT_A_TIME, len(q_feat)))
        similar = prefix_similarity(q_feat[rows], g_feat)
        if exclude_self:
            similar[torch.arange(len(rows)), rows] = -torch.inf
        order = similar.argsort(dim=1, descending=True, stable=True)
        matches = (g_lab[order] == q_lab[rows, None]).numpy()
        if exclude_self:
            matches = matches[:, :-1]  # the query itself comes last
        matches = matches[matches.any(axis=1)]
        firsts.append(matches.argmax(axis=1))
        precisions.append(average_precision(matches))
    first, precision = np.concatenate(firsts), np.concatenate(precisions)
    if not len(first):
        raise ValueError("gallery: expected the class of at least one query, found none")
    return {"top1": float((first < 1).mean()), "top5": float((first < 5).mean()), "mAP": float(precision.mean())}


def mean_reciprocal_rank(queries: Tensor, gallery: Tensor) -> float:
    """How high (N, p) each find their own partner among (N, q), by `prefix_similarity`; needs no classes."""
    similar = prefix_similarity(queries, gallery)
    ranks = 1 + (similar > similar.diagonal()[:, None]).sum(dim=1)
    return float((1 / ranks).mean())


def average_precision(matches: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean (Q,) of the precision at each match of (Q, G) hits, nearest first; each row has a match."""
    precision = matches.cumsum(axis=1) / np.arange(1, matches.shape[1] + 1)
    return (precision * matches).sum(axis=1) / matches.sum(axis=1)

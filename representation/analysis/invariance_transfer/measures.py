"""How invariant features are to a transform, and how well classes are read from them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation import probes
from representation.analysis.invariance_transfer.dataset import Transforms2D, materialised
from representation.analysis.invariance_transfer.transforms import RGBA, TRANSFORMS
from representation.interface import Encoder

Metric = Literal["l2", "cosine", "dot", "cka"]
Features = Encoder | Callable[[Tensor], Tensor]
"""An encoder of this repository, which takes pictures in [0, 1], or anything that takes pictures in [-1, 1]."""

BATCH = 128
_CONSTANT = 1e-12


@torch.inference_mode()
def features(encoder: Features, images: Tensor) -> Tensor:
    """Features (N, D) float64 of pictures (N, 3, S, S) in [-1, 1]; a module is in evaluation mode meanwhile."""
    was = encoder.training if isinstance(encoder, nn.Module) else False
    if isinstance(encoder, nn.Module):
        encoder.eval()
    parts = []
    for part in images.split(BATCH):
        found = encoder.encode((part + 1) / 2) if isinstance(encoder, Encoder) else encoder(part)
        parts.append(found.flatten(1).double().cpu())
    if isinstance(encoder, nn.Module):
        encoder.train(was)
    found = torch.cat(parts)
    if not torch.isfinite(found).all():
        raise ValueError("encoder: expected finite features, found NaN or infinity")
    return found


def measure_invariance(
    encoder: Features, ds_a: Transforms2D, ds_b: Transforms2D, metric: Metric = "l2", shuffle_seed: int = 0
) -> float:
    """How far two draws of transforms lie apart, as a share of how far different pictures do.

    Args:
        encoder: see `Features`.
        ds_a: pictures.
        ds_b: the same objects and backgrounds, other draws.
        metric: see the package.
        shuffle_seed: of the order in which different pictures are paired.

    Returns:
        0 where it is invariant, 1 where two draws are as far apart as any pictures; above 1 where they are farther.
        NaN, with a warning, where all features are the same.

    Raises:
        ValueError: the datasets differ in length or in what they show.
    """
    (a, labels), (b, others) = materialised(ds_a), materialised(ds_b)
    if len(a) != len(b) or not torch.equal(labels, others):
        raise ValueError("ds_a, ds_b: expected the same objects in the same order, found others")
    return feature_invariance(features(encoder, a), features(encoder, b), metric, shuffle_seed)


def feature_invariance(a: Tensor, b: Tensor, metric: Metric = "l2", shuffle_seed: int = 0) -> float:
    """`measure_invariance` of features (N, D) and (N, D) of the same rows, N at least 4."""
    if a.shape != b.shape or a.ndim != 2 or len(a) < 4:
        raise ValueError(f"features: expected (N, D) twice, N at least 4, found {tuple(a.shape)} and {tuple(b.shape)}")
    order = np.random.default_rng(shuffle_seed).permutation(len(a))
    partner = np.empty_like(order)
    partner[order] = np.roll(order, 1)  # nothing is paired with itself
    different = b[torch.from_numpy(partner)]
    above, below = _apart(a, b, metric), _apart(a, different, metric)
    if below <= _CONSTANT or not torch.isfinite(torch.tensor([above, below])).all():
        warnings.warn("invariance: expected features that differ, found the same of all pictures", stacklevel=2)
        return float("nan")
    return above / below


def _apart(a: Tensor, b: Tensor, metric: Metric) -> float:
    if metric == "l2":
        return float((a - b).norm(dim=1).mean())
    if metric == "dot":
        return float((a * b).sum(dim=1).mean())
    if metric == "cosine":
        return float((1 - F.cosine_similarity(a, b)).clamp(min=0).mean())
    if metric == "cka":
        return 1 - minibatch_cka(a, b)
    raise ValueError(f"metric: expected l2, cosine, dot or cka, found {metric!r}")


def minibatch_cka(a: Tensor, b: Tensor, batch: int = BATCH) -> float:
    """Linear CKA of features (N, D) and (N, E) by unbiased estimates of HSIC in batches (Nguyen et al., ICLR 2021)."""
    sums = torch.zeros(3, dtype=torch.float64)
    starts = range(0, len(a) - min(batch, len(a)) + 1, batch)
    for start in starts:
        k, m = (one[start : start + batch] @ one[start : start + batch].T for one in (a, b))
        sums += torch.stack([_hsic(k, m), _hsic(k, k), _hsic(m, m)])
    return float(sums[0] / (sums[1] * sums[2]).sqrt())


def _hsic(k: Tensor, m: Tensor) -> Tensor:
    n = len(k)
    k, m = k - k.diag().diag(), m - m.diag().diag()
    trace, means = (k * m).sum(), k.sum() * m.sum() / ((n - 1) * (n - 2))
    return (trace + means - 2 / (n - 2) * k.sum(dim=0) @ m.sum(dim=0)) / (n * (n - 3))


def invariance_matrix(
    encoders: Mapping[str, Features],
    transforms: Sequence[str] = tuple(TRANSFORMS),
    foregrounds: Sequence[RGBA] = (),
    backgrounds: Sequence[NDArray[np.uint8]] = (),
    n: int = 256,
    image_size: int = 32,
    seed: int = 0,
    metric: Metric = "l2",
) -> pd.DataFrame:
    """Invariance of each encoder (row) to each transform alone (column); arguments as of `Transforms2D`."""
    rows: dict[str, dict[str, float]] = {name: {} for name in encoders}
    for transform in transforms:
        pair = [
            materialised(Transforms2D(foregrounds, backgrounds, [transform], n, image_size, seed, seed + 1 + draw))[0]
            for draw in range(2)
        ]
        for name, encoder in encoders.items():
            first, second = (features(encoder, one) for one in pair)
            rows[name][transform] = feature_invariance(first, second, metric, seed)
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(transforms))


def linear_probe(
    encoder: Features,
    train: Transforms2D,
    test: Transforms2D,
    epochs: int = 200,
    solver: Literal["lbfgs", "adam"] = "lbfgs",
) -> float:
    """Accuracy of a linear layer on frozen features.

    Args:
        encoder: see `Features`.
        train: pictures it is fitted on.
        test: pictures it is measured on.
        epochs: of Adam.
        solver: `lbfgs` fits a logistic regression to its end; `adam` trains a layer with steps of 1e-3.
    """
    (x, y), (held, wanted) = materialised(train), materialised(test)
    return probe_features((features(encoder, x), y), (features(encoder, held), wanted), epochs, solver)


def probe_features(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], epochs: int = 200, solver: str = "lbfgs"
) -> float:
    """`linear_probe` of features (N, D) and classes (N,)."""
    if len(train[1].unique()) < 2:
        raise ValueError(f"train: expected at least two classes, found {train[1].unique().tolist()}")
    if solver == "lbfgs":
        fitted, held = ((x.numpy(), y.numpy()) for x, y in (train, test))
        return float(probes.linear_probe(fitted, held, "class").score)
    if solver != "adam":
        raise ValueError(f"solver: expected lbfgs or adam, found {solver!r}")
    (x, y), (held, wanted) = ((x.float(), y) for x, y in (train, test))
    head = nn.Linear(x.shape[1], int(torch.cat([y, wanted]).max()) + 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer, generator = torch.optim.Adam(head.parameters(), 1e-3), torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(512):
            optimizer.zero_grad()
            F.cross_entropy(head(x[rows]), y[rows]).backward()
            optimizer.step()
    with torch.inference_mode():
        return float((head(held).argmax(dim=1) == wanted).float().mean())

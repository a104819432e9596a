"""Scores of many encoders for one task: what `representation.select` shows, and `rank_encoders` for callables.

Scores that need no training are computed of all labelled features at once. How sure they are is told by the jackknife:
the standard error from leaving out a fifth of the episodes at a time. The probes of `representation.probes` are fitted
on four fifths and scored on the other, five times; their standard error is that of the five. So is the protocol of
BenchX for frozen encoders, which chooses learning rate and moment on one of the four fifths.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor, nn

from representation.interface import ProbeResult
from representation.probes import knn_probe, linear_probe
from representation.selection.benchx.frozen import fit_frozen
from representation.selection.hscore import hscore
from representation.selection.labelled_features import labelled_features
from representation.selection.logme import logme
from representation.selection.nleep import nleep
from representation.selection.ped import score_with_ped
from representation.selection.sfda import sfda
from representation.selection.tmi import TMIResult, tmi_score

FOLDS = 5
MIN_DIST = 1e-3  # of the root mean square of a feature's entries

Features = NDArray[np.float64]
Labels = NDArray[np.int64]


def scaled_tmi(x: Features, y: Labels, standardize: bool = False) -> TMIResult:
    """`tmi_score` whose smallest distance is `MIN_DIST` of the features' root mean square, whatever their scale."""
    if standardize:
        return tmi_score(x, y, min_dist=MIN_DIST, standardize="rms")
    return tmi_score(x, y, min_dist=MIN_DIST * float(np.sqrt(np.mean((x - x.mean(axis=0)) ** 2))))


def affordable_nleep(x: Features, y: Labels) -> float:
    """`nleep` with five Gaussians a class as in the paper, or fewer, so that each has two samples on average."""
    return nleep(x, y, components_per_class=max(1, min(5, len(x) // (2 * len(np.unique(y))))))


SCORES: dict[str, Callable[[Features, Labels, Features | None], float]] = {
    "tmi": lambda x, y, general: scaled_tmi(x, y).score,
    "tmi_rms": lambda x, y, general: scaled_tmi(x, y, standardize=True).score,
    "logme": lambda x, y, general: logme(x, y),
    "ped_logme": lambda x, y, general: score_with_ped(x, y, general, "logme"),
    "sfda": lambda x, y, general: sfda(x, y),
    "ped_sfda": lambda x, y, general: score_with_ped(x, y, general, "sfda"),
    "nleep": lambda x, y, general: affordable_nleep(x, y),
    "hscore": lambda x, y, general: hscore(x, y),
}
"""Scores of features (N, d), classes (N,) and general features (M, d) or None, by name; higher is better."""
Rows = NDArray[np.int64]


def probed(probe: Callable[..., ProbeResult], x: Features, y: Labels, fit: Rows, test: Rows) -> float:
    """Accuracy on some rows of a probe that was fitted on others."""
    return probe((x[fit], y[fit]), (x[test], y[test]), "").score


PROBES: dict[str, Callable[[Features, Labels, tuple[Rows, Rows, Rows], int], float]] = {
    "knn": lambda x, y, rows, seed: probed(knn_probe, x, y, np.union1d(*rows[:2]), rows[2]),
    "linear": lambda x, y, rows, seed: probed(linear_probe, x, y, np.union1d(*rows[:2]), rows[2]),
    "benchx": lambda x, y, rows, seed: fit_frozen(x, y, rows, seed=seed).value,
}
"""What a head on features (N, d) and classes (N,) reaches; rows are to fit on, to choose on and to score on."""
ALL_SCORES = (*SCORES, *PROBES)


@dataclass(frozen=True)
class Score:
    """A score of an encoder.

    Attributes:
        value: higher for what is said to be better.
        error: standard error over episodes.
        seconds: that the value took, without its error.
    """

    value: float
    error: float
    seconds: float


def folds(y: ArrayLike, groups: ArrayLike, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to fit on and rows to score on, `FOLDS` times; groups stay together, classes are spread evenly.

    Raises:
        ValueError: a class has samples of fewer groups than folds.
    """
    labels, members = np.asarray(y), np.asarray(groups)
    for label in np.unique(labels):
        found = len(np.unique(members[labels == label]))
        if found < FOLDS:
            raise ValueError(f"class {label}: expected samples of at least {FOLDS} episodes, found {found}")
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros((len(labels), 1)), labels, members))


def score_features(
    x: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike,
    scores: Sequence[str] = ALL_SCORES,
    general: ArrayLike | None = None,
    seed: int = 0,
) -> dict[str, Score]:
    """Scores of one encoder's features.

    Args:
        x: features (N, d).
        y: labels (N,) of at least two classes.
        groups: (N,) episode of each sample; they are left out as a whole.
        scores: names in `ALL_SCORES`.
        general: features (M, d) of the same encoder of frames of any kind, for PED; x if None.
        seed: of the parts that are left out.

    Raises:
        ValueError: no such score; see `labelled_features` and `folds`.
    """
    unknown = sorted(set(scores) - set(ALL_SCORES))
    if unknown:
        raise ValueError(f"scores: expected some of {', '.join(ALL_SCORES)}, found {unknown}")
    features, classes, _ = labelled_features(x, y)
    others = None if general is None else np.asarray(general, np.float64)
    parts, found = folds(classes, groups, seed), {}
    for name in scores:
        began = time.perf_counter()
        if name in SCORES:
            value = SCORES[name](features, classes, others)
            seconds = time.perf_counter() - began
            values = [SCORES[name](features[rows], classes[rows], others) for rows, _ in parts]
            found[name] = Score(value, _jackknife(values), seconds)
        else:
            values = [PROBES[name](features, classes, rows, seed) for rows in _three_parts(parts)]
            error = float(np.std(values, ddof=1) / FOLDS**0.5)
            found[name] = Score(float(np.mean(values)), error, time.perf_counter() - began)
    return found


def _three_parts(parts: Sequence[tuple[Rows, Rows]]) -> list[tuple[Rows, Rows, Rows]]:
    """Rows to fit on, to choose on and to score on; what one fold is scored on, the one before it chooses on."""
    scored = [test for _, test in parts]
    return [
        (np.setdiff1d(fit, chosen), chosen, test)
        for (fit, test), chosen in zip(parts, scored[1:] + scored[:1], strict=True)
    ]


def _jackknife(values: Sequence[float]) -> float:
    """Standard error, of values each with another part left out."""
    return float(np.sqrt((len(values) - 1) * np.var(values)))


@contextmanager
def outputs_of(module: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Collects the outputs of a layer, one after the other.

    Args:
        module: whose layer it is.
        layer: its name among `module.named_modules()`.

    Raises:
        ValueError: no such layer.
    """
    layers = dict(module.named_modules())
    if layer not in layers:
        raise ValueError(f"layer: expected one of {', '.join(name for name in layers if name)}, found {layer!r}")
    found: list[Tensor] = []
    handle = layers[layer].register_forward_hook(lambda _module, _inputs, output: found.append(output.detach()))
    try:
        yield found
    finally:
        handle.remove()


@torch.no_grad()
def _features(encoder: Callable[[Tensor], Tensor], images: Tensor, layer: str | None, batch: int = 128) -> Features:
    def run() -> list[Tensor]:
        return [encoder(part) for part in images.split(batch)]

    if layer is None:
        parts = run()
    elif isinstance(encoder, nn.Module):
        with outputs_of(encoder, layer) as parts:
            run()
    else:
        raise ValueError(f"layer: expected encoders that are modules, found {type(encoder).__name__}")
    return torch.cat([part.flatten(1).float().cpu() for part in parts]).numpy().astype(np.float64)


def rank_encoders(
    encoders: Mapping[str, Callable[[Tensor], Tensor]],
    images: Tensor,
    labels: ArrayLike,
    scores: Sequence[str] = ("tmi", "logme", "ped_logme", "hscore"),
    layer: str | None = None,
) -> pd.DataFrame:
    """Score encoders of anything on labelled samples.

    Args:
        encoders: by name; each takes a batch of images and gives features (B, ...), which are flattened. Modules are
            to be in evaluation mode.
        images: (N, ...) what they take.
        labels: (N,) of at least two classes; every sample is an episode by itself.
        scores: names in `ALL_SCORES`.
        layer: of the encoders, which then are modules, whose outputs are the features.

    Returns:
        A row for each encoder, the best by the first score first: the scores, the standard error of each as
        `SCORE_error`, `rms` of the features, share of TMI's distances that were `clamped`, `width` d, and `seconds`.

    Raises:
        ValueError: no encoders, no such layer, an encoder of another mode; see `score_features`.
    """
    if not encoders or not scores:
        raise ValueError(f"encoders, scores: expected at least one each, found {list(encoders)} and {list(scores)}")
    rows = {}
    for name, encoder in encoders.items():
        if isinstance(encoder, nn.Module) and encoder.training:
            raise ValueError(f"{name}: expected an encoder in evaluation mode, found one in training mode")
        began = time.perf_counter()
        x = _features(encoder, images, layer)
        found = score_features(x, labels, np.arange(len(x)), scores)
        spread = scaled_tmi(x, np.asarray(labels))
        rows[name] = (
            {key: score.value for key, score in found.items()}
            | {f"{key}_error": score.error for key, score in found.items()}
            | {"rms": spread.rms, "clamped": spread.clamped_fraction, "width": x.shape[1]}
            | {"seconds": time.perf_counter() - began}
        )
    return pd.DataFrame.from_dict(rows, orient="index").sort_values(scores[0], ascending=False)

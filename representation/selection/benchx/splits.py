"""Fixed splits: drawn once from a seed, written as text files, and never drawn anew for a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

TRAIN, VALIDATION, TEST = "train", "val", "test"
HELD_OUT = 0.3  # a half to validate with, a half to test with


def fraction_name(fraction: float) -> str:
    """`train` for all training cases, `train_10` for a tenth of them."""
    return TRAIN if fraction == 1 else f"{TRAIN}_{100 * fraction:g}"


def stratified_splits(
    labels: NDArray, seed: int = 42, fractions: Sequence[float] = (0.01, 0.1, 1.0)
) -> dict[str, NDArray[np.int64]]:
    """Numbers of the cases of each part: 70 % to train on, 15 % each to validate and to test with.

    Args:
        labels: classes (N,), or 0 and 1 for each of several labels (N, C), which are dealt out by `dealt_out`.
        seed: of all draws.
        fractions: of the training cases, each drawn from all of them.

    Returns:
        Sorted numbers by name: `train`, `train_10` and so on (see `fraction_name`), `val` and `test`.

    Raises:
        ValueError: a fraction outside (0, 1], one class only, or fewer cases than classes in some part.
    """
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or not np.isfinite(labels.astype(float)).all():
        raise ValueError(f"labels: expected finite ones (N,) or (N, C), found {labels.shape} or values that are not")
    several = labels.ndim == 2
    if (labels.min(axis=0) == labels.max(axis=0)).all():
        raise ValueError(f"labels: expected at least two classes, found {np.unique(labels)[:2].tolist()} only")
    rows, strata = np.arange(len(labels)), labels if several else np.unique(labels, return_inverse=True)[1]
    train, held_out = _part(rows, strata, HELD_OUT, seed, "held out")
    validation, test = _part(held_out, strata, 0.5, seed, TEST)
    found = {TRAIN: train}
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise ValueError(f"fractions: expected in (0, 1], found {fraction}")
        if fraction < 1:
            name = fraction_name(fraction)
            found[name] = _part(train, strata, 1 - fraction, seed, name)[0]
    return found | {VALIDATION: validation, TEST: test}


def random_splits(count: int, seed: int = 42, fractions: Sequence[float] = (0.01, 0.1, 1.0)) -> dict[str, NDArray]:
    """`stratified_splits` of cases without classes, as those that have a report only.

    Raises:
        ValueError: a part would be empty.
    """
    rows = np.random.default_rng(seed).permutation(count)
    ends = np.round(np.array([1 - HELD_OUT, 1 - HELD_OUT / 2]) * count).astype(int)
    train, validation, test = np.split(rows, ends)
    found = {fraction_name(f): train[: round(f * len(train))] for f in (*fractions, 1.0)}
    found |= {VALIDATION: validation, TEST: test}
    empty = [name for name, part in found.items() if not len(part)]
    if empty:
        raise ValueError(f"cases: expected enough for {', '.join(empty)}, found {count}")
    return {name: np.sort(part) for name, part in found.items()}


def _part(
    rows: NDArray, strata: NDArray, second: float, seed: int, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two sorted parts of some rows, alike in strata."""
    if strata.ndim == 2:
        taken = dealt_out(strata[rows], second, np.random.default_rng(seed))
        if taken.all() or not taken.any():
            raise ValueError(f"{name}: expected cases in both parts of {len(rows)}, found one without any")
        return rows[~taken], rows[taken]
    try:
        first, other = train_test_split(rows, test_size=second, stratify=strata[rows], random_state=seed)
    except ValueError as error:
        counts = np.bincount(strata[rows])
        raise ValueError(
            f"{name}: expected a case of each of {np.count_nonzero(counts)} classes in both parts of {len(rows)} "
            f"cases, of which the rarest class has {counts[counts > 0].min()}; found that {error}"
        ) from error
    return np.sort(first), np.sort(other)


def dealt_out(labels: NDArray, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which of some cases go to a part, so that it has its share of each label (Sechidis et al., ECML 2011).

    The cases of the label that the fewest cases have are dealt out first, each to the part that lacks most of it.

    Args:
        labels: (N, C) of 0 and 1.
        share: of the cases that the part gets, rounded up.
        rng: the order of the cases.
    """
    count = len(labels)
    size = int(np.ceil(share * count))
    shares = np.array([count - size, size]) / count
    lacks, room = shares[:, None] * labels.sum(axis=0), np.array([count - size, size])
    part, order = np.full(count, -1), rng.permutation(count)
    while (part < 0).any():
        left = order[part[order] < 0]
        counts = labels[left].sum(axis=0)
        if counts.any():
            label = int(np.where(counts > 0, counts, count + 1).argmin())
            chosen, wanted = left[labels[left, label] > 0], lacks[:, label]
        else:
            chosen, wanted = left, room
        for row in chosen:
            best = max((0, 1), key=lambda place: (room[place] > 0, wanted[place], room[place]))
            part[row] = best
            room[best] -= 1
            lacks[best] -= labels[row]
    return part == 1


def write_splits(splits: Mapping[str, NDArray], directory: Path) -> None:
    """Write a text file of each part, a number a line."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        (directory / f"{name}.txt").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def read_splits(directory: Path, count: int) -> dict[str, NDArray[np.int64]]:
    """Read what `write_splits` wrote.

    Args:
        directory: of the files.
        count: of all cases.

    Raises:
        ValueError: a file is damaged, numbers a case that is not there, or cases are in two parts; names it.
    """
    found = {}
    for file in sorted(directory.glob("*.txt")):
        try:
            rows = np.array([int(line) for line in file.read_text(encoding="utf-8").split()], dtype=np.int64)
        except ValueError as error:
            raise ValueError(f"{file}: expected a number a line, found {error}") from error
        if len(rows) == 0 or rows.min() < 0 or rows.max() >= count:
            raise ValueError(f"{file}: expected numbers of {count} cases, found {len(rows)} others or none")
        found[file.stem] = rows
    missing = [name for name in (TRAIN, VALIDATION, TEST) if name not in found]
    if missing:
        raise ValueError(f"{directory}: expected {', '.join(missing)}.txt, found {sorted(found)}")
    check_disjoint(found, directory)
    return found


def check_disjoint(splits: Mapping[str, NDArray], where: object) -> None:
    """Check that what is trained on, validated and tested with is not the same.

    Raises:
        ValueError: a case is in two parts.
    """
    held_out = {name: set(splits[name].tolist()) for name in (VALIDATION, TEST)}
    trained = {row for name, rows in splits.items() if name.startswith(TRAIN) for row in rows.tolist()}
    common = (held_out[VALIDATION] & held_out[TEST]) | (trained & (held_out[VALIDATION] | held_out[TEST]))
    if common:
        raise ValueError(f"{where}: expected parts without common cases, found case {min(common)} in two")

"""Label many vectors when a few of each class are labelled: `python -m representation.transfer.label_few`.

`--labelled FILE` and `--unlabelled FILE` are npz files with `vectors` (N, D) and `episode` (N,), the number of the
recording that each belongs to; the first has `label` (N,) too. `python -m representation.embed` writes them of a
camera's frames, NumPy's `savez` of any other sensor. KTF (`shda_ktf`) learns from both and from noise, or from the
labelled vectors of another encoder or sensor (`--source FILE`). The directory gets `labels.npz`, the unlabelled vectors
with their labels, and, of the method `ktf`, the network for vectors to come in `model/`.

Where the unlabelled file has labels, they only tell how many were found. Without `--unlabelled`, `--per-class` labels
are drawn from the labelled file and the rest is taken as unlabelled, but for a share of its episodes that is held out:
this tells, before anything is labelled by hand, how far so many labels reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor

from representation.compatibility.stored_vectors import VectorFile, read_vectors
from representation.data.frames import expect_empty
from representation.transfer.shda_ktf.fitting import KTFResult, fit_ktf, fit_stn, target_only, transfer_diagnostics
from representation.transfer.shda_ktf.sources import Labelled

LABELS_FILE, MODEL = "labels.npz", "model"


@dataclass(frozen=True)
class FewOptions:
    """What is labelled.

    Attributes:
        labelled: vectors with labels.
        output: directory to write; must not hold files.
        unlabelled: vectors to label.
        source: labelled vectors of another kind, with at least as many classes; noise if left out.
        method: `ktf`, in which a source's own space is the common one, or `stn`, which projects the source too.
        per_class: labels of each class that are used; 0 for all of them.
        held_out: share of the episodes that is kept for measuring, where labels are drawn.
        imbalanced: whether the classes are taken to be as frequent as among all labelled vectors, and not alike.
        mu: weight of the distance of means; 0.1 for texts.
        steps: of the optimizer.
        seed: of weights, noise and what is drawn.
    """

    labelled: Path
    output: Path
    unlabelled: Path | None = None
    source: Path | None = None
    method: Literal["ktf", "stn"] = "ktf"
    per_class: int = 0
    held_out: float = 0.2
    imbalanced: bool = False
    mu: float = 1.0
    steps: int = 600
    seed: int = 0


def drawn_labels(labels: NDArray[np.int64], per_class: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of `per_class` vectors of each class.

    Raises:
        ValueError: a class has fewer.
    """
    rows = []
    for number in np.unique(labels):
        of_class = np.flatnonzero(labels == number)
        if len(of_class) < per_class:
            raise ValueError(f"per_class: expected at most {len(of_class)}, all of class {number}, found {per_class}")
        rows.append(rng.permutation(of_class)[:per_class])
    return np.concatenate(rows)


def source_of(bank: VectorFile, num_classes: int) -> Labelled:
    """The vectors of the C largest classes of a bank; which of them stands for which class hardly matters.

    Raises:
        ValueError: no labels, or fewer classes.
    """
    if bank.labels is None or len(np.unique(bank.labels)) < num_classes:
        found = None if bank.labels is None else len(np.unique(bank.labels))
        raise ValueError(f"source: expected labels of at least {num_classes} classes, found {found}")
    numbers, counts = np.unique(bank.labels, return_counts=True)
    largest = numbers[np.argsort(-counts, kind="stable")[:num_classes]]
    parts = [bank.vectors[bank.labels == number] for number in largest]
    vectors = torch.from_numpy(np.concatenate(parts))
    classes = torch.arange(num_classes).repeat_interleave(torch.tensor([len(part) for part in parts]))
    return torch.nn.functional.normalize(vectors, dim=1), classes


@dataclass(frozen=True)
class Given:
    """What is learned from and measured on.

    Attributes:
        labelled: vectors with labels.
        unlabelled: vectors to label; their labels, if there are any, are the truth.
        held_out: vectors that are not trained with; None if there are none.
        priors: how frequent the classes are; None for alike.
    """

    labelled: VectorFile
    unlabelled: VectorFile
    held_out: VectorFile | None
    priors: Tensor | None


def rows_of(file: VectorFile, rows: NDArray[np.int64]) -> VectorFile:
    """Some of the vectors."""
    labels = None if file.labels is None else file.labels[rows]
    return VectorFile(file.vectors[rows], file.episode[rows], labels, file.names)


def read(options: FewOptions) -> Given:
    """Read the files and draw what is drawn.

    Raises:
        ValueError: no labels, too few of them, or vectors of two kinds.
    """
    rng, file = np.random.default_rng(options.seed), read_vectors(options.labelled)
    if file.labels is None:
        raise ValueError(f"{options.labelled}: expected labels, found none")
    counts = np.unique(file.labels, return_counts=True)[1]
    priors = torch.from_numpy(counts / counts.sum()).float() if options.imbalanced else None
    if options.unlabelled is not None:
        unlabelled = read_vectors(options.unlabelled)
        if unlabelled.vectors.shape[1] != file.vectors.shape[1]:
            found = unlabelled.vectors.shape[1]
            raise ValueError(
                f"{options.unlabelled}: expected vectors of {file.vectors.shape[1]} numbers, found {found}"
            )
        if unlabelled.labels is not None and unlabelled.names != file.names:
            raise ValueError(f"{options.unlabelled}: expected classes {file.names}, found {unlabelled.names}")
        used = drawn_labels(file.labels, options.per_class, rng) if options.per_class else np.arange(len(file.labels))
        return Given(rows_of(file, used), unlabelled, None, priors)
    if not options.per_class:
        raise ValueError("per_class: expected at least 1 where there is no unlabelled file, found 0")
    episodes = np.unique(file.episode)
    kept = rng.permutation(episodes)[: round(options.held_out * len(episodes))]
    apart = np.isin(file.episode, kept)
    rest = np.flatnonzero(~apart)
    used = rest[drawn_labels(file.labels[rest], options.per_class, rng)]
    others = np.setdiff1d(rest, used)
    if not len(others):
        raise ValueError(f"labelled: expected more vectors than the {len(used)} whose labels are used, found no other")
    held_out = rows_of(file, np.flatnonzero(apart)) if apart.any() else None
    return Given(rows_of(file, used), rows_of(file, others), held_out, priors)


def fit(given: Given, options: FewOptions, numbers: NDArray[np.int64]) -> KTFResult:
    """Train the network; `numbers` (C,) are those of the classes, in order."""
    xl, xu = (torch.from_numpy(part.vectors) for part in (given.labelled, given.unlabelled))
    yl = torch.from_numpy(np.searchsorted(numbers, given.labelled.labels))
    source = None if options.source is None else source_of(read_vectors(options.source), len(numbers))
    if options.method == "stn":
        if source is None:
            raise ValueError("source: expected a file for the method stn, found none")
        return fit_stn(*source, xl, yl, xu, steps=options.steps, seed=options.seed)
    settings = {"mu": options.mu, "steps": options.steps, "seed": options.seed, "priors": given.priors}
    return fit_ktf(xl, yl, xu, source, **settings, progress=True)


def told(result: KTFResult, file: VectorFile, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels (N,) that a network gives vectors."""
    return numbers[result.probabilities(torch.from_numpy(file.vectors)).argmax(dim=1).numpy()]


def main(args: Sequence[str] | None = None) -> None:
    """Label, and tell how well where it is known, beside a network that sees the labelled vectors alone."""
    options = tyro.cli(FewOptions, args=args, description=__doc__)
    expect_empty(options.output)
    given = read(options)
    numbers = np.unique(given.labelled.labels)
    result = fit(given, options, numbers)
    alone = target_only(
        torch.from_numpy(given.labelled.vectors),
        torch.from_numpy(np.searchsorted(numbers, given.labelled.labels)),
        seed=options.seed,
    )
    options.output.mkdir(parents=True, exist_ok=True)
    file, labels = given.unlabelled, told(result, given.unlabelled, numbers)
    VectorFile(file.vectors, file.episode, labels, given.labelled.names).write(options.output / LABELS_FILE)
    if options.method == "ktf":
        result.model.save(options.output / MODEL)
    print(f"{len(labels)} vectors labelled after {len(given.labelled.vectors)} labels of {len(numbers)} classes")
    for name, part in (("unlabelled", given.unlabelled), ("held out", given.held_out)):
        if part is not None and part.labels is not None:
            ours, theirs = (float((told(one, part, numbers) == part.labels).mean()) for one in (result, alone))
            print(f"{name}: {ours:.3f} right, {theirs:.3f} by the labelled alone ({len(part.vectors)} vectors)")
    print(", ".join(f"{name} {value:.3f}" for name, value in transfer_diagnostics(result).items()))


if __name__ == "__main__":
    main()

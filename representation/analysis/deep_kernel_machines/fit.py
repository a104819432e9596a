"""Predict a measured quantity, and how sure: `python -m representation.analysis.deep_kernel_machines.fit --help`.

`--data` is an npz file of arrays, a LeRobot dataset (`python -m sim.collect`) or frames; `--inputs` and `--target` name
arrays, features or columns, and `--vectors` adds those of an encoder (`python -m representation.embed`). With `--ahead
N` the target is its change over N steps of an episode. Whole episodes are held out: a fifth to choose nu by, which
says how freely kernels are learned, and a fifth to test. Beside the machine stand the same with fixed kernels (NNGP),
a plain Gaussian process and ridge regression, or logistic regression for classes. The predictor comes back by
`representation.registry.load_model(OUTPUT)`; figures are in `OUTPUT/report.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import LogisticRegression, RidgeCV

from representation.analysis.deep_kernel_machines.full import DeepKernelMachine
from representation.analysis.deep_kernel_machines.kernels import ArccosKernel, Kernel, SqExpKernel, kernel_alignment
from representation.analysis.deep_kernel_machines.predictor import Machine, Predictor
from representation.analysis.deep_kernel_machines.sparse import SparseDKM
from representation.analysis.deep_kernel_machines.tables import Table, read_table
from representation.data.frames import expect_empty

KERNELS: dict[str, type[Kernel]] = {"sqexp": SqExpKernel, "arccos": ArccosKernel}
MOST_PLAIN = 500  # rows that the plain Gaussian process learns from; its time grows with their cube
NOISE = 0.1


@dataclass(frozen=True)
class FitOptions:
    """What is learned.

    Attributes:
        data: npz file, LeRobot dataset or frames.
        output: directory to write; must not hold files.
        target: what is predicted.
        inputs: what it is predicted from.
        vectors: of an encoder, further inputs; file of `representation.embed`.
        ahead: predict the change of the target over so many steps; 0 predicts the target.
        classify: the target numbers classes.
        machine: `sparse` learns from inducing points, `full` from one matrix of all rows.
        kernel: of the layers.
        layers: whose Gram matrices are learned.
        nus: nu for each output, tried.
        inducing: points.
        steps: of the optimizer.
        rows: at most, of each part of the data.
        seed: of everything that is drawn.
    """

    data: Path
    output: Path
    target: str
    inputs: tuple[str, ...] = ()
    vectors: Path | None = None
    ahead: int = 0
    classify: bool = False
    machine: Literal["sparse", "full"] = "sparse"
    kernel: Literal["sqexp", "arccos"] = "sqexp"
    layers: int = 2
    nus: tuple[float, ...] = (10.0, 100.0, 1000.0)
    inducing: int = 100
    steps: int = 400
    rows: int = 2000
    seed: int = 0


class Score(NamedTuple):
    """How well held-out targets are predicted.

    Attributes:
        error: root mean square of the error over rows and outputs; of classes the share that is wrong.
        loss: mean negative log-likelihood of a row and output, nats.
    """

    error: float
    loss: float


def score(y: NDArray, mean: NDArray, variance: NDArray) -> Score:
    """Of predictions (n, C), by numbers (n, C) or classes (n,)."""
    if y.ndim == 1:
        told = np.maximum(mean[np.arange(len(y)), y], 1e-12)
        return Score(float((mean.argmax(axis=1) != y).mean()), float(-np.log(told).mean()))
    squares = (y - mean) ** 2
    loss = (squares / variance + np.log(2 * np.pi * variance)).mean() / 2
    return Score(float(np.sqrt(squares.mean())), float(loss))


def standard(table: Table) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Mean and scale of inputs and of targets; those of classes stay as they are."""

    def of(values: NDArray) -> tuple[torch.Tensor, torch.Tensor]:
        spread = values.std(axis=0)
        return torch.from_numpy(values.mean(axis=0)), torch.from_numpy(np.where(spread > 1e-9, spread, 1.0))

    if table.classes:
        zeros = torch.zeros(table.classes, dtype=torch.float64)
        return of(table.x), (zeros, zeros + 1)
    return of(table.x), of(table.y)


def fitted(table: Table, options: FitOptions, nu: float) -> Predictor:
    """A machine that learned from a table, in its units.

    Raises:
        ValueError: classes for the full machine.
    """
    inputs, outputs = standard(table)
    x = (torch.from_numpy(table.x) - inputs[0]) / inputs[1]
    y = torch.from_numpy(table.y)
    y = y if table.classes else (y - outputs[0]) / outputs[1]
    make, count = KERNELS[options.kernel], len(outputs[0])
    machine: Machine
    if options.machine == "full":
        if table.classes:
            raise ValueError("machine: expected sparse for classes, found full")
        kernels = [make() for _ in range(options.layers + 1)]
        machine = DeepKernelMachine(kernels, nu, NOISE, learn=True).fit(x, y, options.steps)
    else:
        rng = np.random.default_rng(options.seed)
        chosen = torch.from_numpy(np.sort(rng.permutation(len(x))[: options.inducing]))
        start = torch.nn.functional.one_hot(y[chosen], count).double() if table.classes else y[chosen]
        machine = SparseDKM(
            x[chosen],
            options.layers,
            make(),
            nu,
            count,
            "categorical" if table.classes else "gaussian",
            noise=NOISE,
            start=start,
        ).fit(x, y, options.steps, seed=options.seed)
    return Predictor(machine, inputs, outputs, (*options.inputs, options.target))


def baselines(train: Table, check: Table, test: Table, seed: int) -> dict[str, Score]:
    """Scores of a plain Gaussian process with a squared exponential kernel, and of a linear model, on a test table."""
    (mean, scale), (shift, unit) = ((m.numpy(), s.numpy()) for m, s in standard(train))
    x, checked, tested = ((part.x - mean) / scale for part in (train, check, test))
    few = np.random.default_rng(seed).permutation(len(x))[:MOST_PLAIN]
    kernel = ConstantKernel(1.0) * RBF(x.shape[1] ** 0.5, (1e-2, 1e4))
    if train.classes:
        everywhere = np.eye(train.classes)
        found = {}
        for name, model, rows in (
            ("plain Gaussian process", GaussianProcessClassifier(kernel, random_state=seed), few),
            ("logistic regression", LogisticRegression(max_iter=1000), np.arange(len(x))),
        ):
            model.fit(x[rows], train.y[rows])
            told = model.predict_proba(tested) @ everywhere[model.classes_]
            found[name] = score(test.y, told, told)
        return found
    y = (train.y - shift) / unit
    plain = GaussianProcessRegressor(kernel + WhiteKernel(NOISE, (1e-6, 1e2)), random_state=seed).fit(x[few], y[few])
    told, spread = plain.predict(tested, return_std=True)
    told, spread = (part.reshape(test.y.shape) for part in (told, spread))
    ridge = RidgeCV(np.logspace(-3, 3, 7)).fit(x, y)
    kept = np.mean((ridge.predict(checked).reshape(check.y.shape) - (check.y - shift) / unit) ** 2, axis=0)
    line = ridge.predict(tested).reshape(test.y.shape)
    return {
        "plain Gaussian process": score(test.y, told * unit + shift, (spread * unit) ** 2),
        "ridge regression": score(test.y, line * unit + shift, np.broadcast_to(kept * unit**2, test.y.shape)),
    }


def moved(machine: Machine) -> dict[str, list[float]]:
    """How far each layer was moved by the targets, and how like theirs its kernel has become."""
    if isinstance(machine, SparseDKM):
        alignments = machine.alignments()
    else:
        targets = machine.y @ machine.y.T
        with torch.no_grad():
            kernels = [kernel(machine.gram(layer)) for layer, kernel in enumerate(machine.kernels)]
        alignments = [kernel_alignment(kernel, targets) for kernel in kernels]
    return {"divergences": machine.divergences().tolist(), "alignments": alignments}


def run(options: FitOptions) -> tuple[Predictor, dict[str, Any]]:
    """The best machine by the validation rows, and what is reported of it."""
    table = read_table(options.data, options.inputs, options.target, options.vectors, options.ahead, options.classify)
    train, check, test = table.split(np.random.default_rng(options.seed), options.rows)
    count = table.classes or table.y.shape[1]
    made, checks = {}, {}
    for nu in (*options.nus, inf):
        made[nu] = fitted(train, options, nu * count)
        checks[nu] = score(check.y, *made[nu].predict(check.x))
        print(f"nu {nu:g} for each output: validation error {checks[nu].error:.4g}, loss {checks[nu].loss:.4f}")
    best = min(options.nus, key=lambda nu: checks[nu].loss)
    scores = {
        f"deep kernel machine, nu {best:g}": score(test.y, *made[best].predict(test.x)),
        "fixed kernels (NNGP)": score(test.y, *made[inf].predict(test.x)),
        **baselines(train, check, test, options.seed),
    }
    report = {
        "target": options.target,
        "rows": [len(train), len(check), len(test)],
        "width": table.x.shape[1],
        "outputs": count,
        "nu": best,
        "validation": {f"{nu:g}": one._asdict() for nu, one in checks.items()},
        "test": {name: one._asdict() for name, one in scores.items()},
        **moved(made[best].machine),
    }
    return made[best], report


def main(args: Sequence[str] | None = None) -> int:
    """Fit from the command line, and tell how well held-out episodes are predicted; returns the exit code."""
    options = tyro.cli(FitOptions, args=args, description=__doc__)
    expect_empty(options.output)
    try:
        if not options.nus or options.layers < 1 or options.inducing < 1:
            raise ValueError(f"nus, layers, inducing: expected at least one of each, found {options}")
        predictor, report = run(options)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    predictor.save(options.output)
    (options.output / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    learned, chosen, tested = report["rows"]
    print(f"{learned} rows learned from, {chosen} chosen by, {tested} tested; {report['width']} inputs")
    for name, one in report["test"].items():
        kind = "share wrong" if options.classify else "error (root mean square)"
        print(f"{name}: {kind} {one['error']:.4g}, loss {one['loss']:.4f} nats")
    for name in ("divergences", "alignments"):
        print(f"{name} of the layers: {', '.join(f'{value:.3f}' for value in report[name])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

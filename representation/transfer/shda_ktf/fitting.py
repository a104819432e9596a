"""Training of KTF, of a network that sees the labelled target only, and of the soft transfer network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from representation.transfer.shda_ktf.model import KTF, soft_mmd, unit_rows
from representation.transfer.shda_ktf.sources import Labelled, noise_source

SLOPE = 0.2
PER_CLASS = 50  # of noise, where no source is given


@dataclass(frozen=True)
class KTFResult:
    """A trained network and how it came about.

    Attributes:
        model: in evaluation mode; gives logits (n, C) of target vectors.
        log: values before each step and, last, after all of them, by name; `mmd` is not weighted.
        priors: (C,) of the target, where they were given.
    """

    model: nn.Module
    log: dict[str, list[float]]
    priors: Tensor | None = None

    @torch.no_grad()
    def probabilities(self, x: Tensor) -> Tensor:
        """(n, C) of target vectors (n, D)."""
        return _probabilities(self.model(x), self.priors)


def _probabilities(logits: Tensor, priors: Tensor | None) -> Tensor:
    """Softmax of logits (n, C), of a classifier of balanced classes, where they are as frequent as `priors`."""
    return (logits if priors is None else logits + priors.to(logits.dtype).log()).softmax(dim=1)


def expect_vectors(name: str, x: Tensor, dim: int | None = None) -> None:
    """Check vectors.

    Raises:
        ValueError: not (n, dim), none at all, or not finite.
    """
    if x.ndim != 2 or not len(x) or (dim is not None and x.shape[1] != dim) or not x.is_floating_point():
        raise ValueError(f"{name}: expected float (n, {dim or 'd'}), found {tuple(x.shape)} {x.dtype}")
    if not torch.isfinite(x).all():
        raise ValueError(f"{name}: expected finite numbers, found some in {int((~x.isfinite()).any(dim=1).sum())} rows")


def count_classes(name: str, y: Tensor, count: int) -> int:
    """C of classes (n,), which must be 0 to C - 1, each there and at least two.

    Raises:
        ValueError: another number of classes than of vectors, one class only, or a class that is not there.
    """
    if y.shape != (count,) or y.is_floating_point():
        raise ValueError(f"{name}: expected {count} classes, found {tuple(y.shape)} {y.dtype}")
    found = y.unique()
    if len(found) < 2 or not torch.equal(found, torch.arange(len(found), device=y.device)):
        raise ValueError(f"{name}: expected at least two classes 0, 1, ..., none left out, found {found.tolist()}")
    return len(found)


def _expect_source(source: Labelled, num_classes: int) -> None:
    expect_vectors("source", source[0])
    found = count_classes("source classes", source[1], len(source[0]))
    if found != num_classes:
        raise ValueError(f"source classes: expected {num_classes}, as the labelled target has, found {found}")


def _expect_priors(priors: Tensor | None, num_classes: int) -> None:
    if priors is None:
        return
    if priors.shape != (num_classes,) or not bool((priors > 0).all()) or abs(float(priors.sum()) - 1) > 1e-4:
        raise ValueError(f"priors: expected {num_classes} positive numbers whose sum is 1, found {priors.tolist()}")


def ktf_loss(
    model: KTF,
    target: tuple[Tensor, Tensor, Tensor],
    source: Labelled,
    beta: float,
    mu: float,
    tau: float,
    priors: Tensor | None = None,
) -> dict[str, Tensor]:
    """The loss (section 2) as `loss`, and its parts before they are weighted.

    Args:
        model: to be trained.
        target: labelled vectors (n_l, D), their classes, and unlabelled vectors (n_u, D).
        source: in the common space.
        beta: weight of the cross-entropy of the source.
        mu: weight of the distance of means.
        tau: weight of half the squares of the weights.
        priors: see `soft_mmd`.
    """
    (xl, yl, xu), (ps, ys) = target, source
    pl, pu = model.project(xl), model.project(xu)
    told = model.classifier(ps)
    likely = _probabilities(model.classifier(pu), priors)
    parts = {
        "target_ce": F.cross_entropy(model.classifier(pl), yl),
        "source_ce": F.cross_entropy(told, ys),
        "mmd": soft_mmd(ps, ys, pl, yl, pu, likely, model.config["num_classes"], priors).total,
        "source_accuracy": (told.argmax(dim=1) == ys).double().mean(),
    }
    loss = parts["target_ce"] + beta * parts["source_ce"] + mu * parts["mmd"] + tau * model.penalty()
    return {"loss": loss, **parts}


def fit_ktf(
    xl: Tensor,
    yl: Tensor,
    xu: Tensor,
    source: Labelled | None = None,
    beta: float = 0.1,
    mu: float = 1.0,
    tau: float = 0.05,
    lr: float = 1e-3,
    steps: int = 600,
    seed: int = 0,
    priors: Tensor | None = None,
    ramp: bool = False,
    progress: bool = False,
) -> KTFResult:
    """Train KTF on all rows at once; what is learned of `xu` is `result.probabilities(xu)`.

    Accuracy on `xu` tells too much, as it was trained with: measure on other rows too.

    Args:
        xl: (n_l, D) labelled target.
        yl: (n_l,) its classes 0 to C - 1, each there.
        xu: (n_u, D) unlabelled target.
        source: vectors (n_s, d) in the common space, whose width d becomes the network's, and classes; in the paper
            they have length 1. None draws `noise_source(C)`.
        beta: weight of the source's cross-entropy.
        mu: weight of the distance of means; the paper takes 1 for images and 0.1 for texts.
        tau: weight of half the squares of the weights.
        lr: learning rate of Adam.
        steps: of it.
        seed: of weights, and of the noise.
        priors: (C,) how frequent the classes are among the unlabelled; None takes them as the source has them.
        ramp: whether mu grows evenly from 0, so that the first soft labels, all alike, do not pull classes together.
        progress: whether a bar is shown.

    Raises:
        ValueError: wrong shapes, numbers that are not finite, one class only, classes left out.
    """
    expect_vectors("xl", xl)
    expect_vectors("xu", xu, xl.shape[1])
    num_classes = count_classes("yl", yl, len(xl))
    if source is None:
        source = noise_source(num_classes, per_class=PER_CLASS, seed=seed)
    _expect_source(source, num_classes)
    _expect_priors(priors, num_classes)
    model = KTF(xl.shape[1], num_classes, source[0].shape[1], seed=seed).to(xl)
    given = source[0].to(xl), source[1].to(xl.device)

    def parts(done: float) -> dict[str, Tensor]:
        return ktf_loss(model, (xl, yl, xu), given, beta, mu * (done if ramp else 1.0), tau, priors)

    return KTFResult(model.eval(), _descend(model.parameters(), parts, lr, steps, progress), priors)


def _descend(
    parameters: Iterable[Tensor], parts: Callable[[float], dict[str, Tensor]], lr: float, steps: int, progress: bool
) -> dict[str, list[float]]:
    """Adam on the `loss` of parts, which are given the share of the steps that is done; what they were, by name."""
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, found {steps}")
    optimizer, log = torch.optim.Adam(list(parameters), lr), {}
    for step in tqdm(range(steps + 1), desc="steps", unit="step", disable=not progress):
        found = parts(step / steps)
        for name, value in found.items():
            log.setdefault(name, []).append(float(value.detach()))
        if step < steps:
            optimizer.zero_grad()
            found["loss"].backward()
            optimizer.step()
    return log


class _RowsOfLengthOne(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return unit_rows(x)


def target_only(
    xl: Tensor,
    yl: Tensor,
    hidden: int = 256,
    tau: float = 1e-3,
    lr: float = 1e-2,
    steps: int = 500,
    seed: int = 0,
) -> KTFResult:
    """Train a network of the same sizes on the labelled target alone (NNt); arguments and errors as of `fit_ktf`."""
    expect_vectors("xl", xl)
    num_classes = count_classes("yl", yl, len(xl))
    alike = KTF(xl.shape[1], num_classes, hidden, seed=seed).to(xl)  # its weights are drawn as KTF's are
    model = nn.Sequential(_RowsOfLengthOne(), alike.projector, nn.LeakyReLU(SLOPE), alike.classifier)

    def parts(done: float) -> dict[str, Tensor]:
        entropy = F.cross_entropy(model(xl), yl)
        return {"loss": entropy + tau * alike.penalty(), "target_ce": entropy}

    return KTFResult(model.eval(), _descend(model.parameters(), parts, lr, steps, progress=False))


class _STN(nn.Module):
    """Projectors of source and target, and the classifier that they share; in evaluation it is the target's path."""

    def __init__(self, source_dim: int, target_dim: int, num_classes: int, common_dim: int, seed: int) -> None:
        super().__init__()
        self.source, self.target = (self._projector(width, common_dim) for width in (source_dim, target_dim))
        self.classifier = nn.Sequential(nn.Linear(common_dim, num_classes), nn.LeakyReLU(SLOPE))
        generator = torch.Generator().manual_seed(seed)
        for layer in self.linear():
            nn.init.xavier_normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    @staticmethod
    def _projector(dim: int, common_dim: int) -> nn.Sequential:
        hidden = (dim + common_dim) // 2
        layers = nn.Linear(dim, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, common_dim), nn.LeakyReLU(SLOPE)
        return nn.Sequential(_RowsOfLengthOne(), *layers)

    def linear(self) -> list[nn.Linear]:
        return [module for module in self.modules() if isinstance(module, nn.Linear)]

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.target(x))


def fit_stn(
    xs: Tensor,
    ys: Tensor,
    xl: Tensor,
    yl: Tensor,
    xu: Tensor,
    common_dim: int = 256,
    beta: float = 1e-3,
    tau: float = 1e-3,
    lr: float = 1e-3,
    steps: int = 600,
    seed: int = 0,
) -> KTFResult:
    """Train a soft transfer network, for a source whose vectors are of another kind than the common space.

    Args:
        xs: (n_s, D_s) source, of any width.
        ys: (n_s,) its classes.
        xl: (n_l, D) labelled target.
        yl: (n_l,) its classes.
        xu: (n_u, D) unlabelled target.
        common_dim: numbers of the common space.
        beta: weight of the distance of means, in whose classes the unlabelled count t / T at step t of T.
        tau: weight of half the squares of the weights.
        lr: learning rate of Adam.
        steps: T.
        seed: of the weights.

    Raises:
        ValueError: as of `fit_ktf`.
    """
    expect_vectors("xl", xl)
    expect_vectors("xu", xu, xl.shape[1])
    num_classes = count_classes("yl", yl, len(xl))
    _expect_source((xs, ys), num_classes)
    model = _STN(xs.shape[1], xl.shape[1], num_classes, common_dim, seed).to(xl)

    def parts(done: float) -> dict[str, Tensor]:
        ps, pl, pu = model.source(xs), model.target(xl), model.target(xu)
        told, known = model.classifier(ps), model.classifier(pl)
        likely = model.classifier(pu).softmax(dim=1)
        found = {
            "target_ce": F.cross_entropy(known, yl),
            "source_ce": F.cross_entropy(told, ys),
            "mmd": soft_mmd(ps, ys, pl, yl, pu, likely, num_classes, soft_weight=done).total,
            "source_accuracy": (told.argmax(dim=1) == ys).double().mean(),
        }
        penalty = sum(layer.weight.square().sum() for layer in model.linear()) / 2
        loss = F.cross_entropy(torch.cat([told, known]), torch.cat([ys, yl])) + beta * found["mmd"] + tau * penalty
        return {"loss": loss, **found}

    return KTFResult(model.eval(), _descend(model.parameters(), parts, lr, steps, progress=False))


def transfer_diagnostics(result: KTFResult) -> dict[str, float]:
    """What the paper explains gains by, at the end of training (section 2, analysis iv).

    Returns:
        `transferability` (-L_MMD), `discriminability` (minus the cross-entropy of the source) and `source_accuracy`.

    Raises:
        ValueError: the result had no source.
    """
    if "mmd" not in result.log:
        raise ValueError(f"result: expected one that was trained with a source, found {sorted(result.log)}")
    last = {name: values[-1] for name, values in result.log.items()}
    return {
        "transferability": -last["mmd"],
        "discriminability": -last["source_ce"],
        "source_accuracy": last["source_accuracy"],
    }

"""`SparseDKM`: a deep kernel machine of a few inducing points, trained in minibatches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from math import isinf, log, pi
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from representation.analysis.deep_kernel_machines.full import nus_of
from representation.analysis.deep_kernel_machines.gaussians import (
    cholesky,
    conditioned,
    factor_kl,
    factor_of,
    factor_taylor,
    parameter_of,
    symmetric,
)
from representation.analysis.deep_kernel_machines.kernels import (
    GramTriple,
    Kernel,
    as_points,
    input_triple,
    kernel_alignment,
    kernel_of,
)

Likelihood = Literal["gaussian", "categorical"]
Divergence = Literal["kl", "taylor"]
SAMPLES = 1000  # of the function, where classes are predicted
TRAINING_SAMPLES = 100  # in each step of training
DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"kl": factor_kl, "taylor": factor_taylor}


class Predictive(NamedTuple):
    """Marginals of the function at B points.

    Attributes:
        mean: (B, C).
        variance: (B,), the same for all C outputs.
    """

    mean: Tensor
    variance: Tensor


class GramLayer(nn.Module):
    """The free Gram matrix of P inducing points, of which other points' follow.

    Args:
        points: P.
        nu: weight of its divergence; infinite for a layer that follows the kernel below.
        divergence: by which it is measured.
    """

    def __init__(self, points: int, nu: float, divergence: Divergence) -> None:
        super().__init__()
        self.nu, self.divergence = nu, DIVERGENCES[divergence]
        self.parameter = nn.Parameter(torch.zeros(points, points, dtype=torch.float64), requires_grad=not isinf(nu))

    def factor(self) -> Tensor:
        """Lower triangular, of G_ii; numbers are learned in units of 1 / sqrt(P)."""
        return factor_of(self.parameter) / len(self.parameter) ** 0.5

    def start(self, factor: Tensor) -> None:
        """Set the Gram matrix by its factor."""
        with torch.no_grad():
            self.parameter.copy_(parameter_of(factor * len(factor) ** 0.5))

    def forward(self, prior: GramTriple) -> tuple[GramTriple, Tensor]:
        """The Gram matrices of a layer over kernels `prior`, and the layer's divergence."""
        if isinf(self.nu):
            return prior, prior.t.new_zeros(())
        below, own = cholesky(prior.ii, "kernel"), self.factor()
        return conditioned(prior, own, below), self.divergence(own, below)


class GramBatchNorm(nn.Module):
    """Gram matrices of mean diagonal 1, times learned scales; what is told of a point depends on its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.log_inducing = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.log_other = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, gram: GramTriple) -> GramTriple:
        """Scaled; divides by the mean over the inducing points, and by that over the others."""
        inducing = self.log_inducing.exp() / gram.ii.diagonal().mean().sqrt()
        other = self.log_other.exp() / gram.t.mean().sqrt()
        return GramTriple(gram.ii * inducing.square(), gram.ti * inducing * other, gram.t * other.square())


class SparseDKM(nn.Module):
    """Kernel of the inputs, then layers of Gram matrix and kernel, then a Gaussian for each output.

    Args:
        inducing: (P, d) points to begin with, some of the data; they are learned.
        num_layers: L; 0 is a sparse Gaussian process.
        kernel: copied for the inputs and for each layer, and learned apart.
        nu: as of `DeepKernelMachine`; at least 10 for each output is a good beginning.
        num_outputs: C.
        likelihood: of numbers, or of classes.
        objective: `kl` is the paper's; `taylor` replaces the divergences of the Gram layers by a surrogate.
        noise: variance of each output to begin with, where targets are numbers; they are learned.
        norm: whether each layer is normalised over the batch.
        start: (P, C) means of the outputs at the inducing points, to begin with; zeros if left out.

    Raises:
        ValueError: not finite, or no such likelihood or objective.
    """

    def __init__(
        self,
        inducing: Tensor,
        num_layers: int,
        kernel: Kernel,
        nu: float | Sequence[float],
        num_outputs: int,
        likelihood: Likelihood = "gaussian",
        objective: Divergence = "kl",
        noise: float = 0.1,
        norm: bool = False,
        start: Tensor | None = None,
    ) -> None:
        super().__init__()
        if likelihood not in ("gaussian", "categorical") or objective not in DIVERGENCES:
            known = "gaussian or categorical, kl or taylor"
            raise ValueError(f"likelihood, objective: expected {known}, found {likelihood!r} and {objective!r}")
        if num_layers < 0 or num_outputs < 1 or noise <= 0:
            found = (num_layers, num_outputs, noise)
            raise ValueError(f"num_layers, num_outputs, noise: expected at least 0, 1, above 0, found {found}")
        self.inducing = nn.Parameter(as_points(inducing, "inducing").clone())
        count, self.likelihood, self.objective = len(inducing), likelihood, objective
        self.kernels = nn.ModuleList(deepcopy(kernel) for _ in range(num_layers + 1))
        self.layers = nn.ModuleList(GramLayer(count, one, objective) for one in nus_of(nu, num_layers))
        self.norms = nn.ModuleList(GramBatchNorm() for _ in range(num_layers)) if norm else None
        self.mean = nn.Parameter(torch.zeros(count, num_outputs, dtype=torch.float64))
        self.covariance = GramLayer(count, 1.0, "kl")
        self.log_noise = nn.Parameter(
            torch.full((num_outputs,), log(noise), dtype=torch.float64), requires_grad=likelihood == "gaussian"
        )
        with torch.no_grad():
            if start is not None:
                self.mean.copy_(as_points(start, "start", num_outputs))
            top, _ = self._top(self.inducing, fresh=True)
            self.covariance.start(cholesky(top.ii, "kernel"))

    def forward(self, x: Tensor) -> Predictive:
        """Marginals of the function at points (B, d)."""
        top, _ = self._top(self._points(x))
        return self._output(top)

    def elbo(self, x: Tensor, y: Tensor, n_data: int, generator: torch.Generator | None = None) -> Tensor:
        """Lower bound of the log-likelihood, for each of `n_data` points, by a batch of them.

        Args:
            x: (B, d).
            y: (B, C) numbers, or (B,) classes.
            n_data: points in all.
            generator: of the samples of the function that classes are told by.
        """
        top, divergences = self._top(self._points(x))
        output = self._output(top)
        below = cholesky(top.ii, "kernel")
        white = torch.linalg.solve_triangular(below, self.mean, upper=False)
        outputs = self.mean.shape[1]
        lost = outputs * factor_kl(self.covariance.factor(), below) + white.square().sum() / 2
        for layer, divergence in zip(self.layers, divergences, strict=True):
            lost = lost + (0.0 if isinf(layer.nu) else layer.nu * divergence)
        return self._expected(output, self._targets(y, len(x)), generator).mean() - lost / n_data

    @torch.no_grad()
    def solve_output(self, x: Tensor, y: Tensor) -> None:
        """Set means and covariance of the outputs to the best for all data (n, d), (n, C), all else as it is.

        The covariance is shared, so it answers to the mean precision of the outputs.

        Raises:
            ValueError: the likelihood is of classes; there is no closed form.
        """
        if self.likelihood != "gaussian":
            raise ValueError(f"likelihood: expected gaussian, found {self.likelihood}")
        top, _ = self._top(self._points(x))
        targets, crossed = self._targets(y, len(x)), top.ti.mT @ top.ti
        for place, precision in enumerate((-self.log_noise).exp()):
            inner = cholesky(symmetric(top.ii + precision * crossed), "kernel")
            seen = torch.cholesky_solve(top.ti.mT @ targets[:, place : place + 1], inner)
            self.mean[:, place] = precision * (top.ii @ seen)[:, 0]
        inner = cholesky(symmetric(top.ii + (-self.log_noise).exp().mean() * crossed), "kernel")
        white = torch.linalg.solve_triangular(inner, top.ii, upper=False)
        least = 1e-12 * torch.eye(len(white), dtype=white.dtype)
        self.covariance.start(cholesky(symmetric(white.mT @ white) + least, "covariance"))

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        steps: int = 500,
        lr: float = 0.03,
        batch_size: int = 256,
        seed: int = 0,
        progress: bool = False,
    ) -> SparseDKM:
        """Maximise the bound by Adam over minibatches; outputs of numbers are solved for before and after.

        Steps of Adam disturb layers whose nu is some thousands, so that they end worse than with infinite nu: give
        that, or a smaller lr.

        Args:
            x: (n, d).
            y: (n, C), or (n,) classes.
            steps: of Adam.
            lr: which falls to 0 as a cosine does.
            batch_size: points of a step.
            seed: of batches and samples.
            progress: show a bar.

        Raises:
            ValueError: something is not finite, or of different lengths.
        """
        x, y = self._points(x), self._targets(y, len(x))
        if self.likelihood == "gaussian":
            self.solve_output(x, y)
        rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam([part for part in self.parameters() if part.requires_grad], lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
        for _ in tqdm(range(steps), desc="steps", unit="step", disable=not progress):
            rows = torch.from_numpy(rng.choice(len(x), min(batch_size, len(x)), replace=False))
            optimizer.zero_grad()
            (-self.elbo(x[rows], y[rows], len(x), generator)).backward()
            optimizer.step()
            schedule.step()
        if self.likelihood == "gaussian":
            self.solve_output(x, y)
        return self

    @torch.no_grad()
    def predict(self, x: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Mean and variance (B, C) of what is seen at points (B, d).

        Those of numbers have the noise; of classes they are those of indicators: probabilities p, and p (1 - p).

        Args:
            x: (B, d).
            seed: of the samples of the function that classes are told by.
        """
        mean, variance = self(x)
        if self.likelihood == "gaussian":
            return mean, variance[:, None] + self.log_noise.exp()
        draws = self._draws(Predictive(mean, variance), SAMPLES, torch.Generator().manual_seed(seed))
        probabilities = draws.softmax(dim=-1).mean(dim=0)
        return probabilities, probabilities * (1 - probabilities)

    @torch.no_grad()
    def divergences(self) -> Tensor:
        """KL (L,) of each layer's Gram matrix from the kernel below: how far the targets moved it."""
        _, found = self._top(self.inducing)
        return torch.stack([*found, torch.zeros((), dtype=torch.float64)])[:-1]

    @torch.no_grad()
    def alignments(self) -> list[float]:
        """Centred alignment of the kernel of each layer, 0 for the inputs, with the outputs of the inducing points."""
        targets, found = self.mean @ self.mean.T, []
        gram = input_triple(self.inducing, self.inducing)
        for place, kernel in enumerate(self.kernels):
            gram = kernel(gram)
            found.append(kernel_alignment(gram.ii, targets))
            if place < len(self.layers):
                gram = self._above(place, gram)[0]
        return found

    def settings(self) -> dict[str, Any]:
        """What `from_settings` makes a machine of the same shapes from."""
        return {
            "points": list(self.inducing.shape),
            "kernel": self.kernels[0].settings(),
            "nu": [None if isinf(layer.nu) else layer.nu for layer in self.layers],
            "outputs": self.mean.shape[1],
            "likelihood": self.likelihood,
            "objective": self.objective,
            "norm": self.norms is not None,
        }

    @staticmethod
    def from_settings(settings: dict[str, Any]) -> SparseDKM:
        """A machine whose weights are to be read."""
        count, width = settings["points"]
        nu = [float("inf") if value is None else value for value in settings["nu"]]
        apart = torch.arange(count * width, dtype=torch.float64).reshape(count, width)
        return SparseDKM(
            apart,
            len(nu),
            kernel_of(settings["kernel"]),
            nu,
            settings["outputs"],
            settings["likelihood"],
            settings["objective"],
            norm=settings["norm"],
        )

    def _points(self, x: Tensor) -> Tensor:
        return as_points(x, "x", self.inducing.shape[1])

    def _targets(self, y: Tensor, count: int) -> Tensor:
        outputs = self.mean.shape[1]
        if self.likelihood == "gaussian":
            y = as_points(y[:, None] if y.ndim == 1 else y, "y", outputs)
        elif y.ndim != 1 or y.dtype.is_floating_point or int(y.min()) < 0 or int(y.max()) >= outputs:
            raise ValueError(f"y: expected classes (n,) from 0 to {outputs - 1}, found {tuple(y.shape)} {y.dtype}")
        if len(y) != count:
            raise ValueError(f"y: expected {count} rows, found {len(y)}")
        return y

    def _above(self, place: int, prior: GramTriple, fresh: bool = False) -> tuple[GramTriple, Tensor]:
        layer = self.layers[place]
        if fresh:
            layer.start(cholesky(prior.ii, "kernel"))
        gram, divergence = layer(prior)
        return (gram if self.norms is None else self.norms[place](gram)), divergence

    def _top(self, x: Tensor, fresh: bool = False) -> tuple[GramTriple, list[Tensor]]:
        """Kernels of the outputs, and the divergence of each layer; `fresh` sets each layer to the kernel below."""
        gram, divergences = self.kernels[0](input_triple(self.inducing, x)), []
        for place, kernel in enumerate(list(self.kernels)[1:]):
            gram, divergence = self._above(place, gram, fresh)
            divergences.append(divergence)
            gram = kernel(gram)
        return gram, divergences

    def _output(self, top: GramTriple) -> Predictive:
        below = cholesky(top.ii, "kernel")
        across = torch.linalg.solve_triangular(below, top.ti.mT, upper=False)
        mean = across.mT @ torch.linalg.solve_triangular(below, self.mean, upper=False)
        return Predictive(mean, conditioned(top, self.covariance.factor(), below).t)

    def _draws(self, output: Predictive, samples: int, generator: torch.Generator | None) -> Tensor:
        """(samples, B, C) of the function."""
        noise = torch.randn(samples, *output.mean.shape, dtype=torch.float64, generator=generator)
        return output.mean + output.variance.clamp(min=1e-12).sqrt()[:, None] * noise

    def _expected(self, output: Predictive, y: Tensor, generator: torch.Generator | None) -> Tensor:
        """(B,) mean log-likelihood of targets under the marginals."""
        if self.likelihood == "gaussian":
            squares = (y - output.mean).square() + output.variance[:, None]
            return -(squares * (-self.log_noise).exp() + self.log_noise + log(2 * pi)).sum(dim=1) / 2
        logs = F.log_softmax(self._draws(output, TRAINING_SAMPLES, generator), dim=-1)
        return logs.mean(dim=0).gather(1, y[:, None])[:, 0]

"""`DeepKernelMachine`: one Gram matrix of all training points for each layer; for some hundreds of points."""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf, log, pi
from typing import Any, Literal

import torch
from torch import Tensor, nn

from representation.analysis.deep_kernel_machines.gaussians import (
    cholesky,
    conditioned,
    factor_kl,
    factor_of,
    parameter_of,
)
from representation.analysis.deep_kernel_machines.kernels import Kernel, as_points, input_triple, kernel_of

CALM_NU = 10.0  # up to which steps are as long as asked for


class DeepKernelMachine(nn.Module):
    """Layers of Gram matrices that are drawn to the kernels below them and to the targets above.

    Args:
        kernels: L + 1: of the inputs and of each of the L layers; the last is that of the outputs.
        nu: width of each layer in units of the outputs', or one for all; infinite for layers that learn nothing.
        noise: variance of the targets about the function.
        learn: whether the scales of the kernels and the noise are learned too.

    Raises:
        ValueError: no kernels, or as many nu as there are not layers, or not positive.
    """

    def __init__(
        self, kernels: Sequence[Kernel], nu: float | Sequence[float], noise: float = 0.1, learn: bool = False
    ) -> None:
        super().__init__()
        layers = len(kernels) - 1
        values = nus_of(nu, layers)
        if not kernels or noise <= 0:
            raise ValueError(f"kernels, noise: expected at least one, above 0, found {len(kernels)} and {noise}")
        self.kernels, self.nu, self.learn = nn.ModuleList(kernels), values, learn
        self.log_noise = nn.Parameter(torch.tensor(log(noise), dtype=torch.float64))
        for parameter in self.parameters():
            parameter.requires_grad_(learn)
        self.register_buffer("x", torch.zeros(0, 0, dtype=torch.float64))
        self.register_buffer("y", torch.zeros(0, 0, dtype=torch.float64))
        self.factors = nn.ParameterList()
        self.x: Tensor
        self.y: Tensor

    def fit(
        self, x: Tensor, y: Tensor, steps: int = 200, lr: float = 0.02, method: Literal["adam", "lbfgs"] = "adam"
    ) -> DeepKernelMachine:
        """Maximise the objective, from the NNGP on; what is kept is the best that was seen.

        Args:
            x: (n, d).
            y: (n, C), or (n,).
            steps: of the optimizer; 0 leaves the NNGP.
            lr: of Adam, whose steps are divided by nu / 10 where nu is larger; L-BFGS searches for its own.
            method: of optimizing. L-BFGS is the better one for large nu.

        Raises:
            ValueError: not finite, or of different lengths, or no such method.
        """
        self.x = as_points(x, "x")
        self.y = as_points(y[:, None] if y.ndim == 1 else y, "y")
        if len(self.x) != len(self.y):
            raise ValueError(f"y: expected {len(self.x)} rows, found {len(self.y)}")
        if method not in ("adam", "lbfgs"):
            raise ValueError(f"method: expected adam or lbfgs, found {method!r}")
        self._start()
        free = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if steps and free:
            if method == "adam":
                self._adam(free, steps, lr)
            else:
                self._lbfgs(free, steps)
        return self

    def gram(self, layer: int) -> Tensor:
        """G (n, n) of a layer, 0 for the inputs."""
        return self._layers()[0][layer].detach()

    def top_kernel(self) -> Tensor:
        """K(G_L) (n, n), of the outputs."""
        return self.kernels[-1](self.gram(len(self.nu))).detach()

    def divergences(self) -> Tensor:
        """KL (L,) of each layer from the kernel below: how far the targets moved it."""
        return torch.stack([*self._layers()[1], torch.zeros((), dtype=torch.float64)])[:-1].detach()

    def log_likelihood(self) -> Tensor:
        """Log N(y; 0, K(G_L) + noise) summed over outputs, nats."""
        return self._likelihood(self._layers()[0][-1]).detach()

    def objective(self) -> Tensor:
        """Log-likelihood minus nu times the divergences; with infinite nu the log marginal likelihood of the NNGP."""
        grams, divergences = self._layers()
        lost = [nu * kl for nu, kl in zip(self.nu, divergences, strict=True) if not isinf(nu)]
        return self._likelihood(grams[-1]) - sum(lost, torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (B, C), with the noise, of targets at points (B, d)."""
        if not len(self.x):
            raise ValueError("predict: expected a machine that was fitted, found one that was not")
        triple = input_triple(self.x, as_points(x, "x", self.x.shape[1]))
        for layer, nu in enumerate(self.nu):
            triple = self.kernels[layer](triple)
            if not isinf(nu):
                triple = conditioned(triple, factor_of(self.factors[layer]), cholesky(triple.ii, "kernel"))
        triple = self.kernels[-1](triple)
        factor = cholesky(triple.ii + self._noise_matrix(), "kernel")
        across = torch.linalg.solve_triangular(factor, triple.ti.mT, upper=False)
        mean = across.mT @ torch.linalg.solve_triangular(factor, self.y, upper=False)
        variance = (triple.t - across.square().sum(dim=0)).clamp(min=0.0) + self.log_noise.exp()
        return mean, variance[:, None].expand_as(mean)

    def settings(self) -> dict[str, Any]:
        """What `from_settings` makes a machine of the same shapes from."""
        return {
            "kernels": [kernel.settings() for kernel in self.kernels],
            "nu": [None if isinf(nu) else nu for nu in self.nu],
            "learn": self.learn,
            "shapes": [list(self.x.shape), list(self.y.shape)],
        }

    @staticmethod
    def from_settings(settings: dict[str, Any]) -> DeepKernelMachine:
        """A machine whose weights are to be read."""
        nu = [float("inf") if value is None else value for value in settings["nu"]]
        model = DeepKernelMachine([kernel_of(one) for one in settings["kernels"]], nu, learn=settings["learn"])
        (n, d), (_, outputs) = settings["shapes"]
        model.x, model.y = (torch.zeros(n, width, dtype=torch.float64) for width in (d, outputs))
        model.factors = nn.ParameterList(torch.zeros(n, n, dtype=torch.float64) for _ in nu)
        return model

    def _start(self) -> None:
        with torch.no_grad():
            gram, factors = self.x @ self.x.T / self.x.shape[1], []
            for kernel in list(self.kernels)[:-1]:
                gram = kernel(gram)
                factors.append(nn.Parameter(parameter_of(cholesky(gram, "kernel"))))
        for factor, nu in zip(factors, self.nu, strict=True):
            factor.requires_grad_(not isinf(nu))
        self.factors = nn.ParameterList(factors)

    def _layers(self) -> tuple[list[Tensor], list[Tensor]]:
        """G_0 ... G_L, and the divergence of each but the first."""
        if not len(self.x):
            raise ValueError("gram: expected a machine that was fitted, found one that was not")
        grams, divergences = [self.x @ self.x.T / self.x.shape[1]], []
        for kernel, parameter, nu in zip(self.kernels, self.factors, self.nu, strict=False):
            prior = kernel(grams[-1])
            if isinf(nu):
                grams.append(prior)
                divergences.append(torch.zeros((), dtype=torch.float64))
            else:
                factor = factor_of(parameter)
                grams.append(factor @ factor.mT)
                divergences.append(factor_kl(factor, cholesky(prior, "kernel")))
        return grams, divergences

    def _likelihood(self, gram: Tensor) -> Tensor:
        factor = cholesky(self.kernels[-1](gram) + self._noise_matrix(), "kernel")
        white = torch.linalg.solve_triangular(factor, self.y, upper=False)
        n, outputs = self.y.shape
        return -white.square().sum() / 2 - outputs * (factor.diagonal().log().sum() + n * log(2 * pi) / 2)

    def _noise_matrix(self) -> Tensor:
        return self.log_noise.exp() * torch.eye(len(self.x), dtype=torch.float64)

    def _adam(self, free: list[Tensor], steps: int, lr: float) -> None:
        largest = max((nu for nu in self.nu if not isinf(nu)), default=CALM_NU)
        lr = lr * min(1.0, CALM_NU / largest)
        optimizer = torch.optim.Adam(free, lr)
        best, kept = float("-inf"), [part.detach().clone() for part in free]
        for step in range(steps + 1):
            optimizer.zero_grad()
            try:
                value = self.objective()
            except ValueError:  # no longer positive definite: what was best before is kept
                break
            if value.item() > best:
                best, kept = value.item(), [part.detach().clone() for part in free]
            if step == steps:
                break
            (-value).backward()
            optimizer.step()
        with torch.no_grad():
            for part, value in zip(free, kept, strict=True):
                part.copy_(value)

    def _lbfgs(self, free: list[Tensor], steps: int) -> None:
        optimizer = torch.optim.LBFGS(
            free, lr=1.0, max_iter=steps, history_size=20, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = -self.objective()
            loss.backward()
            return loss

        optimizer.step(closure)


def nus_of(nu: float | Sequence[float], layers: int) -> tuple[float, ...]:
    """One positive nu for each layer.

    Raises:
        ValueError: something else.
    """
    values = tuple(nu) if isinstance(nu, Sequence) else (float(nu),) * layers
    if len(values) != layers or any(not value > 0 for value in values):
        raise ValueError(f"nu: expected {layers} numbers above 0, found {values}")
    return tuple(float(value) for value in values)


def deep_linear_solution(first: Tensor, last: Tensor, layers: int) -> list[Tensor]:
    """G_1 ... G_L of linear layers, K(G) = G, between known ends: G_0 (G_0^-1 G_{L+1})^(l / (L + 1)).

    Args:
        first: G_0 (P, P), positive definite.
        last: G_{L+1}, likewise.
        layers: L.
    """
    factor, _ = cholesky(first, "first"), cholesky(last, "last")
    white = torch.linalg.solve_triangular(factor, last, upper=False)
    white = torch.linalg.solve_triangular(factor, white.mT, upper=False)
    values, vectors = torch.linalg.eigh((white + white.mT) / 2)
    turned = factor @ vectors
    return [turned * values ** (layer / (layers + 1)) @ turned.mT for layer in range(1, layers + 1)]

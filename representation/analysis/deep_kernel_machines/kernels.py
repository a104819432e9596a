"""Kernels that know their inputs only by their Gram matrix; all in float64."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

GramT = TypeVar("GramT", Tensor, "GramTriple")
_FLOOR = 1e-12  # of the squared sine of an angle: roots have no finite slope at 0


class GramTriple(NamedTuple):
    """Products of P inducing points i and B other points t, of which only those with the inducing ones are known.

    Attributes:
        ii: (P, P).
        ti: (B, P).
        t: (B,) of each with itself.
    """

    ii: Tensor
    ti: Tensor
    t: Tensor


class Kernel(nn.Module, ABC):
    """A kernel of Gram matrices (P, P), or of triples.

    Args:
        jitter: the diagonal is multiplied by 1 + jitter and raised by it: a part that no two points share.
    """

    name: str

    def __init__(self, jitter: float = 1e-6) -> None:
        super().__init__()
        if jitter < 0:
            raise ValueError(f"jitter: expected at least 0, found {jitter}")
        self.jitter = jitter

    @abstractmethod
    def cross(self, products: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Kernel (A, B) of points with products (A, B), and (A,) and (B,) with themselves."""

    @abstractmethod
    def own(self, norms: Tensor) -> Tensor:
        """Kernel (A,) of points with themselves, without jitter."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What `kernel_of` makes it from again; learned numbers are weights."""

    def forward(self, gram: GramT) -> GramT:
        """Kernel of a Gram matrix or of a triple, in the same form.

        Raises:
            ValueError: not square.
        """
        matrix = gram.ii if isinstance(gram, GramTriple) else gram
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"gram: expected a square matrix, found {tuple(matrix.shape)}")
        norms = matrix.diagonal()
        among = self.cross(matrix, norms, norms)
        among = among - among.diagonal().diag() + self._jittered(self.own(norms)).diag()
        if isinstance(gram, GramTriple):
            return GramTriple(among, self.cross(gram.ti, gram.t, norms), self._jittered(self.own(gram.t)))
        return among

    def _jittered(self, diagonal: Tensor) -> Tensor:
        return diagonal * (1 + self.jitter) + self.jitter


class SqExpKernel(Kernel):
    """Squared exponential: exp(-|x - x'|² / 2), of the distances that a Gram matrix tells.

    Args:
        length: that distances are divided by; learned.
        variance: that all is multiplied with; learned.
        jitter: see `Kernel`.
    """

    name = "sqexp"

    def __init__(self, length: float = 1.0, variance: float = 1.0, jitter: float = 1e-6) -> None:
        super().__init__(jitter)
        if length <= 0 or variance <= 0:
            raise ValueError(f"length, variance: expected above 0, found {length} and {variance}")
        self.log_length = nn.Parameter(torch.tensor(length, dtype=torch.float64).log())
        self.log_variance = nn.Parameter(torch.tensor(variance, dtype=torch.float64).log())

    def cross(self, products: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """See `Kernel`."""
        half_squares = (first[:, None] + second[None, :]) / 2 - products
        return (self.log_variance - half_squares * (-2 * self.log_length).exp()).exp()

    def own(self, norms: Tensor) -> Tensor:
        """The variance, of each."""
        return self.log_variance.exp().expand_as(norms)

    def settings(self) -> dict[str, Any]:
        """See `Kernel`."""
        return {"name": self.name, "jitter": self.jitter}


class ArccosKernel(Kernel):
    """Of wide layers with ReLU: 2 E[relu(u) relu(v)] of u, v ~ N(0, w G + b), which keeps the diagonal.

    Args:
        weight_var: w, learned.
        bias_var: b, learned; 0 for none.
        jitter: see `Kernel`.
    """

    name = "arccos"

    def __init__(self, weight_var: float = 1.0, bias_var: float = 0.1, jitter: float = 1e-6) -> None:
        super().__init__(jitter)
        if weight_var <= 0 or bias_var < 0:
            raise ValueError(f"weight_var, bias_var: expected above 0, at least 0, found {weight_var}, {bias_var}")
        self.log_weight = nn.Parameter(torch.tensor(weight_var, dtype=torch.float64).log())
        self.log_bias = nn.Parameter(torch.tensor(bias_var, dtype=torch.float64).log()) if bias_var else None

    def cross(self, products: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """See `Kernel`."""
        products, first, second = (self._affine(part) for part in (products, first, second))
        squares = first[:, None] * second[None, :]
        root = torch.maximum(squares - products.square(), _FLOOR * squares).sqrt()
        angle = torch.atan2(root, products)
        return (root + (torch.pi - angle) * products) / torch.pi

    def own(self, norms: Tensor) -> Tensor:
        """W norms + b."""
        return self._affine(norms)

    def settings(self) -> dict[str, Any]:
        """See `Kernel`."""
        return {"name": self.name, "jitter": self.jitter, "bias": self.log_bias is not None}

    def _affine(self, values: Tensor) -> Tensor:
        scaled = self.log_weight.exp() * values
        return scaled if self.log_bias is None else scaled + self.log_bias.exp()


def kernel_of(settings: dict[str, Any]) -> Kernel:
    """A kernel of its `settings`.

    Raises:
        ValueError: no such kernel.
    """
    if settings["name"] == SqExpKernel.name:
        return SqExpKernel(jitter=settings["jitter"])
    if settings["name"] == ArccosKernel.name:
        return ArccosKernel(bias_var=0.1 if settings["bias"] else 0.0, jitter=settings["jitter"])
    raise ValueError(f"kernel: expected sqexp or arccos, found {settings['name']!r}")


def input_triple(inducing: Tensor, x: Tensor) -> GramTriple:
    """G_0 of inducing points (P, d) and others (B, d): products divided by d."""
    d = inducing.shape[1]
    return GramTriple(inducing @ inducing.T / d, x @ inducing.T / d, x.square().sum(dim=1) / d)


def as_points(x: Tensor, name: str, width: int | None = None) -> Tensor:
    """Rows of finite numbers in float64.

    Raises:
        ValueError: something else; names it.
    """
    if x.ndim != 2 or not x.numel() or (width is not None and x.shape[1] != width):
        raise ValueError(f"{name}: expected (n, {'d' if width is None else width}), found {tuple(x.shape)}")
    if not x.isfinite().all():
        raise ValueError(f"{name}: expected finite numbers, found {int((~x.isfinite()).sum())} that are not")
    return x.double()


@torch.no_grad()
def nngp(x: Tensor, kernel: Kernel, layers: int) -> list[Tensor]:
    """The Gram matrices that a network of infinite width has, whatever the targets.

    Args:
        x: (n, d).
        kernel: of every layer.
        layers: L.

    Returns:
        G_1 ... G_L, and the kernel of the outputs K(G_L), each (n, n): L + 1 matrices.
    """
    x = as_points(x, "x")
    grams = [kernel(x @ x.T / x.shape[1])]
    for _ in range(layers):
        grams.append(kernel(grams[-1]))
    return grams


def kernel_alignment(first: Tensor, second: Tensor) -> float:
    """Cosine of two kernels (n, n) after centring, in [-1, 1]; 0 where one is constant.

    Raises:
        ValueError: not square, or of different sizes.
    """
    if first.shape != second.shape or first.ndim != 2 or first.shape[0] != first.shape[1]:
        raise ValueError(f"kernels: expected two (n, n) of one size, found {tuple(first.shape)}, {tuple(second.shape)}")
    a, b = (k - k.mean(dim=0) - k.mean(dim=1, keepdim=True) + k.mean() for k in (first.double(), second.double()))
    norm = float(a.norm() * b.norm())
    return float((a * b).sum()) / norm if norm > 0 else 0.0

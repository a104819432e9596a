"""The basis itself: second moments of activations and of gradients, brought to diagonal form together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from representation.analysis.interaction_basis.folding import activations, prepared

Rule = Literal["gradient", "ig", "trapezoid"]
Mode = Literal["global", "local", "pca"]


@dataclass(frozen=True)
class Basis:
    """Directions of one layer, the most important first.

    Attributes:
        C: (d, r): new activations are f C.
        C_pinv: (r, d): f C C⁺ is f, as far as its directions are kept.
        importance: (r,): what each direction does to the output: its mean square, as gradients there are 1.
        rank_act: directions in which activations vary.
        rank_grad: of these, those which change the output.
        constant: whether direction 0 is the constant; it is neither turned nor scaled, and its importance reads 1.
    """

    C: Tensor
    C_pinv: Tensor
    importance: Tensor
    rank_act: int
    rank_grad: int
    constant: bool = False

    def __len__(self) -> int:
        """Directions, without the constant."""
        return len(self.importance) - self.constant

    def first(self, n: int) -> tuple[Tensor, Tensor]:
        """C and C⁺ of the n most important directions, and of the constant.

        Raises:
            ValueError: n is not from 0 to r.
        """
        if not 0 <= n <= len(self):
            raise ValueError(f"n: expected 0 to {len(self)} directions, found {n}")
        return self.C[:, : n + self.constant], self.C_pinv[: n + self.constant]

    def projection(self, n: int) -> Tensor:
        """C_n C_n⁺ (d, d): activations f become f P."""
        columns, rows = self.first(n)
        return columns @ rows


def collect_grams(seq: nn.Sequential, data: Tensor, layers: Sequence[int], fold: bool = True) -> dict[int, Tensor]:
    """G = (1/N) Σ fᵀ f (d, d) of some layers, over all positions of the inputs.

    Args:
        seq: the network, or what `fold_bias` made of it.
        data: (..., d) inputs.
        layers: numbers of the modules that they enter.
        fold: whether there is a constant; then its row of G is the mean.

    Raises:
        ValueError: no such layer, or inputs that are not finite.
    """
    net = prepared(seq, fold)
    return {layer: f.T @ f / len(f) for layer, f in activations(net, data, list(layers)).items()}


def alphas(rule: Rule, n: int) -> tuple[Tensor, Tensor]:
    """Places in [0, 1] along the way from 0 to the activations, and their weights, which sum to 1.

    Args:
        rule: "gradient" has the end alone; "ig" n nodes of Gauss-Legendre; "trapezoid" n intervals, 0 is the middle.
        n: how many.

    Raises:
        ValueError: another rule, or too few.
    """
    if rule == "gradient":
        return torch.ones(1).double(), torch.ones(1).double()
    if rule == "ig" and n >= 1:
        nodes, weights = np.polynomial.legendre.leggauss(n)
        return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)
    if rule == "trapezoid" and n >= 0:
        if n == 0:
            return torch.full((1,), 0.5).double(), torch.ones(1).double()
        weights = torch.full((n + 1,), 1.0 / n).double()
        weights[[0, -1]] /= 2
        return torch.linspace(0, 1, n + 1).double(), weights
    raise ValueError(f"rule, n: expected gradient, ig with n >= 1 or trapezoid with n >= 0, found {rule!r}, {n}")


def mean_gradients(fn: Callable[[Tensor], Tensor], f: Tensor, toward: Tensor, rule: Rule, n: int) -> Tensor:
    """Gradients (N, d) at f (N, d) of the outputs (N, o) of fn times `toward` (N, o) or (o,), averaged by a rule."""
    found = torch.zeros_like(f)
    for alpha, weight in zip(*alphas(rule, n), strict=True):
        at = (alpha * f).detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad((fn(at) * toward).sum(), at, allow_unused=True)
        found += 0.0 if gradient is None else weight * gradient
    return found


def jacobian_gram(
    fn: Callable[[Tensor], Tensor],
    acts: Tensor,
    C_next: Tensor | None = None,  # noqa: N803
    rule: Rule = "gradient",
    n: int = 1,
    probes: int = 0,
    seed: int = 0,
) -> Tensor:
    """K = (1/N) Σ Jᵀ J (d, d) of the outputs of fn, in a basis of theirs, by activations.

    Args:
        fn: (N, d) to (N, o); a row's outputs depend on that row alone.
        acts: (N, d).
        C_next: (o, r) basis of the outputs; None for the outputs themselves.
        rule: where gradients are taken, see `alphas`.
        n: its number.
        probes: so many random sums of ±outputs in place of each output, whose mean is K; 0 for K itself.
        seed: of the probes.

    Raises:
        ValueError: acts are not finite (N, d), or another rule.
    """
    if acts.ndim != 2 or not torch.isfinite(acts).all():
        raise ValueError(f"acts: expected finite values (N, d), found shape {tuple(acts.shape)}")
    f = acts.detach().double()

    def mapped(x: Tensor) -> Tensor:
        return fn(x) if C_next is None else fn(x) @ C_next

    with torch.no_grad():
        outputs = mapped(f[:1]).shape[1]
    if probes:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(2, (probes, len(f), outputs), generator=generator).double() * 2 - 1
        toward, scale = list(drawn), 1.0 / probes
    else:
        toward, scale = list(torch.eye(outputs, dtype=torch.float64)), 1.0
    gram = f.new_zeros(f.shape[1], f.shape[1])
    for one in toward:
        rows = mean_gradients(mapped, f, one, rule, n)
        gram += scale * rows.T @ rows / len(f)
    return gram


def interaction_basis(
    G: Tensor,  # noqa: N803
    K: Tensor,  # noqa: N803
    eps: float = 1e-8,
    mean: Tensor | None = None,
) -> Basis:
    """The basis of a layer, in which G is diagonal and K is 1.

    Args:
        G: (d, d), see `collect_grams`.
        K: (d, d), see `jacobian_gram`.
        eps: share of the largest eigenvalue, of G and of K in whitened coordinates, at and below which directions go.
        mean: (d,) of the activations, whose last is the constant 1; then all else is centred, and the constant stays.

    Raises:
        ValueError: matrices of other shapes or not finite, or a mean without the constant.
    """
    d = len(G)
    if G.shape != (d, d) or K.shape != (d, d) or not (torch.isfinite(G).all() and torch.isfinite(K).all()):
        raise ValueError(f"G, K: expected two finite (d, d), found {tuple(G.shape)} and {tuple(K.shape)}")
    if not 0 <= eps < 1:
        raise ValueError(f"eps: expected in [0, 1), found {eps}")
    center, back = torch.eye(d).double(), torch.eye(d).double()
    inner = d
    if mean is not None:
        if mean.shape != (d,) or abs(float(mean[-1]) - 1) > 1e-6:
            raise ValueError(f"mean: expected ({d},) that ends with the constant 1, found {tuple(mean.shape)}")
        center[-1, :-1], back[-1, :-1] = -mean.double()[:-1], mean.double()[:-1]
        inner = d - 1
    covariance = _symmetric(center.T @ G.double() @ center)[:inner, :inner]
    gradients = _symmetric(back @ K.double() @ back.T)[:inner, :inner]
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > max(eps * float(values.max()), 0.0)
    root = values[kept].sqrt()
    whiten, colour = vectors[:, kept] / root, root[:, None] * vectors[:, kept].T
    strengths, turns = torch.linalg.eigh(_symmetric(colour @ gradients @ colour.T))
    strengths, order = strengths.abs().sort(descending=True)
    order = order[strengths > eps * (float(strengths[0]) if len(strengths) else 0.0)]
    strengths, turns = strengths[: len(order)], turns[:, order]
    columns = center[:, :inner] @ (whiten @ turns * strengths.sqrt())
    rows = (turns / strengths.sqrt()).T @ colour @ back[:inner]
    if mean is not None:
        columns, rows = torch.cat([center[:, -1:], columns], dim=1), torch.cat([back[-1:], rows])
        strengths = torch.cat([strengths.new_ones(1), strengths])
    return Basis(columns, rows, strengths, int(kept.sum()), len(order), mean is not None)


def build(
    seq: nn.Sequential,
    data: Tensor,
    layers: Sequence[int],
    mode: Mode = "global",
    center: bool = True,
    eps: float = 1e-8,
    rule: Rule = "gradient",
    n: int = 1,
    fold: bool = True,
    probes: int = 0,
    seed: int = 0,
) -> dict[int, Basis]:
    """Bases of some layers.

    Args:
        seq: the network, or what `fold_bias` made of it.
        data: (..., d) inputs.
        layers: numbers of the modules that they enter; len(seq), the output, has principal components for a basis.
        mode: "global" looks at the output, as the first paper does; "local" at the next of the layers, in its basis,
            and may keep what the next layer uses and the output does not; "pca" at nothing but the activations.
        center: whether activations are centred; without, the constant is one of them.
        eps: see `interaction_basis`.
        rule: see `alphas`.
        n: likewise.
        fold: whether there is a constant.
        probes: see `jacobian_gram`.
        seed: of the probes.

    Raises:
        ValueError: no such layer, another mode, inputs that are not finite, or centring without a constant.
    """
    if mode not in ("global", "local", "pca"):
        raise ValueError(f"mode: expected global, local or pca, found {mode!r}")
    net = prepared(seq, fold)
    if center and not fold:
        raise ValueError("center: expected False without a constant (fold=False), found True")
    acts = activations(net, data, list(layers))
    found: dict[int, Basis] = {}
    after, basis_after = len(net), None
    for layer in sorted(acts, reverse=True):
        f = acts[layer]
        gram = f.T @ f / len(f)
        mean = f.mean(dim=0) if center and layer < len(net) else None
        if layer == len(net) or mode == "pca":
            gradients = torch.eye(f.shape[1]).double()
            if mean is not None:
                gradients[-1, :-1] = -mean[:-1]
                gradients = gradients @ gradients.T
        elif mode == "global":
            gradients = jacobian_gram(net[layer:], f, None, rule, n, probes, seed)
        else:
            gradients = jacobian_gram(net[layer:after], f, basis_after, rule, n, probes, seed)
        found[layer] = interaction_basis(gram, gradients, eps, mean)
        after, basis_after = layer, found[layer].C
    return dict(sorted(found.items()))


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.T) / 2

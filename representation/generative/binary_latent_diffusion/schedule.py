"""`BernoulliSchedule`: bits that turn into fair coins in T steps, and what a later step tells of an earlier one."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

Kind = Literal["linear", "cos", "sigmoid"]
Reverse = Literal["plugin", "mixture"]
SIGMOID_RANGE, SIGMOID_TAU = 3.0, 0.8


class BernoulliSchedule(nn.Module):
    """Each step t keeps a bit with probability beta_t and throws a fair coin otherwise.

    After t steps, k_t is left of a bit: z_t is 1 with probability k_t z_0 + (1 - k_t) / 2; k_0 = 1 and k_T = 0.

    Args:
        T: steps.
        kind: `linear` has k_t = 1 - t / T, `cos` half a cosine, `sigmoid` a part of one.

    Attributes:
        k: (T + 1,) float64, of the steps 0 to T.
        beta: (T + 1,) float64, k_t / k_(t-1); beta_0 = 1.

    Raises:
        ValueError: no step, or no such kind.
    """

    def __init__(self, T: int, kind: Kind = "linear") -> None:  # noqa: N803
        super().__init__()
        if T < 1:
            raise ValueError(f"T: expected at least 1, found {T}")
        if kind not in get_args(Kind):
            raise ValueError(f"kind: expected one of {', '.join(get_args(Kind))}, found {kind!r}")
        self.T = T
        share = torch.arange(T + 1, dtype=torch.float64) / T
        if kind == "linear":
            k = 1 - share
        elif kind == "cos":
            k = 0.5 + 0.5 * (torch.pi * share).cos()
        else:
            fall = (-SIGMOID_RANGE * share / SIGMOID_TAU).sigmoid()
            k = (fall - fall[-1]) / (fall[0] - fall[-1])
        k[-1] = 0.0
        self.register_buffer("k", k, persistent=False)
        self.register_buffer("beta", torch.cat([k.new_ones(1), k[1:] / k[:-1]]), persistent=False)
        self.k: Tensor
        self.beta: Tensor

    def marginal(self, z0: Tensor, t: int | Tensor) -> Tensor:
        """Probability of ones after t steps, for bits (B, ...); t is a number or (B,)."""
        return _blurred(z0, self._at(self.k, t, z0))

    def step(self, z: Tensor, t: int | Tensor) -> Tensor:
        """Probability of ones in step t, given bits or probabilities (B, ...) of step t - 1."""
        return _blurred(z, self._at(self.beta, t, z))

    def between(self, z: Tensor, u: int | Tensor, t: int | Tensor) -> Tensor:
        """Probability of ones in step t, given bits or probabilities of step u < t."""
        return _blurred(z, self._at(self.k, t, z) / self._at(self.k, u, z))

    def posterior(
        self, p0: Tensor, z_t: Tensor, t: int | Tensor, u: int | Tensor, reverse: Reverse = "plugin"
    ) -> Tensor:
        """Probability of ones in step u, given the bits of step t > u and what is believed of the first ones.

        Args:
            p0: (B, ...), probability that z_0 is 1; of bits that are known, 0 or 1.
            z_t: (B, ...), bits.
            t: step, a number or (B,).
            u: earlier step.
            reverse: `plugin` puts p0 into the product of the two likelihoods, as the released code does; `mixture`
                weighs the posteriors of both values of z_0 by it, which is exact where p0 is. Known bits give the
                same by both.

        Raises:
            ValueError: u is not before t, or no such kind.
        """
        if reverse not in get_args(Reverse):
            raise ValueError(f"reverse: expected one of {', '.join(get_args(Reverse))}, found {reverse!r}")
        if bool((torch.as_tensor(u) >= torch.as_tensor(t)).any()) or bool((torch.as_tensor(u) < 0).any()):
            raise ValueError(f"u: expected a step from 0 to t - 1, found {u} with t = {t}")
        z_t = z_t.to(p0.dtype)
        if reverse == "mixture":
            one, zero = (self.posterior(value, z_t, t, u) for value in (torch.ones_like(p0), torch.zeros_like(p0)))
            return p0 * one + (1 - p0) * zero
        prior = self.marginal(p0, u)
        likelihood = self.between(z_t, u, t)  # of z_t if z_u is 1, since the map is symmetric
        one, zero = prior * likelihood, (1 - prior) * (1 - likelihood)
        return one / (one + zero)

    def visited(self, steps: int | None = None) -> list[tuple[int, int]]:
        """Pairs (t, u) from T down to 0 that visit so many of the steps, evenly spread and 1 among them; None is all.

        Raises:
            ValueError: no step, or more than there are.
        """
        steps = self.T if steps is None else steps
        if not 1 <= steps <= self.T:
            raise ValueError(f"steps: expected 1 to {self.T}, found {steps}")
        if steps == 1:
            return [(self.T, 0)]
        times = torch.linspace(self.T, 1, steps, dtype=torch.float64).round().long().tolist()
        return list(zip(times, [*times[1:], 0], strict=True))

    def _at(self, values: Tensor, t: int | Tensor, like: Tensor) -> Tensor:
        found = values[t].to(like.dtype if like.is_floating_point() else torch.float32)
        return found.reshape(-1, *[1] * (like.ndim - 1)) if found.ndim else found


def _blurred(z: Tensor, kept: Tensor) -> Tensor:
    return kept * z + (1 - kept) / 2

"""Linear structural equation models: samples, moments in closed form, and interventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Intervention = Literal["soft", "hard", "rademacher"]


class LinearSEM:
    """X = B X + U, with independent noise U of zero mean but for constant shifts; one node is the target.

    Args:
        B: (n, n) coefficients of node (row) on node (column), without cycles.
        noise_std: (n,) standard deviations of U, or one for all.
        target: number of the node that is predicted.
        shift: (n,) constants that are added to U; none if None.

    Attributes:
        covariates: nodes but the target, in the order of the columns of X.

    Raises:
        ValueError: another shape, NaN, a cycle, negative noise, or no such target.
    """

    def __init__(self, B: ArrayLike, noise_std: ArrayLike, target: int, shift: ArrayLike | None = None) -> None:  # noqa: N803
        self.B = np.array(B, dtype=np.float64)
        n = len(self.B)
        if self.B.shape != (n, n) or n < 2 or not np.isfinite(self.B).all():
            raise ValueError(f"B: expected (n, n) finite numbers, n at least 2, found {self.B.shape}")
        if np.linalg.matrix_power((self.B != 0).astype(np.float64), n).any():
            raise ValueError("B: expected no cycles, found one")
        self.noise_std = np.broadcast_to(np.asarray(noise_std, dtype=np.float64), (n,)).copy()
        self.shift = np.zeros(n) if shift is None else np.asarray(shift, dtype=np.float64)
        if not (self.noise_std >= 0).all() or self.shift.shape != (n,) or not np.isfinite(self.shift).all():
            raise ValueError(f"noise_std, shift: expected ({n},), noise not negative, found {noise_std!r}, {shift!r}")
        if not 0 <= target < n:
            raise ValueError(f"target: expected 0 to {n - 1}, found {target}")
        self.target, self.covariates = target, tuple(node for node in range(n) if node != target)

    def sample(self, n: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
        """Features (n, d) and outcomes (n,), with normal noise."""
        u = self.shift + self.noise_std * rng.normal(size=(n, len(self.B)))
        x = np.linalg.solve(np.eye(len(self.B)) - self.B, u.T).T
        return x[:, self.covariates], x[:, self.target]

    def moments(self) -> NDArray[np.float64]:
        """Second moments (n, n) of all nodes, about zero."""
        reach = np.linalg.inv(np.eye(len(self.B)) - self.B)
        return reach @ (np.diag(self.noise_std**2) + np.outer(self.shift, self.shift)) @ reach.T

    def intervene(
        self, kind: Intervention, sites: Sequence[int], rng: np.random.Generator, v: float = 1.0
    ) -> LinearSEM:
        """The model of another environment.

        Args:
            kind: `soft` multiplies each coefficient into a site by a normal number of variance v; `hard` cuts them, and
                puts a constant of that variance in the place of the site's noise; `rademacher` turns signs of all
                coefficients at random, those into the target excepted, which become positive.
            sites: nodes, not the target; `rademacher` takes none into account.
            rng: draws it.
            v: variance.

        Raises:
            ValueError: unknown kind, or wrong sites.
        """
        places = sorted(set(sites))
        if any(site not in range(len(self.B)) or site == self.target for site in places):
            raise ValueError(f"sites: expected nodes but the target {self.target}, found {list(sites)}")
        b, noise, shift = self.B.copy(), self.noise_std.copy(), self.shift.copy()
        if kind == "soft":
            b[places] *= np.sqrt(v) * rng.normal(size=(len(places), len(b)))
        elif kind == "hard":
            b[places], noise[places] = 0.0, 0.0
            shift[places] = np.sqrt(v) * rng.normal(size=len(places))
        elif kind == "rademacher":
            b *= rng.choice([-1.0, 1.0], b.shape)
            b[self.target] = np.abs(self.B[self.target])
        else:
            raise ValueError(f"kind: expected soft, hard or rademacher, found {kind!r}")
        return LinearSEM(b, noise, self.target, shift)

    def population_coefficients(self, subset: Sequence[int]) -> NDArray[np.float64]:
        """Least squares of the target on some columns without intercept, of infinitely many samples."""
        nodes = [self.covariates[column] for column in subset]
        moments = self.moments()
        return np.linalg.pinv(moments[np.ix_(nodes, nodes)], hermitian=True) @ moments[nodes, self.target]

    def parents(self) -> tuple[int, ...]:
        """Columns that the target depends on."""
        return self._columns(np.flatnonzero(self.B[self.target]))

    def markov_blanket(self) -> tuple[int, ...]:
        """Columns of the target's parents, its children, and their other parents."""
        children = np.flatnonzero(self.B[:, self.target])
        beside = np.flatnonzero(self.B[children].any(axis=0))
        return self._columns(np.concatenate([np.flatnonzero(self.B[self.target]), children, beside]))

    def _columns(self, nodes: NDArray[np.int64]) -> tuple[int, ...]:
        return tuple(column for column, node in enumerate(self.covariates) if node in nodes)


def example_sem() -> tuple[LinearSEM, tuple[int, ...]]:
    """The paper's model of 7 nodes, target 4, and the sites of its interventions, {2, 3, 5}."""
    b = np.zeros((7, 7))
    for source, sink in ((0, 1), (0, 2), (1, 3), (2, 3), (1, 4), (3, 4), (2, 5), (3, 5), (4, 6), (5, 6)):
        b[sink, source] = 1.0
    return LinearSEM(b, 0.02, target=4), (2, 3, 5)

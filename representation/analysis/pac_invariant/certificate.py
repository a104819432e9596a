"""How sure it is that an accepted rule stays in environments that were not seen.

The first environment fixes the coefficients of every subset. The others are drawn independently from the family. A
subset that changes in more than a share p of the family passes all E - 1 of them with a probability of at most
(1 - p)^(E - 1); over |H| subsets these probabilities add up. So with a probability of 1 - delta, every subset that
passed changes in at most 1 - (delta / |H|)^(1 / (E - 1)) of the family.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm

from representation.analysis.pac_invariant.subsets import environment_coefficients, moments_of


def pac_certificate(n_envs: int, n_hypotheses: int, delta: float = 0.05, violations: int = 0) -> float:
    """Largest share of the family in which any accepted subset changes, with a probability of 1 - delta.

    It is of coefficients as they are estimated from so many samples; see `coefficient_bands` for the true ones.

    Args:
        n_envs: environments E, the anchor among them; independent draws of the family.
        n_hypotheses: subsets that were, or could have been, looked at.
        delta: probability of being wrong.
        violations: environments that an accepted subset may have left (Clopper and Pearson's bound).

    Raises:
        ValueError: out of range.
    """
    if n_envs < 2 or n_hypotheses < 1 or not 0 < delta < 1:
        raise ValueError(f"n_envs, n_hypotheses, delta: expected 2, 1, in (0, 1), found {n_envs, n_hypotheses, delta}")
    tests = n_envs - 1
    if not 0 <= violations < tests:
        raise ValueError(f"violations: expected 0 to {tests - 1}, found {violations}")
    level = delta / n_hypotheses
    if violations == 0:
        return -math.expm1(math.log(level) / tests)
    return float(beta.isf(level, violations + 1, tests - violations))


def envs_needed(n_hypotheses: int, delta_prime: float, delta: float = 0.05) -> int:
    """Environments, the anchor among them, after which an accepted subset changes in at most `delta_prime` of others.

    A closed form that asks for a little more than `pac_certificate`.
    """
    if n_hypotheses < 1 or not (0 < delta < 1 and 0 < delta_prime < 1):
        raise ValueError(f"delta_prime, delta: expected in (0, 1), found {delta_prime} and {delta}")
    return 1 + math.ceil((math.log(n_hypotheses) - math.log(delta)) / delta_prime)


def coefficient_bands(
    envs: Sequence[tuple[NDArray, NDArray]],
    subset: Sequence[int],
    delta: float = 0.05,
    n_hypotheses: int = 1,
    fit_intercept: bool = False,
) -> NDArray[np.float64]:
    """How far estimated coefficients may lie from the true ones, (E,), at once in all environments and subsets.

    Asymptotic: covariance σ² M⁻¹ / n of least squares, with normal quantiles that are shared out by Bonferroni.

    Args:
        envs: features and outcomes of each.
        subset: columns.
        delta: probability that any true coefficients lie outside.
        n_hypotheses: subsets that are looked at.
        fit_intercept: see `moments_of`.
    """
    moments, columns = moments_of(envs, fit_intercept), list(subset)
    coefficients = environment_coefficients(moments, columns)
    gram, cross = moments.gram[:, columns][:, :, columns], moments.cross[:, columns]
    residual = moments.power - np.einsum("ei,ei->e", cross, coefficients)
    counts = np.array([len(outcome) for _, outcome in envs])
    freedom = np.maximum(counts - len(columns), 1)
    diagonal = np.diagonal(np.linalg.pinv(gram, hermitian=True), axis1=1, axis2=2)
    errors = np.sqrt(np.maximum(residual, 0)[:, None] * diagonal / freedom[:, None])
    quantile = norm.isf(delta / (2 * errors.size * n_hypotheses))
    return quantile * np.linalg.norm(errors, axis=1)

import numpy as np
import pytest
from scipy.optimize import minimize

from representation.selection.logme import logme


def negative_evidence(precisions, x, t):
    """Minus the log evidence of Bayesian linear regression, by the covariance of the targets."""
    alpha, beta = np.exp(precisions)
    covariance = np.eye(len(t)) / beta + x @ x.T / alpha
    return 0.5 * (np.linalg.slogdet(2 * np.pi * covariance)[1] + t @ np.linalg.solve(covariance, t))


def test_logme_is_the_largest_evidence_and_knows_features_that_hold_the_labels():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 10)), rng.integers(0, 3, 200)
    one_hot = np.eye(3)[y]
    best = [minimize(negative_evidence, np.zeros(2), (x, t), "Nelder-Mead").fun for t in one_hot.T]
    assert logme(x, y) == pytest.approx(-np.mean(best) / 200, abs=1e-3)
    assert logme(np.hstack([one_hot, x]), y) > logme(x, y) + 1


def test_the_evidence_is_right_where_features_are_wide_or_always_zero_and_can_be_counted_as_released():
    rng = np.random.default_rng(1)
    wide, y = np.hstack([rng.normal(size=(40, 60)), np.zeros((40, 5))]), rng.integers(0, 2, 40)
    best = [minimize(negative_evidence, np.zeros(2), (wide, t), "Nelder-Mead").fun for t in np.eye(2)[y].T]
    assert logme(wide, y) == pytest.approx(-np.mean(best) / 40, abs=0.02)  # the iteration ends before its limit
    narrow = wide[:, :10]
    padded = np.hstack([narrow, np.zeros((40, 20))])
    assert logme(padded, y) == pytest.approx(logme(narrow, y), abs=1e-9)
    assert logme(padded, y, released=True) != pytest.approx(logme(narrow, y, released=True), abs=1e-3)
    assert logme(narrow, y, released=True) == pytest.approx(logme(narrow, y), abs=1e-12)

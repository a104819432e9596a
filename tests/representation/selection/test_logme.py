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
    wide = rng.normal(size=(40, 60))
    assert np.isfinite(logme(wide, y[:40]))

import numpy as np
import pytest
from scipy.linalg import eigh

from representation.selection.sfda import sfda


def crowded(classes=5, d=16, seed=0, each=30, apart=1.0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), each)
    return apart * rng.normal(size=(classes, d))[y] + rng.normal(size=(len(y), d)), y


def sfda_by_eigenvectors(x, y):
    """The score written out with generalised eigenvectors, whose scatter between classes is the difference."""
    classes = int(y.max()) + 1

    def scatters(x):
        means = np.stack([x[y == c].mean(axis=0) for c in range(classes)])
        within = sum(np.mean(y == c) * np.cov(x[y == c].T, bias=True) for c in range(classes))
        return means, within, np.cov(x.T, bias=True)

    def shrunk(a, shrinkage):
        return (1 - shrinkage) * a + shrinkage * np.trace(a) / len(a) * np.eye(len(a))

    def probabilities(x, shrinkage):
        means, within, total = scatters(x)
        within, total = shrunk(within, shrinkage), shrunk(total, shrinkage)
        _, vectors = eigh(total - within, within)
        coefficients = means @ vectors @ vectors.T
        logits = x @ coefficients.T - 0.5 * np.diag(means @ coefficients.T) + np.log(np.bincount(y) / len(y))
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    means, within, _ = scatters(x)
    vector = within.sum(axis=1)
    for _ in range(3):
        left = within @ vector / np.linalg.norm(within @ vector)
        vector = within @ left / np.linalg.norm(within @ left)
    shrinkage = max(np.exp(-5 * vector @ within @ left), 1e-10)
    first = np.exp(probabilities(x, shrinkage))
    sure = (first / first.sum(axis=1, keepdims=True))[np.arange(len(y)), y][:, None]
    others = np.stack([np.delete(means, c, axis=0).mean(axis=0) for c in range(classes)])
    return probabilities(sure * x + (1 - sure) * others[y], shrinkage)[np.arange(len(y)), y].mean()


def test_sfda_is_what_its_equations_say_and_leaves_its_input_alone():
    x, y = crowded(4, 6, each=25)
    x *= 0.3
    before = x.copy()
    assert sfda(x, y) == pytest.approx(sfda_by_eigenvectors(x, y), abs=1e-8)
    np.testing.assert_array_equal(x, before)

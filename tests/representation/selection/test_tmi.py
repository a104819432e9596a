import warnings

import numpy as np
import pytest
from scipy.special import digamma

from representation.selection.tmi import conditional_entropy_knn, tmi_score


def clouds(counts=(40, 60, 50), d=8, seed=0, spread=3.0):
    """Gaussian classes of some sizes, none of whose neighbours is nearer than 0.01."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    return spread * rng.normal(size=(len(y), d)) + rng.normal(size=(len(counts), d))[y], y


def entropy_by_all_pairs(x, k, norm, min_dist):
    """The estimator written out for one class in the max norm, or with the volume of the Euclidean ball."""
    difference = np.abs(x[:, None] - x[None])
    distances = difference.max(axis=2) if norm == "max" else np.sqrt((difference**2).sum(axis=2))
    np.fill_diagonal(distances, np.inf)
    epsilon = np.maximum(np.sort(distances, axis=1)[:, k - 1], min_dist)
    n, d = x.shape
    if norm == "max":
        return -digamma(k) + digamma(n) + d / n * np.log(2 * epsilon).sum()
    halves = {1: 2.0, 8: np.pi**4 / 24, 64: np.pi**32 / 263130836933693530167218012160000000.0}
    return -digamma(k) + digamma(n) + np.log(halves[d]) + d / n * np.log(epsilon).sum()


def test_entropies_of_known_densities_are_found():
    rng = np.random.default_rng(0)
    gaussian = rng.normal(size=(5000, 2)) * (2.0, 1.0)
    truth = 0.5 * np.log((2 * np.pi * np.e) ** 2 * 4)
    assert truth == pytest.approx(3.531, abs=1e-3)
    for norm in ("max", "euclidean"):
        assert conditional_entropy_knn(gaussian, np.zeros(5000), norm=norm, min_dist=0) == pytest.approx(
            truth, abs=0.05
        )
    assert abs(conditional_entropy_knn(rng.random((5000, 3)), np.zeros(5000), min_dist=0)) < 0.1


def test_the_score_grows_with_the_logarithm_of_the_scale():
    for counts in ((50, 50, 50), (40, 60, 50)):
        x, y = clouds(counts)
        grown = tmi_score(7 * x, y, min_dist=1e-9).score - tmi_score(x, y, min_dist=1e-9).score
        assert grown == pytest.approx(8 / 3 * np.log(7), abs=1e-8)
        scaled = tmi_score(x, y, min_dist=1e-9, standardize="rms")
        again = tmi_score(7 * x, y, min_dist=1e-9, standardize="rms")
        assert again.score == pytest.approx(scaled.score, abs=1e-9)
        assert again.rms == pytest.approx(7 * scaled.rms)


def test_place_order_and_names_do_not_matter():
    x, y = clouds()
    score = tmi_score(x, y, min_dist=0.01).score
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(len(y)), rng.permutation(8)
    for other in (
        tmi_score(x + rng.normal(size=8), y, min_dist=0.01),
        tmi_score(x[rows], y[rows], min_dist=0.01),
        tmi_score(x[:, columns], y, min_dist=0.01),
        tmi_score(x, np.array([70, -3, 12])[y], min_dist=0.01),
        tmi_score(x, np.array(["c", "a", "b"])[y], min_dist=0.01),
    ):
        assert other.score == pytest.approx(score, abs=1e-9)


def test_samples_that_come_twice_are_absorbed_by_the_smallest_distance():
    x, y = clouds()
    twice = np.concatenate([x, x]), np.concatenate([y, y])
    with pytest.warns(UserWarning, match="100% of the distances"):
        result = tmi_score(*twice, k=1, min_dist=0.5)
    assert np.isfinite(result.score)
    assert result.clamped_fraction == 1
    with pytest.raises(ValueError, match="min_dist: expected more than 0"):
        tmi_score(*twice, k=1, min_dist=0)


@pytest.mark.parametrize("d", [1, 8, 64])
@pytest.mark.parametrize("norm", ["max", "euclidean"])
def test_the_tree_finds_what_all_pairs_find(d, norm):
    x, y = clouds(d=d, seed=d)
    total, entropies = conditional_entropy_knn(x, y, norm=norm, min_dist=1e-9, per_class=True)
    expected = [entropy_by_all_pairs(x[y == c], 3, norm, 1e-9) for c in range(3)]
    np.testing.assert_allclose(entropies, expected, atol=1e-9)
    assert total == pytest.approx(np.dot([40 / 150, 60 / 150, 50 / 150], expected), abs=1e-9)


def test_a_score_of_clamped_distances_alone_is_a_constant_and_is_warned_of():
    x, y = clouds(spread=0.001)
    with pytest.warns(UserWarning, match="below min_dist = 1"):
        result = tmi_score(x, y)
    shares = np.array([40, 60, 50]) / 150
    expected = shares @ (-digamma(3) + digamma([40, 60, 50]) + 8 * np.log(2)) / 3
    assert result.score == pytest.approx(expected, abs=1e-12)
    assert result.clamped_fraction == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tmi_score(100 * x, y, min_dist=1e-6).clamped_fraction == 0


def test_classes_that_are_too_small_are_left_out_and_single_samples_count_as_nothing():
    x, y = clouds((30, 40, 3, 1))
    result = tmi_score(x, y, min_dist=1e-9)
    h = [entropy_by_all_pairs(x[y == c], 3, "max", 1e-9) for c in range(2)]
    assert result.dropped_classes == (2,)
    assert np.isinf(result.per_class[2])
    assert result.per_class[3] == 0
    assert result.score == pytest.approx((30 / 74 * h[0] + 40 / 74 * h[1]) / 3, abs=1e-9)
    summed = tmi_score(x, y, min_dist=1e-9, aggregate="sum")
    assert summed.score == pytest.approx(3 * result.score)
    assert tmi_score(x, y, min_dist=1e-9, per_dimension=True).score == pytest.approx(result.score / 8)


def test_bad_features_and_labels_are_told():
    x, y = clouds()
    broken = x.copy()
    broken[3, 2] = np.nan
    for features, labels, words in (
        (broken, y, "features: expected finite numbers, found 1 others"),
        (x, np.zeros(len(y)), "expected at least 2 classes"),
        (x, np.arange(len(y)), "expected fewer classes than samples"),
        (x, y[:-1], "labels: expected"),
        (x[0], y, "features: expected"),
        (x[:6], [0, 0, 1, 1, 2, 2], "expected a class with more than k = 3 samples"),
    ):
        with pytest.raises(ValueError, match=words):
            tmi_score(features, labels)
    with pytest.raises(ValueError, match="k, min_dist, norm"):
        conditional_entropy_knn(x, y, k=0)
    with pytest.raises(ValueError, match="standardize, aggregate"):
        tmi_score(x, y, aggregate="median")

from __future__ import annotations

import numpy as np
import pytest

from policies.spatialvla.normalizer import ActionNormalizer, action_statistics


def fitted(actions):
    return ActionNormalizer.from_statistics(action_statistics(actions))


def test_unnormalize_inverts_normalize_within_the_percentiles():
    rng = np.random.default_rng(0)
    actions = np.c_[rng.normal(0.1, 0.3, (1000, 6)), rng.integers(0, 2, 1000)]
    normalizer = fitted(actions)
    inside = ((actions >= normalizer.q01) & (actions <= normalizer.q99)).all(axis=1)
    np.testing.assert_allclose(
        normalizer.unnormalize(normalizer.normalize(actions))[inside], actions[inside], atol=1e-6
    )


def test_gripper_passes_unchanged_and_outliers_are_clipped():
    rng = np.random.default_rng(0)
    actions = np.c_[rng.normal(0, 1, (1000, 6)), rng.integers(0, 2, 1000)]
    normalized = fitted(actions).normalize(actions)
    np.testing.assert_array_equal(normalized[:, 6], actions[:, 6])
    assert np.abs(normalized[:, :6]).max() == 1.0


def test_a_dimension_that_never_moves_normalizes_to_zero_and_comes_back():
    actions = np.zeros((100, 7))
    actions[:, 0] = np.linspace(-1, 1, 100)
    actions[:, 4] = 0.25
    normalizer = fitted(actions)
    assert (normalizer.normalize(actions)[:, 4] == 0).all()
    assert (normalizer.unnormalize(normalizer.normalize(actions))[:, 4] == 0.25).all()


def test_rare_motion_keeps_its_range():
    actions = np.zeros((1000, 7))
    actions[:5, 5] = 0.4
    normalizer = fitted(actions)
    np.testing.assert_allclose(normalizer.unnormalize(normalizer.normalize(actions))[:6, 5], actions[:6, 5], atol=1e-6)


def test_missing_percentiles_are_named():
    with pytest.raises(ValueError, match="q99"):
        ActionNormalizer.from_statistics({"q01": [0] * 7, "mask": [True] * 7})

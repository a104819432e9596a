import itertools

import numpy as np
import pytest

from representation.selection.hscore import hscore
from representation.selection.logme import logme
from representation.selection.nleep import nleep
from representation.selection.ped import overlap_energy, ped_step, potential_energy_descent, score_with_ped
from representation.selection.sfda import sfda


def crowded(classes=5, d=16, seed=0, each=30, apart=1.0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), each)
    return apart * rng.normal(size=(classes, d))[y] + rng.normal(size=(len(y), d)), y


def on_an_axis(half):
    """Two classes with means at +-half, each of two samples at a distance of 1 from the mean."""
    return np.array([[half + 1, 0], [half - 1, 0], [1 - half, 0], [-1 - half, 0.0]]), np.array([0, 0, 1, 1])


def test_classes_move_as_a_whole_and_together_not_at_all():
    x, y = crowded()
    moved, shifts, _ = ped_step(x, y, x.mean(axis=0), x.std(axis=0))
    assert np.abs(shifts).max() > 1e-3
    assert np.linalg.norm(shifts.sum(axis=0)) < 1e-10
    np.testing.assert_allclose(moved - x, (shifts * x.std(axis=0))[y], atol=1e-10)
    result = potential_energy_descent(x, y)
    assert result.n_steps == 6
    assert result.shifts.shape == (6, 5, 16)
    assert result.reference == "labelled"
    for c in range(5):
        np.testing.assert_allclose(np.cov(result.features[y == c].T), np.cov(x[y == c].T), atol=1e-10)
    np.testing.assert_allclose((result.features - x) / x.std(axis=0), result.shifts.sum(axis=0)[y], atol=1e-10)


def test_nothing_moves_where_nothing_overlaps():
    x, y = crowded(apart=100.0)
    result = potential_energy_descent(x, y, general=np.random.default_rng(1).normal(size=(50, 16)))
    assert result.n_steps == 0
    assert result.reference == "general"
    np.testing.assert_array_equal(result.features, x)
    np.testing.assert_array_equal(result.energies, [0.0])


def test_two_classes_on_an_axis_move_by_the_computed_step_or_by_the_whole_overlap():
    x, y = on_an_axis(0.5)
    assert overlap_energy(x, y, 0.6) == pytest.approx(0.02, abs=1e-12)
    for dt, length in ((0.1, 0.001), (2.0, 0.2)):
        _, shifts, energy = ped_step(x, y, 0.0, 1.0, dt=dt)
        np.testing.assert_allclose(shifts, [[length, 0], [-length, 0]], atol=1e-12)
        assert energy == pytest.approx(0.02, abs=1e-12)


def test_classes_at_one_place_do_not_push_each_other():
    x, y = on_an_axis(0.0)
    _, shifts, energy = ped_step(x, y, 0.0, 1.0)
    np.testing.assert_array_equal(shifts, 0)
    assert energy > 0


def test_the_energy_falls():
    for seed in range(5):
        energies = potential_energy_descent(*crowded(2, seed=seed)).energies
        assert (np.diff(energies) <= 0).all()
    falls = [np.diff(potential_energy_descent(*crowded(seed=seed)).energies) for seed in range(20)]
    assert sum((one < 0).all() for one in falls) >= 19


def test_the_descent_ends_before_a_step_that_is_small_beside_the_first():
    x, y = crowded(2)
    result = potential_energy_descent(x, y, dt=1.0, max_steps=20)
    changes = np.abs(result.shifts).sum(axis=(1, 2))
    assert 0 < result.n_steps < 20
    assert (changes > 0.5 * changes[0]).all()
    mean, std = x.mean(axis=0), x.std(axis=0)
    _, refused, _ = ped_step(result.features, y, mean, std, dt=1.0)
    assert np.abs(refused).sum() <= 0.5 * changes[0]


def test_shifts_turn_with_the_features_and_do_not_mind_the_scale_of_each_number():
    x, y = crowded()
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(16, 16)))[0]
    _, shifts, _ = ped_step(x, y, 0.0, 1.0)
    _, turned, _ = ped_step(x @ turn, y, 0.0, 1.0)
    np.testing.assert_allclose(turned, shifts @ turn, atol=1e-8)
    scale, general = np.random.default_rng(4).uniform(0.5, 20, 16), 2 * crowded(seed=9)[0]
    plain = potential_energy_descent(x, y, general)
    scaled = potential_energy_descent(x * scale, y, general * scale)
    np.testing.assert_allclose(scaled.shifts, plain.shifts, atol=1e-8)


@pytest.mark.parametrize("base", ["logme", "sfda", "nleep"])
def test_a_score_with_descent_is_the_score_of_the_moved_features(base):
    x, y = crowded(3, 6, apart=0.5)
    general = crowded(3, 6, seed=5)[0]
    score = {"logme": logme, "sfda": sfda, "nleep": nleep}[base]
    moved = potential_energy_descent(x, y, general).features
    assert score_with_ped(x, y, general, base) == score(moved, y)
    assert score_with_ped(x, y, general, base) != score(x, y)


def test_bad_input_is_told():
    x, y = crowded()
    for call, words in (
        (lambda: potential_energy_descent(x, y, x[:, :3]), "general: expected"),
        (lambda: potential_energy_descent(x, y, x * np.nan), "general: expected finite"),
        (lambda: ped_step(x, y, np.zeros(3), 1.0), "ref_mean: expected"),
        (lambda: ped_step(x, y, 0.0, 1.0, dt=0.0), "dt, nsigma, k: expected more than 0"),
        (lambda: score_with_ped(x, y, base="leep"), "base: expected one of logme, sfda, nleep, found 'leep'"),
        (lambda: nleep(x, y, components_per_class=40), "components_per_class: expected 1 to 30"),
        (lambda: logme(np.zeros((20, 3)), y[:20] > 0), "at least 2 classes"),
        (lambda: logme(np.zeros((40, 3)), y[:40]), "not zero"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    for score, bad in itertools.product((logme, sfda, nleep, hscore, potential_energy_descent), ("one", "nan")):
        with pytest.raises(ValueError, match="at least 2 classes" if bad == "one" else "finite"):
            score(x if bad == "one" else np.where(x > 2, np.nan, x), y * (bad != "one"))

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from policies.spatialvla.action_grid import AXIS_RANGES, ActionGrid, fit_gaussian_stats, to_cartesian, to_spherical

# Mean and deviation of theta, phi, r, roll, pitch, yaw, as released.
ROWS = {
    "pretraining": "1.87397 0.77984 0.08797 1.69212 0.54809 0.34750 -0.01650 0.38049 0.02846 0.29912 -0.00491 0.39023",
    "bridge": "2.18094 0.78493 0.14072 1.79030 0.55386 0.30016 -0.00826 0.31316 0.08298 0.33079 0.00934 0.29815",
    "fractal": "1.61574 0.59767 0.01512 1.19268 0.45576 0.32478 -0.15984 0.30541 0.07138 0.31518 -0.01093 0.30193",
}


def stats_of(row):
    numbers = [float(word) for word in ROWS[row].split()]
    return {
        axis: {"mu": mu, "sigma": sigma}
        for axis, mu, sigma in zip(AXIS_RANGES, numbers[::2], numbers[1::2], strict=True)
    }


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("min_sigma", [0.0, 0.5])
def test_every_bin_holds_the_same_truncated_gaussian_mass(row, min_sigma):
    stats = stats_of(row)
    grid = ActionGrid.from_gaussian(stats, min_sigma=min_sigma)
    for axis, edges in grid.edges.items():
        cdf = ndtr((edges - stats[axis]["mu"]) / max(stats[axis]["sigma"], min_sigma))
        mass = np.diff(cdf) / (cdf[-1] - cdf[0])
        np.testing.assert_allclose(mass, 1 / len(mass), atol=1e-9)
        assert (np.diff(edges) > 0).all()
        np.testing.assert_allclose(edges[[0, -1]], AXIS_RANGES[axis], atol=1e-12)


def test_bridge_roll_edges_have_the_published_values():
    edges = ActionGrid.from_gaussian(stats_of("bridge")).edges["roll"]
    np.testing.assert_allclose(edges[:4], [-1, -0.486963, -0.367607, -0.285496], atol=1e-5)


@pytest.mark.parametrize("grid", [ActionGrid.uniform(), ActionGrid.from_gaussian(stats_of("bridge"))])
def test_rotation_and_gripper_ids_survive_decode_and_encode(grid):
    count = grid.slot_sizes[1]
    ids = np.stack([np.zeros(count, int), np.arange(count), np.arange(count) % 2], axis=-1)
    np.testing.assert_array_equal(grid.encode(grid.decode(ids))[:, 1:], ids[:, 1:])


@pytest.mark.parametrize(
    ("grid", "changed"), [(ActionGrid.uniform(), 960), (ActionGrid.from_gaussian(stats_of("bridge")), 57)]
)
def test_translation_ids_change_only_where_decoding_clips(grid, changed):
    count = grid.slot_sizes[0]
    ids = np.stack([np.arange(count), np.zeros(count, int), np.zeros(count, int)], axis=-1)
    decoded = grid.decode(ids)
    differs = grid.encode(decoded)[:, 0] != ids[:, 0]
    assert differs.sum() == changed
    assert (np.abs(decoded[differs, :3]).max(axis=1) == 1.0).all()


def test_spherical_coordinates_invert():
    points = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_allclose(to_cartesian(to_spherical(points)), points, atol=1e-12)


def entropy_bits(ids, count):
    share = np.bincount(ids, minlength=count) / len(ids)
    return -(share[share > 0] * np.log2(share[share > 0])).sum()


def translation_error(grid, actions, mode="midpoint"):
    return np.linalg.norm(grid.decode(grid.encode(actions), mode)[:, :3] - actions[:, :3], axis=1).mean()


def rotation_error(grid, actions):
    return np.abs(grid.decode(grid.encode(actions))[:, 3:6] - actions[:, 3:6]).mean()


@pytest.mark.parametrize("seed", range(3))
def test_gaussian_grid_spends_its_tokens_better_than_the_uniform_one(seed):
    rng = np.random.default_rng(seed)
    actions = np.clip(np.c_[rng.normal(0, 0.3, (40000, 6)), rng.integers(0, 2, 40000)], -1, 1)
    stats, test = fit_gaussian_stats(actions[:20000]), actions[20000:]
    sharp, floored, uniform = (
        ActionGrid.from_gaussian(stats),
        ActionGrid.from_gaussian(stats, min_sigma=0.5),
        ActionGrid.uniform(),
    )
    for slot in (0, 1):
        assert entropy_bits(sharp.encode(test)[:, slot], 4096) >= 11.5
        assert entropy_bits(uniform.encode(test)[:, slot], 4096) <= 11.0
    assert translation_error(floored, test) <= 0.92 * translation_error(uniform, test)
    assert rotation_error(floored, test) <= 0.80 * rotation_error(uniform, test)


@pytest.mark.parametrize(("deviation", "gain"), [(0.3, 0.7), (0.07, 0.2)])
def test_midpoints_of_wide_outer_bins_are_a_trap_that_centroids_avoid(deviation, gain):
    rng = np.random.default_rng(0)
    actions = np.clip(np.c_[rng.normal(0, deviation, (40000, 6)), rng.integers(0, 2, 40000)], -1, 1)
    test = actions[20000:]
    grid = ActionGrid.from_gaussian(fit_gaussian_stats(actions[:20000]))
    midpoint = translation_error(grid, test)
    assert midpoint > translation_error(ActionGrid.uniform(), test)
    assert translation_error(grid, test, "centroid") <= gain * midpoint
    empirical = grid.with_empirical_centroids(actions[:20000])
    assert translation_error(empirical, test, "centroid") <= gain * midpoint
    np.testing.assert_array_equal(empirical.encode(test), grid.encode(test))


def test_edges_that_do_not_increase_are_refused_by_axis_name():
    edges = dict(ActionGrid.uniform().edges)
    edges["pitch"] = np.array([-1.0, 0.5, 0.2, 1.0])
    with pytest.raises(ValueError, match="edges of pitch: expected at least two, strictly increasing"):
        ActionGrid(edges)


def test_gaussian_without_spread_is_refused():
    stats = stats_of("bridge")
    stats["yaw"] = {"mu": 0.0, "sigma": 0.0}
    with pytest.raises(ValueError, match="yaw"):
        ActionGrid.from_gaussian(stats)


def test_non_finite_actions_are_refused():
    with pytest.raises(ValueError, match="finite"):
        ActionGrid.uniform().encode(np.full((1, 7), np.nan))

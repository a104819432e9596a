from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.special import ndtr

from policies.spatialvla.action_grid import (
    AXIS_RANGES,
    TRANSLATION_AXES,
    ActionGrid,
    fit_gaussian_stats,
    gaussian_edges,
    to_cartesian,
    to_spherical,
)

# Mean and deviation of theta, phi, r, roll, pitch, yaw, as released.
ROWS = {
    "pretraining": "1.87397 0.77984 0.08797 1.69212 0.54809 0.34750 -0.01650 0.38049 0.02846 0.29912 -0.00491 0.39023",
    "bridge": "2.18094 0.78493 0.14072 1.79030 0.55386 0.30016 -0.00826 0.31316 0.08298 0.33079 0.00934 0.29815",
    "fractal": "1.61574 0.59767 0.01512 1.19268 0.45576 0.32478 -0.15984 0.30541 0.07138 0.31518 -0.01093 0.30193",
}

# Edges of the pre-trained policy, as its file holds them, to five digits.
RELEASED_EDGES = {
    axis: np.array([float(word) for word in words.split()])
    for axis, words in {
        "theta": "0 .70672 .98142 1.1752 1.33312 1.47132 1.59778 1.71728 1.83312 1.94802 2.0645 2.18536 2.31419 "
        "2.45631 2.62103 2.82835 3.14159",
        "phi": "-3.14159 -2.55978 -2.18997 -1.90715 -1.67245 -1.46835 -1.28535 -1.11767 -.96148 -.81412 -.6736 -.53841 "
        "-.40734 -.27938 -.15366 -.02944 .094 .21734 .34124 .46639 .59355 .72353 .85728 .99595 1.14093 1.29405 1.4577 "
        "1.63529 1.83184 2.05537 2.32007 2.65524 3.14159",
        "r": "0 .19677 .35063 .4882 .62197 .7621 .92283 1.13933 1.73205",
        "roll": "-1 -.71213 -.55646 -.44007 -.34265 -.25596 -.17567 -.09904 -.02406 .05101 .12791 .2087 .29624 .3951 "
        ".51418 .67625 1",
        "pitch": "-1 -.6785 -.5168 -.39787 -.29908 -.21159 -.13082 -.05393 .02114 .09613 .17278 .25311 .33986 .43738 "
        ".55395 .71003 1",
        "yaw": "-1 -.691 -.5314 -.41334 -.31501 -.22778 -.14716 -.07034 .00471 .07975 .15651 .23703 .3241 .42215 "
        ".53968 .69803 1",
    }.items()
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
    """To 1e-5 and not to 1e-6, as the mean and deviation at hand are rounded to five digits; see the next test."""
    edges = ActionGrid.from_gaussian(stats_of("bridge")).edges["roll"]
    np.testing.assert_allclose(edges[:4], [-1, -0.486963, -0.367607, -0.285496], atol=1e-5)


@pytest.mark.parametrize("axis", AXIS_RANGES)
def test_bridge_edges_are_those_of_a_gaussian_that_rounds_to_the_published_one(goldens, axis):
    stored = np.load(goldens / "action_tokenizer.npz")[f"bridge_sigma0_full.edges.{axis}_bins"]
    rounded = np.array(list(stats_of("bridge")[axis].values()))

    def edges(mean_and_deviation):
        return gaussian_edges(*AXIS_RANGES[axis], len(stored) - 1, *mean_and_deviation)

    found = least_squares(lambda values: edges(values) - stored, rounded, xtol=1e-15, ftol=1e-15, gtol=1e-15).x
    np.testing.assert_allclose(found, rounded, atol=6e-6, rtol=0)
    np.testing.assert_allclose(edges(found), stored, atol=1e-6, rtol=0)


@pytest.mark.parametrize("grid", [ActionGrid.uniform(), ActionGrid.from_gaussian(stats_of("bridge"))])
def test_rotation_and_gripper_ids_survive_decode_and_encode(grid):
    count = grid.slot_sizes[1]
    ids = np.stack([np.zeros(count, int), np.arange(count), np.arange(count) % 2], axis=-1)
    np.testing.assert_array_equal(grid.encode(grid.decode(ids))[:, 1:], ids[:, 1:])


@pytest.mark.parametrize(
    ("grid", "changed", "moved"),
    [
        (ActionGrid(RELEASED_EDGES), 261, 525),
        (ActionGrid.from_gaussian(stats_of("bridge")), 57, 404),
        (ActionGrid.uniform(), 960, 1296),
    ],
    ids=["released", "bridge", "uniform"],
)
def test_translation_ids_change_only_where_decoding_clips(grid, changed, moved):
    count = grid.slot_sizes[0]
    ids = np.stack([np.arange(count), np.zeros(count, int), np.zeros(count, int)], axis=-1)
    decoded = grid.decode(ids)
    middles = [0.5 * (grid.edges[axis][:-1] + grid.edges[axis][1:]) for axis in TRANSLATION_AXES]
    points = to_cartesian(np.stack(np.meshgrid(*middles, indexing="ij"), axis=-1).reshape(-1, 3))
    clipped = (np.abs(points) > 1).any(axis=1)
    differs = grid.encode(decoded)[:, 0] != ids[:, 0]
    assert (clipped.sum(), differs.sum()) == (moved, changed)
    assert not (differs & ~clipped).any()
    np.testing.assert_allclose(decoded[:, :3], points.clip(-1, 1), atol=1e-12)


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
        assert entropy_bits(sharp.encode(test)[:, slot], 4096) >= 11.6
        assert entropy_bits(uniform.encode(test)[:, slot], 4096) <= 11.0
    assert translation_error(floored, test) <= 0.92 * translation_error(uniform, test)
    assert rotation_error(floored, test) <= 0.80 * rotation_error(uniform, test)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("deviation", "gain"), [(0.3, 0.7), (0.07, 0.2)])
def test_midpoints_of_wide_outer_bins_are_a_trap_that_centroids_avoid(deviation, gain, seed):
    rng = np.random.default_rng(seed)
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

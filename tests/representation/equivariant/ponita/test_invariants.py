import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from representation.equivariant.ponita.invariants import (
    distances,
    oriented_invariants,
    pair_invariants,
    polynomials,
    window,
)
from representation.equivariant.ponita.orientations import orientation_grid

EDGE = torch.tensor([[0], [1]])


def frame_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Orthonormal axes, in columns: along the first vector, along the rest of the second, and across."""
    one = first / np.linalg.norm(first)
    two = second - (second @ one) * one
    two /= np.linalg.norm(two)
    return np.stack([one, two, np.cross(one, two)], axis=1)


def invariants_of(pos: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    return oriented_invariants(torch.from_numpy(pos), EDGE, torch.from_numpy(orientation))[0, 0].numpy()


def test_equal_invariants_of_places_mean_that_a_motion_brings_one_pair_onto_the_other():
    """A pair is built from the invariants of another one; the motion between them is that of their frames."""
    rng = np.random.default_rng(0)
    for _ in range(1000):
        pos, orientation = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
        orientation /= np.linalg.norm(orientation, axis=1, keepdims=True)
        along, across, _ = invariants_of(pos, orientation)
        built = np.array([[along, across, 0.0], [0.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
        np.testing.assert_allclose(invariants_of(*built)[:2], [along, across], atol=1e-9)
        rotation = frame_of(orientation[1], pos[0] - pos[1])
        assert np.linalg.det(rotation) == pytest.approx(1)
        np.testing.assert_allclose(built[0] @ rotation.T + pos[1], pos, atol=1e-6)
        np.testing.assert_allclose(rotation @ built[1][1], orientation[1], atol=1e-6)


def test_how_the_senders_orientation_is_turned_about_the_receivers_is_left_open():
    """The fourth invariant of pairs in space, the way along the sender's orientation, is not among the three."""
    pos, ways = np.array([[0.5, 1.0, 0.0], [0.0, 0.0, 0.0]]), []
    for angle in (0.3, 1.2):
        sender = [0.6, 0.8 * math.cos(angle), 0.8 * math.sin(angle)]
        orientation = np.array([sender, [1.0, 0.0, 0.0]])
        np.testing.assert_allclose(invariants_of(pos, orientation), [0.5, 1.0, 0.6], atol=1e-9)
        ways.append(float(pos[0] @ orientation[0]))
    assert abs(ways[0] - ways[1]) > 0.1


def test_invariants_stay_when_a_pair_is_moved_and_tell_what_distances_do_not():
    rng = np.random.default_rng(1)
    pos, orientation = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    orientation /= np.linalg.norm(orientation, axis=1, keepdims=True)
    turn = Rotation.random(rng=3).as_matrix()
    turned = invariants_of(pos @ turn.T + 5.0, orientation @ turn.T)
    np.testing.assert_allclose(turned, invariants_of(pos, orientation), atol=1e-9)
    behind = pos.copy()
    behind[0] = 2 * pos[1] - pos[0]
    length = [float(distances(torch.from_numpy(one), EDGE)[0]) for one in (pos, behind)]
    assert length[0] == pytest.approx(length[1], abs=1e-12)
    assert abs(invariants_of(pos, orientation)[0] - invariants_of(behind, orientation)[0]) > 0.1


def test_pairs_on_a_grid_have_the_invariants_of_single_orientations():
    pos, grid = torch.randn(4, 3, dtype=torch.float64), orientation_grid(3, 12)
    edges = torch.tensor([[0, 1, 2], [3, 2, 2]])
    spatial, fiber = pair_invariants(pos, edges, grid)
    for number in range(12):
        single = oriented_invariants(pos, edges, grid[number].expand(4, 3))
        torch.testing.assert_close(spatial[:, number], single[:, 0, :2])
    torch.testing.assert_close(fiber[..., 0], grid @ grid.T)


def test_in_the_plane_the_side_is_told():
    pos = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    grid = torch.tensor([[1.0, 0.0]])
    left = pair_invariants(pos, EDGE, grid)[0]
    right = pair_invariants(-pos, EDGE, grid)[0]
    torch.testing.assert_close(left[0, 0], torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(right[0, 0], torch.tensor([0.0, -1.0]))


def test_a_point_tells_itself_with_a_gradient():
    pos = torch.zeros(1, 3, requires_grad=True)
    pair_invariants(pos, torch.zeros(2, 1, dtype=torch.long), torch.eye(3))[0].sum().backward()
    assert torch.isfinite(pos.grad).all()


def test_polynomials_have_all_products():
    values = torch.tensor([2.0, 3.0])
    expected = [2, 3, 4, 6, 6, 9, 8, 12, 12, 18, 12, 18, 18, 27]
    torch.testing.assert_close(polynomials(values, 3), torch.tensor(expected, dtype=torch.float32))


def test_the_window_falls_to_zero_smoothly():
    radius = 1.7
    distance = torch.tensor([0.0, radius, radius - 1e-9, radius + 1], dtype=torch.float64, requires_grad=True)
    value = window(distance, radius)
    torch.testing.assert_close(value, torch.tensor([1.0, 0, 0, 0], dtype=torch.float64), atol=1e-12, rtol=0)
    (slope,) = torch.autograd.grad(value.sum(), distance, create_graph=True)
    (curve,) = torch.autograd.grad(slope.sum(), distance)
    assert slope[1:].abs().max() < 1e-6
    assert curve[1:].abs().max() < 1e-6
    assert float(window(torch.tensor(0.9), None)) == 1.0


@pytest.mark.parametrize("kind", ["icosahedron", "fibonacci", "repulsion"])
def test_grids_are_even(kind):
    grid = orientation_grid(3, 12, kind, torch.Generator().manual_seed(0))
    torch.testing.assert_close(grid.norm(dim=1), torch.ones(12, dtype=torch.float64))
    spread = grid.T @ grid / 12
    torch.testing.assert_close(spread, torch.eye(3, dtype=torch.float64) / 3, atol=0.03, rtol=0)
    nearest = (grid @ grid.T - 2 * torch.eye(12, dtype=torch.float64)).amax(dim=1).arccos()
    assert nearest.min() > math.radians(40)


def test_wrong_grids_are_refused():
    with pytest.raises(ValueError, match="expected 2 or 3"):
        orientation_grid(4, 3)
    with pytest.raises(ValueError, match="kind: expected one for 8"):
        orientation_grid(3, 8, "icosahedron")
    with pytest.raises(ValueError, match="kind"):
        orientation_grid(2, 8, "fibonacci")

import pytest
import torch

from representation.benchmarks.lie_decompositions import integrals
from representation.equivariant.lie_decompositions import AffineGroup, polar_log


@pytest.mark.parametrize("kind", ["so2", "sl2", "gl2"])
@pytest.mark.parametrize("rotations", ["equidistant", "uniform"])
@pytest.mark.parametrize("count", [7, 8])
def test_inverses_are_exact_and_areas_kept_unless_scales_are_drawn(kind, rotations, count):
    g, inverse = AffineGroup(kind, rotations=rotations).sample_pair(count, torch.Generator().manual_seed(0))
    assert g.shape == (count, 2, 2)
    assert float((g @ inverse - torch.eye(2)).abs().max()) < 1e-12
    off = (torch.linalg.det(g) - 1).abs().max()
    assert float(off) > 1e-2 if kind == "gl2" else float(off) < 1e-12


def test_stretches_are_as_wide_as_asked():
    group = AffineGroup("gl2", spd_var=0.1)
    g, _ = group.sample_pair(20_000, torch.Generator().manual_seed(0))
    coordinates = group.coords(g)[:, :3]
    assert float(coordinates.mean(dim=0).abs().max()) < 0.02
    assert float((coordinates.var(dim=0) / 0.1 - 1).abs().max()) < 0.05


def test_equidistant_rotations_are_all_different_and_come_in_quarter_turns():
    angles = polar_log(AffineGroup("so2").sample_pair(8).g)[:, 1, 0].rad2deg().round() % 360
    assert sorted(angles.tolist()) == [45.0 * step for step in range(8)]
    g, _ = AffineGroup("sl2").sample_pair(8, torch.Generator().manual_seed(0))
    turned = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64) @ g
    apart = (turned[:, None] - g[None]).abs().amax(dim=(2, 3))
    assert float(apart.amin(dim=1).max()) < 1e-12


@pytest.mark.parametrize(("kind", "dim"), [("so2", 1), ("sl2", 3), ("gl2", 4)])
def test_coordinates_are_coefficients_of_an_orthonormal_basis(kind, dim):
    group = AffineGroup(kind)
    given = torch.randn(5, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = group.hat(given)
    torch.testing.assert_close(group.vee(matrix), given)
    torch.testing.assert_close(matrix.square().sum(dim=(1, 2)), given.square().sum(dim=1))
    g, _ = group.sample_pair(6, torch.Generator().manual_seed(1))
    assert group.coords(g).shape == (6, group.coordinates)


def test_coordinates_do_not_jump_where_the_angle_does():
    group, near = AffineGroup("so2"), 1e-6
    turns = torch.tensor([torch.pi - near, torch.pi + near], dtype=torch.float64)
    g = torch.stack([turns.cos(), -turns.sin(), turns.sin(), turns.cos()], dim=1).unflatten(1, (2, 2))
    first, second = group.coords(g)
    assert float((first - second).abs().max()) < 1e-5


def test_the_measure_of_the_decomposition_is_invariant_and_an_even_one_is_not():
    found = integrals(0, 100_000)
    assert -found["kept"] < 0.03
    assert found["flat"] > 0.05


def test_unknown_groups_are_refused():
    with pytest.raises(ValueError, match=r"expected one of so2, sl2, gl2, .* found 'so3'"):
        AffineGroup("so3")

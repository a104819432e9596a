import pytest
import torch

from representation.equivariant.lie_decompositions import AffineGroup, GroupConv2d, LiftingConv2d
from representation.equivariant.lie_decompositions.affine_group import MapPair
from representation.equivariant.lie_decompositions.kernels import pixel_grid
from representation.equivariant.lie_decompositions.layers import seen_from


def draw(group, count, seed=0):
    return group.sample_pair(count, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["sl2", "gl2"])
def test_kernels_do_not_change_when_all_maps_and_places_are_moved(kind):
    torch.manual_seed(0)
    group = AffineGroup(kind)
    layer = GroupConv2d(group, 2, 3, 3).double()
    out, into, (moved, _) = draw(group, 5), draw(group, 5, 1), draw(group, 1, 2)
    points = torch.rand(5, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64) - 0.5

    @torch.no_grad()
    def kernel(h, h_in, p):
        inverse = torch.linalg.inv(h)
        return layer.values((inverse @ p[..., None])[..., 0], inverse @ h_in)

    before = kernel(out.g, into.g, points)
    after = kernel(moved @ out.g, moved @ into.g, (moved @ points[..., None])[..., 0])
    assert float((before - after).abs().max()) < 1e-9
    assert float(before.abs().max()) > 1e-3


@pytest.mark.parametrize("kind", ["so2", "sl2", "gl2"])
def test_quarter_turns_of_pictures_turn_what_is_made_of_them_and_shift_its_maps(kind):
    torch.manual_seed(0)
    group = AffineGroup(kind)
    lift, layer = LiftingConv2d(group, 1, 3, 5), GroupConv2d(group, 3, 2, 3)
    first, last = draw(group, 4), draw(group, 4, 1)
    picture = torch.randn(2, 1, 11, 11, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        lifted, turned = lift(picture, first), lift(picture.rot90(1, (2, 3)), first)
        assert lifted.shape == (2, 3, 4, 7, 7)
        torch.testing.assert_close(turned, lifted.rot90(1, (3, 4)).roll(1, 2), atol=1e-5, rtol=0)
        told, told_turned = layer(lifted, last, first), layer(turned, last, first)
        assert told.shape == (2, 2, 4, 5, 5)
        torch.testing.assert_close(told_turned, told.rot90(1, (3, 4)).roll(1, 2), atol=1e-5, rtol=0)
        assert float((told_turned - told).abs().max()) > 1e-2


def test_larger_maps_count_less_where_areas_change():
    torch.manual_seed(0)
    group = AffineGroup("gl2")
    lift = LiftingConv2d(group, 1, 1, 3)
    double = 2 * torch.eye(2, dtype=torch.float64)[None]
    with torch.no_grad():
        large = lift.weights(MapPair(double, double / 4))
        places = pixel_grid(3) / 2
        weights = torch.sigmoid(2 * (1 - places.norm(dim=-1)))
        expected = lift.kernel(places.float())[..., 0, 0] * weights.float() / 4
    torch.testing.assert_close(large[0, 0, 0], expected)


def test_places_are_seen_with_y_up():
    assert pixel_grid(3)[0, 2].tolist() == pytest.approx([2 / 3, 2 / 3])
    turn = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]], dtype=torch.float64)
    seen = seen_from(MapPair(turn, turn.mT), 3)
    torch.testing.assert_close(seen[0, 0, 1], torch.tensor([2 / 3, 0.0], dtype=torch.float64))

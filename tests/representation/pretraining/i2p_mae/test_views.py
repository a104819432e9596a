from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from representation.pretraining.i2p_mae.views import VIEWS, backproject, pixels, project_views

SIZE = 224


@pytest.fixture(scope="module")
def clouds():
    return torch.rand(2, 300, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.4, 0.7])


def test_pixels_and_depths_are_those_of_the_definition(clouds):
    clouds = clouds[:, :50]
    images, geometry = project_views(clouds, SIZE)
    for b in range(2):
        for number, (u, v, depth) in enumerate(VIEWS):
            uv, canvas = clouds[b][:, [u, v]], torch.zeros(SIZE, SIZE, dtype=torch.float64)
            cell = (uv.amax(dim=0) - uv.amin(dim=0)).max() / (SIZE - 3)
            drawn = ((uv - uv.amin(dim=0)) / cell).floor().long()
            around = [(i, j) for i in range(-2, 3) for j in range(-2, 3)]
            dense = torch.cat([drawn + torch.tensor(step) + 1 for step in around])
            middle = ((dense.amax(dim=0) + dense.amin(dim=0)) / 2).floor().long()
            offset = SIZE // 2 - middle - 1
            for point, (row, column) in enumerate((drawn + 1 + offset).tolist()):
                for i, j in around:
                    place = (min(max(row + i, 0), SIZE - 1), min(max(column + j, 0), SIZE - 1))
                    canvas[place] += clouds[b, point, depth].double()
            torch.testing.assert_close(images[b, number].double(), canvas.sigmoid(), atol=1e-5, rtol=0)
            assert torch.equal(pixels(clouds, geometry)[b, number], drawn + 1 + offset)


def test_objects_lie_inside_and_in_the_middle(clouds):
    images, geometry = project_views(clouds, SIZE)
    found = pixels(clouds, geometry)
    assert found.min() >= 0
    assert found.max() <= SIZE - 1
    for picture in images.flatten(0, 1):
        place = (picture != 0.5).nonzero()
        middle = (place.amin(dim=0) + place.amax(dim=0)) / 2
        assert ((middle - (SIZE - 1) / 2).abs() <= 1).all()


def test_points_find_their_own_pixels_again(clouds):
    _, geometry = project_views(clouds, 64)
    row, column = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    maps = torch.stack([row, column]).expand(2, 3, 2, 64, 64)
    assert torch.equal(backproject(clouds, maps, geometry).long(), pixels(clouds, geometry))


@pytest.mark.parametrize("side", [1, 7, 14])
def test_taps_give_what_bicubic_enlargement_gives(clouds, side):
    _, geometry = project_views(clouds, SIZE)
    maps = torch.randn(2, 3, 5, side, side, generator=torch.Generator().manual_seed(1))
    large = F.interpolate(maps.flatten(0, 1), (SIZE, SIZE), mode="bicubic", align_corners=False).unflatten(0, (2, 3))
    place = pixels(clouds, geometry)
    for b in range(2):
        for view in range(3):
            wanted = large[b, view][:, place[b, view, :, 0], place[b, view, :, 1]].T
            torch.testing.assert_close(backproject(clouds, maps, geometry)[b, view], wanted, atol=1e-5, rtol=1e-5)


def test_depths_that_meet_are_reduced_as_told():
    points = torch.tensor([[[0.0, 0.0, 0.3], [0.0, 0.0, 0.5], [1.0, 1.0, 0.1]]])
    for reduction, value in (("sum", 0.8), ("max", 0.5), ("mean", 0.4)):
        image, geometry = project_views(points, 32, reduction)
        row, column = pixels(points, geometry)[0, 0, 0].tolist()
        assert image[0, 0, row, column].item() == pytest.approx(torch.tensor(value).sigmoid().item())

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from representation.equivariant.frame_averaging import pca_frames


def clouds(count, dim=3, seed=0):
    spread = torch.arange(1.0, dim + 1, dtype=torch.float64)
    return torch.randn(count, 20, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * spread


def turns(count):
    return torch.from_numpy(Rotation.random(count, rng=0).as_matrix())


@pytest.mark.parametrize(("group", "frames"), [("SO", 4), ("O", 8)])
@pytest.mark.parametrize("weighted", [False, True])
def test_frames_of_moved_clouds_are_the_moved_frames_as_a_set(group, frames, weighted):
    points, turn = clouds(100), turns(100)
    if group == "O":
        turn[::2] *= -1
    weights = torch.rand(100, 20, generator=torch.Generator().manual_seed(1)) if weighted else None
    before = pca_frames(points, weights, group)
    moved = torch.einsum("bij,bnj->bni", turn, points) + 5.0
    after = pca_frames(moved, weights, group)
    assert before.rotations.shape == (100, frames, 3, 3)
    expected = torch.einsum("bij,bkjl->bkil", turn, before.rotations)
    apart = (expected[:, :, None] - after.rotations[:, None]).abs().amax(dim=(3, 4))
    assert float(apart.amin(dim=2).max()) < 1e-8
    assert float(apart.amin(dim=1).max()) < 1e-8
    torch.testing.assert_close(after.center, torch.einsum("bij,bj->bi", turn, before.center) + 5.0)
    if group == "SO":
        torch.testing.assert_close(torch.linalg.det(after.rotations), torch.ones(100, 4, dtype=torch.float64))


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_other_dimensions_have_as_many_frames_as_signs(dim):
    frames = pca_frames(clouds(3, dim))
    assert frames.rotations.shape == (3, 2**dim, dim, dim)
    assert pca_frames(clouds(3, dim), group="SO").rotations.shape[1] == 2 ** (dim - 1)


def test_what_is_seen_in_frames_comes_back():
    points = clouds(5)
    frames = pca_frames(points)
    vectors = clouds(5, seed=1).view(5, 4, 5, 3)
    seen = frames.to_local(vectors=vectors)
    assert seen.shape == (5, 8, 4, 5, 3)
    torch.testing.assert_close(frames.to_world(vectors=seen), vectors[:, None].expand_as(seen))
    local = frames.to_local(points=points)
    torch.testing.assert_close(local.mean(dim=2), torch.zeros(5, 8, 3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(frames.to_world(points=local), points[:, None].expand_as(local))
    moved = pca_frames(points, translate=False)
    assert not moved.center.any()


def test_the_gap_tells_where_axes_are_not_determined():
    cube = torch.tensor([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])[None]
    assert float(pca_frames(cube).gap) < 1e-9
    assert float(pca_frames(cube * torch.tensor([1.0, 2.0, 3.0])).gap) == pytest.approx(3 / 9)


def test_samples_are_frames_of_the_set_and_none_twice():
    frames = pca_frames(clouds(6))
    some = frames.sampled(3, torch.Generator().manual_seed(0))
    same = (some.rotations[:, :, None] == frames.rotations[:, None]).all(dim=-1).all(dim=-1)
    assert (same.sum(dim=2) == 1).all()
    assert (same.sum(dim=1) <= 1).all()
    with pytest.raises(ValueError, match="sample: expected 1 to 8 frames, found 9"):
        frames.sampled(9)


def test_wrong_input_is_named():
    good = clouds(2)
    with pytest.raises(ValueError, match=r"points: expected \(B, N, d\), found \(20, 3\)"):
        pca_frames(good[0])
    with pytest.raises(ValueError, match="group: expected O or SO, found 'SE'"):
        pca_frames(good, group="SE")
    with pytest.raises(ValueError, match="points: expected finite numbers"):
        pca_frames(good * np.nan)
    with pytest.raises(ValueError, match=r"weights: expected \(2, 20\), not negative"):
        pca_frames(good, -torch.ones(2, 20))
    with pytest.raises(ValueError, match="points, vectors: expected one of them, found 2"):
        pca_frames(good).to_local(points=good, vectors=good)

import pytest
import torch
from scipy.spatial.transform import Rotation

from representation.equivariant.frame_averaging import FAPointNet, PointNet


@pytest.fixture
def cloud():
    return torch.randn(4, 40, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1.6, 2.5])


@pytest.mark.parametrize("local", [False, True])
def test_scalars_stay_and_vectors_turn_and_points_may_come_in_any_order(cloud, local):
    torch.manual_seed(0)
    network = FAPointNet(6, 5, local).eval()
    turn = torch.from_numpy(Rotation.random(rng=1).as_matrix()).float()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scalars, vectors = network(cloud)
        assert scalars.shape == (4, 40, 6)
        assert vectors.shape == (4, 40, 5, 3)
        turned = network(cloud @ turn.T + 3.0)
        torch.testing.assert_close(turned[0], scalars, atol=1e-4, rtol=0)
        torch.testing.assert_close(turned[1], vectors @ turn.T, atol=1e-4, rtol=0)
        torch.testing.assert_close(network(cloud[:, order])[0], scalars[:, order], atol=1e-4, rtol=0)
        plain = PointNet(3, 6, 5).eval()
        assert float((plain(cloud @ turn.T)[0] - plain(cloud)[0]).abs().max()) > 1e-2


def test_norms_see_all_frames_at_once_so_that_training_is_equivariant_too(cloud):
    turn = torch.from_numpy(Rotation.random(rng=1).as_matrix()).float()
    told = []
    for points in (cloud, cloud @ turn.T):
        torch.manual_seed(0)
        network = FAPointNet(6, 5, group="O").train()
        scalars, _ = network(points)
        told.append((scalars, network.network.levels[0][0].norm.running_mean))
    torch.testing.assert_close(told[0][0], told[1][0], atol=1e-3, rtol=0)
    torch.testing.assert_close(told[0][1], told[1][1], atol=1e-5, rtol=0)


def test_too_few_points_for_neighbours_are_refused(cloud):
    with pytest.raises(ValueError, match="points: expected at least 20, found 8"):
        FAPointNet(6, 5, local=True)(cloud[:, :8])

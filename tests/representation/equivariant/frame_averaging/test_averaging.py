import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import nn

from representation.equivariant.frame_averaging import FAGNN, DeepFrameAveraging, FrameAveraging

POINTS = 12


class Flat(nn.Module):
    """Numbers, or vectors of each point, by a network of all numbers in order; it has no symmetry at all."""

    def __init__(self, outputs, extra=0):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3 * POINTS + extra, 64), nn.Tanh(), nn.Linear(64, outputs))

    def forward(self, *given):
        return self.net(torch.cat([one.flatten(1) for one in given], dim=1))


class FlatVectors(Flat):
    def forward(self, *given):
        return super().forward(*given).unflatten(1, (POINTS, 3))


@pytest.fixture
def cloud():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(8, POINTS, 3, generator=generator) * torch.tensor([1.0, 1.6, 2.5])


def moves(reflect):
    turn = torch.from_numpy(Rotation.random(rng=1).as_matrix()).float()
    return (-turn if reflect else turn), torch.tensor([0.5, -1.0, 2.0])


@pytest.mark.parametrize(("group", "reflect"), [("SO", False), ("O", False), ("O", True)])
def test_a_network_without_symmetry_becomes_invariant_and_equivariant(cloud, group, reflect):
    turn, shift = moves(reflect)
    moved = cloud @ turn.T + shift
    with torch.no_grad():
        plain = Flat(5)
        assert float((plain(moved) - plain(cloud)).abs().max()) > 0.1
        invariant = FrameAveraging(plain, group)
        torch.testing.assert_close(invariant(moved), invariant(cloud), atol=1e-5, rtol=0)
        points = FrameAveraging(FlatVectors(3 * POINTS), group, "points")
        torch.testing.assert_close(points(moved), points(cloud) @ turn.T + shift, atol=1e-5, rtol=0)
        vectors = FrameAveraging(FlatVectors(3 * POINTS), group, "vectors")
        torch.testing.assert_close(vectors(moved), vectors(cloud) @ turn.T, atol=1e-5, rtol=0)
        assert float(vectors(cloud).abs().max()) > 1e-2


def test_rotations_alone_keep_left_and_right_apart(cloud):
    turn, _ = moves(True)
    with torch.no_grad():
        averaged = FrameAveraging(Flat(5), "SO")
        assert float((averaged(cloud @ turn.T) - averaged(cloud)).abs().max()) > 1e-2


def test_velocities_turn_and_scalars_stay_and_several_outputs_keep_their_kinds(cloud):
    turn, shift = moves(False)
    generator = torch.Generator().manual_seed(5)
    velocity, mass = torch.randn(8, POINTS, 3, generator=generator), torch.rand(8, POINTS, 1, generator=generator)
    flat, way = Flat(5, 4 * POINTS), FlatVectors(3 * POINTS, 4 * POINTS)
    averaged = FrameAveraging(lambda *given: (flat(*given), way(*given)), "SO", ("invariant", "points"))
    with torch.no_grad():
        numbers, points = averaged(cloud, velocity, mass)
        turned_numbers, turned_points = averaged(cloud @ turn.T + shift, velocity @ turn.T, mass)
        torch.testing.assert_close(turned_numbers, numbers, atol=1e-5, rtol=0)
        torch.testing.assert_close(turned_points, points @ turn.T + shift, atol=1e-5, rtol=0)
        other = averaged(cloud, velocity + 1.0, mass)[0]
        assert float((other - numbers).abs().max()) > 1e-3


def test_what_is_equivariant_already_is_not_changed_nor_is_an_average(cloud):
    with torch.no_grad():
        already = lambda points: points * points.var(dim=1, keepdim=True).sum(dim=2, keepdim=True)  # noqa: E731
        centered = cloud - cloud.mean(dim=1, keepdim=True)
        torch.testing.assert_close(
            FrameAveraging(already, "O", "vectors")(cloud), already(centered), atol=1e-4, rtol=1e-5
        )
        once = FrameAveraging(FlatVectors(3 * POINTS), "O", "points")
        torch.testing.assert_close(FrameAveraging(once, "O", "points")(cloud), once(cloud), atol=1e-5, rtol=0)


def test_the_mean_over_samples_is_the_mean_over_all_frames(cloud):
    with torch.no_grad():
        every, one = FrameAveraging(Flat(5), "O"), FrameAveraging(Flat(5), "O", sample=1)
        generator = torch.Generator().manual_seed(0)
        drawn = torch.stack([one(cloud, generator=generator) for _ in range(800)])
        error = drawn.std(dim=0) / 800**0.5
        assert float(error.max()) > 1e-3
        assert float(((drawn.mean(dim=0) - every(cloud)).abs() / error.clamp(min=1e-6)).max()) < 5


@pytest.mark.parametrize("reflect", [False, True])
def test_new_frames_after_every_layer_keep_motions_of_bodies_equivariant(reflect):
    turn, shift = moves(reflect)
    generator = torch.Generator().manual_seed(7)
    pos, vel = torch.randn(2, 6, 5, 3, generator=generator)
    charge = torch.randint(0, 2, (6, 5, 1), generator=generator).float() * 2 - 1
    torch.manual_seed(0)
    network = FAGNN(width=60, depth=4)
    with torch.no_grad():
        told = network(pos, vel, charge)
        turned = network(pos @ turn.T + shift, vel @ turn.T, charge)
        torch.testing.assert_close(turned, told @ turn.T + shift, atol=1e-4, rtol=0)
        order = torch.tensor([3, 1, 4, 0, 2])
        again = network(pos[:, order], vel[:, order], charge[:, order])
        torch.testing.assert_close(again, told[:, order], atol=1e-4, rtol=0)
        assert float((network(pos, -vel, charge) - told).abs().max()) > 1e-2
        assert float((network(pos, vel, 10 * charge) - told).abs().max()) > 1e-2


def test_every_layer_is_trained_and_frames_have_no_gradient():
    torch.manual_seed(0)
    network = FAGNN(width=12, depth=3)
    pos = torch.randn(4, 5, 3, requires_grad=True)
    network(pos, torch.randn(4, 5, 3), torch.ones(4, 5, 1)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert torch.isfinite(pos.grad).all()


def test_wrong_kinds_and_widths_are_named(cloud):
    with pytest.raises(ValueError, match="output: expected one of invariant, vectors, points, found 'scalars'"):
        FrameAveraging(Flat(5), output="scalars")
    with pytest.raises(ValueError, match="width, depth: expected a multiple of 3"):
        FAGNN(width=61)
    with pytest.raises(ValueError, match="layers: expected features by 3, found 4"):
        DeepFrameAveraging([nn.Linear(3, 4)])(cloud)

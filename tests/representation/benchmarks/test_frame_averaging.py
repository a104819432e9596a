import pytest
import torch

from representation.benchmarks.charged_particles import simulate_charged
from representation.benchmarks.frame_averaging import PlainGNN, alike_pairs, along_x, normal_error, surfaces


def test_pairs_of_graphs_have_equal_degrees_and_are_not_the_same_graph():
    for name, (first, second) in alike_pairs().items():
        assert torch.equal(first, first.T), name
        assert first.diagonal().sum() == 0, name
        assert sorted(first.sum(0).tolist()) == sorted(second.sum(0).tolist()), name
    (hexagon, triangles), (decalin, pentagons), (rook, shrikhande) = alike_pairs().values()
    assert (hexagon @ hexagon @ hexagon).trace() == 0
    assert (triangles @ triangles @ triangles).trace() == 12
    assert torch.linalg.matrix_power(decalin, 5).trace() == 0
    assert torch.linalg.matrix_power(pentagons, 5).trace() == 20
    for graph, neighbours_of_one_are_two_rings in ((rook, True), (shrikhande, False)):
        assert torch.equal(graph @ graph, 6 * torch.eye(16) + 2 * (1 - torch.eye(16)))
        near = graph[0].bool()
        around = graph[near][:, near]
        assert ((around @ around @ around).trace() == 12) == neighbours_of_one_are_two_rings


def test_normals_have_unit_length_and_stand_on_their_surfaces():
    points, normals = surfaces(3, 400, seed=0)
    assert points.shape == normals.shape == (3, 400, 3)
    torch.testing.assert_close(normals.norm(dim=2), torch.ones(3, 400))
    # Of a convex body, all of it lies behind each of its tangent planes.
    ahead = torch.einsum("bmd,bnd->bnm", points, normals) - (points * normals).sum(dim=2)[:, :, None]
    assert float(ahead.max()) < 1e-5
    assert float(normal_error(-normals[:, :, None], normals)) == pytest.approx(0, abs=1e-5)


def test_motions_along_x_are_the_same_motions():
    motions = {name: torch.from_numpy(values) for name, values in simulate_charged(4, 0).items()}
    turned = along_x(motions)
    first = turned["vel"][:, 0]
    torch.testing.assert_close(first[:, 0], first.norm(dim=1))
    for name in ("pos", "target"):
        torch.testing.assert_close(torch.cdist(turned[name], turned[name]), torch.cdist(motions[name], motions[name]))


def test_the_plain_network_moves_with_the_bodies_but_does_not_turn_with_them():
    torch.manual_seed(0)
    pos, vel, charge = torch.randn(4, 5, 3), torch.randn(4, 5, 3), torch.ones(4, 5, 1)
    network = PlainGNN(12)
    with torch.no_grad():
        told = network(pos, vel, charge)
        torch.testing.assert_close(network(pos + 2, vel, charge), told + 2, atol=1e-5, rtol=0)
        back = network(pos.flip(2), vel.flip(2), charge).flip(2)
        assert float((back - told).abs().max()) > 1e-2

import pytest
import torch

from representation.equivariant.cloud_graphs import cloud_graph, complete_graph, radius_graph, with_self_loops


def pairs(edges):
    return set(map(tuple, edges.T.tolist()))


def test_complete_graphs_stay_within_clouds():
    assert pairs(complete_graph(torch.tensor([0, 0, 1]))) == {(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)}


def test_points_within_the_radius_are_joined():
    pos = torch.tensor([[0.0, 0], [1.0, 0], [3.0, 0], [0.5, 0]])
    edges = radius_graph(pos, 1.2, torch.tensor([0, 0, 0, 1]))
    assert pairs(edges) == {(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (3, 3)}


def test_self_loops_are_there_once():
    edges = with_self_loops(torch.tensor([[0, 1, 1], [1, 1, 0]]), 2)
    assert sorted(map(tuple, edges.T.tolist())) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_every_point_is_told_by_its_nearest_ones_and_the_anchors():
    line = torch.zeros(2, 6, 3)
    line[:, :, 0] = torch.tensor([0.0, 1.0, 2.1, 3.3, 4.6, 6.0])
    edges = cloud_graph(line, neighbours=1, anchors=2)
    senders = {receiver: sorted(s for s, r in pairs(edges) if r == receiver) for receiver in range(12)}
    assert senders[1] == [0, 1, 5]  # nearest, itself, anchors 0 and 5
    assert senders[4] == [0, 3, 4, 5]
    assert senders[7] == [6, 7, 11]
    with pytest.raises(ValueError, match="neighbours, anchors"):
        cloud_graph(line, neighbours=6)

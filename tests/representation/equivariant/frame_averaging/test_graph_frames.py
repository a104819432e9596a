import pytest
import torch
from torch import nn

from representation.equivariant.frame_averaging import all_graph_frames, graph_frames
from representation.equivariant.frame_averaging.graph_frames import in_order, tied_nodes


def matrix(edges):
    nodes = 1 + max(max(edge) for edge in edges)
    found = torch.zeros(nodes, nodes)
    for one, other in edges:
        found[one, other] = found[other, one] = 1.0
    return found


def ring(count):
    return matrix([(node, (node + 1) % count) for node in range(count)])


def network(nodes):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(nodes * nodes, 32), nn.Tanh(), nn.Linear(32, 4))


STAR = matrix([(0, leaf) for leaf in range(1, 6)])
LOLLIPOP = matrix([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3), (3, 4), (4, 5)])  # three nodes are alike
WEIGHTED = ring(6) * torch.outer(torch.arange(1.0, 7), torch.arange(1.0, 7))


@pytest.mark.parametrize(("adjacency", "count"), [(STAR, 120), (LOLLIPOP, 6), (WEIGHTED, 1)])
def test_the_mean_over_all_orders_does_not_mind_how_nodes_are_numbered(adjacency, count):
    order = torch.arange(len(adjacency)).flip(0)
    again, told = adjacency[order][:, order], network(len(adjacency))
    orders = all_graph_frames(adjacency)
    assert orders.shape == (count, len(adjacency))
    assert (orders.sort(dim=1).values == torch.arange(len(adjacency))).all()
    with torch.no_grad():
        assert float((told(again[None]) - told(adjacency[None])).abs().max()) > 1e-3
        means = [told(in_order(one, all_graph_frames(one))).mean(dim=0) for one in (adjacency, again)]
    torch.testing.assert_close(means[0], means[1], atol=1e-5, rtol=0)


def test_samples_are_among_all_orders_and_differ_where_nodes_are_alike():
    adjacency = ring(8)
    assert tied_nodes(adjacency) == [list(range(8))]
    with torch.no_grad():
        told = network(8)(in_order(adjacency, graph_frames(adjacency, 50, torch.Generator().manual_seed(0))))
    assert float(told.std(dim=0).min()) > 1e-3
    known = {tuple(order) for order in all_graph_frames(STAR).tolist()}
    assert all(tuple(order) in known for order in graph_frames(STAR, 20).tolist())


def test_too_many_orders_and_directed_graphs_are_refused():
    with pytest.raises(ValueError, match="expected at most 40320 orders of its nodes, found 362880: sample some"):
        all_graph_frames(ring(9))
    with pytest.raises(ValueError, match="adjacency: expected a symmetric matrix"):
        graph_frames(torch.triu(torch.ones(3, 3)))

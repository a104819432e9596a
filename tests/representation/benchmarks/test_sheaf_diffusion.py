import pytest
import torch

from representation.benchmarks.sheaf_diffusion import GCN, NETWORKS, trained


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_learns_and_repeats_itself(name):
    first, second = (trained(name, 0, epochs=6, layers=2) for _ in range(2))
    assert first == pytest.approx(second, abs=1e-4)  # sums by rows in any order
    assert 0 <= first[0] <= 1
    assert -1 <= first[1] <= 1


def test_a_gcn_is_the_normalised_adjacency_between_linear_maps():
    torch.manual_seed(0)
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    model, x = GCN(4, 5, 3, layers=2).eval(), torch.randn(3, 4)
    adjacency = torch.eye(3).index_put(tuple(edge_index), torch.tensor(1.0))
    root = adjacency.sum(dim=1).rsqrt().diag()
    smooth = root @ adjacency @ root
    hidden = torch.relu(smooth @ model.layers[1](torch.relu(smooth @ model.layers[0](x))))
    assert torch.allclose(model.embeddings(x, edge_index), hidden, atol=1e-6)

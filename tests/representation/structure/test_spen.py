import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from representation.registry import load_model
from representation.structure import spen
from representation.structure.d_sla import GINConfig, GINEncoder, TypedGraph
from representation.structure.spen import (
    BASIS,
    SIZES,
    SPEN,
    EquivariantLinear,
    GlobalPermutationNet,
    SPENConfig,
    ego_subgraphs,
    equivariant_basis,
)


def both_ways(pairs):
    once = torch.tensor(pairs).T
    return torch.cat([once, once.flip(0)], dim=1)


def cycle(nodes):
    return [(a, b) for a, b in zip(nodes, [*nodes[1:], nodes[0]], strict=True)]


HEXAGON, TRIANGLES = both_ways(cycle(range(6))), both_ways([*cycle([0, 1, 2]), *cycle([3, 4, 5])])
DECALIN = both_ways([*cycle(range(10)), (0, 5)])
BICYCLOPENTYL = both_ways([*cycle(range(5)), *cycle(range(5, 10)), (0, 5)])
GRID = [(a, b) for a in range(4) for b in range(4)]
ROOK = both_ways(
    [(i, j) for i, (a, b) in enumerate(GRID) for j, (c, d) in enumerate(GRID) if i < j and (a == c or b == d)]
)
STEPS = {(0, 1), (0, 3), (1, 0), (3, 0), (1, 1), (3, 3)}
SHRIKHANDE = both_ways(
    [
        (i, j)
        for i, (a, b) in enumerate(GRID)
        for j, (c, d) in enumerate(GRID)
        if i < j and ((c - a) % 4, (d - b) % 4) in STEPS
    ]
)


def told(edge_index, hops):
    n = int(edge_index.max()) + 1
    torch.manual_seed(1)
    model = (SPEN if hops else GlobalPermutationNet)(SPENConfig(1, 0, hidden=8, hops=hops)).double().eval()
    return model.classify(SimpleNamespace(x=torch.ones(n, 1).double(), edge_index=edge_index))


def told_by_gin(edge_index):
    n = int(edge_index.max()) + 1
    torch.manual_seed(1)
    model = GINEncoder(GINConfig(1, 1, 16, 3)).double()
    zeros = torch.zeros(n, dtype=torch.long)
    return model([TypedGraph(zeros, edge_index, torch.zeros(edge_index.shape[1], dtype=torch.long))])


def tensor_of(order, m, channels, generator):
    return torch.randn(1, *[m] * order, channels, generator=generator, dtype=torch.float64)


def permuted(x, order, places):
    for axis in range(1, order + 1):
        x = x.index_select(axis, places)
    return x


@pytest.mark.parametrize(("p", "q"), sorted(BASIS))
def test_permutations_commute_with_every_map(p, q):
    generator = torch.Generator().manual_seed(0)
    for m in range(2, 8):
        mask = torch.ones(1, m, dtype=torch.bool)
        layer = EquivariantLinear(p, q, 3, 2).double()
        torch.nn.init.normal_(layer.bias)
        for _ in range(50):
            x, places = tensor_of(p, m, 3, generator), torch.randperm(m, generator=generator)
            difference = layer(permuted(x, p, places), mask) - permuted(layer(x, mask), q, places)
            assert difference.abs().max() < 1e-12


@pytest.mark.parametrize(("p", "q"), [(2, 2), (2, 1), (1, 2), (1, 1), (2, 0)])
def test_the_maps_differ_from_four_nodes_on(p, q):
    generator = torch.Generator().manual_seed(0)
    ranks = {}
    for m in (2, 3, 4, 5):
        x = tensor_of(p, m, 40, generator)
        basis = equivariant_basis(x, p, q, torch.ones(1, m, dtype=torch.bool))
        ranks[m] = int(torch.linalg.matrix_rank(basis.flatten(0, -2)))
    assert ranks[4] == ranks[5] == BASIS[p, q]
    assert ranks[2] <= ranks[3] <= BASIS[p, q]
    if (p, q) == (2, 2):
        assert (ranks[2], ranks[3]) == (8, 14)


def test_absent_nodes_change_nothing():
    generator = torch.Generator().manual_seed(0)
    mask = torch.tensor([[True] * 3 + [False] * 2])
    for p, q in BASIS:
        layer, x = EquivariantLinear(p, q, 2, 2).double(), tensor_of(p, 3, 2, generator)
        padded = torch.nn.functional.pad(x, (0, 0, *[0, 2] * p))
        out = layer(padded, mask)
        cut = permuted(out, q, torch.arange(3))
        assert torch.allclose(cut, layer(x, mask[:, :3]), atol=1e-12)
        assert out.abs().sum().item() == pytest.approx(cut.abs().sum().item())


def test_graphs_do_not_mind_numbers_nor_neighbours(tmp_path):
    torch.manual_seed(0)
    model, n = SPEN(SPENConfig(2, 1, hidden=6, mark_ego=True, per_size=True)).eval(), 10
    x, weights = torch.randn(n, 2), torch.randn(DECALIN.shape[1] // 2, 1).repeat(2, 1)
    alone = torch.zeros(n, dtype=torch.long)
    logits, nodes = model(x, DECALIN, weights, alone), model.node_embeddings(x, DECALIN, weights, alone)
    order = torch.randperm(n)
    renamed = order.argsort()[DECALIN]
    assert torch.allclose(model(x[order], renamed, weights, alone), logits, atol=1e-5)
    assert torch.allclose(model.node_embeddings(x[order], renamed, weights, alone), nodes[order], atol=1e-5)
    edges = torch.cat([DECALIN, TRIANGLES + n], dim=1)
    more = torch.cat([weights, torch.randn(TRIANGLES.shape[1], 1)])
    both = model(torch.cat([x, torch.randn(6, 2)]), edges, more, torch.tensor([0] * n + [1] * 6))
    assert torch.allclose(both[0], logits[0], atol=1e-5)
    model.save(tmp_path)
    assert torch.equal(load_model(tmp_path)(x, DECALIN, weights, alone), logits)


def test_ego_networks_see_what_the_whole_does_not():
    assert (told(HEXAGON, 1) - told(TRIANGLES, 1)).abs().max() > 1e-3
    assert (told(HEXAGON, 0) - told(TRIANGLES, 0)).abs().max() < 1e-10
    assert (told_by_gin(HEXAGON) - told_by_gin(TRIANGLES)).abs().max() < 1e-10
    assert (told(DECALIN, 2) - told(BICYCLOPENTYL, 2)).abs().max() > 1e-3
    assert (told(DECALIN, 0) - told(BICYCLOPENTYL, 0)).abs().max() < 1e-10


def test_some_graphs_stay_alike():
    assert (told(DECALIN, 1) - told(BICYCLOPENTYL, 1)).abs().max() < 1e-10
    assert ROOK.shape == SHRIKHANDE.shape == (2, 96)
    assert (told(ROOK, 1) - told(SHRIKHANDE, 1)).abs().max() < 1e-10


def test_ego_networks_are_what_lies_within_some_edges():
    (parts,) = ego_subgraphs(HEXAGON, 6, 1)
    assert parts.nodes[0][parts.mask[0]].tolist() == [0, 1, 5]
    assert parts.adjacency[0].sum() == 4
    assert ego_subgraphs(HEXAGON, 6, 3)[0].mask.all()
    with pytest.raises(ValueError, match="expected nodes from 0 to 4, found up to 5"):
        ego_subgraphs(HEXAGON, 5, 1)
    with pytest.raises(ValueError, match="at most 200 nodes, found one of 301"):
        ego_subgraphs(both_ways([(0, leaf) for leaf in range(1, 301)]), 301, 1)


def test_like_ego_networks_in_other_graphs_are_told_alike():
    torch.manual_seed(0)
    model = SPEN(SPENConfig(1, 0, hidden=6, layers=1, pool="mean")).double().eval()

    def nodes(edge_index):
        n = int(edge_index.max()) + 1
        zeros = torch.zeros(n, dtype=torch.long)
        return model.node_embeddings(torch.ones(n, 1).double(), edge_index, torch.zeros(len(edge_index.T), 0), zeros)

    longer = both_ways(cycle(range(9)))
    assert torch.allclose(nodes(HEXAGON)[0], nodes(longer)[3], atol=1e-12)
    six, nine = (
        model.classify(SimpleNamespace(x=torch.ones(n, 1).double(), edge_index=e))
        for n, e in ((6, HEXAGON), (9, longer))
    )
    assert torch.allclose(six, nine, atol=1e-12)


def test_parts_in_batches_of_like_size_are_told_as_in_one_batch(monkeypatch):
    star = both_ways([(0, leaf) for leaf in range(1, 20)] + [(1, 2), (1, 3), (2, 3), (4, 20), (20, 21)])
    edges, batch = torch.cat([star, HEXAGON + 22], dim=1), torch.tensor([0] * 22 + [1] * 6)
    parts = ego_subgraphs(edges, len(batch), 1)
    assert [part.nodes.shape for part in parts] == [(24, 3), (3, 4), (1, 20)]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(batch), 2, generator=generator)
    weights = torch.randn(edges.shape[1], 1, generator=generator)
    torch.manual_seed(0)
    model = SPEN(SPENConfig(2, 1, hidden=6, mark_ego=True, per_size=True))

    def seen():
        own = copy.deepcopy(model)
        logits = own(x, edges, weights, batch)
        logits.square().sum().backward()
        gradients = torch.cat([one.grad.flatten() for one in own.parameters()])
        return logits, own.eval().node_embeddings(x, edges, weights, batch), gradients

    several = seen()
    monkeypatch.setattr(spen, "size_classes", np.zeros_like)
    assert [part.nodes.shape for part in ego_subgraphs(edges, len(batch), 1)] == [(28, 20)]
    for ours, padded in zip(several, seen(), strict=True):
        torch.testing.assert_close(ours, padded, atol=1e-5, rtol=1e-4)


def test_sizes_that_were_not_seen_have_the_shared_weights():
    torch.manual_seed(0)
    layer = EquivariantLinear(2, 1, 2, 3, per_size=True)
    small, large = torch.randn(1, 3, 3, 2), torch.randn(1, 4, 4, 2)
    masks = [torch.ones(1, m, dtype=torch.bool) for m in (3, 4)]
    before = layer(small, masks[0]), layer(large, masks[1])
    layer(small, masks[0]).sum().backward()
    with torch.no_grad():
        for part in layer.by_size:
            part -= part.grad
    assert not torch.allclose(layer(small, masks[0]), before[0])
    assert torch.equal(layer(large, masks[1]), before[1])
    beyond = SIZES + 1
    assert layer(torch.randn(1, beyond, beyond, 2), torch.ones(1, beyond, dtype=torch.bool)).shape == (1, beyond, 3)


def test_directed_edges_and_graphs_without_edges_are_told():
    model = SPEN(SPENConfig(1, 1, hidden=4)).eval()
    one_way = torch.tensor([[0, 1], [1, 2]])
    alone, parts = ego_subgraphs(one_way, 3, 1)
    assert parts.nodes.tolist() == [[0, 1], [1, 2]]
    assert parts.adjacency[0].tolist()[0] == [0, 1]
    assert parts.edges[1][0, 1] == 1
    assert alone.nodes.tolist() == [[2]]
    assert alone.centre.sum() + parts.centre.sum() == 3
    none = torch.zeros(2, 0, dtype=torch.long)
    assert model.classify(SimpleNamespace(x=torch.ones(3, 1), edge_index=none, edge_attr=torch.ones(0, 1))).shape == (
        1,
        2,
    )
    three = torch.zeros(3, dtype=torch.long)
    with pytest.raises(ValueError, match="x, edge_attr: expected finite"):
        model(torch.full((3, 1), torch.nan), none, torch.ones(0, 1), three)
    with pytest.raises(ValueError, match="batch: expected the graph of each of 3"):
        model(torch.ones(3, 1), none, torch.ones(0, 1), three + 1)
    with pytest.raises(ValueError, match="x, edge_attr: expected \\(n, 1\\)"):
        model(torch.ones(3, 2), none, torch.ones(0, 1), three)
    with pytest.raises(ValueError, match="pool: expected sum or mean"):
        SPENConfig(1, 0, pool="max")

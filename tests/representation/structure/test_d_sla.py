import math

import pytest
import torch

from representation.data.scene_graphs import SceneGraph, SceneNode
from representation.registry import load_model
from representation.structure.d_sla import (
    DSLA,
    GINConfig,
    GINEncoder,
    discrepancy,
    discrimination_loss,
    edit_loss,
    make_candidates,
    margin_loss,
    neighbourhood,
    of_scene,
    perturb_graph,
    pretrain,
    typed_graph,
)


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def drawn(number, n=14, p=0.3):
    generator = seeded(number)
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    there = torch.rand(len(pairs), generator=generator) < p
    kinds = torch.randint(2, (len(pairs),), generator=generator).tolist()
    chosen = {pair: kind for pair, kind, one in zip(pairs, kinds, there.tolist(), strict=True) if one}
    return typed_graph(torch.randint(3, (n,), generator=generator), chosen)


def test_changes_are_what_was_recorded_and_where_they_should_be():
    for number in range(500):
        graph = drawn(number, n=10)
        near = neighbourhood(graph, number % 10, 1)
        within = near if number % 2 else None
        copy, distance = perturb_graph(graph, 1 + number % 4, within=within, generator=seeded(number))
        before, after = set(graph.pairs()), set(copy.pairs())
        assert len(before ^ after) == distance
        assert len(before) == len(after)
        assert len(copy.edges.T.unique(dim=0)) == copy.edges.shape[1] == 2 * len(after)
        assert (copy.edges[0] != copy.edges[1]).all()
        if within:
            assert all(set(pair) <= near for pair in before ^ after)
            assert near == {number % 10} | {b for a, b in graph.edges.T.tolist() if a == number % 10}


def test_candidates_are_masked_alike_and_the_first_keeps_its_edges():
    graph = drawn(1)
    found, distances = make_candidates(graph, 4, 0.1, 0.5, None, mask_type=3, generator=seeded())
    assert [int((one.nodes == 3).sum()) for one in found] == [7] * 5
    assert found[0].pairs() == graph.pairs()
    assert distances.tolist() == [len(set(one.pairs()) ^ set(graph.pairs())) for one in found]
    step = max(1, int(0.1 * len(graph.pairs())))
    assert distances.tolist() == [0, 2 * step, 4 * step, 6 * step, 8 * step]
    for growing, counts in ((True, [1, 2, 3, 5]), (False, [1, 1, 1, 1])):
        found, distances = make_candidates(graph, hops=None, mask_type=3, edits=(1, 2, 3, 5), growing=growing)
        changes = [len(set(one.pairs()) ^ set(graph.pairs())) for one in found[1:]]
        assert distances.tolist() == [0, *changes] == [0, *(2 * count for count in counts)]
    distances = make_candidates(graph, 4, 0.1, 0.5, None, mask_type=3, growing=False)[1]
    assert distances.tolist() == [0] + [2 * step] * 4
    with pytest.raises(ValueError, match=r"edits: expected a number for each of 4 copies, found \[1, 2\]"):
        make_candidates(graph, mask_type=3, edits=(1, 2))
    empty = typed_graph(torch.zeros(3, dtype=torch.long), {})
    assert make_candidates(empty, mask_type=3)[1].tolist() == [0] * 5


def test_losses_are_the_loops_that_they_stand_for():
    z = torch.randn(3, 5, 4, generator=seeded(), dtype=torch.float64)
    e = torch.tensor([[0, 2, 4, 6, 8]] * 3, dtype=torch.float64)
    terms = []
    for b in range(3):
        for i in range(1, 5):
            for j in range(i + 1, 5):
                d_i, d_j = ((z[b, k] - z[b, 0]).norm() / e[b, k] for k in (i, j))
                terms.append((d_i - d_j) ** 2)
    assert float(edit_loss(z, e)) == pytest.approx(float(sum(terms)) / len(terms), abs=1e-6)
    along = torch.randn(3, 1, 4, dtype=torch.float64) * e[:, :, None]
    assert edit_loss(along, e) < 1e-10
    assert edit_loss(along, 7 * e) < 1e-10
    terms = [
        max(0.0, 2.0 + float((z[b, i] - z[b, 0]).norm()) - float((z[b, 0] - z[o, 0]).norm()))
        for b in range(3)
        for o in range(3)
        for i in range(1, 4)
        if b != o
    ]
    assert float(margin_loss(z, 2.0)) == pytest.approx(sum(terms) / len(terms), abs=1e-6)
    far = z + 1000.0 * torch.arange(3.0).double()[:, None, None]
    assert margin_loss(far, 2.0) == 0
    assert discrimination_loss(torch.zeros(6, 5)) == pytest.approx(math.log(5))


@pytest.mark.parametrize("strong", [False, True])
def test_a_new_encoder_tells_candidates_no_better_than_by_chance(strong):
    for number in range(5):
        torch.manual_seed(number)
        dsla = DSLA(GINEncoder(GINConfig(3, 2, dim=48, layers=3)))
        made = [make_candidates(drawn(k), strong=strong, mask_type=3, generator=seeded(k))[0] for k in range(16)]
        z = dsla.encoder([graph for one in made for graph in one]).unflatten(0, (16, 4 + strong))
        assert discrimination_loss(dsla.scores(z)).item() == pytest.approx(math.log(4 + strong), abs=0.1)


def test_gradients_are_right_and_finite_where_nothing_changed():
    z = torch.randn(3, 4, 3, generator=seeded(), dtype=torch.float64, requires_grad=True)
    e = torch.tensor([[0, 2, 4, 6]] * 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: edit_loss(x, e), (z,))
    assert torch.autograd.gradcheck(lambda x: margin_loss(x, 1.0), (z,))
    assert torch.autograd.gradcheck(lambda x: discrimination_loss(x.sum(dim=-1)), (z,))
    same = torch.zeros(2, 4, 3, requires_grad=True)
    (edit_loss(same, e[:2].float()) + margin_loss(same, 1.0)).backward()
    assert torch.isfinite(same.grad).all()


def test_vectors_do_not_mind_the_numbers_of_nodes_nor_other_graphs(tmp_path):
    torch.manual_seed(0)
    encoder = GINEncoder(GINConfig(3, 2, dim=8, layers=3)).eval()
    graph = drawn(2)
    order = torch.randperm(14, generator=seeded()).tolist()
    renamed = {tuple(sorted((order[a], order[b]))): kind for (a, b), kind in graph.pairs().items()}
    other = typed_graph(graph.nodes[torch.tensor(order).argsort()], renamed)
    first, second, _ = encoder([graph, other, drawn(3)])
    assert torch.allclose(first, second, atol=1e-5)
    assert torch.allclose(encoder([graph])[0], first, atol=1e-6)
    assert discrepancy(encoder, graph, other) < 1e-4 < discrepancy(encoder, graph, drawn(3))
    encoder.save(tmp_path)
    assert torch.equal(load_model(tmp_path)([graph]), encoder([graph]))
    with pytest.raises(ValueError, match="nodes: expected types from 0 to 3, found 0 to 4"):
        encoder([typed_graph(torch.tensor([0, 4]), {(0, 1): 0})])


def test_training_brings_distances_nearer_to_the_number_of_changes():
    graphs = [drawn(number, n=10) for number in range(24)]
    torch.manual_seed(0)
    dsla = DSLA(GINEncoder(GINConfig(3, 2, dim=16, layers=2)), margin=1.0)

    def spread():
        ratios = []
        for number, graph in enumerate(graphs):
            for edits in (1, 2, 3):
                copy, distance = perturb_graph(graph, edits, generator=seeded(number))
                ratios.append(discrepancy(dsla.encoder, graph, copy) / distance)
        found = torch.tensor(ratios)
        return float(found.std() / found.mean())

    before = spread()
    pretrain(dsla, graphs, 40, seed=0, batch=12)
    assert spread() < before


def test_copies_change_alike_where_distances_are_not_learned():
    seen = []
    dsla = DSLA(GINEncoder(GINConfig(3, 2, dim=8, layers=1)))
    dsla.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    for dsla.edit_weight in (0.7, 0.0):
        pretrain(dsla, [drawn(number) for number in range(4)], 1, seed=0, edits=(1, 2, 3, 5))
    assert seen[0].tolist() == [[0, 2, 4, 6, 10]] * 4
    assert seen[1].tolist() == [[0, 2, 2, 2, 2]] * 4


def test_a_scene_becomes_contacts_with_and_without_support():
    table, block = SceneNode("table", (1, 1, 1), (0, 0, 0)), SceneNode("block", (1, 1, 1), (0, 0, 2))
    scene = SceneGraph((table, block, block), ((0, 1), (0, 2), (1, 2)), ((0, 1), (0, 2)))
    graph = of_scene(scene)
    assert graph.nodes.tolist() == [0, 1, 1]
    assert graph.pairs() == {(0, 1): 1, (0, 2): 1, (1, 2): 0}
    with pytest.raises(ValueError, match=r"expected kinds .* found \['cup'\]"):
        of_scene(SceneGraph((SceneNode("cup", (1, 1, 1), (0, 0, 0)),), (), ()))

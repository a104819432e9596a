import numpy as np
import pytest
import torch

from representation.benchmarks import d_sla
from representation.benchmarks.d_sla import (
    FAMILIES,
    NODES,
    agreement,
    contrasted,
    distance_ratios,
    drawn_graph,
    drawn_graphs,
    scores,
    trained,
    triangle_probe,
)
from representation.benchmarks.spen import triangles


@pytest.mark.parametrize("family", FAMILIES)
def test_graphs_have_about_forty_edges_and_no_loops(family):
    graphs = [drawn_graph(family, np.random.default_rng(number)) for number in range(20)]
    assert 30 < np.mean([len(graph.pairs()) for graph in graphs]) < 45
    assert all(int(graph.edges.max()) < NODES and (graph.edges[0] != graph.edges[1]).all() for graph in graphs)


def test_both_trainings_repeat_themselves_and_are_scored_alike(monkeypatch):
    monkeypatch.setattr(d_sla, "TRAINING", 12)
    monkeypatch.setattr(d_sla, "TEST", 6)
    monkeypatch.setattr(d_sla, "BATCH", 4)
    for train in (trained, lambda seed, steps: contrasted(d_sla.SIZES, drawn_graphs(12, seed), steps, seed, edits=2)):
        first, second = (train(0, steps=2) for _ in range(2))
        for one, other in zip(first.parameters(), second.parameters(), strict=True):
            assert torch.equal(one, other)
        found = scores(first, 0)
        assert -1 <= found.rank <= 1
        assert -1 <= found.rank_each <= 1
        assert found.triangles < 1
        assert found.apart > 0
        assert 0 <= found.nearer <= 1
        assert found.spread > 0
        assert set(found.told) == (set(FAMILIES) if train is trained else set())


def test_distances_agree_with_changes_where_they_count_them():
    changes = np.array([[2, 2, 4], [4, 4, 6], [6, 8, 8]])
    exact = agreement(0.5 * changes, changes)
    assert exact == pytest.approx({"rank": 1.0, "rank_each": 1.0, "spread": 0.0}, abs=1e-12)
    scaled = agreement(changes * np.array([1.0, 10.0, 100.0]), changes)
    assert scaled["rank_each"] == pytest.approx(1.0)
    assert scaled["rank"] < 0.9
    assert scaled["spread"] > 1
    assert agreement(1.0 / changes, changes)["rank_each"] == pytest.approx(-1.0)


def test_triangles_are_read_from_vectors_that_tell_them_and_from_no_others():
    tested = drawn_graphs(30, seed=5)
    told = triangle_probe(lambda graphs: torch.tensor([[float(triangles(one.edges))] for one in graphs]), tested, 0)
    blind = triangle_probe(lambda graphs: torch.ones(len(graphs), 1), tested, 0)
    assert told > 0.99
    assert blind < 0.1


def test_other_graphs_are_compared_with_the_copies_of_the_first():
    vectors, own = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[2.0, 1.0, 1.0], [4.0, 2.0, 0.5]])
    expected = [1 / 2, 3 / 2, 1, 2, 3, 2, 1 / 4, 3 / 4, 1 / 2, 1, 6, 4]
    assert distance_ratios(vectors, own).tolist() == pytest.approx(expected)

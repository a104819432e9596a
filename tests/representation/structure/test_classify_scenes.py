import numpy as np
import torch

from representation.benchmarks import spen as benchmark
from representation.data.scene_graphs import SceneGraph, SceneNode, write_scene_graphs
from representation.registry import load_model
from representation.structure.classify_scenes import has_loop, logits_of, main, plain_graph

TABLE = SceneNode("table", (0.6, 0.6, 0.05), (0.0, 0.0, -0.05))
BLOCK = SceneNode("block", (0.03, 0.03, 0.02), (0.0, 0.0, 0.02))
TOWER = SceneGraph((TABLE, *[BLOCK] * 3), ((0, 1), (1, 2), (2, 3)), ((0, 1), (1, 2), (2, 3)))
BRIDGE = SceneGraph((TABLE, *[BLOCK] * 3), ((0, 1), (0, 2), (1, 3), (2, 3)), ((0, 1), (0, 2), (1, 3), (2, 3)))
TOUCHING = SceneGraph((TABLE, *[BLOCK] * 3), ((0, 1), (0, 2), (0, 3), (1, 2)), ((0, 1), (0, 2), (0, 3)))


def test_a_bridge_closes_a_loop_and_a_touch_does_not():
    assert [has_loop(scene) for scene in (TOWER, BRIDGE, TOUCHING)] == [False, True, False]


def test_the_command_learns_to_tell_bridges(tmp_path, capsys):
    write_scene_graphs([TOWER, BRIDGE] * 5, tmp_path / "data")
    words = ["--data", str(tmp_path / "data"), "--output", str(tmp_path / "run"), "--steps", "40", "--hidden", "8"]
    main(words)
    assert "2 scenes: 1.000 told, 0.500 the same class" in capsys.readouterr().out
    graphs = [plain_graph(scene) for scene in (TOWER, BRIDGE)]
    assert logits_of(load_model(tmp_path / "run"), graphs).argmax(dim=1).tolist() == [0, 1]


def test_graphs_of_the_benchmark_have_four_neighbours_and_counted_triangles(monkeypatch):
    edges = benchmark.regular_graph(np.random.default_rng(0))
    assert torch.bincount(edges[0]).tolist() == [4] * 20
    assert benchmark.triangles(torch.tensor([[0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2]])) == 1
    monkeypatch.setattr(benchmark, "GRAPHS", 20)
    graphs = benchmark.drawn_graphs(0)
    assert sorted(graph.label for graph in graphs) == [0] * 10 + [1] * 10
    parts = benchmark.folds(graphs, 0)
    assert [len(held_out) for _, held_out in parts] == [4] * 5
    assert all({id(one) for part in pair for one in part} == set(map(id, graphs)) for pair in parts)
    assert sorted(id(one) for _, held_out in parts for one in held_out) == sorted(map(id, graphs))
    assert all(sum(one.label for one in held_out) == 2 for _, held_out in parts)
    found = benchmark.scores(0, graphs, ("ego", "whole", "GIN"), steps=2)
    assert set(found) == {"common", "ego", "whole", "GIN"}
    assert found["common"] == 0.5  # in the held-out graphs too
    monkeypatch.setattr(benchmark, "SIZES", (50, 100, 200))
    ego, whole = benchmark.exponents(0)
    assert abs(whole - 2) < 1e-9
    assert 0.85 < ego < 1.15

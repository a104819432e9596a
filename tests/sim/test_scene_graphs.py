import sys

import numpy as np
import pytest

from representation.data.scene_graphs import read_scene_graphs
from sim.scene_graphs import Block, graph_of, main, pile, rest

FLAT = np.array([0.03, 0.03, 0.02])


def laid(*positions, half=FLAT):
    blocks = [Block(half, np.array(position)) for position in positions]
    return graph_of(*rest(blocks), blocks)


def test_a_tower_a_bridge_and_a_neighbour_are_told():
    tower = laid((0, 0, 0.021), (0, 0, 0.062))
    assert tower.contacts == tower.supports == ((0, 1), (1, 2))
    bridge = laid((-0.04, 0, 0.021), (0.04, 0, 0.021), (0, 0, 0.062))
    assert bridge.supports == ((0, 1), (0, 2), (1, 3), (2, 3))
    beside = laid((0, 0, 0.021), (0.0599, 0, 0.021))
    assert (1, 2) in beside.contacts
    assert beside.supports == ((0, 1), (0, 2))
    np.testing.assert_array_equal(bridge.bears, [2, 1, 1, 0])


def test_what_stands_on_the_edge_falls():
    graph = laid((0, 0, 0.021), (0.05, 0, 0.062))
    assert (0, 2) in graph.supports


def test_piles_repeat_themselves_and_nothing_floats():
    for number in range(6):
        graph, again = (pile(4, 8, np.random.default_rng(number)) for _ in range(2))
        assert graph == again
        borne = {above for _, above in graph.supports}
        assert borne == set(range(1, len(graph.nodes)))


def test_the_command_writes_what_can_be_read(tmp_path, monkeypatch, capsys):
    words = ["--output", str(tmp_path / "piles"), "--count", "3", "--most", "5"]
    monkeypatch.setattr(sys, "argv", ["scene_graphs", *words])
    main()
    assert "3 graphs" in capsys.readouterr().out
    graphs = read_scene_graphs(tmp_path / "piles")
    assert graphs[1] == pile(4, 5, np.random.default_rng((0, 1)))
    with pytest.raises(SystemExit, match="expected a new or empty directory"):
        main()

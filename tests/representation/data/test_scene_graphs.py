import json

import pytest

from representation.data.scene_graphs import FILE, SceneGraph, SceneNode, read_scene_graphs, write_scene_graphs

TABLE = SceneNode("table", (0.6, 0.6, 0.05), (0.0, 0.0, -0.05))
BLOCK = SceneNode("block", (0.02, 0.02, 0.02), (0.0, 0.0, 0.02))
TOWER = SceneGraph((TABLE, BLOCK, BLOCK), ((0, 1), (1, 2)), ((0, 1), (1, 2)))


def test_graphs_come_back_equal(tmp_path):
    graphs = [TOWER, SceneGraph((TABLE,), (), ())]
    write_scene_graphs(graphs, tmp_path)
    assert read_scene_graphs(tmp_path) == graphs
    assert TOWER.edge_index.tolist() == [[0, 1, 1, 2], [1, 2, 0, 1]]
    assert graphs[1].edge_index.shape == (2, 0)
    assert TOWER.bears.tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contacts": [[0, 3]], "supports": []}, "contacts: expected pairs of the 3 nodes"),
        ({"contacts": [[1, 0]], "supports": []}, "the smaller first"),
        ({"supports": [[0, 2]]}, "supports: expected some of the contacts"),
        ({"contacts": [[0, 1.0]]}, "expected whole numbers"),
        ({"nodes": [{"kind": "table"}]}, "half_size"),
        ({"nodes": 3}, "not iterable"),
    ],
)
def test_damaged_lines_are_named(tmp_path, change, words):
    path = write_scene_graphs([TOWER, TOWER], tmp_path)
    lines = path.read_text().splitlines()
    (tmp_path / FILE).write_text("\n".join([lines[0], json.dumps(json.loads(lines[1]) | change)]) + "\n")
    with pytest.raises(ValueError, match=f"line 2: .*{words}"):
        read_scene_graphs(tmp_path)


def test_none_is_said_how_to_make(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m sim\.scene_graphs"):
        read_scene_graphs(tmp_path)

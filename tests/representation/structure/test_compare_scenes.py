import pytest

from representation.data.scene_graphs import SceneGraph, SceneNode, write_scene_graphs
from representation.structure.compare_scenes import main

TABLE, BLOCK = (
    SceneNode("table", (0.6, 0.6, 0.05), (0.0, 0.0, -0.05)),
    SceneNode("block", (0.03, 0.03, 0.02), (0, 0, 0)),
)
THINGS = (TABLE, *[BLOCK] * 4)
ON_TABLE = tuple((0, place) for place in range(1, 5))
SCENES = [
    SceneGraph(THINGS, ON_TABLE, ON_TABLE),
    SceneGraph(THINGS, ((0, 1), (1, 2), (2, 3), (3, 4)), ((0, 1), (1, 2), (2, 3), (3, 4))),
    SceneGraph(THINGS, ((0, 1), (0, 2), (0, 3), (3, 4)), ((0, 1), (0, 2), (0, 3), (3, 4))),
    SceneGraph(THINGS, ON_TABLE, ON_TABLE),
    SceneGraph(THINGS, (*ON_TABLE, (1, 2)), ON_TABLE),
]


def test_scenes_are_learned_and_the_nearest_to_a_goal_are_listed(tmp_path, capsys):
    write_scene_graphs(SCENES * 4, tmp_path / "data")
    data = ["--data", str(tmp_path / "data")]
    assert main([*data, "--output", str(tmp_path / "run"), "--steps", "10", "--dim", "8", "--edits", *"1123"]) == 0
    assert "4 scenes: rank correlation of distances and changes" in capsys.readouterr().out
    assert main([*data, "--encoder", str(tmp_path / "run"), "--goal", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(line.endswith(": 0.000") for line in lines)  # eight scenes are the same
    assert {int(line.split()[1].rstrip(":")) % 5 for line in lines} <= {0, 3}
    assert main([*data, "--encoder", str(tmp_path / "run"), "--goal", "20"]) == 1
    assert "goal: expected a scene from 0 to 19, found 20" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(data)
    assert "output, encoder: expected one of them" in capsys.readouterr().err

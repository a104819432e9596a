import pytest
import torch

from representation.benchmarks.scene_roles import NETWORKS, scores
from representation.data.scene_graphs import SceneGraph, SceneNode, write_scene_graphs
from representation.registry import load_model
from representation.structure.label_scenes import ROLES, main, roles, split, together

TABLE = SceneNode("table", (0.6, 0.6, 0.05), (0.0, 0.0, -0.05))
BLOCK = SceneNode("block", (0.03, 0.03, 0.02), (0.0, 0.0, 0.02))
TOWER = SceneGraph((TABLE, BLOCK, BLOCK, BLOCK), ((0, 1), (1, 2), (2, 3)), ((0, 1), (1, 2), (2, 3)))
BESIDE = SceneGraph((BLOCK, TABLE, BLOCK), ((0, 1), (0, 2), (1, 2)), ((1, 0), (1, 2)))


def test_roles_follow_from_what_bears_what():
    assert [ROLES[role] for role in roles(TOWER)] == ["table", "base", "between", "top"]
    assert [ROLES[role] for role in roles(BESIDE)] == ["alone", "table", "alone"]


def test_graphs_stand_side_by_side_without_edges_between_them():
    x, edge_index, wanted = together([TOWER, BESIDE])
    assert x.shape == (7, 4)
    assert x[:4].tolist() == x[[5, 4, 6, 6]].tolist()
    assert torch.equal(edge_index[:, :6], TOWER.edge_index)
    assert torch.equal(edge_index[:, 6:], BESIDE.edge_index + 4)
    assert len(wanted) == 7


def test_the_command_learns_from_contacts_what_sizes_do_not_tell(tmp_path, capsys):
    write_scene_graphs([TOWER, BESIDE] * 10, tmp_path / "data")
    main(["--data", str(tmp_path / "data"), "--output", str(tmp_path / "run"), "--steps", "60", "--layers", "2"])
    assert "4 scenes: 1.000 of the roles told, 0.400 the same one" in capsys.readouterr().out
    model = load_model(tmp_path / "run")
    x, edge_index, wanted = together([TOWER])
    assert torch.equal(model(x, edge_index).argmax(dim=1), wanted)
    found = scores(0, [TOWER, BESIDE] * 5, steps=2)
    assert set(found) == set(NETWORKS)
    with pytest.raises(ValueError, match="expected at least 5, found 1"):
        split([TOWER])

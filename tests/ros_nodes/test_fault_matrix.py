"""Two rows of the fault matrix, with the whole graph; all of it is `python -m ros_nodes.fault_matrix`."""

from __future__ import annotations

import json

import pytest

from ros_nodes.fault_matrix import main


def test_two_faults_of_a_moving_arm_pass_and_are_written_down(tmp_path, capsys):
    page = tmp_path / "faults.md"
    faults = ["--faults", "camera_death,joint_names_permuted", "--phases", "moving"]
    code = main([*faults, "--output", str(page), "--json", "--patience", "6"])
    death, permuted = json.loads(capsys.readouterr().out)["rows"]
    assert death["measured"]["failure"] == permuted["measured"]["failure"] == ""
    assert death["measured"]["named"]["concern"] == "policy_node: inputs"
    assert "wrist/color" in death["measured"]["named"]["text"]
    assert death["measured"]["rest_s"] > 0.1
    assert permuted["measured"]["rest_s"] is None
    assert permuted["measured"]["way_rad"] > 0.05
    assert (code == 0) == (death["passed"] and permuted["passed"])
    text = page.read_text()
    assert "| camera_death | moving | holds |" in text
    assert "--faults camera_death,joint_names_permuted --phases moving" in text


def test_an_unknown_fault_is_refused_before_anything_starts(capsys):
    assert main(["--faults", "earthquake"]) == 2
    assert "found 'earthquake'" in capsys.readouterr().err


@pytest.mark.parametrize("patience", ["0", "-1", "nan"])
def test_patience_must_be_positive(patience, capsys):
    assert main(["--patience", patience]) == 2
    assert "patience: expected > 0" in capsys.readouterr().err

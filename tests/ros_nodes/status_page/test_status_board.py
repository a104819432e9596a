from __future__ import annotations

import json

import numpy as np
import pytest

from policies.execution.trajectory import hold
from policies.robots import get_robot
from ros_nodes.status_page.status_board import MAX_STATUSES, MAX_TEXT, MAX_VALUES, Status, StatusBoard

SPEC = get_robot("panda")


@pytest.fixture
def board() -> StatusBoard:
    return StatusBoard(SPEC, "/left", ["front"])


def status(name: str, level: int = 0, **fields: object) -> Status:
    return Status(name, **{"hardware": "panda", "level": level, "message": "fine", "values": {}, **fields})


def test_what_never_came_has_no_age(board):
    document = board.as_json(7.0)
    assert document["joints_age_s"] is document["plan_age_s"] is document["estop"]["pressed"] is None
    assert document["joints"][-1] == {"name": "finger_joint1", "lower": 0.0, "upper": 0.04, "unit": "m"}
    json.dumps(document, allow_nan=False)


def test_ages_count_from_the_newest_message(board):
    board.add_joints(100.0, SPEC.home, np.zeros_like(SPEC.home), 1.0)
    board.add_plan(hold(SPEC.home, 100.0), 2.0)
    document = board.as_json(3.5)
    assert (document["joints_age_s"], document["plan_age_s"]) == (2.5, 1.5)


def test_a_refused_message_is_told_until_a_good_one_comes(board):
    board.refuse("joints", "joint3 is missing", 1.0)
    assert board.as_json(2.0)["problems"] == [{"source": "joints", "reason": "joint3 is missing", "age_s": 1.0}]
    board.add_joints(0.0, SPEC.home, np.zeros_like(SPEC.home), 2.0)
    assert board.as_json(2.0)["problems"] == []


def test_only_statuses_of_the_same_namespace_are_the_robots_own(board):
    for name in ("left/policy_node: inputs", "right/policy_node: inputs", "policy_node: inputs"):
        board.add_status(status(name), 0.0)
    found = {entry["node"]: entry["own"] for entry in board.as_json(0.0)["diagnostics"]}
    assert found == {"left/policy_node": True, "right/policy_node": False, "policy_node": False}
    alone = StatusBoard(SPEC, "/", [])
    alone.add_status(status("policy_node: inputs"), 0.0)
    assert alone.as_json(0.0)["diagnostics"][0]["own"]


def test_the_newest_status_of_a_name_counts(board):
    board.add_status(status("left/policy_node: inputs", level=2), 0.0)
    board.add_status(status("left/policy_node: inputs", level=1), 4.0)
    (entry,) = board.as_json(5.0)["diagnostics"]
    assert (entry["level"], entry["age_s"], entry["concern"]) == (1, 1.0, "inputs")


def test_a_flood_of_diagnostics_is_cut(board):
    for number in range(MAX_STATUSES + 50):
        values = {f"{number} {key}": "x" * 10_000 for key in range(MAX_VALUES + 1)}
        board.add_status(status(f"left/flood: {number}", message="y" * 10_000, values=values), float(number))
    found = board.as_json(0.0)["diagnostics"]
    assert len(found) == MAX_STATUSES
    assert "0" not in {entry["concern"] for entry in found}
    assert len(found[0]["message"]) == MAX_TEXT
    assert len(found[0]["values"]) == MAX_VALUES


def test_a_node_that_goes_is_shown_as_gone(board):
    board.see_nodes(["/left/policy_node", "/left/arm_gateway_node"])
    board.add_life_cycle("/left/policy_node", "active")
    assert board.as_json(0.0)["nodes"][1] == {"name": "/left/policy_node", "there": True, "state": "active"}
    board.see_nodes(["/left/arm_gateway_node"])
    assert board.as_json(0.0)["nodes"] == [
        {"name": "/left/arm_gateway_node", "there": True, "state": ""},
        {"name": "/left/policy_node", "there": False, "state": ""},
    ]


def test_the_emergency_stop_says_who_hears_it_and_who_else_presses_it(board):
    board.add_estop(True)
    board.see_estop(True, ["button_node"])
    expected = {"pressed": True, "gateway_listens": True, "other_sources": ["button_node"]}
    assert board.as_json(0.0)["estop"] == expected

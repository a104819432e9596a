from __future__ import annotations

import json

import numpy as np
import pytest

from policies.execution.kinematics import Kinematics
from policies.execution.trajectory import JointTrajectory
from policies.robots import get_robot
from ros_nodes.status_page.motion_trail import PERIOD_S, WINDOW_S, MotionTrail

SPEC = get_robot("panda")
REST = np.zeros_like(SPEC.home)


def to(target: np.ndarray, stamp: float, seconds: float) -> JointTrajectory:
    return JointTrajectory(stamp, np.array([seconds]), target[None], np.zeros((1, len(target))))


def turned(angle: float) -> np.ndarray:
    target = SPEC.home.copy()
    target[0] += angle
    return target


def test_the_executed_path_is_that_of_the_tool_in_the_base_frame():
    trail = MotionTrail(SPEC)
    trail.add_joints(5.0, turned(0.3), REST)
    (sample,) = trail.as_json()["samples"]
    expected = Kinematics(SPEC).forward(turned(0.3))[:3, 3]
    assert sample["time"] == 0.0
    np.testing.assert_allclose(sample["executed_tools"], [expected], atol=1e-4)
    assert sample["planned"] is sample["planned_tools"] is None


def test_the_plan_is_compared_at_the_time_of_each_joint_state():
    trail = MotionTrail(SPEC)
    trail.add_joints(10.0, SPEC.home, REST)
    trail.add_plan(to(turned(0.4), 10.0, 2.0))
    trail.add_joints(11.0, SPEC.home, REST)  # the arm stays
    document = trail.as_json()
    assert document["samples"][-1]["planned"][0] == pytest.approx(SPEC.home[0] + 0.2, abs=1e-3)
    tools = [Kinematics(SPEC).forward(turned(angle))[:3, 3] for angle in (0.0, 0.2)]
    assert document["largest_error_m"] == pytest.approx([np.linalg.norm(tools[1] - tools[0])], abs=1e-3)
    assert [document["ahead"][place]["time"] for place in (0, -1)] == [0.0, 1.0]
    assert document["ahead"][-1]["planned"][0] == pytest.approx(SPEC.home[0] + 0.4, abs=1e-3)


def test_a_plan_that_has_ended_is_compared_with_nothing():
    trail = MotionTrail(SPEC)
    trail.add_joints(10.0, SPEC.home, REST)
    trail.add_plan(to(turned(0.4), 10.0, 0.5))
    trail.add_joints(10.6, turned(0.4), REST)
    document = trail.as_json()
    assert document["samples"][-1]["planned"] is None
    assert document["ahead"] == []


def test_a_new_plan_goes_on_from_where_the_old_one_was():
    trail = MotionTrail(SPEC)
    trail.add_joints(0.0, SPEC.home, REST)
    trail.add_plan(to(turned(0.4), 0.0, 2.0))
    trail.add_joints(1.0, SPEC.home, REST)
    trail.add_plan(to(turned(0.0), 1.0, 1.0))
    assert trail.as_json()["ahead"][0]["planned"][0] == pytest.approx(SPEC.home[0] + 0.2, abs=1e-3)


def test_the_trail_is_thinned_and_forgets_what_is_old():
    trail = MotionTrail(SPEC)
    for step in range(round(2 * WINDOW_S / 0.02)):
        trail.add_joints(step * 0.02, SPEC.home, REST)
    times = [sample["time"] for sample in trail.as_json()["samples"]]
    assert times[0] >= -WINDOW_S
    assert len(times) <= WINDOW_S / PERIOD_S + 1
    assert min(np.diff(times)) >= PERIOD_S - 1e-6


def test_stamps_that_jump_back_begin_a_new_trail():
    trail = MotionTrail(SPEC)
    trail.add_joints(100.0, SPEC.home, REST)
    trail.add_plan(to(turned(0.4), 100.0, 2.0))
    trail.add_joints(1.0, SPEC.home, REST)
    document = trail.as_json()
    assert len(document["samples"]) == 1
    assert document["ahead"] == []


def test_a_plan_that_is_not_finite_is_refused():
    trail = MotionTrail(SPEC)
    trail.add_joints(0.0, SPEC.home, REST)
    with pytest.raises(ValueError, match="finite"):
        trail.add_plan(to(turned(np.nan), 0.0, 1.0))
    json.dumps(trail.as_json(), allow_nan=False)


def test_each_of_two_arms_has_its_path():
    spec = get_robot("aloha")
    trail = MotionTrail(spec)
    trail.add_joints(0.0, spec.home, np.zeros_like(spec.home))
    tools = trail.as_json()["samples"][0]["executed_tools"]
    expected = [Kinematics(spec).forward(spec.home, arm)[:3, 3] for arm in range(2)]
    np.testing.assert_allclose(tools, expected, atol=1e-4)

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy")

from policies.execution.trajectory import JointTrajectory
from policies.robots import get_robot
from ros_nodes.controllers import ArmTrajectories, arm_messages, command_topic

SPEC = get_robot("aloha")


def trajectory(stamp: float) -> JointTrajectory:
    rng = np.random.default_rng(0)
    velocities = rng.normal(size=(3, 14))
    velocities[-1] = 0.0
    return JointTrajectory(stamp, [0.04, 0.08, 0.2], rng.normal(size=(3, 14)), velocities)


def test_each_arm_has_a_topic_and_its_own_joints():
    topics = [command_topic(arm) for arm in SPEC.arms]
    assert topics == ["left_arm_controller/joint_trajectory", "right_arm_controller/joint_trajectory"]
    assert [command_topic(arm) for arm in get_robot("panda").arms] == ["arm_controller/joint_trajectory"]
    left, right = arm_messages(trajectory(1.0), SPEC)
    assert left.joint_names == list(SPEC.joint_names[:7])
    assert right.joint_names == list(SPEC.joint_names[7:])


def test_split_and_joined_is_the_same_to_the_last_bit():
    asked = trajectory(1.25)
    joiner = ArmTrajectories(SPEC)
    left, right = arm_messages(asked, SPEC)
    assert joiner.take(1, right) is None
    joined = joiner.take(0, left)
    assert joined.stamp == asked.stamp
    for name in ("times", "positions", "velocities"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(asked, name))
    assert joiner.take(0, left) is None


def test_parts_of_different_trajectories_are_not_joined():
    joiner = ArmTrajectories(SPEC)
    (old, _), (new, right) = arm_messages(trajectory(1.0), SPEC), arm_messages(trajectory(2.0), SPEC)
    assert joiner.take(0, old) is None
    assert joiner.take(1, right) is None
    assert joiner.take(0, new).stamp == 2.0


def test_the_other_arms_joints_are_refused():
    left, _ = arm_messages(trajectory(1.0), SPEC)
    with pytest.raises(ValueError, match="trajectory: "):
        ArmTrajectories(SPEC).take(1, left)

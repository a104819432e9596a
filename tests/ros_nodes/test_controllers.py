from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from policies.execution.joint_states import JointStates

pytest.importorskip("rclpy")

from policies.execution.controller_trajectories import ControllerTrajectories
from policies.execution.trajectory import JointTrajectory
from policies.robots import get_drivers, get_robot
from policies.robots.drivers import Controller
from ros_nodes.controllers import (
    controller_messages,
    executed_message,
    executed_motion,
    joint_state_message,
)

SPEC, DRIVERS = get_robot("aloha"), get_drivers("aloha")


def trajectory(stamp: float) -> JointTrajectory:
    rng = np.random.default_rng(0)
    velocities = rng.normal(size=(3, 14))
    velocities[-1] = 0.0
    return JointTrajectory(stamp, [0.04, 0.08, 0.2], rng.normal(size=(3, 14)), velocities)


def test_each_arm_has_a_topic_and_its_own_joints():
    topics = [controller.topic for controller in DRIVERS.controllers]
    assert topics == ["left_arm_controller/joint_trajectory", "right_arm_controller/joint_trajectory"]
    assert [controller.topic for controller in get_drivers("panda").controllers] == ["arm_controller/joint_trajectory"]
    left, right = controller_messages(trajectory(1.0), DRIVERS)
    assert left.joint_names == list(SPEC.joint_names[:7])
    assert right.joint_names == list(SPEC.joint_names[7:])


def test_split_and_joined_is_the_same_to_the_last_bit():
    asked = trajectory(1.25)
    joiner = ControllerTrajectories(DRIVERS)
    left, right = controller_messages(asked, DRIVERS)
    assert joiner.take(1, right) is None
    joined = joiner.take(0, left)
    assert joined.stamp == asked.stamp
    for name in ("times", "positions", "velocities"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(asked, name))
    assert joiner.take(0, left) is None


def test_parts_of_different_trajectories_are_not_joined():
    joiner = ControllerTrajectories(DRIVERS)
    (old, _), (new, right) = (
        controller_messages(trajectory(1.0), DRIVERS),
        controller_messages(trajectory(2.0), DRIVERS),
    )
    assert joiner.take(0, old) is None
    assert joiner.take(1, right) is None
    assert joiner.take(0, new).stamp == 2.0


def test_the_other_arms_joints_are_refused():
    left, _ = controller_messages(trajectory(1.0), DRIVERS)
    with pytest.raises(ValueError, match="trajectory: "):
        ControllerTrajectories(DRIVERS).take(1, left)


def test_a_gripper_goes_to_its_own_controller_in_the_drivers_unit_and_comes_back_in_metres():
    spec, drivers = get_robot("panda"), get_drivers("panda")
    scale, offset = drivers.scale.copy(), drivers.offset.copy()
    scale[7], offset[7] = -255 / 0.04, 255.0  # a byte: 255 closed, 0 open
    drivers = dataclasses.replace(
        drivers,
        joint_names=(*(f"arm_{name}" for name in spec.joint_names[:7]), "knuckle"),
        scale=scale,
        offset=offset,
        controllers=(Controller("arm/joint_trajectory", tuple(range(7))), Controller("hand/joint_trajectory", (7,))),
    )
    positions = np.tile(spec.home, (2, 1))
    positions[:, 7] = 0.04, 0.01
    velocities = np.zeros((2, 8))
    velocities[0] = 0.1
    asked = JointTrajectory(1.0, [0.1, 0.2], positions, velocities, -2 * velocities)
    arm, hand = controller_messages(asked, drivers)
    assert arm.joint_names == [f"arm_joint{i}" for i in range(1, 8)]
    assert hand.joint_names == ["knuckle"]
    np.testing.assert_allclose([point.positions[0] for point in hand.points], [0.0, 191.25])
    np.testing.assert_allclose(hand.points[0].velocities[0], -637.5)
    np.testing.assert_allclose(hand.points[0].accelerations[0], 1275.0)
    joiner = ControllerTrajectories(drivers)
    assert joiner.take(1, hand) is None
    joined = joiner.take(0, arm)
    np.testing.assert_allclose(joined.positions, asked.positions, atol=1e-12)
    np.testing.assert_allclose(joined.velocities, asked.velocities, atol=1e-12)
    np.testing.assert_allclose(joined.accelerations, asked.accelerations, atol=1e-12)
    message = joint_state_message(positions[1], velocities[0], drivers, 3.0)
    assert message.position[7] == pytest.approx(191.25)
    found = JointStates(drivers).add(message)
    np.testing.assert_allclose((found.positions, found.velocities), (positions[1], velocities[0]), atol=1e-12)


def test_what_was_executed_is_told_in_the_drivers_names_and_units_and_comes_back():
    spec, drivers = get_robot("panda"), get_drivers("panda")
    scale, offset = drivers.scale.copy(), drivers.offset.copy()
    scale[7], offset[7] = -255 / 0.04, 255.0
    drivers = dataclasses.replace(drivers, joint_names=tuple(f"arm_{k}" for k in range(8)), scale=scale, offset=offset)
    positions = np.tile(spec.home, (2, 1))
    positions[:, 7] = 0.04, 0.01
    # Within a motion, so the last velocity need not be zero.
    executed = JointTrajectory(12.5, [0.002, 0.004], positions, np.full((2, 8), 0.1))
    message = executed_message(executed, drivers)
    assert message.joint_names == [f"arm_{k}" for k in range(8)]
    assert message.points[0].positions[7] == pytest.approx(0.0)
    found = executed_motion(message, drivers)
    assert found.stamp == 12.5
    np.testing.assert_array_equal(found.times, [0.002, 0.004])
    np.testing.assert_allclose(found.positions, positions, atol=1e-12)
    np.testing.assert_allclose(found.velocities, executed.velocities, atol=1e-12)

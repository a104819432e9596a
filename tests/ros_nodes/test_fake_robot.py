"""How `FakeRobot` judges commands: exactly, and by what the gateway decided, whenever they came."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from policies.execution.arm_gateway import ArmGateway
from policies.execution.trajectory import JointTrajectory
from ros_nodes.convert import message_from_trajectory
from tests.ros_nodes.fake_robot import SPEC, Command, FakeRobot, check_within_limits

STOPPED_S = 0.75


@pytest.fixture
def robot() -> Iterator[FakeRobot]:
    with FakeRobot("/judged") as robot:
        yield robot


def turn(stamp: float, rate: float) -> JointTrajectory:
    """Turn the base joint for 2 s, rad/s."""
    times = 0.1 * np.arange(1, 21)
    positions, velocities = np.tile(SPEC.home, (20, 1)), np.zeros((20, len(SPEC.home)))
    positions[:, 0] += rate * times
    velocities[:-1, 0] = rate
    return JointTrajectory(stamp, times, positions, velocities)


def decided(begin: float) -> list[tuple[float, JointTrajectory]]:
    """When a gateway decided on what: a motion, and a stop in the midst of it."""
    gateway = ArmGateway(SPEC, lead_s=0.02)
    gateway.on_joint_state(begin, SPEC.home, np.zeros_like(SPEC.home), begin)
    moves = gateway.on_trajectory(turn(begin, 0.3), begin)
    stops = gateway.on_estop(True, begin + STOPPED_S)
    return [(begin, moves.trajectory), (begin + STOPPED_S, stops.trajectory)]


def send(robot: FakeRobot, at: float, trajectory: JointTrajectory) -> None:
    robot.commands.append(Command(at, at, message_from_trajectory(trajectory, SPEC.joint_names)))


@pytest.mark.parametrize("late_s", [0.0, 0.001, 0.015, 0.4])
def test_what_a_gateway_decides_is_within_limits_however_late_it_was_sent(robot, late_s):
    begin = robot.time()
    for at, trajectory in decided(begin):
        send(robot, at + late_s, trajectory)
    motion = robot.sent_motion(begin - 0.1, begin + 3.0)
    check_within_limits(motion)
    assert 0.15 < motion.positions[-1, 0] - SPEC.home[0] < 0.35, "expected a stop in the midst of the motion"


def shift(joints: np.ndarray, way: float) -> None:
    joints += way


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda positions, velocities: shift(positions[:, 0], 4.0), "outside the limits"),
        (lambda positions, velocities: shift(positions[5:, 0], 0.3), "of the velocity limit"),
        (lambda positions, velocities: shift(positions[5:, 0], 0.1), "of the acceleration limit"),
        (lambda positions, velocities: shift(velocities[5:6, 0], -0.3), "of the jerk limit"),
    ],
    ids=["position", "velocity", "acceleration", "jerk"],
)
def test_commands_beyond_a_limit_are_told(robot, spoil, what):
    begin = robot.time()
    trajectory = turn(begin, 0.3)
    spoil(trajectory.positions, trajectory.velocities)
    send(robot, begin, trajectory)
    with pytest.raises(AssertionError, match=what):
        check_within_limits(robot.sent_motion(begin - 0.1, begin + 3.0))

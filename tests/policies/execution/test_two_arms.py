"""What the execution of two arms adds to that of one: each gripper and each workspace is looked after."""

from __future__ import annotations

import numpy as np

from policies.execution.arm_gateway import ArmGateway
from policies.execution.chunk_scheduler import GRIPPER_RATE, ChunkScheduler
from policies.execution.gateway_states import GatewayState
from policies.execution.kinematics import Kinematics
from policies.execution.safety_filter import SafetyFilter
from policies.execution.trajectory import JointState, JointTrajectory, Motion, smooth
from policies.interface import ActionChunk, Observation
from policies.robots import get_robot

SPEC = get_robot("aloha")
HOME = SPEC.home
STILL = np.zeros(14)
LEFT, RIGHT = SPEC.grippers


def test_each_gripper_is_approached_at_its_own_rate():
    rows = np.tile(HOME, (3, 1))
    rows[:, LEFT], rows[:, RIGHT] = 0.002, HOME[RIGHT]
    trajectory = ChunkScheduler(SPEC).plan(ActionChunk(0.0, 0.04, "joint", rows), HOME, 0.0)
    step = GRIPPER_RATE * SPEC.max_velocity[LEFT] * 0.04
    np.testing.assert_allclose(trajectory.positions[:3, LEFT], HOME[LEFT] - step * np.arange(1, 4))
    np.testing.assert_allclose(trajectory.positions[:3, RIGHT], HOME[RIGHT])


def test_neither_gripper_overshoots_its_stop_when_the_arms_are_slowed():
    positions, velocities = HOME.copy(), STILL.copy()
    positions[LEFT], velocities[LEFT] = 0.006, -0.08
    positions[RIGHT], velocities[RIGHT] = 0.004, -0.05
    start = JointState(0.0, positions, velocities)
    targets = np.tile(positions, (2, 1))
    targets[:, [LEFT, RIGHT]] = 0.002
    targets[:, 0] += [0.3, 0.6]
    trajectory = JointTrajectory(0.0, [0.1, 0.2], targets, np.zeros((2, 14)))
    verdict = SafetyFilter(SPEC).apply(trajectory, positions, velocities, 0.0, start)
    assert verdict.time_scale > 2
    motion = Motion(verdict.trajectory, start)
    times = np.linspace(0.0, motion.end, 400)
    path = motion.sample_many(times)[0]
    assert path[:, [LEFT, RIGHT]].min() > 0.002 - 1e-5
    asked = JointTrajectory(0.0, trajectory.times * verdict.time_scale, targets, np.zeros((2, 14)))
    asked = Motion(smooth(asked, start), start)
    np.testing.assert_allclose(path[:, SPEC.arm_joints], asked.sample_many(times)[0][:, SPEC.arm_joints], atol=1e-9)


def test_the_arm_that_leaves_its_workspace_is_named():
    kinematics = Kinematics(SPEC)
    pose = kinematics.forward(HOME, 1)
    pose[:3, 3] = [0.5, -0.2, 0.012]
    pose[:3, :3] = np.array([[0, -1, 0], [-1, 0, 0], [0, 0, -1]])
    start = kinematics.inverse(pose, HOME, 1)
    pose[2, 3] = -0.01
    target = kinematics.inverse(pose, start, 1)
    trajectory = JointTrajectory(0.0, [0.2], target[None], np.zeros((1, 14)))
    verdict = SafetyFilter(SPEC).apply(trajectory, start, STILL)
    assert verdict.trajectory is None
    assert "workspace: expected tool z within [0.005, 0.700] m" in verdict.reason
    assert "(right_arm)" in verdict.reason


def test_a_hold_stops_both_arms():
    gateway = ArmGateway(SPEC)
    targets = np.tile(HOME, (2, 1))
    targets[:, [0, 7]] += np.array([[0.05], [0.15]])
    trajectory = JointTrajectory(0.0, [0.1, 0.3], targets, np.zeros((2, 14)))
    assert not gateway.command(trajectory, Observation(0.0, {}, HOME, STILL, "wave")).rejected
    assert gateway.state is GatewayState.MOVING
    held = gateway.on_estop(True, 0.15)
    assert held is not None
    assert gateway.state is GatewayState.ESTOPPED
    np.testing.assert_array_equal(held.trajectory.velocities[-1], STILL)
    assert (held.trajectory.positions[-1, [0, 7]] > HOME[[0, 7]] + 0.01).all()

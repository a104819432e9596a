import numpy as np

from policies.execution.gripper_rate import RATE, with_reachable_grippers
from policies.execution.safety_filter import SafetyFilter
from policies.execution.trajectory import JointState, JointTrajectory
from policies.robots import get_robot

SPEC = get_robot("panda")
GRIPPER = SPEC.grippers[0]
LIMITS = SafetyFilter(SPEC).max_velocity
TIMES = np.linspace(0.1, 1.0, 10)


def plan(opening, accelerations=None):
    positions = np.tile(SPEC.home, (10, 1))
    positions[:, 0] += 0.1 * TIMES
    positions[:, GRIPPER] = opening
    velocities = np.zeros_like(positions)
    velocities[:-1, 0] = 0.1
    return JointTrajectory(5.0, TIMES, positions, velocities, accelerations)


def state(opening):
    positions = SPEC.home.copy()
    positions[GRIPPER] = opening
    return JointState(5.0, positions, np.zeros(8))


def test_what_can_be_followed_is_left_alone():
    trajectory = plan(0.02)
    same, late = with_reachable_grippers(trajectory, state(0.021), SPEC.grippers, LIMITS)
    assert same is trajectory
    assert not late


def test_a_gripper_that_is_elsewhere_goes_to_its_target_at_its_rate_and_the_arm_as_asked():
    trajectory = plan(0.0)
    found, late = with_reachable_grippers(trajectory, state(0.04), SPEC.grippers, LIMITS)
    assert late == [GRIPPER]
    arm = SPEC.arm_joints
    np.testing.assert_array_equal(found.positions[:, arm], trajectory.positions[:, arm])
    np.testing.assert_array_equal(found.velocities[:, arm], trajectory.velocities[:, arm])
    step = RATE * LIMITS[GRIPPER] * 0.1
    np.testing.assert_allclose(found.positions[:, GRIPPER], np.maximum(0.04 - step * np.arange(1, 11), 0.0), atol=1e-9)
    assert (found.velocities[:, GRIPPER] <= 0).all()
    assert found.velocities[-1, GRIPPER] == 0


def test_such_a_plan_passes_although_no_slowing_would_help():
    fast = JointTrajectory(5.0, TIMES[:2] / 4, plan(0.0).positions[:2], np.zeros((2, 8)))
    verdict = SafetyFilter(SPEC).apply(fast, SPEC.home, np.zeros(8), 5.0, state(0.04))
    assert verdict.trajectory is not None
    assert "finger_joint1 led to its target slowly" in verdict.reason


def test_what_the_gateway_made_itself_is_left_alone():
    trajectory = plan(0.0, np.zeros((10, 8)))
    assert with_reachable_grippers(trajectory, state(0.04), SPEC.grippers, LIMITS) == (trajectory, [])

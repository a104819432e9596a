from __future__ import annotations

import numpy as np
import pytest

from policies.execution.trajectory import JointTrajectory
from policies.robots import get_robot
from sim.motion_trace import MotionTrace, SentCommand, executed, limit_use, moving_steps, row_steps, seam_jumps

SPEC = get_robot("panda")
ARM = SPEC.arm_joints


def trace_of(speeds, step=0.1, joint=0):
    """A joint that has these speeds, each for a step."""
    velocities = np.zeros((len(speeds), 8))
    velocities[:, joint] = speeds
    positions = SPEC.home + np.vstack([np.zeros(8), np.cumsum(velocities[:-1] * step, axis=0)])
    return MotionTrace(step * np.arange(len(speeds)), positions, velocities)


def test_rest_is_counted_from_the_first_sample_of_a_rest_that_lasts():
    trace = trace_of([0.3, 0.3, 0.0, 0.3, 0.01, 0.0, 0.0, 0.0, 0.3])
    assert trace.rest_after(0.05, ARM, 0.02, 0.3) == pytest.approx(0.35)
    assert trace.rest_after(0.05, ARM, 0.02, 0.4) is None
    assert trace.rest_after(0.5, ARM, 0.02, 0.2) == pytest.approx(0.0)


def test_a_gripper_that_moves_does_not_keep_the_arm_from_resting():
    trace = trace_of([0.3] * 8, joint=SPEC.grippers[0])
    assert trace.rest_after(0.0, ARM, 0.02, 0.3) == 0.0
    assert trace.rest_after(0.0, SPEC.grippers, 0.02, 0.3) is None


def test_way_is_the_furthest_from_the_first_sample_also_where_the_joint_came_back():
    trace = trace_of([0.5, 0.5, -1.0, -0.5, 0.0])
    assert trace.way(ARM) == pytest.approx(0.1)
    assert trace.between(0.2, 0.4).way(ARM) == pytest.approx(0.15)
    assert trace.between(5.0, 6.0).way(ARM) == 0.0


def test_use_of_the_limits_is_the_worst_over_joints_and_time():
    speeds = np.array([0.0, 0.2, 0.5, 0.2]) * SPEC.max_velocity[2]
    use = limit_use(trace_of(speeds, step=0.1, joint=2), SPEC)
    assert use.velocity == pytest.approx(0.5)
    assert use.acceleration == pytest.approx(3.0 * SPEC.max_velocity[2] / SPEC.max_acceleration[2])
    assert use.position <= 0
    slopes = np.diff([2.0, 3.0, -3.0]) * SPEC.max_velocity[2] / 0.1
    assert use.jerk == pytest.approx(np.abs(slopes).max() / SPEC.max_jerk[2])


def test_positions_beyond_the_limits_are_told():
    trace = trace_of([0.0] * 4)
    trace.positions[2, 0] = SPEC.upper[0] + 0.25
    assert limit_use(trace, SPEC).position == pytest.approx(0.25)


def test_too_short_a_trace_is_refused():
    with pytest.raises(ValueError, match="expected at least 3 samples, found 2"):
        limit_use(trace_of([0.0, 0.0]), SPEC)


def ramp(stamp, speed=0.3, knots=5, offset=0.0):
    times = 0.1 * np.arange(1, knots + 1)
    positions = np.tile(SPEC.home, (knots, 1))
    positions[:, 0] += offset + speed * times
    velocities = np.zeros_like(positions)
    velocities[:-1, 0] = speed
    return JointTrajectory(stamp, times, positions, velocities)


def test_executed_commands_are_followed_from_the_time_at_which_they_were_sent():
    trace = executed([SentCommand(10.2, ramp(10.2))], SPEC.home, SPEC, 10.0, 11.0)
    at = np.searchsorted(trace.times, [10.1, 10.4, 10.9])
    np.testing.assert_allclose(trace.positions[at, 0] - SPEC.home[0], [0.0, 0.06, 0.15], atol=1e-3)
    assert limit_use(trace, SPEC).velocity < 0.3


def test_a_command_before_the_trace_is_still_followed_in_it():
    trace = executed([SentCommand(9.9, ramp(9.9))], SPEC.home, SPEC, 10.0, 10.5)
    assert trace.positions[0, 0] - SPEC.home[0] == pytest.approx(0.03, abs=0.005)


def test_an_arm_is_held_where_the_last_command_led_it_however_long_ago():
    trace = executed([SentCommand(2.0, ramp(2.0))], SPEC.home, SPEC, 100.0, 100.1)
    np.testing.assert_allclose(trace.positions[:, 0] - SPEC.home[0], 0.15)


def test_a_late_command_to_which_the_controller_jumps_is_beyond_the_limits():
    commands = [SentCommand(10.2, ramp(10.2)), SentCommand(10.45, ramp(10.2, offset=0.5))]
    assert limit_use(executed(commands, SPEC.home, SPEC, 10.0, 11.0), SPEC).velocity > 1


def test_a_sharp_turn_is_beyond_the_limits():
    commands = [SentCommand(10.2, ramp(10.2)), SentCommand(10.395, ramp(10.3, speed=-0.3))]
    assert limit_use(executed(commands, SPEC.home, SPEC, 10.0, 11.0), SPEC).acceleration > 1


def test_a_command_that_a_controller_refuses_changes_nothing_and_an_empty_one_stops():
    nan = ramp(10.3)
    nan.positions[2, 0] = np.nan
    commands = [SentCommand(10.2, ramp(10.2)), SentCommand(10.3, nan)]
    trace = executed(commands, SPEC.home, SPEC, 10.0, 11.0)
    assert trace.positions[-1, 0] - SPEC.home[0] == pytest.approx(0.15)
    commands = [SentCommand(10.2, ramp(10.2)), SentCommand(10.3, None)]
    trace = executed(commands, SPEC.home, SPEC, 10.0, 11.0)
    assert trace.positions[-1, 0] - SPEC.home[0] == pytest.approx(0.03, abs=0.01)


def test_a_trace_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match=r"trace: expected \(T,\) times"):
        MotionTrace(np.zeros(3), np.zeros((3, 8)), np.zeros((2, 8)))


def test_commands_that_go_on_make_no_jump_whatever_the_speed_and_one_that_comes_late_does():
    smooth = [SentCommand(10.2, ramp(10.2)), SentCommand(10.4, ramp(10.4, speed=0.9, offset=0.06))]
    trace = executed(smooth, SPEC.home, SPEC, 10.0, 11.0)
    median = np.median(moving_steps(trace, ARM))
    assert seam_jumps(trace, [10.2, 10.4], ARM) == pytest.approx([0.0, 0.0], abs=0.1 * median)
    late = [SentCommand(10.2, ramp(10.2)), SentCommand(10.45, ramp(10.2, offset=0.05))]
    trace = executed(late, SPEC.home, SPEC, 10.0, 10.7)
    assert seam_jumps(trace, [10.45], ARM) == pytest.approx([0.05], rel=0.01)


def test_a_jump_against_the_motion_shows_although_the_step_is_no_longer_for_it():
    trace = trace_of([0.5] * 50, step=0.002)
    trace.positions[20:, 0] -= 2 * 0.001
    steps = np.linalg.norm(np.diff(trace.positions, axis=0), axis=1)
    assert steps == pytest.approx(np.full(49, 0.001))
    assert seam_jumps(trace, [trace.times[10], trace.times[20]], ARM) == pytest.approx([0.0, 0.002], abs=1e-9)


def test_a_jump_of_a_joint_that_does_not_count_and_commands_at_the_ends_are_left_out():
    trace = trace_of([0.5] * 50, step=0.002)
    gripper = SPEC.grippers[0]
    trace.positions[20:, gripper] -= 0.01
    assert seam_jumps(trace, [trace.times[20]], ARM) == pytest.approx([0.0], abs=1e-9)
    assert seam_jumps(trace, [trace.times[20]], [gripper]) == pytest.approx([0.01])
    assert len(seam_jumps(trace, [trace.times[0], trace.times[49], 1.0], ARM)) == 0


def test_steps_of_an_arm_that_rests_or_creeps_are_not_counted():
    trace = trace_of([0.0, 0.3, 0.3, 0.019, 0.0], step=0.1)
    assert moving_steps(trace, ARM) == pytest.approx([0.0, 0.03])
    assert len(moving_steps(trace, SPEC.grippers)) == 0


def test_steps_of_a_row_are_those_before_at_and_after_a_command():
    trace = trace_of([0.5] * 60 + [1.0] * 50 + [0.25] * 60, step=0.002)
    begins = [trace.times[61], trace.times[40], trace.times[120]]
    steps = row_steps(trace, begins, 0.1, ARM)
    assert steps.shape == (1, 3)  # the others have no room
    assert steps[0] == pytest.approx([0.05, 0.1, 0.025])
    assert row_steps(trace, [], 0.1, ARM).shape == (0, 3)
    assert row_steps(trace.between(9.0, 9.5), [9.2], 0.1, ARM).shape == (0, 3)

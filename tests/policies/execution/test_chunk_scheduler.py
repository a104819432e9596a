from __future__ import annotations

import numpy as np
import pytest

from policies.execution.arm_gateway import ArmGateway
from policies.execution.chunk_scheduler import ChunkScheduler, SchedulerConfig
from policies.execution.trajectory import JointState, Motion
from policies.interface import ActionChunk
from policies.robots import get_robot

SPEC = get_robot("panda")
HOME = SPEC.home


def chunk(stamp, offsets, gripper=0.04, dt=0.1):
    """A joint chunk whose rows are home plus an offset in every arm joint."""
    rows = HOME + np.asarray(offsets, dtype=float)[:, None]
    rows[:, 7] = gripper
    return ActionChunk(stamp, dt, "joint", rows)


def offsets(trajectory):
    return trajectory.positions[:, 0] - HOME[0]


def test_rows_are_due_one_step_after_the_stamp_and_end_in_a_stop():
    trajectory = ChunkScheduler(SPEC).plan(chunk(5.0, [0.01, 0.02, 0.03]), HOME, 5.0)
    assert trajectory.stamp == 5.0
    np.testing.assert_allclose(trajectory.times, [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(offsets(trajectory)[:3], [0.01, 0.02, 0.03], atol=1e-12)
    np.testing.assert_allclose(trajectory.velocities[:3, 0], 0.1, atol=1e-9)
    np.testing.assert_array_equal(trajectory.velocities[3], np.zeros(8))


def test_last_row_is_passed_at_speed_and_the_stop_comes_after_it():
    trajectory = ChunkScheduler(SPEC).plan(chunk(0.0, [0.05, 0.1]), HOME, 0.0)
    # Joint 2 has the least acceleration: half of 7.5 rad/s^2 takes 0.5 / 3.75 s.
    np.testing.assert_allclose(trajectory.times[-1] - trajectory.times[-2], 0.5 / 3.75)
    np.testing.assert_allclose(offsets(trajectory)[-1], 0.1 + 0.5 * (0.5 / 3.75) / 2)


@pytest.mark.parametrize(("now", "dropped"), [(5.0, 0), (5.05, 1), (5.1, 1), (5.25, 3), (5.35, 3), (5.39, 3)])
def test_rows_past_or_too_near_are_dropped_and_counted_and_the_last_row_stays(now, dropped):
    scheduler = ChunkScheduler(SPEC)
    whole = ChunkScheduler(SPEC).plan(chunk(5.0, [0.01, 0.02, 0.03, 0.04]), HOME, 5.0)
    trajectory = scheduler.plan(chunk(5.0, [0.01, 0.02, 0.03, 0.04]), HOME, now)
    np.testing.assert_array_equal(trajectory.times, whole.times[dropped:])
    np.testing.assert_array_equal(trajectory.velocities, whole.velocities[dropped:])
    assert scheduler.dropped_rows == dropped


def test_answers_that_come_late_at_any_moment_are_spliced_within_the_limits_of_the_arm():
    """A measured arm lags behind its command: without a lead, catching up would ask for too much acceleration."""
    rng = np.random.default_rng(0)
    scheduler, gateway = ChunkScheduler(SPEC), ArmGateway(SPEC)
    joint, lag, ahead = np.eye(8)[1], 0.03, 0.1 * np.arange(1, 5)
    for stamp in np.arange(0.0, 6.0, 1 / 30):
        measured = HOME + joint * 0.3 * np.sin(stamp - lag)
        steps = 0.3 * (np.sin(stamp + ahead) - np.sin(stamp)) + rng.normal(0.0, 0.003)
        answer = ActionChunk(stamp, 0.1, "joint", measured + np.outer(steps, joint))
        now = stamp + rng.uniform(0.04, 0.11)
        gateway.on_joint_state(now, measured, np.zeros(8), now)
        command = gateway.on_trajectory(scheduler.plan(answer, measured, now), now)
        assert not command.rejected, command.reason


def test_chunk_that_is_wholly_past_is_passed_on_whole():
    scheduler = ChunkScheduler(SPEC)
    trajectory = scheduler.plan(chunk(5.0, [0.01, 0.02]), HOME, 5.2)
    np.testing.assert_allclose(trajectory.times, [0.1, 0.2, 0.3])
    assert scheduler.dropped_rows == 2


def test_receding_horizon_takes_the_newest_chunk_alone():
    scheduler = ChunkScheduler(SPEC)
    scheduler.plan(chunk(0.0, [0.01, 0.02]), HOME, 0.0)
    trajectory = scheduler.plan(chunk(0.1, [0.05, 0.06]), HOME, 0.1)
    np.testing.assert_allclose(offsets(trajectory)[:2], [0.05, 0.06], atol=1e-12)


def test_temporal_ensembling_of_four_chunks_has_the_published_weights():
    scheduler = ChunkScheduler(SPEC, SchedulerConfig("temporal_ensembling"))
    # Every chunk says something of its own of the instant 0.4 s.
    for i, value in enumerate((1e-3, 1e-2, 1e-1)):
        scheduler.plan(chunk(0.1 * i, [value] * 4), HOME, 0.1 * i)
    trajectory = scheduler.plan(chunk(0.3, [0.2] * 4), HOME, 0.3)
    weights = np.array([0.052, 0.116, 0.258, 0.574])
    np.testing.assert_allclose(weights @ [1e-3, 1e-2, 1e-1, 0.2], offsets(trajectory)[0], atol=2e-4)


@pytest.mark.parametrize("m", [0.01, -0.8])
def test_temporal_ensembling_equals_the_running_average_of_the_published_form(m):
    """A <- (A W_c + p w_c) / W_{c+1}, with W_n the sum of the first n weights: nothing but the average is kept."""
    rng, rows, steps = np.random.default_rng(0), 10, 40
    weights = np.exp(-m * np.arange(rows))
    sums = np.append(0.0, np.cumsum(weights))
    scheduler = ChunkScheduler(SPEC, SchedulerConfig("temporal_ensembling", window=rows, temperature=m))
    average, count = np.zeros((rows, 7)), np.zeros(rows, dtype=int)
    for step in range(steps):
        new = HOME + 1e-3 * rng.normal(size=(rows, len(HOME)))
        planned = scheduler.plan(ActionChunk(0.1 * step, 0.1, "joint", new), HOME, 0.1 * step)
        average = (average * sums[count][:, None] + new[:, :7] * weights[count][:, None]) / sums[count + 1][:, None]
        np.testing.assert_allclose(planned.positions[:rows, :7], average, atol=1e-6)
        average, count = np.vstack([average[1:], np.zeros(7)]), np.append(count[1:] + 1, 0)


@pytest.mark.parametrize("mode", ["temporal_ensembling", "gated_ensembling", "adaptive_ensembling"])
def test_grippers_are_not_averaged(mode):
    scheduler = ChunkScheduler(SPEC, SchedulerConfig(mode))
    scheduler.plan(chunk(0.0, [0.01] * 8, gripper=0.04), HOME, 0.0)
    trajectory = scheduler.plan(chunk(0.1, [0.01] * 8, gripper=0.0), HOME, 0.1)
    assert trajectory.positions[6, 7] == pytest.approx(0.0)


def test_ensembling_forgets_chunks_outside_the_window_and_after_reset():
    scheduler = ChunkScheduler(SPEC, SchedulerConfig("temporal_ensembling", window=2))
    scheduler.plan(chunk(0.0, [9e-2] * 4), HOME, 0.0)
    scheduler.plan(chunk(0.1, [0.02] * 4), HOME, 0.1)
    trajectory = scheduler.plan(chunk(0.2, [0.02] * 4), HOME, 0.2)
    np.testing.assert_allclose(offsets(trajectory)[:4], 0.02, atol=1e-12)
    scheduler.reset()
    trajectory = scheduler.plan(chunk(0.3, [0.01] * 4), HOME, 0.3)
    np.testing.assert_allclose(offsets(trajectory)[:4], 0.01, atol=1e-12)


def test_ensembling_interpolates_chunks_whose_rows_fall_between():
    scheduler = ChunkScheduler(SPEC, SchedulerConfig("temporal_ensembling", temperature=0.0))
    scheduler.plan(chunk(0.0, [0.0, 0.02, 0.04, 0.06]), HOME, 0.0)
    trajectory = scheduler.plan(chunk(0.05, [0.05] * 4), HOME, 0.05)
    np.testing.assert_allclose(offsets(trajectory)[:4], [0.03, 0.04, 0.05, 0.05], atol=1e-12)


def test_adaptive_ensembling_weighs_chunks_that_move_the_same_way():
    alpha = 0.1
    scheduler = ChunkScheduler(SPEC, SchedulerConfig("adaptive_ensembling", alpha=alpha))
    scheduler.plan(chunk(0.0, [0.0, -0.01]), HOME, 0.0)
    trajectory = scheduler.plan(chunk(0.1, [0.01]), HOME, 0.1)
    weights = np.exp(alpha * np.array([-1.0, 1.0]))
    np.testing.assert_allclose(offsets(trajectory)[0], weights @ [-0.01, 0.01] / weights.sum(), atol=1e-12)


@pytest.mark.parametrize(("older", "expected"), [(0.03, (0.03 + 0.01) / 2), (-0.03, 0.01)])
def test_gated_ensembling_leaves_out_chunks_that_lead_the_other_way(older, expected):
    scheduler = ChunkScheduler(SPEC, SchedulerConfig("gated_ensembling", temperature=0.0))
    scheduler.plan(chunk(0.0, [older] * 4), HOME, 0.0)
    trajectory = scheduler.plan(chunk(0.1, [0.01] * 4), HOME, 0.1)
    np.testing.assert_allclose(offsets(trajectory)[:3], expected, atol=1e-12)


def test_motion_between_rows_never_overshoots_them():
    rng = np.random.default_rng(0)
    for _ in range(50):
        rows = rng.uniform(-0.1, 0.1, 6)
        trajectory = ChunkScheduler(SPEC).plan(chunk(0.0, rows), HOME, 0.0)
        motion = Motion(trajectory, JointState(0.0, HOME, np.zeros(8)))
        for k in range(1, 6):
            inside = [motion.sample(t)[0][0] - HOME[0] for t in np.linspace(0.1 * k, 0.1 * k + 0.1, 20)]
            assert min(inside) >= min(rows[k - 1], rows[k]) - 1e-9
            assert max(inside) <= max(rows[k - 1], rows[k]) + 1e-9


def test_stop_stays_within_the_joint_limits():
    high = SPEC.upper - 1e-3
    rows = np.linspace(high - 0.15, high, 4)
    rows[:, 7] = 0.04
    trajectory = ChunkScheduler(SPEC).plan(ActionChunk(0.0, 0.1, "joint", rows), rows[0], 0.0)
    assert (trajectory.positions <= SPEC.upper + 1e-12).all()


def test_gripper_jump_is_spread_over_rows_and_continues_over_chunks():
    scheduler = ChunkScheduler(SPEC)
    step = 0.5 * SPEC.max_velocity[7] * 0.1
    first = scheduler.plan(chunk(0.0, [0.0] * 2, gripper=0.0), HOME, 0.0)
    np.testing.assert_allclose(first.positions[:2, 7], [0.04 - step, 0.04 - 2 * step], atol=1e-12)
    # An object holds the fingers at 0.03, the command goes on to squeeze.
    blocked = HOME.copy()
    blocked[7] = 0.03
    second = scheduler.plan(chunk(0.2, [0.0] * 3, gripper=0.0), blocked, 0.2)
    np.testing.assert_allclose(second.positions[:3, 7], [0.01, 0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("stamp", [0.0, 0.1])
def test_a_gripper_that_is_told_late_to_close_begins_when_it_is_told(stamp):
    scheduler = ChunkScheduler(SPEC)
    if stamp:
        scheduler.plan(chunk(0.0, [0.01] * 16, gripper=0.04), HOME, 0.0)
    trajectory = scheduler.plan(chunk(stamp, [0.01] * 16, gripper=0.0), HOME, stamp + 0.5)
    step = 0.5 * SPEC.max_velocity[7] * 0.1
    np.testing.assert_allclose(trajectory.positions[:4, 7], 0.04 - step * np.arange(1, 5), atol=1e-9)


def test_gripper_slows_before_it_reaches_its_end():
    half_open = HOME.copy()
    half_open[7] = 0.025
    trajectory = ChunkScheduler(SPEC).plan(chunk(0.0, [0.0] * 4, gripper=0.0), half_open, 0.0)
    np.testing.assert_allclose(trajectory.positions[:4, 7], [0.015, 0.005, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(trajectory.velocities[:4, 7], [-0.1, -0.05, 0.0, 0.0], atol=1e-9)


def test_rows_that_are_not_finite_are_passed_on_and_not_remembered():
    scheduler = ChunkScheduler(SPEC, SchedulerConfig("temporal_ensembling"))
    assert np.isnan(scheduler.plan(chunk(0.0, [np.nan] * 4), HOME, 0.0).positions).any()
    assert np.isfinite(scheduler.plan(chunk(0.1, [0.01] * 4), HOME, 0.1).positions).all()


def test_cartesian_chunks_and_unknown_modes_are_refused():
    with pytest.raises(ValueError, match="expected kind joint"):
        ChunkScheduler(SPEC).plan(ActionChunk(0.0, 0.1, "cartesian_delta", np.zeros((2, 7))), HOME, 0.0)
    with pytest.raises(ValueError, match="mode: expected one of"):
        SchedulerConfig("newest")
    with pytest.raises(ValueError, match="schedule: expected one of exp, linear, ones, zeros, found 'cosine'"):
        SchedulerConfig("real_time_chunking", schedule="cosine")
    with pytest.raises(ValueError, match="jacobian: expected one of"):
        SchedulerConfig("real_time_chunking", jacobian="none")

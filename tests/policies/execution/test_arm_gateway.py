from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from policies.execution.arm_gateway import ArmGateway, GatewayConfig
from policies.execution.gateway_states import TRANSITIONS, GatewayEvent, GatewayState
from policies.execution.trajectory import JointState, JointTrajectory, Motion, hold
from policies.interface import Observation
from policies.robots import get_robot
from sim.trajectory_controller import TrajectoryController

SPEC = get_robot("panda")
KINDS = ("positions", "velocities", "accelerations")
HOME = SPEC.home
STILL = np.zeros(8)
CONFIG = GatewayConfig(command_timeout_s=0.5, state_timeout_s=0.1, state_max_age_s=0.2)


@pytest.fixture
def gateway():
    """A gateway that has just seen the arm at rest at home, at 10 s."""
    gateway = ArmGateway(SPEC, CONFIG)
    gateway.on_joint_state(10.0, HOME, STILL, 10.0)
    return gateway


def swing(stamp, duration=2.0, angle=0.3):
    """Joint 1 turns by an angle in a duration, from rest to rest, in four knots."""
    times = duration * np.arange(1, 5) / 4
    s = times / duration
    positions = np.tile(HOME, (4, 1))
    positions[:, 0] += angle * (3 * s**2 - 2 * s**3)
    velocities = np.zeros((4, 8))
    velocities[:-1, 0] = (angle * (6 * s - 6 * s**2) / duration)[:-1]
    return JointTrajectory(stamp, times, positions, velocities)


def moving(gateway, until):
    """Start a swing at 10 s and keep joint states coming until a time."""
    command = gateway.on_trajectory(swing(10.0), 10.0)
    assert gateway.state is GatewayState.MOVING
    for now in np.arange(10.05, until + 1e-9, 0.05):
        gateway.on_joint_state(now, HOME, STILL, now)
    return Motion(command.trajectory, JointState(10.0, HOME, STILL))


def assert_brakes(command, motion, now):
    """The command continues the motion without a jump, and stops soon within the acceleration limits."""
    stop = Motion(command.trajectory, motion.at(now))
    np.testing.assert_allclose(stop.sample(now), motion.sample(now), atol=1e-9)
    assert not stop.sample(now + 0.2)[1].any()
    _, velocities = stop.sample_many(np.arange(now, stop.end, 1e-3))
    assert (np.abs(np.diff(velocities, axis=0)) <= 1e-3 * SPEC.max_acceleration + 1e-9).all()
    np.testing.assert_array_equal(command.trajectory.velocities[-1], STILL)


def test_waits_for_a_joint_state_and_has_nothing_to_send():
    gateway = ArmGateway(SPEC, CONFIG)
    assert gateway.state is GatewayState.WAITING_FOR_STATE
    assert gateway.on_trajectory(swing(10.0), 10.0) is None
    assert gateway.counters["rejected"] == 1
    gateway.on_joint_state(10.0, HOME, STILL, 10.0)
    assert gateway.state is GatewayState.HOLDING


def test_good_trajectory_passes_as_it_came(gateway):
    trajectory = swing(10.0)
    command = gateway.on_trajectory(trajectory, 10.0)
    np.testing.assert_array_equal(command.trajectory.positions, trajectory.positions)
    np.testing.assert_array_equal(command.trajectory.times, trajectory.times)
    assert not command.rejected
    assert gateway.state is GatewayState.MOVING


def test_rejected_trajectory_becomes_a_hold_of_the_same_stamp(gateway):
    motion = moving(gateway, 10.5)
    bad = swing(10.4)
    bad.positions[1, 2] = np.nan
    command = gateway.on_trajectory(bad, 10.5)
    assert command.rejected
    assert command.reason == "position of joint3: expected a finite value, found nan at knot 1"
    assert command.trajectory.stamp == 10.4
    assert_brakes(command, motion, 10.5)
    assert gateway.state is GatewayState.HOLDING
    assert gateway.counters["rejected"] == 1
    gateway.on_joint_state(10.55, HOME, STILL, 10.55)
    assert not gateway.on_trajectory(swing(10.55), 10.55).rejected


def test_trajectory_replaces_from_what_the_controller_follows_not_from_the_measured_state(gateway):
    motion = moving(gateway, 11.0)
    q, qd = motion.sample(11.0)
    # Onwards at the same speed: gentle from the desired state, but from the measured rest it would be too fast.
    positions = np.array([q + 0.02 * qd, q + 0.07 * qd])
    onwards = JointTrajectory(11.0, [0.021, 0.12], positions, np.array([qd, STILL]))
    np.testing.assert_array_equal(gateway.on_trajectory(onwards, 11.0).trajectory.times, onwards.times)


def test_command_watchdog_holds_a_moving_arm(gateway):
    motion = moving(gateway, 10.5)
    assert gateway.tick(10.5) is None
    gateway.on_joint_state(10.51, HOME, STILL, 10.51)
    command = gateway.tick(10.51)
    assert_brakes(command, motion, 10.51)
    assert gateway.state is GatewayState.HOLDING
    assert gateway.reason == "no trajectory for 0.510 s (limit 0.5 s)"
    assert gateway.tick(10.52) is None


def test_command_watchdog_runs_on_the_steady_clock_when_time_stands_still(gateway):
    gateway.on_joint_state(10.0, HOME, STILL, 10.0, steady=77.0)
    gateway.on_trajectory(swing(10.0), 10.0, steady=77.0)
    gateway.on_joint_state(10.0, HOME, STILL, 10.0, steady=77.55)
    assert gateway.tick(10.0, steady=77.55).reason == "no trajectory for 0.550 s (limit 0.5 s)"


def test_motion_that_ends_is_a_hold_without_a_command(gateway):
    gateway.on_trajectory(swing(10.0, duration=0.4, angle=0.01), 10.0)
    gateway.on_joint_state(10.45, HOME, STILL, 10.45)
    assert gateway.tick(10.45) is None
    assert gateway.state is GatewayState.HOLDING
    assert gateway.tick(99.0) is not None  # joint states are missing by then
    assert gateway.state is GatewayState.WAITING_FOR_STATE


@pytest.mark.parametrize(
    ("now", "steady", "reason"),
    [
        (10.02, 10.2, r"no joint state for 0.200 s \(limit 0.1 s\)"),
        (10.3, 10.05, r"joint state is 0.300 s old by its stamp \(limit 0.2 s\)"),
    ],
)
def test_missing_or_old_joint_states_hold_the_arm_until_they_return(gateway, now, steady, reason):
    motion = moving(gateway, 10.0)
    command = gateway.tick(now, steady)
    assert_brakes(command, motion, now)
    assert gateway.state is GatewayState.WAITING_FOR_STATE
    assert re.fullmatch(reason, gateway.reason)
    assert gateway.on_trajectory(swing(now), now, steady).rejected
    gateway.on_joint_state(now, HOME, STILL, now, steady)
    assert gateway.state is GatewayState.HOLDING


def test_joint_states_that_arrive_old_do_not_make_it_ready():
    gateway = ArmGateway(SPEC, CONFIG)
    gateway.on_joint_state(9.0, HOME, STILL, 10.0)
    assert gateway.state is GatewayState.WAITING_FOR_STATE


def test_after_a_clock_jumped_back_the_arm_holds_where_it_is_and_is_ready(gateway):
    moving(gateway, 10.5)
    measured = HOME + 0.01
    command = gateway.on_joint_state(2.0, measured, STILL, 2.0)
    np.testing.assert_array_equal(command.trajectory.positions, [measured])
    assert command.trajectory.stamp == 2.0
    assert command.reason == "stamps of joint states jumped back from 10.500 s to 2.000 s"
    assert gateway.state is GatewayState.HOLDING
    assert gateway.on_trajectory(swing(2.0), 2.0).trajectory.stamp == 2.0


def test_stamps_that_jump_back_alone_brake_what_the_controller_follows(gateway):
    motion = moving(gateway, 10.5)
    told = motion.at(10.55)
    command = gateway.on_joint_state(2.0, told.positions, told.velocities, 10.55)
    assert_brakes(command, motion, 10.55)
    assert "jumped back" in command.reason


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        (np.where(np.arange(8) == 4, np.nan, HOME), "joint state of joint5: expected finite values, found nan, 0.0"),
        (HOME[:7], r"joint state: expected 8 joints, found (7,), (8,)"),
    ],
)
def test_invalid_joint_state_is_a_fault_until_reset(gateway, positions, reason):
    motion = moving(gateway, 10.5)
    assert_brakes(gateway.on_joint_state(10.55, positions, STILL, 10.55), motion, 10.55)
    assert gateway.state is GatewayState.FAULT
    assert gateway.reason == reason
    gateway.on_joint_state(10.6, HOME, STILL, 10.6)
    command = gateway.on_trajectory(swing(10.6), 10.6)
    assert command.rejected
    assert command.reason == f"not ready: FAULT ({reason})"
    assert gateway.reset()
    gateway.on_joint_state(10.65, HOME, STILL, 10.65)
    assert not gateway.on_trajectory(swing(10.65), 10.65).rejected


def test_estop_stops_and_latches_until_released_and_reset(gateway):
    motion = moving(gateway, 10.5)
    assert_brakes(gateway.on_estop(True, 10.5), motion, 10.5)
    assert gateway.state is GatewayState.ESTOPPED
    assert gateway.on_trajectory(swing(10.5), 10.5).rejected
    assert not gateway.reset()
    assert gateway.reason == "emergency stop is still pressed: release it, then reset"
    gateway.on_estop(False, 10.6)
    gateway.on_joint_state(10.6, HOME, STILL, 10.6)
    assert gateway.state is GatewayState.ESTOPPED
    assert gateway.reset()
    assert gateway.state is GatewayState.WAITING_FOR_STATE
    gateway.on_joint_state(10.65, HOME, STILL, 10.65)
    assert gateway.state is GatewayState.HOLDING


def test_estop_latches_in_every_state():
    for state in GatewayState:
        if state is not GatewayState.ESTOPPED:
            assert TRANSITIONS[state, GatewayEvent.ESTOP] is GatewayState.ESTOPPED
    ways_out = {event for (state, event) in TRANSITIONS if state is GatewayState.ESTOPPED}
    assert ways_out == {GatewayEvent.RESET}


def test_only_holding_and_moving_lead_to_moving():
    ways_in = {state for (state, _), following in TRANSITIONS.items() if following is GatewayState.MOVING}
    assert ways_in == {GatewayState.HOLDING, GatewayState.MOVING}


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [
        (10.7, "stamp: expected at most 10.600 s, found 10.700 s"),
        (9.9, "stamp: expected at least 10.000 s, the last trajectory's, found 9.900 s"),
        (np.nan, "stamp: expected at most 10.600 s, found nan s"),
    ],
)
def test_trajectories_of_the_future_and_of_before_the_last_are_rejected(gateway, stamp, reason):
    moving(gateway, 10.5)
    command = gateway.on_trajectory(swing(stamp), 10.5)
    assert command.reason == reason
    assert command.trajectory.stamp == (9.9 if stamp == 9.9 else 10.5)  # never in the future


def test_lockstep_command_needs_only_the_observation():
    gateway = ArmGateway(SPEC)
    for step in range(3):
        stamp = 0.4 * step
        command = gateway.command(swing(stamp), Observation(stamp, {}, HOME, STILL, ""))
        assert not command.rejected, command.reason
    assert gateway.reset()
    observation = Observation(0.0, {}, HOME, STILL, "")
    assert not gateway.command(swing(0.0), observation).rejected


@pytest.mark.parametrize("lead_s", [0.0, 0.02])
def test_what_is_executed_is_continuous_up_to_accelerations_and_within_the_limits(lead_s):
    """At 1 kHz across all splices: no value changes faster than the limit of its derivative, so none jumps."""
    rng = np.random.default_rng(0)
    gateway = ArmGateway(SPEC, lead_s=lead_s)
    gateway.on_joint_state(0.0, HOME, STILL, 0.0)
    motion, now, passed, executed = Motion(hold(HOME, 0.0), JointState(0.0, HOME, STILL)), 0.0, 0, []
    for step in range(150):
        state = motion.at(now)
        size = 10.0 ** rng.uniform(-2.5, 0)
        knots = rng.integers(1, 5)
        walk = np.cumsum(rng.normal(size=(knots, 8)) * size, axis=0) * np.append(np.ones(7), 0.02)
        positions = np.clip(state.positions + walk, SPEC.lower, SPEC.upper)
        velocities = rng.normal(size=(knots, 8)) * size
        velocities[-1] = 0.0
        times = np.cumsum(rng.uniform(0.05, 0.3, knots))
        gateway.on_joint_state(now, state.positions, state.velocities, now)
        if step % 10 == 9:
            command = gateway.on_estop(True, now)
            gateway.on_estop(False, now)
        else:
            command = gateway.on_trajectory(JointTrajectory(now, times, positions, velocities), now)
            passed += not command.rejected
        arrival, following = now + rng.uniform(0.0, 0.9 * lead_s), now + rng.uniform(0.02, 0.3)
        if step % 10 == 9:
            following = now + 1.0
        executed += [motion.at(time) for time in np.arange(now, arrival, 1e-3)]
        motion = Motion(command.trajectory, motion.at(arrival))
        executed += [motion.at(time) for time in np.arange(arrival, following, 1e-3)]
        now = following
        if step % 10 == 9:
            state = motion.at(now)
            assert not state.velocities.any()
            gateway.reset()
            gateway.on_joint_state(now, state.positions, state.velocities, now)
    assert 20 < passed < 135
    p, v, a = (np.array([getattr(state, name) for state in executed]) for name in KINDS)
    assert (p >= SPEC.lower - 2e-5).all()
    assert (p <= SPEC.upper + 2e-5).all()
    for values, limit in ((p, SPEC.max_velocity), (v, SPEC.max_acceleration), (a, SPEC.max_jerk)):
        assert (np.abs(np.diff(values, axis=0)) <= 1e-3 * limit * (1 + 1e-6)).all()
    assert (np.abs(v) <= SPEC.max_velocity).all()
    assert (np.abs(a) <= SPEC.max_acceleration).all()


def test_timeouts_that_are_not_positive_are_refused():
    with pytest.raises(ValueError, match=r"command_timeout_s: expected > 0 s, found 0\.0"):
        GatewayConfig(command_timeout_s=0.0)


def keep_alive(gateway, q, now):
    gateway.on_joint_state(now, q, STILL, now)


def test_a_lower_speed_slows_what_runs_without_a_jump(gateway):
    motion = moving(gateway, 10.5)
    command = gateway.set_speed_scale(0.5, 10.5)
    slower = Motion(command.trajectory, motion.at(10.5))
    for name in KINDS:
        np.testing.assert_allclose(getattr(slower.at(10.5), name), getattr(motion.at(10.5), name), atol=1e-9)
    assert slower.end - 10.5 == pytest.approx(2 * (motion.end - 10.5), abs=1e-6)
    np.testing.assert_allclose(slower.sample(slower.end)[0], motion.sample(motion.end)[0])
    assert gateway.state is GatewayState.MOVING


def test_the_next_trajectory_goes_at_the_speed_that_was_set(gateway):
    assert gateway.set_speed_scale(0.25, 10.0) is None
    assert gateway.on_trajectory(swing(10.0), 10.0).trajectory.times[-1] == pytest.approx(8.0)


def test_speed_zero_stops_and_refuses(gateway):
    motion = moving(gateway, 10.5)
    assert_brakes(gateway.set_speed_scale(0.0, 10.5), motion, 10.5)
    assert gateway.state is GatewayState.HOLDING
    assert gateway.on_trajectory(swing(10.6), 10.6).reason == "speed scale is 0"


@pytest.mark.parametrize("scale", [-0.1, 1.1, np.nan])
def test_speeds_out_of_range_are_refused_and_change_nothing(gateway, scale):
    with pytest.raises(ValueError, match="speed_scale: expected within"):
        gateway.set_speed_scale(scale, 10.0)
    assert gateway.speed_scale == 1.0


def away(offset):
    gateway = ArmGateway(SPEC, CONFIG)
    q = HOME + offset * np.append(np.ones(7), -0.02)
    gateway.on_joint_state(10.0, q, STILL, 10.0)
    return gateway, q


def test_homing_ends_at_home_within_a_share_of_the_limits():
    gateway, q = away(0.4)
    motion = Motion(gateway.home(10.0).trajectory, JointState(10.0, q, STILL))
    np.testing.assert_allclose(motion.sample(motion.end)[0], HOME)
    states = [motion.at(t) for t in np.linspace(10.0, motion.end, 500)]
    assert np.max([np.abs(s.velocities) / SPEC.max_velocity for s in states]) <= 0.9 * 0.3 * (1 + 1e-6)
    assert np.max([np.abs(s.accelerations) / SPEC.max_acceleration for s in states]) <= 0.9 * 0.3 * (1 + 1e-6)


def test_homing_outlives_the_command_watchdog_and_stops_when_a_policy_interferes():
    gateway, q = away(0.4)
    gateway.home(10.0)
    for now in np.arange(10.05, 11.0, 0.05):
        keep_alive(gateway, q, now)
        assert gateway.tick(now) is None
    answer = gateway.on_trajectory(swing(10.95), 10.95)
    assert answer.rejected
    assert answer.reason.startswith("homing: expected no trajectories")
    assert gateway.state is GatewayState.HOLDING


def test_homing_is_refused_while_moving_or_stopped(gateway):
    moving(gateway, 10.5)
    assert gateway.home(10.5) is None
    gateway.on_estop(True, 10.5)
    assert gateway.home(10.6) is None


def test_another_commander_is_a_fault_until_reset(gateway):
    motion = moving(gateway, 10.5)
    command = gateway.on_rival("joystick on arm_controller/joint_trajectory", 10.5)
    assert gateway.state is GatewayState.FAULT
    assert "joystick" in gateway.reason
    assert_brakes(command, motion, 10.5)
    for now in (10.6, 10.95, 12.0):
        assert gateway.on_trajectory(swing(now), now) is None, "expected one stop, and no fight"
    assert gateway.counters["rejected"] == 3
    assert gateway.reset()


@pytest.mark.parametrize("ahead_s", [0.001, 0.03, 0.06])
def test_an_arm_that_two_command_is_not_flung(ahead_s):
    # The rival leads the arm on at 1 rad/s and comes `ahead_s` before each of the gateway's answers, which take 12 ms.
    gateway, controller = ArmGateway(SPEC, CONFIG, lead_s=0.02), TrajectoryController(SPEC)
    controller.reset(HOME, 10.0)
    sent = []
    executed = []
    for step in range(1200):
        now = 10.0 + step * 1e-3
        if step % 4 == 0:
            gateway.on_joint_state(now, *controller.sample(now), now)
        asked = step % 100
        if asked == 0:
            if step == 300:
                sent.append((now + 0.012, gateway.on_rival("planner", now).trajectory))
            else:
                answer = gateway.on_trajectory(swing(now), now)
                if answer is not None:
                    sent.append((now + 0.012, answer.trajectory))
        if step >= 300 and asked == round(112 - 1e3 * ahead_s) % 100:
            aside = controller.sample(now)[0]
            aside[0] += 0.3
            controller.accept(JointTrajectory(now, np.array([0.3]), aside[None], np.zeros((1, 8))), now)
        while sent and sent[0][0] <= now:
            controller.accept(sent.pop(0)[1], now)
        executed.append(controller.sample(now)[0])
    assert gateway.state is GatewayState.FAULT
    speeds = np.abs(np.diff(executed, axis=0)) / 1e-3
    assert (speeds.max(axis=0) <= SPEC.max_velocity).all()


def test_after_another_commander_the_arm_goes_on_from_where_it_was_left():
    gateway = ArmGateway(SPEC, CONFIG, lead_s=0.02)
    keep_alive(gateway, HOME, 10.0)
    gateway.on_trajectory(swing(10.0, 0.4), 10.0)
    left = HOME.copy()
    left[0] += 0.27  # the swing ends at 0.3
    for now in np.arange(10.05, 11.0, 0.05):
        keep_alive(gateway, left, now)
    gateway.on_rival("planner", 11.0)
    for _ in range(2):  # once more, before a joint state comes
        assert gateway.reset()
        gateway.on_estop(True, 11.05)
        gateway.on_estop(False, 11.06)
    assert gateway.reset()
    keep_alive(gateway, left, 11.1)
    first = gateway.on_trajectory(swing(11.1), 11.1).trajectory
    np.testing.assert_array_equal(first.positions[0], left)


def test_another_commander_right_after_a_reset_stops_nothing_that_nobody_knows(gateway):
    moving(gateway, 10.5)
    gateway.on_rival("planner", 10.5)
    assert gateway.reset()
    assert gateway.on_rival("planner", 10.51) is None
    assert gateway.state is GatewayState.FAULT


def test_what_the_gripper_holds_stays_held_while_another_leads_the_arm_away():
    gateway, closing, holding = ArmGateway(SPEC, CONFIG, lead_s=0.02), HOME.copy(), HOME.copy()
    closing[7], holding[7] = 0.0, 0.02
    keep_alive(gateway, HOME, 10.0)
    gateway.on_trajectory(JointTrajectory(10.0, np.array([0.5]), closing[None], np.zeros((1, 8))), 10.0)
    keep_alive(gateway, holding, 10.9)
    gateway.tick(10.9)
    led_away = holding.copy()
    led_away[0] += 0.2
    keep_alive(gateway, led_away, 10.95)
    stop = gateway.on_rival("planner", 10.95).trajectory
    np.testing.assert_array_equal(stop.positions[-1], [*led_away[:7], 0.0])
    assert gateway.reset()
    keep_alive(gateway, led_away, 11.0)
    assert gateway.on_estop(True, 11.05).trajectory.positions[-1, 7] == 0.0
    gateway.on_estop(False, 11.1)
    assert gateway.reset()
    keep_alive(gateway, holding, 1.0)  # another world, in which nobody told this gripper anything
    assert gateway.on_estop(True, 1.05).trajectory.positions[-1, 7] == 0.02


def test_an_arm_that_another_commander_has_moved_away_is_stopped_where_it_is(gateway):
    moving(gateway, 10.45)
    elsewhere = HOME - 0.2
    gateway.on_joint_state(10.5, elsewhere, STILL, 10.5)
    command = gateway.on_rival("joystick on arm_controller/joint_trajectory", 10.5)
    np.testing.assert_array_equal(command.trajectory.positions[-1, :7], elsewhere[:7])


def test_a_gripper_that_holds_something_stays_told_to_close_after_a_reset():
    gateway, closing, holding = ArmGateway(SPEC, CONFIG), HOME.copy(), HOME.copy()
    closing[7], holding[7] = 0.0, 0.025
    keep_alive(gateway, HOME, 10.0)
    gateway.on_trajectory(JointTrajectory(10.0, np.array([0.5]), closing[None], np.zeros((1, 8))), 10.0)
    for now in np.arange(10.05, 11.0, 0.05):
        keep_alive(gateway, holding, now)
        gateway.tick(now)
    gateway.on_estop(True, 11.0)
    gateway.on_estop(False, 11.1)
    assert gateway.reset()
    keep_alive(gateway, holding, 11.2)
    assert gateway.on_estop(True, 11.3).trajectory.positions[-1, 7] == 0.0


def test_an_arm_that_was_moved_meanwhile_is_taken_as_it_is_after_a_reset(gateway):
    moving(gateway, 10.5)
    gateway.on_estop(True, 10.5)
    gateway.on_estop(False, 10.6)
    assert gateway.reset()
    moved = HOME + 0.01 + np.where(np.arange(8) < 7, 0.2, 0.0)
    keep_alive(gateway, moved, 11.5)
    np.testing.assert_array_equal(gateway.on_estop(True, 11.6).trajectory.positions[-1], moved)


def test_nothing_is_left_of_an_episode_before_the_time_went_back(gateway):
    moving(gateway, 10.5)
    assert gateway.reset()
    keep_alive(gateway, HOME, 0.0)
    fresh = ArmGateway(SPEC, CONFIG)
    keep_alive(fresh, HOME, 0.0)
    found, expected = (one.on_trajectory(swing(0.0), 0.0).trajectory for one in (gateway, fresh))
    for name in ("times", *KINDS):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_in_shadow_each_trajectory_starts_where_the_arm_is():
    gateway = ArmGateway(SPEC, shadow=True)
    gateway.on_joint_state(10.0, HOME, STILL, 10.0)
    gateway.on_trajectory(swing(10.0), 10.0)
    gateway.on_joint_state(11.0, HOME, STILL, 11.0)
    # From the shadow's own position half way, this would be a jump back.
    answer = gateway.on_trajectory(swing(11.0), 11.0)
    assert answer.time_scale == 1.0
    assert not answer.rejected


def test_a_robot_without_limits_is_refused():
    with pytest.raises(ValueError, match="max_velocity of panda: expected limits > 0"):
        ArmGateway(replace(SPEC, max_velocity=np.zeros(8)))


def test_whatever_was_sent_last_the_arm_comes_to_rest_when_all_die(gateway):
    """A controller that never hears of anybody again follows the last trajectory to its end, which is a stop."""
    rng = np.random.default_rng(0)
    controller = TrajectoryController(SPEC)
    controller.reset(HOME, 10.0)
    now, q = 10.0, HOME
    for _ in range(40):
        now += float(rng.uniform(0.02, 0.2))
        keep_alive(gateway, HOME, now)
        command = gateway.on_trajectory(swing(now, angle=float(rng.uniform(-0.3, 0.3))), now)
        controller.accept(command.trajectory, now)
        end = now + command.trajectory.times[-1] + 0.01
        assert not controller.sample(end)[1].any()
        q = controller.sample(end)[0]
        np.testing.assert_array_equal(controller.sample(end + 3600)[0], q)


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.019])
@pytest.mark.parametrize("event", ["estop", "trajectory", "speed"])
def test_what_is_on_its_way_for_less_than_the_lead_leaves_the_controller_on_the_curve_that_was_judged(delay, event):
    gateway, controller = ArmGateway(SPEC, lead_s=0.02), TrajectoryController(SPEC)
    controller.reset(HOME, 10.0)
    keep_alive(gateway, HOME, 10.0)
    controller.accept(gateway.on_trajectory(swing(10.0), 10.0).trajectory, 10.0)
    keep_alive(gateway, HOME, 10.5)
    if event == "estop":
        command = gateway.on_estop(True, 10.5)
    elif event == "speed":
        command = gateway.set_speed_scale(0.5, 10.5)
    else:
        command = gateway.on_trajectory(swing(10.5, angle=0.0), 10.5)
    controller.accept(command.trajectory, 10.5 + delay)
    for now in np.linspace(10.5 + delay, 13.0, 500):
        wanted = gateway.desired(now)
        np.testing.assert_allclose(controller.sample(now), [wanted.positions, wanted.velocities], atol=2e-6)
    if event != "speed":
        assert gateway.motion_end < 13.0


def test_while_it_leads_in_the_running_motion_goes_on():
    gateway = ArmGateway(SPEC, lead_s=0.02)
    keep_alive(gateway, HOME, 10.0)
    gateway.on_trajectory(swing(10.0), 10.0)
    before = [gateway.desired(now) for now in np.linspace(10.5, 10.52, 9)]
    gateway.on_estop(True, 10.5)
    for state in before:
        np.testing.assert_allclose(gateway.desired(state.time).positions, state.positions, atol=1e-7)


@pytest.mark.parametrize("stamp", np.linspace(10.46, 10.54, 17))
def test_a_stamp_a_little_before_or_after_now_is_led_in_too(stamp):
    gateway = ArmGateway(SPEC, lead_s=0.02)
    keep_alive(gateway, HOME, 10.0)
    gateway.on_trajectory(swing(10.0), 10.0)  # has a knot at 10.5 s
    keep_alive(gateway, HOME, 10.4995)
    before = gateway.desired(10.4995)
    assert not gateway.on_trajectory(swing(stamp), 10.4995).rejected
    np.testing.assert_allclose(gateway.desired(10.4995).velocities, before.velocities, atol=1e-9)


def test_hits_are_counted_by_limit(gateway):
    gateway.on_trajectory(swing(10.0, duration=0.2), 10.0)
    gateway.on_trajectory(swing(10.0, angle=3.5), 10.0)
    assert gateway.limit_hits["velocity"] == 1
    assert gateway.limit_hits["position"] == 1
    assert gateway.limit_hits["jerk"] == 0


def test_ages_are_those_of_the_last_command_and_joint_state(gateway):
    gateway.on_joint_state(10.0, HOME, STILL, 10.0, 500.0)
    assert gateway.ages(10.0, 500.0) == {"joint_state": 0.0, "joint_state_stamp": 0.0}
    gateway.on_trajectory(swing(10.0), 10.0, 500.0)
    gateway.on_joint_state(10.1, HOME, STILL, 10.15, 500.15)
    assert gateway.ages(10.25, 500.25) == pytest.approx(
        {"command": 0.25, "joint_state": 0.1, "joint_state_stamp": 0.15}
    )
    gateway.reset()
    assert gateway.ages(10.3, 500.3) == {}


def test_jumps_are_those_of_plans_that_take_over_a_running_motion(gateway):
    motion = moving(gateway, 10.5)
    assert gateway.splice_jumps.newest() == [], "the first took over an arm at rest"
    following = motion.remaining(10.5)
    shifted = replace(following, positions=following.positions.copy())
    shifted.positions[:, 0] += 0.02
    gateway.on_trajectory(shifted, 10.5)
    assert gateway.splice_jumps.newest() == [pytest.approx(0.02)]


def test_in_shadow_mode_nothing_takes_over_anything():
    gateway = ArmGateway(SPEC, CONFIG, shadow=True)
    gateway.on_joint_state(10.0, HOME, STILL, 10.0)
    gateway.on_trajectory(swing(10.0), 10.0)
    gateway.on_trajectory(swing(10.1), 10.1)
    assert gateway.state is GatewayState.MOVING
    assert gateway.splice_jumps.newest() == []


HELD_M, FINGER = 0.019, SPEC.grippers[0]


def grasping(gripper_speed=0.0):
    """A gateway on the wall clock that was started while the arm held something."""
    gateway = ArmGateway(SPEC, CONFIG, lead_s=0.02)
    positions, velocities = HOME.copy(), STILL.copy()
    positions[FINGER], velocities[FINGER] = HELD_M, gripper_speed
    gateway.on_joint_state(10.0, positions, velocities, 10.0)
    return gateway


def finger_after(command, told):
    """What a controller that was told a position of the finger makes of a command: (K,) m."""
    controller = TrajectoryController(SPEC)
    start = HOME.copy()
    start[FINGER] = told
    controller.reset(start, 9.0)
    controller.accept(command.trajectory, 10.0)
    return np.array([controller.sample(now)[0][FINGER] for now in np.arange(10.0, 12.0, 0.005)])


def led_to(finger):
    trajectory = swing(9.95)
    trajectory.positions[:, FINGER] = finger
    return trajectory


def test_a_gateway_that_is_started_while_something_is_held_does_not_let_go():
    command = grasping().on_trajectory(led_to(0.0), 10.0)
    assert finger_after(command, told=0.0).max() < 1e-6


@pytest.mark.parametrize(
    ("gateway", "finger"),
    [
        (grasping(gripper_speed=-0.01), 0.0),  # it closes
        (grasping(), 0.04),  # it is to open
        (grasping(), HELD_M),
        (ArmGateway(SPEC, CONFIG), 0.0),  # in lockstep the controller begins where the arm is
    ],
    ids=["moves", "opens", "stays", "lockstep"],
)
def test_a_gripper_that_holds_nothing_is_led_from_where_it_is(gateway, finger):
    if gateway._measured is None:
        gateway.on_joint_state(10.0, np.append(HOME[:7], HELD_M), STILL, 10.0)
    path = finger_after(gateway.on_trajectory(led_to(finger), 10.0), told=HELD_M)
    assert np.abs(np.diff(path, prepend=HELD_M)).max() <= 0.005 * SPEC.max_velocity[FINGER]


def test_lost_joint_states_of_an_arm_at_rest_that_was_never_commanded_send_nothing():
    gateway = grasping()
    assert gateway.tick(11.0) is None
    assert gateway.state is GatewayState.WAITING_FOR_STATE


def test_lost_joint_states_of_an_arm_that_moves_or_was_commanded_send_a_stop():
    assert grasping(gripper_speed=0.1).tick(11.0) is not None
    commanded = grasping()
    commanded.on_trajectory(led_to(0.0), 10.0)
    assert finger_after(commanded.tick(11.0), told=0.0).max() < 1e-6


def test_an_arm_that_is_behind_catches_up_and_is_not_slowed():
    times = 0.04 * np.arange(1, 17)
    positions, velocities = np.tile(HOME, (16, 1)), np.zeros((16, 8))
    positions[:, 0] += 0.03 + 0.4 * times  # 0.03 rad ahead of the arm
    velocities[:-1, 0] = 0.4
    times[-1] += 0.2  # for the stop
    ahead = JointTrajectory(10.0, times, positions, velocities)
    slowed, caught_up = (ArmGateway(SPEC, replace(CONFIG, catch_up_s=seconds)) for seconds in (0.0, 0.3))
    for gateway in (slowed, caught_up):
        gateway.on_joint_state(10.0, HOME, STILL, 10.0)
    assert slowed.on_trajectory(ahead, 10.0).time_scale > 2
    command = caught_up.on_trajectory(ahead, 10.0)
    assert command.time_scale == 1
    motion = Motion(command.trajectory, JointState(10.0, HOME, STILL))
    np.testing.assert_allclose(motion.sample(10.32)[0], positions[7], atol=1e-9)
    # What is too far away is no delay, and is refused as before.
    far = replace(ahead, positions=positions + np.eye(8)[0])
    assert caught_up.on_trajectory(far, 10.0).rejected

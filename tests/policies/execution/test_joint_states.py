from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from policies.execution.joint_states import CAPACITY, MAX_GAP_S, SPAN_S, JointStates
from policies.robots.drivers import Controller, RobotDrivers

NAMES = ("a", "b", "grip")
ARM, GRIPPER = ("a", "b"), ("grip",)
DRIVERS = RobotDrivers(NAMES, np.ones(3), np.zeros(3), "joint_states", (Controller("c", (0, 1, 2)),), {}, {})


def message(stamp: float, names: Sequence[str], positions: Sequence[float], velocities: Sequence[float] = ()):
    nanoseconds = round(stamp * 1e9)
    stamp = SimpleNamespace(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp), name=list(names), position=list(positions), velocity=list(velocities)
    )


def arm(stamp: float, speed: float = 1.0):
    """Both joints turn at constant speed."""
    return message(stamp, ARM, (speed * stamp, -speed * stamp), (speed, -speed))


def gripper(stamp: float):
    return message(stamp, GRIPPER, (0.5,), (0.0,))


def test_a_message_of_all_joints_is_a_state_to_the_last_bit_in_any_order():
    positions, velocities = np.random.default_rng(0).normal(size=(2, 3))
    states = JointStates(DRIVERS)
    for order in ([0, 1, 2], [2, 0, 1]):
        names = [NAMES[place] for place in order]
        found = states.add(message(1.25, [*names, "other"], [*positions[order], 9.0], [*velocities[order], 9.0]))
        assert found.time == 1.25
        np.testing.assert_array_equal(found.positions, positions)
        np.testing.assert_array_equal(found.velocities, velocities)
    assert states.lack() == ""


def test_values_are_in_our_units():
    scaled = RobotDrivers(
        NAMES, np.array([1.0, 1.0, 100.0]), np.array([0, 0, 5.0]), "js", (Controller("c", (0, 1, 2)),), {}, {}
    )
    states = JointStates(scaled)
    states.add(arm(1.0))
    found = states.add(message(1.0, GRIPPER, (55.0,), (10.0,)))
    assert (found.positions[2], found.velocities[2]) == (0.5, 0.1)


def test_there_is_no_state_before_every_joint_was_heard_and_the_missing_one_is_named():
    states = JointStates(DRIVERS)
    assert states.add(arm(1.0)) is None
    assert states.lack() == "joints grip never came"
    assert states.add(message(1.0, ("grap",), (0.0,), (0.0,))) is None
    assert states.lack() == "joints grip never came, found grap"
    assert states.add(gripper(1.0)).positions.tolist() == [1.0, -1.0, 0.5]


def test_a_state_is_of_the_time_up_to_which_all_joints_are_known():
    states = JointStates(DRIVERS)
    assert states.add(arm(1.00)) is None
    assert states.add(gripper(1.005)) is None  # the gripper was not heard of at 1.00
    first = states.add(arm(1.01))
    assert states.add(arm(1.02)) is None
    second = states.add(gripper(1.015))
    for found, time in ((first, 1.005), (second, 1.015)):
        assert found.time == time
        np.testing.assert_allclose(found.positions, [time, -time, 0.5])
        np.testing.assert_allclose(found.velocities, [1.0, -1.0, 0.0])


def test_two_arms_on_two_topics_give_a_state_with_each_message():
    states = JointStates(DRIVERS)
    times = []
    for tick in range(10):
        for names, offset in ((("a",), 0.0), (("b", "grip"), 0.01)):
            stamp = 1.0 + 0.02 * tick + offset
            found = states.add(message(stamp, names, [stamp] * len(names), [1.0] * len(names)))
            if found is not None:
                times.append(found.time)
                np.testing.assert_allclose(found.positions, found.time)
    np.testing.assert_allclose(times, 1.01 + 0.01 * np.arange(18))


def test_a_publisher_that_falls_silent_ends_the_states_and_is_named():
    states = JointStates(DRIVERS)
    states.add(gripper(1.0))
    assert states.add(arm(1.0)) is not None
    for tick in range(1, 2 * CAPACITY):
        assert states.add(arm(1.0 + 0.001 * tick)) is None
    assert states.lack() == "joints grip came last, stamped 1.000 s"
    # It comes back while the others' past reaches no further.
    stamp = 1.0 + 0.001 * (2 * CAPACITY - 2)
    assert states.add(gripper(stamp)).time == pytest.approx(stamp)


def test_a_message_of_all_joints_among_parts_counts_at_once():
    states = JointStates(DRIVERS)
    states.add(gripper(1.0))
    assert states.add(message(2.0, NAMES, (1, 2, 3), (0, 0, 0))).time == 2.0
    assert states.add(arm(1.5)) is None  # older than what is known


def test_velocities_that_are_not_told_are_differences_of_positions():
    states = JointStates(DRIVERS)
    assert states.add(message(1.0, NAMES, (0.0, 1.0, 2.0))) is None
    found = states.add(message(1.1, NAMES, (0.2, 0.9, 2.0)))
    assert found.time == 1.1
    np.testing.assert_allclose(found.velocities, [2.0, -1.0, 0.0])


def test_velocities_that_are_not_finite_are_derived_and_the_others_kept():
    states = JointStates(DRIVERS)
    for stamp, unknown in ((1.0, np.nan), (1.1, np.inf)):
        found = states.add(message(stamp, NAMES, (stamp, 0.0, 2 * stamp), (7.0, unknown, unknown)))
    np.testing.assert_allclose(found.velocities, [7.0, 0.0, 2.0])


def test_differences_are_taken_over_a_span_because_encoders_have_steps():
    states, step = JointStates(DRIVERS), 1e-4
    found = None
    for tick in range(200):
        stamp = 1.0 + 0.001 * tick
        shaking = step * (tick % 2)
        found = states.add(message(stamp, NAMES, (stamp + shaking, 0.0, 0.0))) or found
    assert abs(found.velocities[0] - 1.0) <= step / SPAN_S + 1e-6


def test_a_joint_without_velocities_is_known_anew_at_the_second_message_after_a_long_silence():
    states = JointStates(DRIVERS)
    for stamp in (1.0, 1.1):
        states.add(message(stamp, NAMES, (0.0, 0.0, 0.0)))
    late = 1.1 + MAX_GAP_S + 0.1
    assert states.add(message(late, NAMES, (1.0, 0.0, 0.0))) is None
    found = states.add(message(late + 0.1, NAMES, (1.0, 0.0, 0.0)))
    np.testing.assert_array_equal(found.velocities, np.zeros(3))


def test_a_stamp_that_is_said_again_gives_no_infinite_velocity():
    states = JointStates(DRIVERS)
    for stamp in (1.0, 1.0, 1.1, 1.1):
        found = states.add(message(stamp, NAMES, (stamp, 0.0, 0.0)))
    assert found is None  # nothing newer
    found = states.add(message(1.2, NAMES, (1.2, 0.0, 0.0)))
    np.testing.assert_allclose(found.velocities, [1.0, 0.0, 0.0])


def test_stamps_that_jump_back_begin_anew_with_all_joints():
    states = JointStates(DRIVERS)
    states.add(gripper(10.0))
    assert states.add(arm(10.0)).time == 10.0
    assert states.add(arm(2.0)) is None
    assert states.lack() == "joints grip never came"
    assert states.add(gripper(2.0)).time == 2.0


def test_clocks_that_differ_give_no_state():
    states = JointStates(DRIVERS)
    for tick in range(50):
        assert states.add(gripper(1.0 + 0.1 * tick)) is None
        assert states.add(arm(101.0 + 0.1 * tick)) is None
    assert "joints grip came last" in states.lack()


def test_what_is_forgotten_must_come_again():
    states = JointStates(DRIVERS)
    states.add(gripper(1.0))
    assert states.add(arm(1.0)) is not None
    states.clear()
    assert states.add(arm(1.1)) is None
    assert states.lack() == "joints grip never came"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ["a", "b", "b"]}, "each joint once"),
        ({"velocity": [0.0]}, "3 velocities or none, found 1"),
        ({"position": []}, "3 positions, found 0"),
        ({"position": [0.0, float("nan"), 0.0]}, r"finite positions, found others for \['b'\]"),
        ({"position": [0.0, 0.0, float("inf")]}, r"\['grip'\]"),
    ],
)
def test_malformed_messages_are_refused_and_change_nothing(change, words):
    states = JointStates(DRIVERS)
    bad = message(1.0, NAMES, np.zeros(3), np.zeros(3))
    for name, value in change.items():
        setattr(bad, name, value)
    with pytest.raises(ValueError, match=words):
        states.add(bad)
    assert states.lack() == "joints a, b, grip never came"


def test_positions_of_other_robots_may_be_anything():
    states = JointStates(DRIVERS)
    found = states.add(message(1.0, (*NAMES, "wheel"), (0, 0, 0, np.nan), (0, 0, 0, np.nan)))
    assert found.time == 1.0

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policies.execution.trajectory import JointTrajectory
from policies.robots import get_robot
from ros_nodes.graph_client import GraphError
from ros_nodes.twin_check import CheckOptions, format_report, judge, watchdog_trips
from sim.motion_trace import SentCommand

SPEC = get_robot("panda")
SPEED = 0.3


def steady(count=30, late=()):
    """Commands every 0.1 s that lead the first joint on at one speed; some of them come 0.04 s late."""
    sent = []
    for k in range(count):
        times = 0.1 * np.arange(1, 6)
        positions = np.tile(SPEC.home, (5, 1))
        positions[:, 0] += SPEED * (0.1 * k + times)
        velocities = np.zeros_like(positions)
        velocities[:-1, 0] = SPEED
        at = 100.0 + 0.1 * k
        sent.append(SentCommand(at + 0.04 * (k in late), JointTrajectory(at, times, positions, velocities)))
    return sent


def test_a_steady_motion_passes_without_jitter_and_jumps():
    report = judge(steady(), SPEC.home, SPEC, 101.0, 102.5, 0)
    assert report.commands == 15
    assert report.interval_ms == pytest.approx(100.0)
    assert report.jitter_p99_ms == pytest.approx(0.0, abs=1e-6)
    assert report.seam_jump == pytest.approx(1.0, abs=0.01)
    assert report.use.velocity == pytest.approx(SPEED / SPEC.max_velocity[0], rel=0.01)
    assert report.passed
    assert format_report(CheckOptions(), report).endswith("pass")


def test_late_commands_are_jitter():
    report = judge(steady(late=(15, 20)), SPEC.home, SPEC, 101.0, 102.5, 0)
    assert report.jitter_p99_ms == pytest.approx(40.0, abs=0.5)


def test_a_trip_and_a_limit_fail():
    report = judge(steady(), SPEC.home, SPEC, 101.0, 102.5, 0)
    assert not replace(report, watchdog_trips=1).passed
    for name in ("velocity", "acceleration", "jerk"):
        assert not replace(report, use=replace(report.use, **{name: 1.1})).passed
    assert not replace(report, use=replace(report.use, position=0.01)).passed


def test_a_jump_between_commands_fails():
    sent = steady()
    wanted = sent[18].trajectory
    soon = wanted.positions[0] - 0.09 * np.eye(len(SPEC.home))[0] * SPEED
    soon[0] += 0.02  # rad ahead of the command before, within 0.01 s
    jumping = JointTrajectory(
        wanted.stamp,
        np.r_[0.01, wanted.times],
        np.vstack([soon, wanted.positions]),
        np.vstack([wanted.velocities[0], wanted.velocities]),
    )
    report = judge([*sent[:18], SentCommand(sent[18].at, jumping), *sent[19:]], SPEC.home, SPEC, 101.0, 102.5, 0)
    assert report.seam_jump > 1.2
    assert not report.passed
    smooth = judge(steady(), SPEC.home, SPEC, 101.0, 102.5, 0)
    assert replace(smooth, seam_jump=1.2).passed
    assert not replace(smooth, seam_jump=1.21).passed
    assert "1.21, at most 1.2\nFAIL" in format_report(CheckOptions(), replace(smooth, seam_jump=1.21))


def test_an_arm_that_gets_no_commands_is_an_error():
    with pytest.raises(GraphError, match="expected commands, found 0 in 2 s"):
        judge([], SPEC.home, SPEC, 100.0, 102.0, 0)


def test_a_trip_is_counted_once_however_often_it_is_told():
    assert watchdog_trips(["MOVING", "HOLDING: no trajectory for 0.5 s", "HOLDING: no trajectory for 0.5 s"]) == 1
    lost = ["WAITING_FOR_STATE: no joint state for 0.3 s", "MOVING", "HOLDING: joint state is 0.6 s old by its stamp"]
    assert watchdog_trips(lost) == 2
    assert watchdog_trips(["MOVING", "HOLDING: emergency stop"]) == 0

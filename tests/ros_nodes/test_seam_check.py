from __future__ import annotations

import numpy as np
import pytest

from policies.execution.trajectory import JointTrajectory
from policies.robots import get_robot
from ros_nodes.graph_client import GraphError
from ros_nodes.seam_check import METHODS, CheckOptions, format_report, judge
from sim.motion_trace import SentCommand

SPEC = get_robot("panda")
SPEED = 0.3
PERIOD = 0.1


def sent(count=30, rows=8, every=5, ahead=0.0):
    """Every few steps a command that leads the first joint on at one speed, each farther ahead than the one before."""
    found = []
    for k in range(count):
        at = 100.0 + PERIOD * every * k
        times = PERIOD * np.arange(1, rows + 1)
        positions = np.tile(SPEC.home, (rows, 1))
        positions[:, 0] += SPEED * (at - 100.0 + times) + ahead * k
        velocities = np.zeros_like(positions)
        velocities[:-1, 0] = SPEED
        found.append(SentCommand(at, JointTrajectory(at, times, positions, velocities)))
    return found


def test_a_steady_motion_has_no_seam_and_misses_nothing():
    report = judge(sent(), SPEC.home, SPEC, PERIOD, 101.0, 104.0)
    assert report.missed == 0
    assert (report.seam_jump, report.other_step) == (pytest.approx(1.0, abs=0.03), pytest.approx(1.0, abs=0.03))
    assert report.commands == 6
    assert (report.seam_ratio, report.ratio_p95) == (pytest.approx(1.0, abs=0.03), pytest.approx(1.0, abs=0.03))


def test_a_command_that_begins_ahead_is_a_seam():
    step = SPEED * PERIOD
    report = judge(sent(ahead=2 * step), SPEC.home, SPEC, PERIOD, 101.0, 104.0)
    assert report.seam_jump == pytest.approx(3.0, abs=0.05)
    assert report.seam_ratio == pytest.approx(3.0, abs=0.05)
    assert report.other_step == pytest.approx(1.0, abs=0.05)


def test_a_motion_that_only_grows_faster_has_large_steps_at_its_seams_and_no_ratio():
    commands = []
    for k in range(30):
        at = 100.0 + PERIOD * 5 * k
        times = PERIOD * np.arange(1, 9)
        since = at - 100.0 + times
        positions, velocities = np.tile(SPEC.home, (8, 1)), np.zeros((8, len(SPEC.home)))
        positions[:, 0] += 0.02 * since**2
        velocities[:-1, 0] = 0.04 * since[:-1]
        commands.append(SentCommand(at, JointTrajectory(at, times, positions, velocities)))
    report = judge(commands, SPEC.home, SPEC, PERIOD, 101.0, 110.0)
    assert report.seam_jump > 1.5
    assert report.seam_ratio <= 1.05


def test_steps_after_the_end_of_a_command_are_missed():
    report = judge(sent(rows=8, every=10), SPEC.home, SPEC, PERIOD, 101.05, 104.05)
    assert report.missed == pytest.approx(2 * 3, abs=1)


def test_an_arm_without_commands_is_an_error_and_one_that_does_not_move_has_no_steps():
    with pytest.raises(GraphError, match="expected commands, found 0"):
        judge([], SPEC.home, SPEC, PERIOD, 100.0, 102.0)
    still = [
        SentCommand(100.0 + k, JointTrajectory(100.0 + k, [0.5], SPEC.home[None], np.zeros((1, len(SPEC.home)))))
        for k in range(4)
    ]
    report = judge(still, SPEC.home, SPEC, PERIOD, 100.55, 103.55)
    assert np.isnan([report.seam_jump, report.seam_p95, report.other_step]).all()
    assert report.missed > 10  # of 30: each command ends after half of its second


def test_the_report_has_a_line_for_each_run():
    report = judge(sent(), SPEC.home, SPEC, PERIOD, 101.0, 104.0)
    text = format_report(CheckOptions(), {method: [report] for method in METHODS})
    assert all(any(line.startswith(method) for line in text.splitlines()) for method in METHODS)

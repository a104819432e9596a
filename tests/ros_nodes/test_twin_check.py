from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from policies.execution.trajectory import JointTrajectory
from policies.robots import get_robot
from ros_nodes.graph_client import GraphError
from ros_nodes.twin_check import format_report, judge, main
from ros_nodes.twin_run import Stretch, TwinOptions, TwinRun
from sim.motion_trace import MotionTrace, SentCommand, executed

SPEC = get_robot("panda")
SPEED = 0.3
BEGIN, END = 101.0, 102.5


def steady(count=30, late_s=()):
    """Commands every 0.1 s that lead the first joint on at one speed; some are late by so many seconds."""
    late_s = dict(late_s)
    sent = []
    for k in range(count):
        times = 0.05 * np.arange(1, 11)
        positions = np.tile(SPEC.home, (10, 1))
        positions[:, 0] += SPEED * (0.1 * k + times)
        velocities = np.zeros_like(positions)
        velocities[:-1, 0] = SPEED
        at = 100.0 + 0.1 * k
        sent.append(SentCommand(at + late_s.get(k, 0.0), JointTrajectory(at, times, positions, velocities)))
    return sent


def stretch(commands, delay_s=0.0, **others):
    """What controllers make of commands that reach them some time after they were sent."""
    taken = [replace(command, at=command.at + delay_s) for command in commands]
    sent = np.array([command.at for command in commands if BEGIN <= command.at < END])
    trace = executed(taken, SPEC.home, SPEC, BEGIN, END)
    return Stretch(BEGIN, END, sent, trace, sent + delay_s, **({"watchdog_trips": 0} | others))


def report_of(*stretches):
    return judge(TwinRun(SPEC, 0.1, 1, stretches))


def test_a_steady_motion_passes_without_jitter_and_jumps():
    report = report_of(stretch(steady()))
    assert report.commands == 15
    assert report.interval_ms == pytest.approx(100.0)
    assert report.jitter_p99_ms == pytest.approx(0.0, abs=1e-6)
    assert report.seam_jump == pytest.approx(1.0, abs=0.01)
    assert report.row_step == pytest.approx(1.0, abs=0.01)
    assert report.use.velocity == pytest.approx(SPEED / SPEC.max_velocity[0], rel=0.01)
    assert report.moving_share == pytest.approx(1.0, abs=0.01)
    assert report.unseen_s == pytest.approx(0.0, abs=1e-6)
    assert report.objections() == []
    assert format_report(TwinOptions(), report).endswith("pass")


def test_jitter_is_judged_by_the_wanted_time_between_commands():
    report = report_of(stretch(steady(late_s={15: 0.04, 20: 0.04})))
    assert report.jitter_p99_ms == pytest.approx(40.0, abs=0.5)
    assert report.objections() == []
    assert replace(report, wanted_interval_ms=79.0).objections() == [
        "jitter p99: expected at most 39.5 ms, found 40.0 ms"
    ]


def test_a_command_that_reaches_the_controllers_late_and_leads_elsewhere_is_a_jump_beyond_the_limits():
    commands = steady()
    elsewhere = commands[18].trajectory.positions.copy()
    elsewhere[:, 1] += 0.005
    commands[18] = replace(commands[18], trajectory=replace(commands[18].trajectory, positions=elsewhere))
    in_time = report_of(stretch(commands, delay_s=0.01))
    late = report_of(stretch(commands, delay_s=0.09))
    assert in_time.delay_max_ms == pytest.approx(10.0)
    assert late.delay_p99_ms == pytest.approx(90.0)
    assert in_time.seam_jump == pytest.approx(1.0, abs=0.1)
    assert late.seam_jump > 5
    objections = late.objections()
    assert [objection.partition(":")[0] for objection in objections] == ["velocity", "jump between commands"]
    assert format_report(TwinOptions(), late).splitlines()[-1] == f"FAIL: {'; '.join(objections)}"


@pytest.mark.parametrize(
    ("spoiled", "words"),
    [
        ({"unseen_s": 0.25}, "the simulator could not keep up for 0.25 s: take a machine that is less busy"),
        ({"watchdog_trips": 2}, "watchdog trips: expected 0, found 2"),
        ({"position": 0.01}, "position: 0.01 rad (m) beyond the limits"),
        ({"velocity": 1.1}, "velocity: 1.10 of the limit"),
        ({"acceleration": 1.1}, "acceleration: 1.10 of the limit"),
        ({"jerk": 1.1}, "jerk: 1.10 of the limit"),
        ({"seam_jump": 1.21}, "jump between commands: expected at most 1.2, found 1.21"),
    ],
)
def test_each_thing_that_is_wrong_fails_by_name(spoiled, words):
    report = report_of(stretch(steady()))
    use = replace(report.use, **{name: value for name, value in spoiled.items() if hasattr(report.use, name)})
    rest = {name: value for name, value in spoiled.items() if hasattr(report, name)}
    assert replace(report, use=use, **rest).objections() == [words]


def test_stretches_are_judged_together_and_the_time_between_them_is_not():
    first = stretch(steady(), success=True)
    later = replace(
        first,
        begin=BEGIN + 60,
        end=END + 60,
        sent=first.sent + 60,
        taken=first.taken + 60,
        trace=MotionTrace(first.trace.times + 60, first.trace.positions + 0.1, first.trace.velocities),
        watchdog_trips=1,
        success=False,
    )
    report = report_of(first, later, replace(first, success=None))
    assert report.duration_s == pytest.approx(4.5)
    assert (report.episodes, report.successes, report.commands, report.watchdog_trips) == (2, 1, 45, 1)
    assert report.jitter_p99_ms == pytest.approx(0.0, abs=1e-6)
    assert report.use.acceleration < 1
    assert "1 of 2 episodes achieved" in format_report(TwinOptions(policy="some"), report)


def test_what_the_simulator_did_not_tell_is_said():
    whole = stretch(steady())
    kept = np.r_[0:100, 150:750]
    trace = MotionTrace(whole.trace.times[kept], whole.trace.positions[kept], whole.trace.velocities[kept])
    assert report_of(replace(whole, trace=trace)).unseen_s == pytest.approx(0.1)


def test_an_arm_that_gets_no_commands_is_an_error():
    with pytest.raises(GraphError, match="expected commands that move the arm, found 0 in 2 s"):
        report_of(stretch([]))


def test_a_policy_that_does_not_exist_and_wrong_options_are_refused_before_anything_starts(capsys):
    assert main(["--policy", "unheard_of"]) == 2
    assert "policy 'unheard_of'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_of:
        main(["--minutes", "0"])
    assert exit_of.value.code == 2
    assert "minutes: expected > 0" in capsys.readouterr().err


def test_a_policy_drives_one_episode_after_the_other_and_all_of_it_is_written_down(tmp_path, capsys):
    words = ["--policy", "random", "--tasks", "reach", "--minutes", "0.12", "--size", "32", "--camera-hz", "5"]
    code = main([*words, "--imperfections.command-latency-s", "0.05", "--output", str(tmp_path / "out.json")])
    out = capsys.readouterr().out
    told = json.loads((tmp_path / "out.json").read_text())
    report = told["report"]
    assert (code == 0) == (told["objections"] == []) == out.strip().endswith("pass")
    assert told["command"].startswith("python -m ros_nodes.twin_check --policy random --tasks reach")
    assert report["episodes"] >= 1
    assert report["duration_s"] == pytest.approx(7.2, abs=2.0)
    assert report["commands"] > 5
    assert report["moving_share"] > 0.1
    assert report["delay_p99_ms"] > 45
    assert report["wanted_interval_ms"] == pytest.approx(100.0)

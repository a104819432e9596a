from __future__ import annotations

import numpy as np
import pytest

from policies.execution.arm_gateway import ArmGateway
from policies.execution.episode_replay import EpisodeReplay, Phase, ReplayConfig, ReplayError
from policies.robots import get_robot
from sim.trajectory_controller import TrajectoryController

ROBOT = get_robot("panda")
PERIOD = 0.1
TOLERANCE = 0.02  # rad, of an ideal arm


def recording(seconds: float = 3.0, offset: float = 0.0) -> np.ndarray:
    times = np.arange(0.0, seconds, PERIOD)
    path = np.tile(ROBOT.home, (len(times), 1))
    path[:, 0] += offset + 0.3 * np.sin(1.5 * times)
    path[:, 3] += 0.2 * (np.cos(times) - 1)
    path[:, 7] = np.where(times < 1.5, 0.04, 0.0)
    return path


def replay(path: np.ndarray, start: np.ndarray = ROBOT.home, step: float = PERIOD, held_s: float = 0.0):
    """Run a replay through a gateway on an ideal arm that stands still at first; returns it and the arm's path."""
    gateway, arm = ArmGateway(ROBOT), TrajectoryController(ROBOT)
    replayed = EpisodeReplay(ROBOT, path, PERIOD)
    arm.reset(start, 0.0)
    now, found = 0.0, []
    while replayed.phase is not Phase.DONE and now < 60:
        positions, velocities = arm.sample(now)
        found.append(positions)
        gateway.on_joint_state(now, positions, velocities, now)
        trajectory = replayed.step(now, positions, now)
        if trajectory is not None:
            command = gateway.on_trajectory(trajectory, now)
            if now >= held_s:
                assert not command.rejected, command.reason
                arm.accept(command.trajectory, now)
        now += step
    return replayed, np.array(found)


@pytest.mark.parametrize("step", [PERIOD, 0.05], ids=["a control period", "half of it"])
def test_the_arm_follows_the_recording(step):
    replayed, found = replay(recording(), step=step)
    assert replayed.phase is Phase.DONE
    assert max(replayed.deviations) < TOLERANCE
    np.testing.assert_allclose(found[-1][:7], recording()[-1][:7], atol=1e-3)
    assert found[-1][7] < 1e-3, "expected the gripper to be closed"


def test_the_arm_is_first_brought_to_the_start():
    start = ROBOT.home + np.array([-0.5, 0.2, 0.1, 0, 0, 0, 0, -0.02])
    replayed, found = replay(recording(offset=0.4), start)
    assert max(replayed.deviations) < TOLERANCE
    speed = np.abs(np.diff(found, axis=0)).max(0) / PERIOD
    assert speed[1] <= ReplayConfig().approach_fraction * ROBOT.max_velocity[1]


def test_a_start_that_is_too_far_away_is_refused_by_joint():
    replayed = EpisodeReplay(ROBOT, recording(offset=0.4), PERIOD, ReplayConfig(max_approach_rad=0.3))
    with pytest.raises(ReplayError, match=r"joint1: expected within 0.3 rad of the arm, found 0.400 rad away"):
        replayed.step(0.0, ROBOT.home, 0.0)


def test_an_arm_that_does_not_come_to_the_start_ends_the_replay():
    with pytest.raises(ReplayError, match=r"expected the arm within 0\.02 rad after"):
        replay(recording(offset=0.4), held_s=np.inf)


def test_the_way_to_the_start_waits_for_an_arm_that_sets_out_late():
    """Else the targets would be so far ahead after the way that the gateway refuses each of them as a jump."""
    start = ROBOT.home - np.array([0.5, 0, 0, 0, 0, 0, 0, 0])
    replayed, found = replay(recording(offset=0.4), start, held_s=3.0)
    assert np.ptp(found[:30], axis=0).max() == 0
    assert replayed.phase is Phase.DONE
    assert max(replayed.deviations) < TOLERANCE


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (recording()[:1], "expected"),
        (recording()[:, :5], "expected"),
        (np.where(np.eye(30, 8) > 0, np.nan, recording()), "finite"),
        (recording(offset=2.9), r"joint1: expected within \[-2.897, 2.897\], found"),
    ],
    ids=["short", "joints", "nan", "limits"],
)
def test_a_recording_that_does_not_fit_the_robot_is_refused(path, words):
    with pytest.raises(ReplayError, match=words):
        EpisodeReplay(ROBOT, path, PERIOD)

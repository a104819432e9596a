from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from policies.execution.trajectory import JointTrajectory
from policies.interface import CameraView
from ros_nodes.lockstep_drive import LockstepDrive
from sim.episode_id import EpisodeId
from sim.simulation import TaskStatus

EPISODE = EpisodeId("reach", "nominal", 1, 0, 0)
PARTNER_LIMIT_S, ANSWER_LIMIT_S = 5.0, 2.0


class FakeSimulation:
    """Three control steps of 0.1 s, then the goal holds."""

    instruction = "reach it"

    def __init__(self) -> None:
        self.steps, self.accepted = 0, []
        self.scene = SimpleNamespace(joint_positions=np.zeros(8), joint_velocities=np.zeros(8))

    @property
    def time(self) -> float:
        return self.steps / 10

    def reset(self, episode: EpisodeId) -> None:
        self.steps = 0

    def view(self, camera, positions):
        return CameraView(np.full((2, 3, 3), self.steps, np.uint8), np.ones((2, 3), np.float32), np.eye(3), np.eye(4))

    def camera_mount(self, camera):
        return None

    def accept(self, trajectory) -> None:
        self.accepted.append(trajectory)

    def advance(self, control_steps: int) -> TaskStatus:
        self.steps += control_steps
        return self.status()

    def status(self) -> TaskStatus:
        return TaskStatus(self.steps >= 3, self.steps / 3, self.steps, self.steps >= 3)


class FakeTopics:
    """Records what is published and who is missing."""

    def __init__(self) -> None:
        self.log, self.missing = [], []

    def without_subscriber(self, cameras):
        return self.missing

    def __getattr__(self, name):
        return lambda *values: self.log.append((name.removeprefix("publish_"), values))

    def take_log(self) -> list[str]:
        names = [name for name, _ in self.log]
        self.log.clear()
        return names


class World:
    """A drive with its fakes and a clock that tests set."""

    def __init__(self, query_steps: int = 1) -> None:
        self.now = 100.0
        self.simulation, self.topics = FakeSimulation(), FakeTopics()
        self.drive = LockstepDrive(
            self.simulation, self.topics, query_steps, PARTNER_LIMIT_S, ANSWER_LIMIT_S, lambda: self.now
        )

    def begin(self, looks_back: bool = False) -> None:
        self.drive.begin(EPISODE, ("front",), looks_back=looks_back)
        self.topics.take_log()
        self.drive.poll()


@pytest.fixture
def world() -> World:
    return World()


def answer(stamp: float, position: float = 0.5) -> JointTrajectory:
    return JointTrajectory(stamp, np.array([0.1, 0.2]), np.full((2, 8), position), np.zeros((2, 8)))


def test_the_first_observation_waits_until_every_topic_has_a_subscriber(world):
    world.topics.missing = ["/joint_states"]
    world.drive.begin(EPISODE, ("front",))
    assert world.topics.take_log() == ["clock", "mounts", "instruction"]
    assert not world.drive.poll()
    assert world.topics.take_log() == []
    world.topics.missing = []
    assert world.drive.poll()
    assert world.topics.take_log() == ["clock", "joints", "camera"]


def test_missing_subscribers_end_the_episode_by_name(world):
    world.topics.missing = ["/camera/front/color/image_raw"]
    world.drive.begin(EPISODE, ("front",))
    world.now += PARTNER_LIMIT_S + 0.1
    assert world.drive.poll()
    assert "/camera/front/color/image_raw" in world.drive.status().error
    assert world.drive.status().over


def test_an_answer_advances_time_by_the_query_steps():
    world = World(query_steps=2)
    world.begin()
    assert world.drive.take(answer(0.0)) == ""
    assert world.simulation.time == pytest.approx(0.2)
    assert world.drive.status().steps == 2


def test_the_joints_of_the_steps_between_come_before_the_observation():
    world = World(query_steps=2)
    world.begin()
    assert world.topics.take_log() == ["clock", "joints", "camera"]
    world.drive.take(answer(0.0))
    assert [values[-1] for name, values in world.topics.log if name == "joints"] == pytest.approx([0.1, 0.2])
    assert world.topics.take_log() == ["clock", "joints", "joints", "camera"]
    world.drive.take(answer(0.2))
    assert world.topics.take_log() == ["clock"], "the episode is over"
    world.begin()
    assert world.topics.take_log() == ["clock", "joints", "camera"]


def test_for_a_policy_that_looks_back_the_picture_of_the_step_before_comes_before_the_observation():
    world = World(query_steps=2)
    world.begin(looks_back=True)
    assert world.topics.take_log() == ["clock", "joints", "camera"]
    world.drive.take(answer(0.0))
    ((name, rgb, time),) = [values for kind, values in world.topics.log if kind == "color"]
    assert (name, rgb.shape, rgb.max(), time) == ("front", (2, 3, 3), 1, pytest.approx(0.1))
    assert world.topics.take_log() == ["clock", "joints", "color", "joints", "camera"]
    world.begin(looks_back=True)
    assert world.topics.take_log() == ["clock", "joints", "camera"], "another episode"


def test_a_picture_that_was_published_with_the_observation_before_is_not_published_again(world):
    world.begin(looks_back=True)
    world.topics.take_log()
    world.drive.take(answer(0.0))
    assert world.topics.take_log() == ["clock", "joints", "camera"]


def test_without_cameras_only_the_joints_of_observations_come():
    world = World(query_steps=2)
    world.drive.begin(EPISODE, ())
    world.drive.poll()
    world.topics.take_log()
    world.drive.take(answer(0.0))
    assert world.topics.take_log() == ["clock", "joints"]


def test_a_trajectory_with_another_stamp_changes_nothing(world):
    world.begin()
    world.topics.take_log()
    assert "0.100000000" in world.drive.take(answer(0.1))
    assert world.simulation.accepted == []
    assert world.topics.take_log() == []


def test_an_observation_is_answered_once(world):
    world.begin()
    assert world.drive.take(answer(0.0)) == ""
    assert "expected the observation's stamp 0.1" in world.drive.take(answer(0.0))
    assert len(world.simulation.accepted) == 1


def test_a_missing_answer_ends_the_episode_with_the_stamp_that_was_waited_for(world):
    world.begin()
    world.drive.take(answer(0.0))
    world.now += ANSWER_LIMIT_S + 0.1
    assert world.drive.poll()
    assert "stamp 0.100" in world.drive.status().error
    assert not world.drive.poll(), "the error is told once"
    assert world.drive.take(answer(0.1)) != "", "an answer after the limit is not executed"


def test_a_rejected_command_ends_the_episode(world):
    world.begin()
    world.drive.refuse("joint1 is missing")
    assert "joint1 is missing" in world.drive.status().error


def test_a_finished_episode_tells_targets_and_answer_times(world):
    world.begin()
    for step in range(3):
        world.now += 0.25
        assert world.drive.take(answer(step / 10, position=step)) == ""
    status = world.drive.status()
    assert (status.success, status.done, status.steps, status.error) == (True, True, 3, "")
    assert [row[0] for row in status.joint_targets] == [0, 0, 1, 1, 2, 2]
    assert status.answer_s == pytest.approx([0.25] * 3)
    assert "no observation waits" in world.drive.take(answer(0.3))


def test_a_reset_forgets_the_episode_before(world):
    world.begin()
    world.drive.take(answer(0.0))
    world.begin()
    assert world.drive.status().steps == 0
    assert world.drive.take(answer(0.0)) == ""

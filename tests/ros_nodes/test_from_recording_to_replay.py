"""The road of a laboratory: lead the arm and record, convert, train, evaluate, and replay, by the commands of each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState, Joy

from policies.data import convert
from policies.execution.joystick import JoyLayout
from policies.robots import get_drivers
from representation.data.lerobot_dataset import LeRobotDataset
from ros_nodes.graph_client import GraphClient
from ros_nodes.qos import joint_state_in
from tests.ros_nodes.started_node import REPOSITORY, node_process

NAMESPACE = "/road"
PATIENCE_S = 90.0
LIMIT_S = 240.0
LAYOUT = JoyLayout()
PERIOD_S = 0.05
WAY_RAD = 0.15  # of the first joint, while the arm is led
TOLERANCE = 0.06  # rad; the simulated arm follows with the lag of its actuators


class Person(GraphClient):
    """Holds a joystick, and watches the arm."""

    def __init__(self) -> None:
        super().__init__("person", lambda: False)
        drivers = get_drivers("panda")
        self._first = drivers.joint_names[0]
        self.turned: list[float] = []
        self._push = 0.0
        self._joy = self.create_publisher(Joy, "joy", 10)
        self._kept = [
            self.create_subscription(JointState, drivers.joint_states, self._on_joints, joint_state_in("realtime")),
            self.create_timer(PERIOD_S, self._hold, clock=Clock(clock_type=ClockType.STEADY_TIME)),
        ]

    def lead(self, push: float, radians: float) -> None:
        """Push the stick to the left or right until the first joint has turned so far."""
        begin, self._push = self.turned[-1], push
        self.wait_until(
            lambda: (self.turned[-1] - begin) * np.sign(push) > radians, PATIENCE_S, f"an arm that turns, from {begin}"
        )
        self._push = 0.0

    def is_heard(self) -> bool:
        """Whether the teleoperation and the recorder hear the joystick."""
        return self._joy.get_subscription_count() >= 2

    def _hold(self) -> None:
        axes, buttons = [0.0] * LAYOUT.most_axes, [0] * LAYOUT.most_buttons
        axes[LAYOUT.left], buttons[LAYOUT.deadman] = self._push, 1
        self._joy.publish(Joy(axes=axes, buttons=buttons))

    def _on_joints(self, message: JointState) -> None:
        self.turned.append(message.position[list(message.name).index(self._first)])


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A recording of an arm that a person leads to and fro."""
    folder = tmp_path_factory.mktemp("bags")
    rclpy.init(args=["--ros-args", "-r", f"__ns:={NAMESPACE}"])
    person = Person()
    small = ("mode:=realtime", "camera_rate_hz:=20.0", "simulation.width:=64", "simulation.height:=64")
    try:
        with (
            node_process("simulator_node", NAMESPACE, *small),
            node_process("arm_gateway_node", NAMESPACE),
            node_process("teleop_node", NAMESPACE),
            node_process("recorder_node", NAMESPACE, f"recording.folder:={folder}", "bag.min_free_mb:=1") as recorder,
        ):
            person.wait_until(person.is_heard, PATIENCE_S, "the graph")
            person.trigger("simulator_node/reset", PATIENCE_S)
            person.wait_until(lambda: bool(person.turned), PATIENCE_S, "joint states")
            person.lead(0.8, 0.03)  # every topic is there, and recorded
            for push in (0.8, -0.8):
                person.trigger("recorder_node/start", PATIENCE_S)
                person.lead(push, WAY_RAD)
                person.trigger("recorder_node/success", PATIENCE_S)
            recorder.send_signal(signal.SIGTERM)
            assert recorder.wait(30) == 0
        [made] = folder.iterdir()
        yield made
    finally:
        person.end()
        rclpy.try_shutdown()


@pytest.fixture(scope="module")
def dataset(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("road") / "dataset"
    options = ["--output", str(output), "--namespace", NAMESPACE, "--rate-tolerance", "0.5", "--max-gap-s", "5"]
    assert convert.main([str(bag), *options]) == 0
    return output


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *words],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def test_the_recording_becomes_a_dataset_of_what_the_arm_did(dataset):
    opened = LeRobotDataset(dataset)
    assert (opened.num_episodes, opened.info.robot_type) == (2, "panda")
    for episode in opened:
        assert 0.5 * WAY_RAD < np.ptp(episode["observation.state"][:, 0]) < 1.0
        assert np.abs(episode["action"][:, 1]).max() > 1e-3, "expected actions along y of the base"


def test_a_policy_trained_on_it_is_evaluated(dataset, tmp_path):
    options = ["--size", "tiny", "--steps", "3", "--batch-size", "4", "--validation-episodes", "1", "--threads", "1"]
    trained = run("policies.train", "--dataset", str(dataset), "--output", str(tmp_path / "run"), *options)
    assert trained.returncode == 0, trained.stderr
    policy, output = tmp_path / "run" / "policy", tmp_path / "evaluation"
    options = ["--task", "reach", "--episodes", "1", "--videos", "0", "--output", str(output)]
    evaluated = run("sim.evaluate", "--policy", str(policy), *options)
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads((output / "summary.json").read_text())["policy"]["name"] == str(policy)


def test_the_episode_is_replayed_on_the_twin(dataset, tmp_path):
    output = tmp_path / "result.json"
    replayed = run("ros_nodes.replay", str(dataset), "--output", str(output))
    assert replayed.returncode == 0, replayed.stderr
    result = json.loads(output.read_text())
    assert result["joint_states"] > 15
    assert result["max_deviation_rad"] < TOLERANCE, result

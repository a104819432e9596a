"""Two robots side by side, each a twin with its gateway and policy in a namespace of its own, as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from ros_nodes.qos import COMMAND, joint_state_in

PATIENCE_S = 120.0
QUICK_TWIN = """
/**/simulator_node:
  ros__parameters: {mode: realtime, autostart: true, camera_rate_hz: 1.0, joint_rate_hz: 50.0, simulation.width: 32,
    simulation.height: 32}
"""
PATIENT_ARM = """
/**/arm_gateway_node:
  ros__parameters: {mode: realtime, gateway.state_timeout_s: 3.0, gateway.state_max_age_s: 3.0}
/**/policy_node:
  ros__parameters: {mode: realtime, discovery_limit_s: 60.0}
"""
RIGHT = """
based_on: panda
drivers:
  joint_states: joint_states
  joints: {finger_joint1: {name: finger, closed: 1.0, open: 0.0}}
  controllers:
    - topic: joint_trajectory_controller/joint_trajectory
      joints: [joint1, joint2, joint3, joint4, joint5, joint6, joint7]
    - {topic: gripper_controller/joint_trajectory, joints: [finger_joint1]}
"""


@contextmanager
def bringup(log: Path, *words: str) -> Iterator[None]:
    """Start a graph by its command; stopped in order at the end."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ros_nodes.bringup", *words], stdout=output, stderr=subprocess.STDOUT, env=os.environ
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                code = process.wait(30)
            finally:
                process.kill()
                process.wait()
    assert code == 0, log.read_text()


class Listener:
    """Hears the joints and the commands of one robot."""

    def __init__(self, node, namespace: str, controllers: tuple[str, ...]) -> None:
        self.joints: list[JointState] = []
        self.commands: list[JointTrajectory] = []
        self._node, self._namespace = node, namespace
        node.create_subscription(
            JointState, f"{namespace}/joint_states", self.joints.append, joint_state_in("realtime")
        )
        for controller in controllers:
            topic = f"{namespace}/{controller}/joint_trajectory"
            node.create_subscription(JointTrajectory, topic, self.commands.append, COMMAND)

    def travel(self) -> float:
        """Largest way of an arm joint from where it was first seen, rad."""
        positions = np.array([message.position[:7] for message in self.joints])
        return float(np.abs(positions - positions[0]).max())


@pytest.fixture
def spin_until() -> Iterator[tuple[rclpy.node.Node, Callable]]:
    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node("listener", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def until(condition: Callable[[], object], what: str) -> None:
        limit = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < limit, f"expected {what} within {PATIENCE_S} s"
            executor.spin_once(timeout_sec=0.05)

    yield node, until
    executor.shutdown()
    node.destroy_node()
    with suppress(RuntimeError):
        context.try_shutdown()


def test_two_robots_side_by_side_do_not_hear_each_other(tmp_path, spin_until):
    node, until = spin_until
    files = {}
    for name, text in (("twin", QUICK_TWIN), ("arm", PATIENT_ARM), ("right", RIGHT)):
        files[name] = tmp_path / f"{name}.yaml"
        files[name].write_text(text)
    left = Listener(node, "/left", ("arm_controller",))
    right = Listener(node, "/right", ("joint_trajectory_controller", "gripper_controller"))
    with ExitStack() as running:
        for namespace, robot, policy in (("/left", "panda", "random"), ("/right", str(files["right"]), "noop")):
            common = ("--robot", robot, "--namespace", namespace, "--params-file")
            side = namespace[1:]
            running.enter_context(
                bringup(tmp_path / f"{side}_twin.log", "--graph", "twin", *common, str(files["twin"]))
            )
            arm = ("--graph", "real_arm", *common, str(files["arm"]), "--policy", policy)
            arm = (*arm, "--shadow", "false", "--autostart", "true")
            running.enter_context(bringup(tmp_path / f"{side}_arm.log", *arm))
        until(lambda: left.joints and right.joints, "joint states of both")
        until(lambda: left.travel() > 0.1, "motion of the robot whose policy moves")
        until(lambda: len(right.commands) > 20, "commands to the robot whose policy does not move")
    assert right.travel() < 0.02
    assert {tuple(message.joint_names) for message in left.commands} == {tuple(left.joints[0].name)}
    parts = {len(message.joint_names): message for message in right.commands}
    assert set(parts) == {7, 1}
    # Open is 0 for this driver, in what it reports and in what it gets.
    assert right.joints[-1].name[7] == parts[1].joint_names[0] == "finger"
    assert abs(right.joints[-1].position[7]) < 0.02
    assert abs(parts[1].points[-1].positions[0]) < 0.02

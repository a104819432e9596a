from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.joint_states import JointStates
from policies.execution.trajectory import JointTrajectory
from policies.robots import get_drivers
from ros_nodes.convert import (
    depth_from_image,
    message_from_trajectory,
    rgb_from_image,
    seconds,
    trajectory_from_message,
)
from ros_nodes.qos import COMMAND, JOINT_STATE_OUT, LATCHED, STATUS, Mode, sensor
from ros_nodes.simulator_node import SimulatorNode
from ros_nodes.simulator_status import SimulatorStatus

PATIENCE_S = 20.0
CAMERAS = ("front", "wrist")


class Probe(Node):
    """Listens to everything that a policy and a gateway listen to, and sends commands."""

    def __init__(self, mode: Mode) -> None:
        super().__init__("probe")
        self.received: dict[str, list] = {}
        self.kept = []
        for topic, kind, qos in (
            ("/clock", Clock, 10),
            ("joint_states", JointState, JOINT_STATE_OUT),
            ("instruction", String, LATCHED),
            ("simulator_node/status", String, LATCHED),
            ("simulator_node/executed", JointTrajectoryMessage, STATUS),
            ("/diagnostics", DiagnosticArray, 10),
            *((f"camera/{name}/extrinsics", TransformStamped, LATCHED) for name in CAMERAS),
            *((f"camera/{name}/color/image_raw", Image, sensor(mode)) for name in CAMERAS),
            *((f"camera/{name}/color/camera_info", CameraInfo, sensor(mode)) for name in CAMERAS),
            *((f"camera/{name}/aligned_depth_to_color/image_raw", Image, sensor(mode)) for name in CAMERAS),
        ):
            self.received[topic] = []
            self.kept.append(self.create_subscription(kind, topic, self.received[topic].append, qos))
        self.commands = self.create_publisher(JointTrajectoryMessage, "arm_controller/joint_trajectory", COMMAND)
        self.reset_client = self.create_client(Trigger, "simulator_node/reset")

    def newest(self, topic: str):
        return self.received[topic][-1]

    @property
    def status(self) -> SimulatorStatus:
        statuses = self.received["simulator_node/status"]
        return SimulatorStatus.from_json(statuses[-1].data) if statuses else SimulatorStatus()


class World:
    """A simulator node and a probe on one executor."""

    def __init__(self, mode: Mode) -> None:
        self.simulator, self.probe = SimulatorNode(), Probe(mode)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.simulator)
        self.executor.add_node(self.probe)
        self.names = self.simulator._simulation.robot.joint_names
        self.drivers = get_drivers(self.simulator._simulation.robot.name)

    def until(self, condition: Callable[[], object], what: str) -> None:
        limit = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < limit, f"expected {what}"
            self.executor.spin_once(timeout_sec=0.05)

    def reset(self, **episode) -> Trigger.Response:
        self.simulator.set_parameters([Parameter(f"episode.{name}", value=value) for name, value in episode.items()])
        self.until(self.probe.reset_client.service_is_ready, "the reset service")
        future = self.probe.reset_client.call_async(Trigger.Request())
        self.until(future.done, "an answer to the reset")
        return future.result()

    def count(self, topic: str) -> int:
        return len(self.probe.received[topic])

    def begin(self, **episode) -> None:
        """Reset and wait for the whole first observation."""
        assert self.reset(**episode).success
        self.until(lambda: self.count(f"camera/{CAMERAS[-1]}/aligned_depth_to_color/image_raw"), "a depth image")
        self.until(lambda: self.count("joint_states"), "a joint state")

    def executed(self) -> list[JointTrajectory]:
        messages = self.probe.received["simulator_node/executed"]
        parts = [trajectory_from_message(message, self.names) for message in messages]
        return sorted(parts, key=lambda part: part.stamp)

    def joints(self) -> np.ndarray:
        return JointStates(self.drivers).add(self.probe.newest("joint_states")).positions

    def chunk(self, stamp: float, offset: float = 0.0) -> JointTrajectoryMessage:
        target = self.joints()
        target[0] += offset
        trajectory = JointTrajectory(stamp, np.array([0.2]), target[None], np.zeros((1, 8)))
        return message_from_trajectory(trajectory, self.names)


@contextmanager
def world_in(mode: Mode, *parameters: str) -> Iterator[World]:
    settings = [f"mode:={mode}", "simulation.width:=48", "simulation.height:=32", *parameters]
    rclpy.init(args=["--ros-args", *(word for setting in settings for word in ("-p", setting))])
    try:
        world = World(mode)
        try:
            yield world
        finally:
            world.simulator.stop()
            world.executor.shutdown()
            world.simulator.destroy_node()
            world.probe.destroy_node()
    finally:
        rclpy.try_shutdown()


def test_an_observation_is_published_whole_and_with_one_stamp():
    with world_in("lockstep") as world:
        world.begin()
        probe = world.probe
        rgb = rgb_from_image(probe.newest("camera/front/color/image_raw"))
        depth = depth_from_image(probe.newest("camera/front/aligned_depth_to_color/image_raw"))
        assert rgb.shape == (32, 48, 3)
        assert rgb.std() > 1
        assert 0.1 < np.nanmedian(depth) < 3
        info = probe.newest("camera/wrist/color/camera_info")
        assert (info.width, info.height) == (48, 32)
        assert info.k[0] > 0
        assert probe.newest("camera/wrist/extrinsics").header.frame_id == "hand"
        assert probe.newest("instruction").data == probe.status.instruction != ""
        stamps = {seconds(probe.newest(topic).header.stamp) for topic in probe.received if "image" in topic}
        assert stamps == {seconds(probe.newest("joint_states").header.stamp)}
        assert stamps == {seconds(probe.newest("/clock").clock)}


def test_the_first_observation_waits_until_somebody_commands_the_arm():
    with world_in("lockstep", "partner_limit_s:=0.5") as world:
        commands = world.probe.commands
        world.probe.destroy_publisher(commands)
        assert world.reset().success
        world.until(lambda: world.probe.status.error, "an error")
        assert (
            "nobody subscribed to or commands arm_controller/joint_trajectory within 0.5 s" in world.probe.status.error
        )
        assert world.count("joint_states") == 0


def test_time_advances_by_one_control_step_for_each_answer():
    with world_in("lockstep") as world:
        world.begin()
        for step in range(3):
            count = world.count("joint_states")
            world.probe.commands.publish(world.chunk(step / 10, offset=0.02))
            world.until(lambda count=count: world.count("joint_states") > count, "the next observation")
            assert seconds(world.probe.newest("joint_states").header.stamp) == (step + 1) / 10
        world.until(lambda: world.probe.status.steps == 3, "a status with three steps")


def test_joints_are_matched_by_name():
    with world_in("lockstep") as world:
        world.begin()
        before = world.joints()
        message = world.chunk(0.0, offset=0.1)
        message.joint_names = message.joint_names[::-1]
        for point in message.points:
            point.positions, point.velocities = point.positions[::-1], point.velocities[::-1]
        world.probe.commands.publish(message)
        world.until(lambda: world.count("joint_states") > 1, "the next observation")
        moved = world.joints() - before
        assert moved[0] > 0.01
        assert abs(moved[1:7]).max() < 0.01


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda message: message.joint_names.__setitem__(0, "elbow"), "joint1"),
        (lambda message: message.points[0].positions.__setitem__(2, float("nan")), "finite"),
        (lambda message: message.points[-1].velocities.__setitem__(0, 0.5), "rest"),
    ],
)
def test_what_the_controller_refuses_ends_the_episode_with_the_cause(spoil, cause):
    with world_in("lockstep") as world:
        world.begin()
        message = world.chunk(0.0)
        spoil(message)
        world.probe.commands.publish(message)
        world.until(lambda: world.probe.status.error, "an error")
        assert cause in world.probe.status.error


def test_a_missing_answer_is_an_error_and_the_next_reset_begins_anew():
    with world_in("lockstep", "answer_limit_s:=0.3") as world:
        world.begin()
        world.until(lambda: "stamp 0.000" in world.probe.status.error, "an error that names the stamp")
        count = world.count("joint_states")
        assert world.reset(index=1).success
        world.until(lambda: world.count("joint_states") > count, "the first observation of the next episode")
        assert world.probe.status.episode.index == 1
        assert world.probe.status.error == ""


@pytest.mark.parametrize(
    ("episode", "cause"),
    [({"task": "juggle"}, "juggle"), ({"suite": "weather"}, "weather"), ({"cameras": ["x"]}, "'x'")],
)
def test_an_episode_that_does_not_exist_is_refused(episode, cause):
    with world_in("lockstep") as world:
        response = world.reset(**episode)
        assert not response.success
        assert cause in response.message


@pytest.mark.parametrize(("name", "value"), [("severity", -1), ("severity", 4), ("index", -1), ("seed", -1)])
def test_a_number_of_an_episode_that_is_out_of_range_is_refused(name, value):
    with world_in("lockstep") as world:
        (result,) = world.simulator.set_parameters([Parameter(f"episode.{name}", value=value)])
        assert not result.successful
        assert name in result.reason


def test_in_realtime_joint_states_keep_their_rate_beside_the_cameras():
    with world_in("realtime", "camera_rate_hz:=10.0") as world:
        world.begin()
        first, begin = world.count("joint_states"), time.monotonic()
        world.until(lambda: world.count("joint_states") >= first + 100, "joint states")
        assert (world.count("joint_states") - first) / (time.monotonic() - begin) > 30
        age = time.time() - seconds(world.probe.newest("joint_states").header.stamp)
        assert -0.1 < age < 1.0
        stamps = np.array([seconds(message.header.stamp) for message in world.probe.received["joint_states"]])
        assert (np.diff(stamps) > 0).all()
        world.until(lambda: world.probe.status.steps >= 5, "control steps on the wall clock")


def test_in_realtime_a_trajectory_moves_the_arm_and_an_empty_one_stops_it():
    with world_in("realtime", "camera_rate_hz:=5.0") as world:
        world.begin()
        start = world.joints()[0]
        world.probe.commands.publish(world.chunk(0.0, offset=0.1))
        world.until(lambda: world.joints()[0] > start + 0.05, "motion")
        message = world.chunk(0.0, offset=1.0)
        message.points[0].time_from_start.sec = 5
        world.probe.commands.publish(message)
        world.until(lambda: world.joints()[0] > start + 0.12, "motion")
        world.probe.commands.publish(JointTrajectoryMessage())
        stop = world.joints()[0]

        def at_rest() -> bool:
            return abs(world.probe.newest("joint_states").velocity[0]) < 1e-3

        world.until(at_rest, "rest")
        assert world.joints()[0] < stop + 0.1


def test_in_realtime_pictures_are_not_blanked_for_a_camera_watch_would_stop_the_policy():
    refused = pytest.raises(ValueError, match="blank_images: expected false in realtime")
    with refused, world_in("realtime", "perturbation.blank_images:=true"):
        pass


def test_in_realtime_another_instruction_can_be_given():
    with world_in("realtime", "camera_rate_hz:=5.0", "perturbation.shuffle_instructions:=true") as shuffled:
        assert shuffled.reset(task="reach", index=3).success
        shuffled.until(lambda: shuffled.count("instruction"), "an instruction")
        told = shuffled.probe.newest("instruction").data
    with world_in("realtime", "camera_rate_hz:=5.0") as world:
        assert world.reset(task="reach", index=3).success
        world.until(lambda: world.count("instruction"), "an instruction")
        assert told != world.probe.newest("instruction").data


def test_in_realtime_what_the_controllers_follow_is_told_from_one_command_to_the_next():
    with world_in("realtime", "camera_rate_hz:=5.0") as world:
        world.begin()
        world.until(world.executed, "what is followed without a command")
        start = world.joints()[0]
        for offset in (0.1, -0.1):
            count = len(world.executed())
            world.probe.commands.publish(world.chunk(0.0, offset=offset))
            world.until(lambda count=count: len(world.executed()) > count, "the part before the command")
            newest = world.executed()[-1].end
            world.until(lambda newest=newest: world.executed()[-1].end > newest + 0.3, "the command's own part")
        parts = world.executed()
        times = np.concatenate([part.stamp + part.times for part in parts])
        positions = np.concatenate([part.positions for part in parts])[:, 0]
        steady = np.diff(times) < 0.0025  # the simulator skips time where the machine is too slow for it
        assert steady.mean() > 0.5
        assert np.diff(times).min() > 0.0015
        assert np.abs(np.diff(positions)[steady]).max() < 0.01
        assert positions.max() == pytest.approx(start + 0.1, abs=0.01)
        begun = [part for part in parts if abs(part.positions[-1, 0] - part.positions[0, 0]) > 0.05]
        # Each of the two motions lies within one part: it begins where its command was taken.
        assert len(begun) == 2


def test_in_realtime_the_jump_to_a_command_that_comes_late_is_told():
    with world_in("realtime", "camera_rate_hz:=5.0") as world:
        world.begin()
        first = seconds(world.probe.received["joint_states"][0].header.stamp)
        world.until(lambda: seconds(world.probe.newest("joint_states").header.stamp) > first + 0.5, "some time")
        now, target = seconds(world.probe.newest("joint_states").header.stamp), world.joints()
        target[0] += 0.1
        late = JointTrajectory(now - 0.3, np.array([0.2, 2.0]), np.tile(target, (2, 1)), np.zeros((2, 8)))
        world.probe.commands.publish(message_from_trajectory(late, world.names))

        def jumps() -> np.ndarray:
            positions = np.concatenate([part.positions for part in world.executed()] or [np.zeros((1, 8))])
            return np.abs(np.diff(positions[:, 0]))

        world.until(lambda: jumps().max(initial=0.0) > 0.05, "a jump of the executed motion")
        assert jumps().max() == pytest.approx(0.1, abs=0.02)

"""An arm with cameras for tests of the nodes: follows trajectories as a controller does, and breaks on demand."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.trajectory import JointTrajectory
from policies.robots import get_robot
from policies.robots.camera_mount import CameraMount
from ros_nodes import convert
from ros_nodes.qos import COMMAND, JOINT_STATE_OUT, LATCHED, STATUS, sensor
from sim.motion_trace import MotionTrace, SentCommand, executed, limit_use
from sim.trajectory_controller import TrajectoryController
from tests.ros_nodes.started_node import node_process

SPEC = get_robot("panda")
SIZE = (24, 32)
INTRINSICS = np.array([[20.0, 0, 16], [0, 20, 12], [0, 0, 1]])
MOUNT = CameraMount(SPEC.base_frame, np.array([1.2, 0.0, 0.5]), np.array([0.5, 0.5, -0.5, -0.5]))
PATIENCE_S = 120.0
ASK_AGAIN_S = 20.0
ROUNDING = 1e-3  # of a limit
PAST = 1e-5  # s, more than the rounding of times of the wall clock
JOINT_PERIOD_S = 0.02
CAMERA_PERIOD_S = 0.1
COMMAND_TIMEOUT_S = 0.4
AT_REST = 1e-3  # rad/s
SPEED = 0.3  # rad/s, of `ramp`; also of the policies in `faulty_policies.py`


@dataclass
class Faults:
    """What is broken at the moment.

    Attributes:
        camera: whether images come.
        lost_cameras: cameras of which none come.
        joints: whether joint states come.
        clock: whether time goes on.
        clock_topic: whether /clock tells of it.
        camera_offset: added to the stamps of images, seconds.
        encoding: of the colour images.
        joint_names: order of the joint states.
        silent_joints: joints that joint states leave out.
        joint_parts: how many publishers' messages the joints come in.
        joint_velocities: whether joint states tell velocities.
        depth_scale: factor on the metres of the depth images.
        joint_scale: factor on the joint positions.
    """

    camera: bool = True
    lost_cameras: tuple[str, ...] = ()
    joints: bool = True
    clock: bool = True
    clock_topic: bool = True
    camera_offset: float = 0.0
    encoding: str = "rgb8"
    joint_names: tuple[str, ...] = SPEC.joint_names
    silent_joints: tuple[str, ...] = ()
    joint_parts: int = 1
    joint_velocities: bool = True
    depth_scale: float = 1.0
    joint_scale: float = 1.0


@dataclass(frozen=True)
class Sample:
    """Desired joint positions and velocities, (n,) each, at `at` seconds on the robot's clock."""

    at: float
    positions: np.ndarray
    velocities: np.ndarray


@dataclass(frozen=True)
class Command:
    """A trajectory, when it was sent on the wall clock, and when that was on the robot's clock."""

    sent: float
    at: float
    message: JointTrajectoryMessage


class FakeRobot:
    """Runs in a thread of its own, on the wall clock.

    Args:
        namespace: of all its topics except /clock and /diagnostics, so that tests do not hear each other.
        cameras: names of its cameras.
        clock: whether it tells the time on /clock.
        camera_period_s: time between two pictures of a camera.

    Attributes:
        faults: change them at any time.
        trace: every sample of the arm so far.
        commands: every trajectory for the arm so far.
        planned: every trajectory of a policy so far.
        image_stamps: stamps of all pictures so far.
        diagnostics: newest (level, message, values) by status name.
        refused: what the arm's controller would not follow.
    """

    def __init__(
        self,
        namespace: str,
        cameras: Sequence[str] = (),
        clock: bool = False,
        camera_period_s: float = CAMERA_PERIOD_S,
    ) -> None:
        self.namespace = namespace
        self.faults = Faults()
        self.trace: list[Sample] = []
        self.commands: list[Command] = []
        self.planned: list[Command] = []
        self.diagnostics: dict[str, tuple[int, str, dict[str, str]]] = {}
        self.refused: list[str] = []
        self.image_stamps: list[float] = []
        self._cameras = cameras
        self._camera_period_s = camera_period_s
        self._arm = TrajectoryController(SPEC)
        self._tells_time = clock
        self._time_lock = threading.Lock()
        self._frozen: float | None = None
        self._lag = 0.0
        self._checked = self.time()
        self._arm.reset(SPEC.home, self._checked)
        self._closing = False
        self._context = Context()
        rclpy.init(context=self._context)
        self.node = Node("fake_robot", context=self._context, namespace=namespace)
        self._make_topics()
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def time(self) -> float:
        """Seconds of the wall clock, less all pauses; stands still while the clock is broken."""
        with self._time_lock:
            now = time.time() - self._lag
            if self._frozen is not None and self.faults.clock:
                self._lag += now - self._frozen
                now, self._frozen = self._frozen, None
            elif not self.faults.clock:
                self._frozen = self._frozen or now
            return self._frozen or now

    def wait_for(self, condition: Callable[[], bool], what: str, limit_s: float = PATIENCE_S) -> None:
        """Wait until the condition holds; fails with what was expected, and the diagnostics, after the limit."""
        limit = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > limit:
                told = {name: (level, text) for name, (level, text, _) in dict(self.diagnostics).items()}
                silent = self.time() - self.trace[-1].at
                raise AssertionError(
                    f"expected {what} within {limit_s} s; diagnostics: {told}; refused {self.refused}; "
                    f"{len(self.planned)} plans and {len(self.commands)} commands heard, the arm's thread "
                    f"{'lives' if self._thread.is_alive() else 'has ended'} and moved it {silent:.2f} s ago"
                )
            time.sleep(0.01)

    def health(self, concern: str) -> tuple[int, str, dict[str, str]] | None:
        """Newest (level, message, values) of `<node>: <concern>` in this robot's namespace."""
        return self.diagnostics.get(f"{self.namespace.lstrip('/')}/{concern}")

    def wait_for_diagnostic(self, concern: str, level: int, *words: str) -> None:
        """Wait for a diagnostic of `<node>: <concern>` that has the level and all the words."""

        def told() -> bool:
            found = self.health(concern)
            return found is not None and found[0] == level and all(word in found[1] for word in words)

        self.wait_for(told, f"diagnostic '{concern}' of level {level} with {words}")

    def sent_motion(self, begin: float, end: float) -> MotionTrace:
        """What a controller that hears nothing late makes of the commands, from `begin` to `end` on the robot's clock.

        Where a busy machine kept the gateway from sending until its first knot was past, the command counts from that
        knot on: up to it, it tells what the arm does anyway. So this is what the gateway decided, whatever the load.
        """
        sent: list[SentCommand] = []
        for command in self.commands:
            at, trajectory = command.at, None
            if command.message.points:
                trajectory = convert.trajectory_from_message(command.message, SPEC.joint_names)
                at = min(at, trajectory.stamp + trajectory.times[0])
            sent.append(SentCommand(max(at, sent[-1].at) if sent else at, trajectory))
        return executed(sent, SPEC.home, SPEC, begin, end)

    def check_limits(self) -> None:
        """Fail if the commands since the last check lead outside the limits, or faster than they allow."""
        begin, self._checked = self._checked, self.time()
        check_within_limits(self.sent_motion(begin, self._checked))

    def check_limits_of_each(self) -> None:
        """Fail if one of the commands since the last check, taken alone from its first knot on, leads outside limits.

        For a gateway that cannot know what the arm does at a time, as its clock is wrong.
        """
        begin, self._checked = self._checked, self.time()
        for command in self.commands:
            if begin <= command.at < self._checked:
                trajectory = convert.trajectory_from_message(command.message, SPEC.joint_names)
                first, last = trajectory.stamp + trajectory.times[[0, -1]]
                first += PAST  # a controller that gets it now is on the way from the first knot to the second
                alone = [SentCommand(first, trajectory)]
                check_within_limits(executed(alone, SPEC.home, SPEC, first, last + JOINT_PERIOD_S))

    def ramp(self, knots: int = 8) -> JointTrajectory:
        """Turn the base joint towards its home or past it, in knots of 0.1 s."""
        start = self.trace[-1].positions
        speed = -SPEED if start[0] > 0 else SPEED
        times = 0.1 * np.arange(1, knots + 1)
        positions = np.tile(start, (len(times), 1))
        positions[:, 0] += speed * times
        velocities = np.zeros_like(positions)
        velocities[:-1, 0] = speed
        return JointTrajectory(self.time(), times, positions, velocities)

    def wait_for_motion(self) -> None:
        """Wait until the base joint moves; slowly, where its gateway had to catch up with a plan that came late."""
        self.wait_for(lambda: abs(self.trace[-1].velocities[0]) > SPEED / 10, "motion")

    def wait_for_rest(self) -> None:
        """Wait until no joint moves."""
        self.wait_for(self.rests, "rest")

    def rests(self) -> bool:
        """Whether no joint moves."""
        return np.abs(self.trace[-1].velocities).max() < AT_REST

    def wait_for_hold(self) -> None:
        """Wait until the gateway holds the arm: commands are late (a fault), or the last motion ended before that."""
        gateway = "arm_gateway_node: gateway"
        self.wait_for(lambda: self.health(gateway) is not None and "HOLDING" in self.health(gateway)[1], "a hold")

    def wait_for_answers(self, count: int = 1) -> None:
        """Wait for `count` more answers of the policy."""
        target = len(self.planned) + count
        self.wait_for(lambda: len(self.planned) >= target, f"{count} answers of the policy")

    def instruct(self, text: str) -> None:
        """Publish an instruction."""
        self._instruction.publish(String(data=text))

    def estop(self, pressed: bool) -> None:
        """Press or release the emergency stop."""
        self._estop.publish(Bool(data=pressed))

    def plan(self, trajectory: JointTrajectory | JointTrajectoryMessage) -> None:
        """Publish as a policy would."""
        if isinstance(trajectory, JointTrajectory):
            trajectory = convert.message_from_trajectory(trajectory, SPEC.joint_names)
        self._plan.publish(trajectory)

    def report_joints(self, stamp: float) -> None:
        """Publish the joint state of home at rest, with a stamp of its own."""
        message = convert.joint_state_from_arrays(SPEC.home, np.zeros_like(SPEC.home), SPEC.joint_names, stamp)
        self._joints.publish(message)

    def call(self, kind: type, service: str, request: object = None) -> object:
        """Call a service and return its answer."""
        client = self.node.create_client(kind, service)
        self.wait_for(client.service_is_ready, f"service {service}")
        # A server that has not found this client yet answers into nothing: the request is then sent again.
        futures = [client.call_async(request if request is not None else kind.Request())]

        def answered() -> bool:
            if time.monotonic() > begun + ASK_AGAIN_S * len(futures):
                futures.append(client.call_async(request if request is not None else kind.Request()))
            return any(future.done() for future in futures)

        begun = time.monotonic()
        self.wait_for(answered, f"an answer of {service}", limit_s=PATIENCE_S)
        self.destroy(client)
        return next(future for future in futures if future.done()).result()

    def destroy(self, endpoint: Client | Publisher) -> None:
        """End a client or publisher in the thread that spins, which may be waiting on it."""
        end = self.node.destroy_client if isinstance(endpoint, Client) else self.node.destroy_publisher
        self.wait_for(self._executor.create_task(end, endpoint).done, f"the end of {endpoint}")

    def reset_gateway(self) -> Trigger.Response:
        """Call the gateway's reset."""
        return self.call(Trigger, "arm_gateway_node/reset")

    def activate_policy(self) -> None:
        """Configure and activate the policy, and give it an instruction."""
        assert self.change_state("policy_node", Transition.TRANSITION_CONFIGURE)
        assert self.change_state("policy_node", Transition.TRANSITION_ACTIVATE)
        self.instruct("turn to and fro")

    def change_state(self, node: str, transition: int) -> bool:
        """Lead a lifecycle node through a transition; returns whether it went."""
        request = ChangeState.Request()
        request.transition.id = transition
        return self.call(ChangeState, f"{node}/change_state", request).success

    def state_of(self, node: str) -> str:
        """Life-cycle state of a node."""
        return self.call(GetState, f"{node}/get_state").current_state.label

    def wait_until_heard(self, listeners: int = 1) -> None:
        """Wait until a gateway, and whoever else is counted, listens to plans and joints, and the gateway is heard."""
        self.wait_for(
            lambda: (
                self._plan.get_subscription_count() >= listeners
                and self._joints.get_subscription_count() >= listeners
                and self.node.count_publishers("arm_controller/joint_trajectory") > 0
            ),
            "a gateway",
        )

    def __enter__(self) -> FakeRobot:
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread, then node and context."""
        self._closing = True
        self._thread.join(PATIENCE_S)
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def _make_topics(self) -> None:
        node, steady = self.node, Clock(clock_type=ClockType.STEADY_TIME)
        self._clock = node.create_publisher(ClockMessage, "/clock", 10)
        self._joints = node.create_publisher(JointState, "joint_states", JOINT_STATE_OUT)
        self._instruction = node.create_publisher(String, "instruction", LATCHED)
        self._estop = node.create_publisher(Bool, "estop", LATCHED)
        self._plan = node.create_publisher(JointTrajectoryMessage, "planned_trajectory", COMMAND)
        self._images = {
            camera: (
                node.create_publisher(Image, f"camera/{camera}/color/image_raw", sensor("realtime")),
                node.create_publisher(Image, f"camera/{camera}/aligned_depth_to_color/image_raw", sensor("realtime")),
                node.create_publisher(CameraInfo, f"camera/{camera}/color/camera_info", sensor("realtime")),
            )
            for camera in self._cameras
        }
        self._mounts = []
        for camera in self._cameras:
            publisher = node.create_publisher(TransformStamped, f"camera/{camera}/extrinsics", LATCHED)
            publisher.publish(convert.transform_from_mount(MOUNT, 0.0, f"{camera}_optical_frame"))
            self._mounts.append(publisher)
        node.create_subscription(JointTrajectoryMessage, "arm_controller/joint_trajectory", self._on_command, COMMAND)
        node.create_subscription(
            JointTrajectoryMessage,
            "planned_trajectory",
            lambda message, info: self.planned.append(self._received(message, info)),
            COMMAND,
        )
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, STATUS)
        node.create_timer(JOINT_PERIOD_S, self._tick, clock=steady)
        if self._cameras:
            node.create_timer(self._camera_period_s, self._take_pictures, clock=steady)

    def _spin(self) -> None:
        while not self._closing:
            self._executor.spin_once(timeout_sec=0.05)

    def _tick(self) -> None:
        now = self.time()
        positions, velocities = self._arm.sample(now)
        self.trace.append(Sample(now, positions, velocities))
        if self._tells_time and self.faults.clock_topic:
            self._clock.publish(ClockMessage(clock=convert.to_time(now)))
        told = [name for name in self.faults.joint_names if name not in self.faults.silent_joints]
        for part in np.array_split(np.array(told), self.faults.joint_parts) if self.faults.joints else ():
            order = [SPEC.joint_names.index(name) for name in part]
            message = convert.joint_state_from_arrays(
                self.faults.joint_scale * positions[order], velocities[order], part.tolist(), now
            )
            if not self.faults.joint_velocities:
                message.velocity = []
            self._joints.publish(message)

    def _take_pictures(self) -> None:
        if not self.faults.camera:
            return
        stamp = self.time() + self.faults.camera_offset
        self.image_stamps.append(stamp)
        for camera, (color, depth, info) in self._images.items():
            if camera in self.faults.lost_cameras:
                continue
            frame = f"{camera}_optical_frame"
            # Never twice the same: a camera that freezes while the arm moves is a fault of its own.
            brightness = len(self.image_stamps) % 256
            image = convert.image_from_rgb(np.full((*SIZE, 3), brightness, np.uint8), stamp, frame)
            image.encoding = self.faults.encoding
            color.publish(image)
            metres = np.full(SIZE, self.faults.depth_scale, np.float32)
            depth.publish(convert.image_from_depth(metres, stamp, frame))
            info.publish(convert.camera_info_from_intrinsics(INTRINSICS, SIZE, stamp, frame))

    def _on_command(self, message: JointTrajectoryMessage, info: Mapping[str, int]) -> None:
        self.commands.append(self._received(message, info))
        now = self.time()
        try:
            trajectory = convert.trajectory_from_message(message, SPEC.joint_names) if message.points else None
            self._arm.accept(trajectory, now)
        except ValueError as error:
            self.refused.append(str(error))

    def _received(self, message: JointTrajectoryMessage, info: Mapping[str, int]) -> Command:
        sent = info["source_timestamp"] * 1e-9
        return Command(sent, self._frozen or sent - self._lag, message)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.diagnostics[status.name] = (status.level[0], status.message, values)


def check_within_limits(trace: MotionTrace) -> None:
    """Fail if a motion is outside the limits of position, velocity, acceleration or jerk."""
    use = limit_use(trace, SPEC)
    assert use.position <= 1e-6, f"the commands lead {use.position:.4f} rad (m) outside the limits"
    for what in ("velocity", "acceleration", "jerk"):
        share = getattr(use, what)
        assert share <= 1 + ROUNDING, f"the commands take {share:.3f} of the {what} limit"


def gateway_process(robot: FakeRobot, *parameters: str, ends: int = 0) -> AbstractContextManager[subprocess.Popen]:
    """Run an arm gateway for a robot."""
    # Joint states come from this process, which a busy machine may starve for a while.
    patient = ("gateway.state_timeout_s:=2.0", "gateway.state_max_age_s:=2.0")
    limits = (f"gateway.command_timeout_s:={COMMAND_TIMEOUT_S}", *patient)
    return node_process("arm_gateway_node", robot.namespace, *limits, *parameters, ends=ends)


def policy_process(
    robot: FakeRobot, policy: str, *parameters: str, ends: int = 0
) -> AbstractContextManager[subprocess.Popen]:
    """Run a policy node for a robot with a policy of `faulty_policies.py`."""
    script = str(Path(__file__).with_name("faulty_policies.py"))
    chosen = (f"policy.checkpoint:={policy}", "mode:=realtime")
    return node_process(script, robot.namespace, *chosen, *parameters, ends=ends)

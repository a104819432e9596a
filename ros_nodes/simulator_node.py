"""`simulator_node`: stands for the cameras, the arm and its controllers.

Publishes what cameras and encoders publish and takes `trajectory_msgs/JointTrajectory` as ros2_control's
JointTrajectoryController does, on the topics of the robot's description; its joints move together, once each controller
has got its part. In `lockstep` simulated time waits for the answer to each observation; in `realtime` it follows the
wall clock, the parameters `imperfections.*` disturb sensors and commands, `~/joint_states` tells what the arm truly
does, and `~/executed` what its controllers followed: a message from each command to the next, a point for each step of
physics. An episode is chosen by the parameters `episode.*` and begun by the service `~/reset`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.controller_trajectories import ControllerTrajectories
from policies.execution.trajectory import JointTrajectory
from policies.robots import get_drivers
from ros_nodes.controllers import executed_message, joint_state_message
from ros_nodes.delay_line import DelayLine
from ros_nodes.diagnostics import Diagnostics, Health, Level
from ros_nodes.imperfect_sensors import ImperfectSensors
from ros_nodes.imperfections import Imperfections
from ros_nodes.lockstep_drive import LockstepDrive
from ros_nodes.node_process import run_node
from ros_nodes.params import declare, follow
from ros_nodes.qos import COMMAND, JOINT_STATE_OUT, LATCHED, STATUS, Mode
from ros_nodes.realtime_drive import RealtimeDrive
from ros_nodes.sensor_topics import SensorTopics
from ros_nodes.simulator_status import SimulatorStatus
from sim.episode_id import EpisodeId
from sim.perturbation import Perturbation
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.suites import SEVERITIES
from sim.tasks import tasks_for
from sim.videos import Film, film_of

POLL_S = 0.01
FIRST_EPISODE = EpisodeId(task="reach", suite="nominal", severity=1, index=0, seed=0)


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """What is simulated, and how simulated time passes.

    Attributes:
        robot: name of the robot, or its YAML file; cameras and control rate follow from it where `simulation` does not
            say otherwise.
        mode: lockstep (time waits for the policy) or realtime (wall clock).
        query_steps: lockstep: control steps from one observation to the next.
        partner_limit_s: lockstep: longest wait for subscribers after a reset, seconds of wall clock.
        answer_limit_s: lockstep: longest wait for the answer to an observation, seconds of wall clock.
        camera_rate_hz: realtime: pictures per second of each camera.
        joint_rate_hz: realtime: joint states per second.
        autostart: begin the first episode without being asked, as hardware is simply there.
    """

    robot: str = "panda"
    mode: Mode = "lockstep"
    query_steps: int = field(default=1, metadata={"range": (1, 1000)})
    partner_limit_s: float = field(default=20.0, metadata={"range": (0.1, 3600.0)})
    answer_limit_s: float = field(default=60.0, metadata={"range": (0.1, 3600.0)})
    camera_rate_hz: float = field(default=30.0, metadata={"range": (0.1, 1000.0)})
    joint_rate_hz: float = field(default=100.0, metadata={"range": (1.0, 500.0)})
    autostart: bool = False


@dataclass(frozen=True, slots=True)
class EpisodeParameters:
    """The episode that the next reset begins.

    Attributes:
        task: name of the task.
        suite: name of the variation suite.
        severity: grade of the variation.
        index: number of the episode within task, suite and severity.
        seed: seed of the whole run.
        cameras: cameras that take pictures, of those that the simulation has.
        looks_back: lockstep: also publish the colour pictures of one control step before each observation, for policies
            that look at them (`policies.interface.looks_back`).
        film: lockstep: MP4 file that the episode is filmed into; empty for none.
    """

    task: str = FIRST_EPISODE.task
    suite: str = FIRST_EPISODE.suite
    severity: int = field(default=FIRST_EPISODE.severity, metadata={"range": (SEVERITIES[0], SEVERITIES[-1])})
    index: int = field(default=FIRST_EPISODE.index, metadata={"range": (0, 2**31)})
    seed: int = field(default=FIRST_EPISODE.seed, metadata={"range": (0, 2**31)})
    cameras: tuple[str, ...] = SimulationConfig().cameras
    looks_back: bool = False
    film: str = ""


class SimulatorNode(Node):
    """Wiring between the topics of an arm and a `TabletopSimulation`."""

    def __init__(self) -> None:
        super().__init__("simulator_node")
        config = declare(self, SimulatorConfig)
        defaults = asdict(SimulationConfig.of(config.robot))
        self._simulation = TabletopSimulation(declare(self, SimulationConfig, "simulation", defaults))
        robot = self._simulation.robot
        first = {"task": tasks_for(robot)[0], "cameras": self._simulation.config.cameras}
        declare(self, EpisodeParameters, "episode", first, read_only=False)
        drivers = get_drivers(config.robot)
        self._drivers = drivers
        topics = SensorTopics(self, drivers, self._simulation.config.cameras, config.mode)
        self._line = DelayLine(self._delivery_failed)
        self._command_latency_s = 0.0
        self._status = self.create_publisher(String, "~/status", LATCHED)
        self._drive = self._make_drive(config, topics)
        self._told: SimulatorStatus | None = None
        self._film: Film | None = None
        self._film_path: Path | None = None
        self._accepted, self._refused, self._last_refusal = 0, 0, ""
        self._diagnostics = Diagnostics(
            self, self._simulation.robot.name, {"simulation": self._simulation_health, "controller": self._arm_health}
        )
        self._reset = self.create_service(Trigger, "~/reset", self._on_reset)
        self._trajectories = ControllerTrajectories(drivers)
        self._commands = [
            self.create_subscription(
                JointTrajectoryMessage, controller.topic, partial(self._on_trajectory, place), COMMAND
            )
            for place, controller in enumerate(drivers.controllers)
        ]
        if config.autostart:
            self._begin_chosen()
        self._publish_status()
        self.get_logger().info(f"simulating {self._simulation.robot.name} in {config.mode}")

    def _make_drive(self, config: SimulatorConfig, topics: SensorTopics) -> LockstepDrive | RealtimeDrive:
        perturbation = declare(self, Perturbation, "perturbation")
        if config.mode == "realtime":
            return RealtimeDrive(
                self._simulation,
                self._imperfect(topics),
                config.camera_rate_hz,
                config.joint_rate_hz,
                lambda: self.get_clock().now().nanoseconds / 1e9,
                self._publish_status,
                self._executed_teller(),
                perturbation,
            )
        drive = LockstepDrive(
            self._simulation,
            topics,
            config.query_steps,
            config.partner_limit_s,
            config.answer_limit_s,
            time.monotonic,
            perturbation,
        )
        # Steady: simulated time stands still while the drive waits.
        self._poller = self.create_timer(POLL_S, self._poll, clock=Clock(clock_type=ClockType.STEADY_TIME))
        return drive

    def _executed_teller(self) -> Callable[[JointTrajectory], None]:
        publisher = self.create_publisher(JointTrajectoryMessage, "~/executed", STATUS)

        def tell(executed: JointTrajectory) -> None:
            if publisher.get_subscription_count():
                publisher.publish(executed_message(executed, self._drivers))

        return tell

    def _imperfect(self, topics: SensorTopics) -> ImperfectSensors:
        true_joints = self.create_publisher(JointState, "~/joint_states", JOINT_STATE_OUT)

        def tell_truth(positions: NDArray[np.float64], velocities: NDArray[np.float64], time: float) -> None:
            if true_joints.get_subscription_count():
                true_joints.publish(joint_state_message(positions, velocities, self._drivers, time))

        def check(imperfections: Imperfections) -> None:
            imperfections.check_cameras(self._simulation.config.cameras)

        def disturb(imperfections: Imperfections) -> None:
            sensors.set(imperfections)
            self._command_latency_s = imperfections.command_latency_s
            self.get_logger().info(f"{imperfections}")

        imperfections = declare(self, Imperfections, "imperfections", read_only=False)
        check(imperfections)
        follow(self, imperfections, "imperfections", disturb, check)
        sensors = ImperfectSensors(topics, self._line, tell_truth, imperfections)
        self._command_latency_s = imperfections.command_latency_s
        return sensors

    def _delivery_failed(self, error: Exception) -> None:
        self.get_logger().error(f"a delayed message was not delivered: {error!r}", throttle_duration_sec=1.0)

    def stop(self) -> None:
        """End the threads and free the renderer."""
        if isinstance(self._drive, RealtimeDrive):
            self._drive.stop()
        self._line.stop()
        self._simulation.close()

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self._begin_chosen()
        except (ValueError, TypeError) as error:
            response.success, response.message = False, str(error)
            return response
        status = self._drive.status()
        self._told = None
        self._publish_status()
        self.get_logger().info(f"episode {status.episode}: {status.instruction!r}")
        response.success, response.message = True, status.to_json()
        return response

    def _begin_chosen(self) -> None:
        chosen = {name: self.get_parameter(f"episode.{name}").value for name in EpisodeParameters.__slots__}
        cameras, looks_back = self._known_cameras(chosen.pop("cameras")), chosen.pop("looks_back")
        self._begin(cameras, looks_back, Path(chosen.pop("film")), EpisodeId(**chosen))

    def _begin(self, cameras: Sequence[str], looks_back: bool, film_path: Path, episode: EpisodeId) -> None:
        if isinstance(self._drive, RealtimeDrive):
            self._drive.begin(episode, cameras)
            return
        self._film_path = film_path if film_path.name else None
        if self._film_path is not None and self._film is None:
            self._film = film_of(self._simulation)
        self._drive.begin(episode, cameras, self._film if self._film_path is not None else None, looks_back)

    def _known_cameras(self, cameras: Sequence[str]) -> Sequence[str]:
        known = self._simulation.config.cameras
        if not set(cameras) <= set(known):
            raise ValueError(f"episode.cameras: expected some of {list(known)}, found {list(cameras)}")
        return cameras

    def _on_trajectory(self, controller: int, message: JointTrajectoryMessage) -> None:
        self._line.send("commands", self._command_latency_s, partial(self._execute, controller, message))

    def _execute(self, controller: int, message: JointTrajectoryMessage) -> None:
        if self._drive.status().episode is None:
            return  # the arm has no position before the first episode
        if not message.points:
            self._drive.cancel()
            return
        try:
            trajectory = self._trajectories.take(controller, message)
            if trajectory is None:
                return
            reason = self._drive.take(trajectory)
        except ValueError as error:
            reason = str(error)
            if isinstance(self._drive, LockstepDrive):
                self._drive.refuse(reason)
        if reason:
            self._refused += 1
            self._last_refusal = reason
            self.get_logger().warning(f"trajectory not executed: {reason}", throttle_duration_sec=1.0)
        else:
            self._accepted += 1
        self._publish_status()

    def _poll(self) -> None:
        if isinstance(self._drive, LockstepDrive) and self._drive.poll():
            self._publish_status()

    def _publish_status(self) -> None:
        status = self._drive.status()
        # What is over is told once: with all its joint targets it takes long to write.
        if status == self._told:
            return
        self._told = status
        if status.done and self._film is not None and self._film_path is not None:
            # Before the status tells that the episode is over: who hears that may read the film.
            self._film_path.write_bytes(self._film.encode())
            self._film_path = None
        if status.error:
            self.get_logger().error(status.error, throttle_duration_sec=5.0)
        self._status.publish(String(data=status.to_json()))

    def _simulation_health(self) -> Health:
        status = self._drive.status()
        if status.error:
            return Health(Level.ERROR, status.error, self._simulation_values)
        return Health(Level.OK, "done" if status.done else "running", self._simulation_values)

    def _simulation_values(self) -> Mapping[str, object]:
        status = self._drive.status()
        values: dict[str, object] = {"episode": str(status.episode), "steps": status.steps}
        if isinstance(self._drive, RealtimeDrive):
            values |= self._drive.rates() | {"skipped_s": self._drive.skipped_s, "dropped": self._line.dropped}
        return values

    def _arm_health(self) -> Health:
        if self._last_refusal:
            return Health(Level.WARN, f"last trajectory not executed: {self._last_refusal}", self._arm_values)
        return Health(Level.OK, "ok", self._arm_values)

    def _arm_values(self) -> Mapping[str, object]:
        return {"accepted": self._accepted, "refused": self._refused}


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(SimulatorNode, args)


if __name__ == "__main__":
    sys.exit(main())

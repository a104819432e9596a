"""`policy_node`: answers observations of cameras and joints by joint trajectories on `planned_trajectory`.

In lockstep every observation is answered, and time is its stamp; in realtime the newest one is, as often as the policy
is to be asked: cameras are often faster, and answers to every picture would only load the machine. The node commands
nothing itself: `arm_gateway_node` checks each trajectory, and holds the arm when none comes.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage
from visualization_msgs.msg import MarkerArray

from policies.execution.cadence import Cadence, QueryConfig
from policies.execution.camera_pose import CameraConfig
from policies.execution.chunk_confidence import confidence_figures
from policies.execution.frozen_cameras import FrozenCameras
from policies.execution.joint_log import JointLog
from policies.execution.kinematics import Kinematics
from policies.execution.observation_sync import SyncConfig
from policies.execution.plausibility import depth_mismatch, joints_mismatch, policy_mismatch
from policies.execution.policy_runner import PlannedMotion, PolicyRunner, RunnerConfig
from policies.interface import Observation, load_policy, looks_back, may_lack_cameras, query_steps
from policies.loading import policy_sha256
from policies.robots import get_drivers, get_robot
from ros_nodes.convert import message_from_trajectory
from ros_nodes.diagnostics import Health, Latencies, Level, figures_message
from ros_nodes.lifecycle_node import LoadingLifecycleNode
from ros_nodes.node_process import run_node
from ros_nodes.observation_topics import DEPTH_STRIDE, ObservationTopics
from ros_nodes.params import declare
from ros_nodes.path_markers import path_markers
from ros_nodes.qos import COMMAND, STATUS, Mode
from ros_nodes.warm_up import warm_up


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What the node is for.

    Attributes:
        robot: name, or YAML file, of the robot whose policy this is.
        mode: lockstep (every observation is answered; time is its stamp) or realtime (the newest one is, every
            `execution.query_steps` steps of the policy's `control_hz`).
        autostart: configure and activate without being asked.
        discovery_limit_s: how long to wait, when activated, for publishers of joints and cameras and for the gateway.
    """

    robot: str = "panda"
    mode: Mode = "lockstep"
    autostart: bool = False
    discovery_limit_s: float = field(default=10.0, metadata={"range": (0.0, 600.0)})


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """Which policy, and where it runs.

    Attributes:
        checkpoint: directory, name of a shipped policy, or hub id.
        device: torch device, such as cpu or cuda.
        compile: compile the steps of a SpatialVLA or RDT policy while it is loaded: for large ones on a GPU.
        threads: threads of torch on the CPU. More than one speeds up large models only, and while they wait for each
            other they keep the processor from the other nodes.
        load_limit_s: longest time to load and warm up.
    """

    checkpoint: str = "spatialvla_small"
    device: str = "cpu"
    compile: bool = False
    threads: int = field(default=1, metadata={"range": (1, 256)})
    load_limit_s: float = field(default=300.0, metadata={"range": (1.0, 86400.0)})


@dataclass(frozen=True, slots=True)
class EpisodeParameters:
    """What may change from episode to episode.

    Attributes:
        seed: seed of the policy's own random draws, at the start of each episode.
    """

    seed: int = field(default=0, metadata={"range": (0, 2**32 - 1)})


@dataclass(frozen=True, slots=True)
class Answer:
    """A planned motion, and the part of the run (`generation`) that it belongs to; None for one that was discarded."""

    generation: int
    motion: PlannedMotion | None
    received_at: float
    begun_at: float


class PolicyNode(LoadingLifecycleNode):
    """Parameters, topics and the worker around a `PolicyRunner`."""

    def __init__(self) -> None:
        super().__init__("policy_node")
        self._config = declare(self, NodeConfig)
        self._policy_config = declare(self, PolicyConfig, "policy")
        declare(self, EpisodeParameters, "episode", read_only=False)
        self._runner_config = declare(self, RunnerConfig, "execution")
        self._query_config = declare(self, QueryConfig, "execution")
        defaults = {"max_skew_s": 0.0} if self._config.mode == "lockstep" else {}
        self._sync_config = declare(self, SyncConfig, "sync", defaults=defaults)
        self._spec = get_robot(self._config.robot)
        self._calibrations: dict[str, CameraConfig] = {}
        self._topics: ObservationTopics | None = None
        self._runner: PolicyRunner | None = None
        self._sha256: str | None = None
        self._generation = 0
        self._runner_generation = 0
        self._counts = {"answered": 0, "replaced": 0, "outdated": 0, "too_late": 0, "discarded": 0}
        self._last_was_late = False
        self._cadence = Cadence()
        self._frozen = FrozenCameras(self._spec)
        self._kinematics = Kinematics(self._spec)
        self._inference, self._node_latency, self._stamp_latency = Latencies(), Latencies(), Latencies()
        self._timing = self.create_publisher(DiagnosticArray, "~/timing", STATUS)
        self._out = self.create_lifecycle_publisher(JointTrajectoryMessage, "planned_trajectory", COMMAND)
        self._markers = self.create_publisher(MarkerArray, "~/predicted_path", STATUS)
        self.start(self._spec.name, self._policy_config.load_limit_s, self._config.autostart)

    def load(self) -> tuple[PolicyRunner, str | None]:
        """Load the policy, refuse one that does not fit the robot, and warm it up."""
        name = self._policy_config.checkpoint
        torch.set_num_threads(self._policy_config.threads)  # of this thread, the worker's
        policy = load_policy(name, self._policy_config.device, self._config.robot, self._policy_config.compile)
        mismatch = policy_mismatch(policy, name, self._spec)
        if mismatch:
            raise ValueError(mismatch)
        runner = PolicyRunner(policy, self._spec, self._runner_config)
        warm_up(runner, policy.cameras, self._spec)
        return runner, policy_sha256(name)

    def loaded(self, result: tuple[PolicyRunner, str | None]) -> None:
        """Declare the calibrations of the policy's cameras, and subscribe to what it sees."""
        self._runner, self._sha256 = result
        policy = self._runner.policy
        if self._config.mode == "realtime":
            steps = self._query_config.query_steps or query_steps(policy)
            self._cadence = Cadence(policy.control_hz, steps, self._query_config.queue_share)
        # Which cameras there are is known only now; a parameter is declared once.
        for camera in policy.cameras:
            if camera not in self._calibrations:
                self._calibrations[camera] = declare(self, CameraConfig, f"camera.{camera}")
        self._topics = ObservationTopics(
            self,
            self._spec,
            get_drivers(self._config.robot),
            policy.cameras,
            self._config.mode,
            self._sync_config,
            self._on_input,
            self._restart,
            {camera: self._calibrations[camera] for camera in policy.cameras},
            # In lockstep every camera sends a picture for every observation, however long that takes.
            self._config.mode == "realtime" and may_lack_cameras(policy),
            1.0 / policy.control_hz if looks_back(policy) else 0.0,
        )

    def unloaded(self) -> None:
        """End the subscriptions and free the weights."""
        if self._topics is not None:
            self._topics.destroy()
        self._topics = self._runner = None

    def refusal(self) -> str:
        """Name the topics that nobody publishes, the one that nobody would hear, or what came with wrong units.

        Messages that have not come yet are not waited for: the first observation is held against the same rules.
        """
        disconnected = self.wait_for_connections(self._config.discovery_limit_s, self._disconnected)
        return disconnected or self._topics.implausible(self._spec)

    def _disconnected(self) -> str:
        if missing := self._topics.without_publisher():
            return f"publishers, found none of {missing}"
        if not self._out.get_subscription_count():
            return f"a subscriber of {self._out.topic_name}, the arm gateway, found none"
        return ""

    def activated(self) -> None:
        """Forget what came before."""
        self._topics.clear()
        self._frozen.clear()
        self._last_was_late = False
        self._restart("activated")

    def work_done(self, value: Answer) -> None:
        """Publish the motion, unless the world has moved on or there is none."""
        if not self.active or value.generation != self._generation:
            self._counts["outdated"] += 1
            return
        motion = value.motion
        if motion is None:
            self._counts["discarded"] += 1
            self._cadence.unanswered()
            return
        end = motion.trajectory.end if self._waits else motion.chunk.end
        self._cadence.planned(motion.trajectory.stamp, end)
        self._last_was_late = self._config.mode == "realtime" and end <= self._ros_s()
        self._counts["too_late"] += self._last_was_late
        self._out.publish(message_from_trajectory(motion.trajectory, self._spec.joint_names))
        self._counts["answered"] += 1
        if self._markers.get_subscription_count():
            self._markers.publish(self._path(motion))
        self._inference.add(motion.inference_s)
        self._node_latency.add(self._steady_s() - value.received_at)
        self._stamp_latency.add(self._ros_s() - motion.chunk.stamp)
        self._timing.publish(
            figures_message(
                motion.chunk.stamp,
                "policy_node: answer",
                {
                    "inference_s": motion.inference_s,
                    "waiting_s": value.begun_at - value.received_at,
                    **confidence_figures(motion.chunk),
                },
            )
        )

    def _path(self, motion: PlannedMotion) -> MarkerArray:
        rows = motion.joint_chunk.rows
        finite = np.isfinite(rows).all(axis=1)
        confidence = None if motion.chunk.confidence is None else motion.chunk.confidence[finite]
        paths = self._kinematics.tool_paths(rows[finite])
        return path_markers(paths, confidence, self._spec.base_frame, motion.chunk.stamp)

    def concerns(self) -> Mapping[str, Callable[[], Health]]:
        """Inputs and policy."""
        return {"inputs": self._inputs_health, "policy": self._policy_health}

    def _on_input(self) -> None:
        if not self.active:
            return
        observation = self._topics.take(lambda stamp: self._cadence.due(stamp) or self.worker.has_waiting)
        if observation is not None:
            implausible = self._implausible(observation)
            if implausible:
                self.fail(implausible)
                return
            self._cadence.use(observation.stamp)
            work = partial(self._answer, observation, self._topics.joint_log, self._generation, self._steady_s())
            self._counts["replaced"] += self.worker.submit(work)

    def _implausible(self, observation: Observation) -> str:
        """What an observation cannot be true with, in words; empty if nothing is."""
        views = observation.cameras.items()
        depths = (depth_mismatch(name, view.depth[::DEPTH_STRIDE, ::DEPTH_STRIDE]) for name, view in views)
        found = [joints_mismatch(observation.joint_positions, self._spec), *depths]
        if self._config.mode == "realtime":  # in lockstep an evaluation may show the same picture on purpose
            found.append(self._frozen.look(observation))
        return "; ".join(filter(None, found))

    def _answer(self, observation: Observation, log: JointLog, generation: int, received_at: float) -> Answer:
        """Run in the worker, the only thread that touches the runner."""
        if generation != self._runner_generation:
            self._runner.reset(self.get_parameter("episode.seed").value)
            self._runner_generation = generation
        begun_at = self._steady_s()
        # Taken here: an observation that is never answered takes no readings away.
        observation = replace(observation, readings=log.take(observation.stamp))
        if self._config.mode == "realtime" and not self._waits:
            return Answer(generation, self._runner.step(observation, self._ros_s()), received_at, begun_at)
        motion = self._runner.step(observation)
        if self._waits:
            motion = replace(motion, trajectory=replace(motion.trajectory, stamp=self._ros_s()))
        return Answer(generation, motion, received_at, begun_at)

    @property
    def _waits(self) -> bool:
        """Whether a chunk begins when it is there, and not at its observation."""
        return self._config.mode == "realtime" and self._query_config.waits

    def _restart(self, reason: str) -> None:
        self._generation += 1
        self._cadence.reset()
        self.get_logger().info(f"policy restarts: {reason}")

    def _inputs_health(self) -> Health:
        if self._topics is None:
            return Health(Level.OK, "not listening before the node is configured")
        if not self.active:
            return Health(Level.OK, "not used before the node is active", self._topics.values)
        return self._topics.health()

    def _policy_health(self) -> Health:
        if self._last_was_late:
            late = "answers come after all their rows are past: take a faster device"
            return Health(Level.ERROR, late, self._policy_values)
        return Health(Level.OK, "loaded" if self._runner is not None else "not loaded", self._policy_values)

    def _policy_values(self) -> Mapping[str, object]:
        return {
            "checkpoint": self._policy_config.checkpoint,
            "cameras": ",".join(self._runner.policy.cameras) if self._runner is not None else "",
            "looks back": self._runner is not None and looks_back(self._runner.policy),
            "checkpoint sha256": self._sha256 or "none",
            "device": self._policy_config.device,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            **self._counts,
            **self._inference.values("inference"),
            **self._node_latency.values("input_to_publish"),
            **self._stamp_latency.values("stamp_to_publish"),
        }

    def _ros_s(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    def _steady_s(self) -> float:
        return self.steady_clock.now().nanoseconds * 1e-9


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(PolicyNode, args)


if __name__ == "__main__":
    sys.exit(main())

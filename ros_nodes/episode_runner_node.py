"""`episode_runner_node`: conducts an evaluation over the ROS graph and writes its results.

It configures and activates the policy, begins one episode after the other, listens until each is over, and ends with
exit code 0, or with 1 and the cause when a node reports an error or anything takes longer than its limit.

In realtime the scene is laid out anew while the policy is inactive: the arm is then in another place at once, which
neither policy nor gateway may take for a motion. The time of an episode runs from there, so it includes the activation.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String

from policies.execution.chunk_scheduler import SchedulerMode
from policies.execution.gateway_states import GatewayState
from policies.robots import get_robot
from ros_nodes.convert import seconds
from ros_nodes.diagnostics import Level, figures_by_name
from ros_nodes.graph_client import GraphClient, GraphError, StopRequestedError
from ros_nodes.params import declare
from ros_nodes.qos import LATCHED, STATUS, Mode
from ros_nodes.simulator_status import SimulatorStatus
from ros_nodes.stop_signals import stop_on_signals
from ros_nodes.transport import use_shared_memory_profile
from sim.episode import EpisodeResult
from sim.episode_id import EpisodeId
from sim.episode_worker import execution_settings
from sim.evaluate import Arguments, describe_policy, format_table
from sim.summary import RunDescription, write_results

TIMING_LIMIT_S = 5.0
"""How long the timing of an answer may come after the end of the episode."""

PROTOCOL_PARAMETERS = (
    "query_steps",
    "perturbation.blank_images",
    "perturbation.shuffle_instructions",
    "simulation.robot",
    "simulation.robot_model",
    "simulation.profile",
    "simulation.width",
    "simulation.height",
    "simulation.control_hz",
)
"""Parameters of simulator_node that are fields of the protocol."""


@dataclass(frozen=True, slots=True)
class EvaluationParameters:
    """What is evaluated; the same as the arguments of `sim.evaluate`.

    Attributes:
        policy: random, noop, mean_action, the name of a shipped policy, a directory, or a hub id.
        output: directory for the results; a run that is there is replaced.
        task: tasks, separated by commas, or all.
        suite: variation suites, separated by commas.
        severity: grades of the suites from 1 (mild) to 3 (strong), separated by commas.
        episodes: episodes per task, suite and severity.
        seed: seed of the run.
        query_steps: control steps between two queries of the policy.
        blank_images: the policy sees black images and unknown depth.
        shuffle_instructions: the policy gets the instruction of an episode with another target.
        videos: lockstep: film the first so many episodes of each task, suite and severity.
        joint_targets: store all joint targets in episodes.parquet, not only their hashes.
        scheduler: how overlapping chunks of the policy become one motion.
        device: torch device of the policy.
        robot: name, or YAML file, of the robot.
    """

    policy: str = "spatialvla_small"
    output: str = "runs/eval"
    task: str = "all"
    suite: str = "nominal"
    severity: str = "1"
    episodes: int = field(default=5, metadata={"range": (1, 1_000_000)})
    seed: int = field(default=0, metadata={"range": (0, 2**31)})
    query_steps: int = field(default=1, metadata={"range": (1, 1000)})
    blank_images: bool = False
    shuffle_instructions: bool = False
    videos: int = field(default=1, metadata={"range": (0, 1_000_000)})
    joint_targets: bool = False
    scheduler: SchedulerMode = "receding_horizon"
    device: str = "cpu"
    robot: str = ""

    def arguments(self) -> Arguments:
        """The same as arguments of `sim.evaluate`."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return Arguments(**values | {"output": Path(self.output)})

    def command(self, mode: Mode) -> str:
        """Shell command that repeats the evaluation."""
        words = ["python", "-m", "ros_nodes.evaluate", *(["--mode", mode] if mode != "lockstep" else [])]
        for entry in fields(self):
            value, option = getattr(self, entry.name), "--" + entry.name.replace("_", "-")
            if isinstance(value, bool):
                words += [option] if value else []
            elif value != entry.default or entry.name in ("policy", "output"):
                words += [option, str(value)]
        return shlex.join(words)


@dataclass(frozen=True, slots=True)
class LimitParameters:
    """How long the runner waits, in seconds of wall clock.

    Attributes:
        start_limit_s: for the policy to be loaded and activated.
        service_limit_s: for any other service.
        silence_limit_s: for news of the running episode.
    """

    start_limit_s: float = field(default=360.0, metadata={"range": (0.1, 86400.0)})
    service_limit_s: float = field(default=20.0, metadata={"range": (0.1, 3600.0)})
    silence_limit_s: float = field(default=120.0, metadata={"range": (0.1, 3600.0)})


class EpisodeRunnerNode(GraphClient):
    """Conducts the nodes of an evaluation.

    Args:
        stop_requested: set when the process is to end.
    """

    def __init__(self, stop_requested: threading.Event) -> None:
        super().__init__("episode_runner_node", stop_requested.is_set)
        self._evaluation = declare(self, EvaluationParameters, "evaluation")
        self._limits = declare(self, LimitParameters)
        self._arguments = self._evaluation.arguments()
        self._protocol = self._arguments.protocol()
        self._lockstep = True
        self._rejected = 0
        self._gateway_reports = 0
        self._status = SimulatorStatus()
        self._heard_at = time.monotonic()
        self._inference_s: dict[float, float] = {}
        self._diagnostics: dict[str, dict[str, str]] = {}
        self._fault = ""
        self._subscriptions_kept = [
            self.create_subscription(String, "simulator_node/status", self._on_status, LATCHED),
            self.create_subscription(DiagnosticArray, "policy_node/timing", self._on_timing, 1000),
            self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, STATUS),
        ]

    def run(self) -> None:
        """Run all episodes and write the results.

        Raises:
            GraphError: a node failed or a limit passed; names which.
            StopRequestedError: the process is to end.
        """
        self._change_policy(Transition.TRANSITION_CONFIGURE, "load its policy")
        self._take_over_settings()
        if self._lockstep:
            self._change_policy(Transition.TRANSITION_ACTIVATE, "become active")
            self._rejected = self._reset_gateway()
        episodes, results, began = self._protocol.episode_ids(), [], time.monotonic()
        for number, episode in enumerate(episodes, 1):
            result = self._run_episode(episode, filmed=self._lockstep and episode.index < self._evaluation.videos)
            results.append(result)
            outcome = "success" if result.success else f"progress {result.progress:.2f}"
            left_s = (time.monotonic() - began) / number * (len(episodes) - number)
            self.get_logger().info(
                f"[{number}/{len(episodes)}, {left_s:.0f} s left] {episode}: {outcome} in {result.steps} steps"
            )
        policy = describe_policy(self._evaluation.policy)
        transport = "ros" if self._lockstep else "ros_realtime"
        command = self._evaluation.command("lockstep" if self._lockstep else "realtime")
        run = RunDescription(policy, self._protocol, command, transport)
        summary = write_results(self._arguments.output, results, run, self._evaluation.joint_targets)
        self.get_logger().info("\n" + format_table(summary))

    def _change_policy(self, transition: int, label: str) -> None:
        self.change_state_of("policy_node", transition, label, self._limits.start_limit_s)

    def _take_over_settings(self) -> None:
        """Note in the protocol what the nodes really do, and whether time waits for them."""
        limit = self._limits.service_limit_s
        status = "simulator_node/status"
        self.wait_until(lambda: self.count_publishers(status) > 0, limit, f"a publisher of {status}")
        if self.count_publishers(status) > 1:
            raise GraphError("expected one simulator_node in this ROS domain, found several; set ROS_DOMAIN_ID")
        found = self.parameters_of("simulator_node", ["mode", *PROTOCOL_PARAMETERS], limit)
        self._lockstep = found.pop("mode") == "lockstep"
        protocol = replace(self._protocol, **{name.split(".")[-1]: value for name, value in found.items()})
        for name in ("query_steps", "blank_images", "shuffle_instructions"):
            asked, real = getattr(self._evaluation, name), getattr(protocol, name)
            if asked != real:
                raise GraphError(f"{name}: the evaluation asks for {asked}, simulator_node has {real}")
        settings = execution_settings()
        execution = {
            "scheduler": self._settings_of("policy_node", "execution.scheduler", settings["scheduler"]),
            "safety": self._settings_of("arm_gateway_node", "gateway.limits", settings["safety"]),
        }
        self._protocol = replace(protocol, execution=execution)

    def _settings_of(self, node: str, prefix: str, like: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of a node below a prefix, by the names in `like`."""
        limit = self._limits.service_limit_s
        found = self.parameters_of(node, [f"{prefix}.{name}" for name in like], limit)
        return {name: found[f"{prefix}.{name}"] for name in like}

    def _reset_gateway(self) -> int:
        """Let the gateway forget the episode before; returns how many trajectories it has rejected so far.

        Waits until the gateway is connected to every controller: a command before that would be lost.
        """
        heard = self._gateway_reports
        self.trigger("arm_gateway_node/reset", self._limits.service_limit_s)
        concern = f"{self._node_name('arm_gateway_node')}: gateway"
        self.wait_until(
            lambda: self._gateway_reports > heard and self._is_ready(self._diagnostics[concern]),
            self._limits.service_limit_s,
            f"the diagnostic '{concern}' after its reset",
        )
        return int(self._diagnostics[concern].get("trajectory_rejected", 0))

    def _is_ready(self, gateway: Mapping[str, str]) -> bool:
        # In lockstep no joint state comes between two episodes, in realtime they always come.
        state = GatewayState.WAITING_FOR_STATE if self._lockstep else GatewayState.HOLDING
        return gateway["state"] == state.name and gateway.get("controllers_not_connected", "0") == "0"

    def _run_episode(self, episode: EpisodeId, filmed: bool) -> EpisodeResult:
        began = time.monotonic()
        limit = self._limits.service_limit_s
        self._inference_s.clear()
        self.set_parameters_of("policy_node", {"episode.seed": episode.integer_seed("policy")}, limit)
        with tempfile.TemporaryDirectory() as folder:
            film = Path(folder) / "episode.mp4"
            chosen = asdict(episode) | self._policy_sight() | {"film": str(film) if filmed else ""}
            parameters = {f"episode.{name}": value for name, value in chosen.items()}
            self.set_parameters_of("simulator_node", parameters, limit)
            self._heard_at = time.monotonic()
            self.trigger("simulator_node/reset", limit)
            if not self._lockstep:
                self._rejected = self._reset_gateway()
                self._change_policy(Transition.TRANSITION_ACTIVATE, "become active")
            status = self._wait_for_end(episode)
            wall_s = time.monotonic() - began
            if not self._lockstep:
                self._change_policy(Transition.TRANSITION_DEACTIVATE, "become inactive")
            rejected_before, self._rejected = self._rejected, self._reset_gateway()
            video = film.read_bytes() if filmed else None
        return EpisodeResult(
            id=episode,
            success=status.success,
            progress=status.progress,
            jerk=status.jerk,
            steps=status.steps,
            instruction=status.instruction,
            wall_s=wall_s,
            inference_s=np.array([self._inference_s[stamp] for stamp in sorted(self._inference_s)]),
            joint_targets=np.reshape(status.joint_targets, (-1, len(get_robot(self._protocol.robot).joint_names))),
            rejected=self._rejected - rejected_before,
            video=video,
        )

    def _policy_sight(self) -> dict[str, Any]:
        """Cameras that the policy looks through, and whether it looks back, as its node tells."""
        concern = f"{self._node_name('policy_node')}: policy"
        self.wait_until(
            lambda: self._diagnostics.get(concern, {}).get("cameras") is not None,
            self._limits.service_limit_s,
            f"the diagnostic '{concern}' with the policy's cameras",
        )
        told = self._diagnostics[concern]
        cameras = [name for name in told["cameras"].split(",") if name]
        return {"cameras": cameras, "looks_back": told["looks back"] == str(True)}

    def _wait_for_end(self, episode: EpisodeId) -> SimulatorStatus:
        def over() -> bool:
            return self._status.episode == episode and self._status.over

        while not over():
            heard_at = self._heard_at
            self.wait_until(
                lambda heard_at=heard_at: over() or self._fault or self._heard_at != heard_at,
                self._limits.silence_limit_s,
                f"news of episode {episode} on simulator_node/status",
            )
            if self._fault:
                raise GraphError(f"episode {episode}: {self._fault}")
        if self._status.error:
            raise GraphError(f"episode {episode}: {self._status.error}")
        queries = len(self._status.answer_s)
        self.wait_until(
            lambda: len(self._inference_s) >= queries,
            TIMING_LIMIT_S,
            f"{queries} timings on policy_node/timing for episode {episode}, of which {len(self._inference_s)} came,",
        )
        return self._status

    def _node_name(self, name: str) -> str:
        """Name of a node of this namespace as diagnostics give it."""
        return f"{self.get_namespace()}/{name}".lstrip("/")

    def _on_status(self, message: String) -> None:
        self._status = SimulatorStatus.from_json(message.data)
        self._heard_at = time.monotonic()

    def _on_timing(self, message: DiagnosticArray) -> None:
        self._inference_s[seconds(message.header.stamp)] = figures_by_name(message)["inference_s"]

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._diagnostics[status.name] = {entry.key: entry.value for entry in status.values}
            self._gateway_reports += status.name == f"{self._node_name('arm_gateway_node')}: gateway"
            if status.name == f"{self._node_name('policy_node')}: life cycle":
                failed = status.level[0] == Level.ERROR
                self._fault = f"policy_node: {status.message}" if failed else ""


def main(args: Sequence[str] | None = None) -> int:
    """Run the evaluation.

    Returns:
        Exit code: 0 when it is complete or was interrupted, 1 when a node failed, 2 for wrong parameters.
    """
    use_shared_memory_profile()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    stop_requested = stop_on_signals()
    try:
        runner = EpisodeRunnerNode(stop_requested)
    except (ValueError, OSError) as error:
        get_logger("episode_runner_node").fatal(f"not started: {error}")
        rclpy.try_shutdown()
        return 2
    try:
        runner.run()
    except StopRequestedError:
        runner.get_logger().warning("stopped before the evaluation was complete")
    except (GraphError, ValueError, OSError) as error:
        runner.get_logger().fatal(f"evaluation ended: {error}")
        return 1
    finally:
        runner.end()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())

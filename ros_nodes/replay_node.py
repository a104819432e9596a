"""`replay_node`: sends a recorded episode to the arm gateway, after the arm has been brought to its start.

Publishes on `planned_trajectory`, in the place of `policy_node`, so the gateway judges and holds as it always does.
With `twin` it first begins an episode of `simulator_node`. It ends when the replay does, and tells how far the arm was
from the recording.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rclpy
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.data.recorded_path import recorded_path
from policies.execution.cadence import Cadence
from policies.execution.episode_replay import EpisodeReplay, Phase, ReplayConfig, ReplayError
from policies.execution.joint_states import JointStates
from policies.robots import get_drivers, get_robot
from representation.data.atomic_files import write_json
from representation.data.lerobot_dataset import LeRobotDataset
from ros_nodes.convert import message_from_trajectory
from ros_nodes.graph_client import GraphClient, GraphError, StopRequestedError
from ros_nodes.params import declare
from ros_nodes.qos import COMMAND, LATCHED, Mode, joint_state_in
from ros_nodes.stop_signals import stop_on_signals
from ros_nodes.transport import use_shared_memory_profile


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What is replayed, and on what.

    Attributes:
        robot: name of the robot.
        mode: lockstep (every joint state is answered; time is its stamp) or realtime.
        twin: begin an episode of `simulator_node` first; false on a real arm.
        task: of that episode.
        seed: of that episode.
        dataset: directory of the recording.
        episode: number of the episode in it.
        output: JSON file for the result; empty for none.
        discovery_limit_s: how long to wait for simulator, gateway and the first joint state.
        silence_limit_s: the replay fails when no other joint state comes for so long.
        tolerance_rad: the replay fails when an arm joint is further than this from the recording.
    """

    robot: str = "panda"
    mode: Mode = "realtime"
    twin: bool = True
    task: str = "reach"
    seed: int = field(default=0, metadata={"range": (0, 2**31)})
    dataset: str = ""
    episode: int = field(default=0, metadata={"range": (0, 10_000_000)})
    output: str = ""
    discovery_limit_s: float = field(default=60.0, metadata={"range": (0.1, 600.0)})
    silence_limit_s: float = field(default=5.0, metadata={"range": (0.1, 600.0)})
    tolerance_rad: float = field(default=0.1, metadata={"range": (0.001, 3.0)})


class ReplayNode(GraphClient):
    """Topics around an `EpisodeReplay`.

    Args:
        stop_requested: set when the process is to end.
    """

    def __init__(self, stop_requested: threading.Event) -> None:
        super().__init__("replay_node", stop_requested.is_set)
        self._config = declare(self, NodeConfig)
        self._spec, self._drivers = get_robot(self._config.robot), get_drivers(self._config.robot)
        self._joint_states = JointStates(self._drivers)
        replay_config = declare(self, ReplayConfig, "replay")
        self._path = recorded_path(LeRobotDataset(Path(self._config.dataset)), self._config.episode, self._spec)
        self._replay = EpisodeReplay(self._spec, self._path.positions, self._path.period, replay_config)
        realtime = self._config.mode == "realtime"
        self._cadence = Cadence(1.0 / self._path.period if realtime else None)
        self._begun = False
        self._fault: ReplayError | None = None
        self._heard_at = time.monotonic()
        self._out = self.create_publisher(JointTrajectoryMessage, "planned_trajectory", COMMAND)
        self._subscriptions_kept = [
            self.create_subscription(
                JointState, self._drivers.joint_states, self._on_joints, joint_state_in(self._config.mode)
            ),
            # In lockstep the simulator waits until somebody hears what is to be done.
            self.create_subscription(String, "instruction", lambda _: None, LATCHED),
        ]

    def run(self) -> float:
        """Replay the episode.

        Returns:
            Largest distance of an arm joint from the recording, rad.

        Raises:
            GraphError: a node is missing, joint states stopped, or the arm did not follow.
            ReplayError: the arm cannot be brought to the start.
            StopRequestedError: the process is to end; the gateway holds the arm.
        """
        limit = self._config.discovery_limit_s
        self.wait_until(self._out.get_subscription_count, limit, f"the arm gateway on {self._out.topic_name}")
        self.trigger("arm_gateway_node/reset", limit)
        self._begun = True
        if self._config.twin:
            parameters = {"episode.task": self._config.task, "episode.seed": self._config.seed, "episode.cameras": []}
            self.set_parameters_of("simulator_node", parameters, limit)
            self.trigger("simulator_node/reset", limit)
        while self._replay.phase is not Phase.DONE:
            heard_at = self._heard_at
            self.wait_until(
                lambda heard_at=heard_at: self._heard_at != heard_at or self._fault,
                limit,
                "a joint state; in lockstep none come when the simulator's episode is over",
            )
            limit = self._config.silence_limit_s
            if self._fault:
                raise self._fault
        worst = max(self._replay.deviations)
        if self._config.output:
            deviations = self._replay.deviations
            result = {"max_deviation_rad": worst, "mean_deviation_rad": float(np.mean(deviations))}
            write_json(Path(self._config.output), result | {"joint_states": len(deviations)})
        if worst > self._config.tolerance_rad:
            raise GraphError(f"expected the arm within {self._config.tolerance_rad:g} rad, found {worst:.3f} rad away")
        return worst

    def _on_joints(self, message: JointState) -> None:
        try:
            measured = self._joint_states.add(message)
            if measured is None:  # some joints only
                return
            self._heard_at = time.monotonic()
            if not self._begun or self._fault or self._replay.phase is Phase.DONE:
                return
            stamp = measured.time
            if not self._cadence.due(stamp):
                return
            self._cadence.use(stamp)
            now = stamp if self._config.mode == "lockstep" else self.get_clock().now().nanoseconds * 1e-9
            trajectory = self._replay.step(stamp, measured.positions, now)
        except ValueError as error:
            self.get_logger().error(str(error), throttle_duration_sec=1.0)
        except ReplayError as error:
            self._fault = error
        else:
            if trajectory is not None:
                self._out.publish(message_from_trajectory(trajectory, self._spec.joint_names))


def main(args: Sequence[str] | None = None) -> int:
    """Replay one episode.

    Returns:
        Exit code: 0 when it was replayed or interrupted, 1 when that failed, 2 for a wrong parameter or recording.
    """
    use_shared_memory_profile()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    stop_requested = stop_on_signals()
    try:
        node = ReplayNode(stop_requested)
    except (ValueError, OSError, ReplayError) as error:
        get_logger("replay_node").fatal(f"not started: {error}")
        rclpy.try_shutdown()
        return 2
    try:
        node.get_logger().info(f"replayed; the arm was at most {node.run():.4f} rad from the recording")
    except StopRequestedError:
        node.get_logger().warning("stopped before the replay was complete")
    except (GraphError, ReplayError, OSError) as error:
        node.get_logger().fatal(f"replay ended: {error}")
        return 1
    finally:
        node.end()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())

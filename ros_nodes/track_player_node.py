"""`track_player_node`: plays recorded tracks on `tracked_agents`, in the place of what tracks other arms and people.

A scene of the file follows the other; see `python -m sim.workspace_tracks`. Stamps are the node's time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rclpy.node import Node
from visualization_msgs.msg import MarkerArray

from policies.robots import get_robot
from representation.dynamics.gcrl.playback import TrackPlayback
from representation.dynamics.gcrl.tracks import read_tracks
from ros_nodes.forecast_messages import TOPIC
from ros_nodes.node_process import run_node
from ros_nodes.params import declare
from ros_nodes.path_markers import agent_markers
from ros_nodes.qos import STATUS


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What is played.

    Attributes:
        robot: name, or YAML file, of the robot, whose base is the frame where none is given.
        frame: of the places; that of the robot's base if empty.
        tracks: file of tracks.
        first_scene: number of the scene to begin with.
        rate_hz: messages per second.
    """

    robot: str = "panda"
    frame: str = ""
    tracks: str = ""
    first_scene: int = field(default=0, metadata={"range": (0, 10_000_000)})
    rate_hz: float = field(default=10.0, metadata={"range": (2.5, 100.0)})


class TrackPlayerNode(Node):
    """A timer around a `TrackPlayback`."""

    def __init__(self) -> None:
        super().__init__("track_player_node")
        config = declare(self, NodeConfig)
        if not config.tracks:
            raise ValueError("tracks: expected a file of tracks, found none")
        self._frame = config.frame or get_robot(config.robot).base_frame
        self._playback = TrackPlayback(read_tracks(Path(config.tracks)), config.first_scene)
        self._began: float | None = None
        self._out = self.create_publisher(MarkerArray, TOPIC, STATUS)
        self._timer = self.create_timer(1 / config.rate_hz, self._on_tick)

    def _on_tick(self) -> None:
        now = self.get_clock().now().nanoseconds * 1e-9
        if self._began is None:
            self._began = now
        agents = self._playback.at(max(0.0, now - self._began))
        self._out.publish(agent_markers(agents, self._frame, now))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(TrackPlayerNode, args)


if __name__ == "__main__":
    sys.exit(main())

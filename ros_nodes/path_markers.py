"""Motions to look at, for example in RViz: one that is planned for the tool, where others are and may go."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import Point
from numpy.typing import ArrayLike, NDArray
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from ros_nodes.convert import to_time

if TYPE_CHECKING:  # the policy's node draws paths without it
    from representation.dynamics.gcrl.playback import Agent

LINE_WIDTH = 0.006  # m
POINT_SIZE = 0.014  # m
FORECAST_WIDTH = 0.01  # m
AGENT_SIZE = 0.2  # m
UNKNOWN_CONFIDENCE = ColorRGBA(r=0.6, g=0.6, b=0.6, a=1.0)
NAMESPACE = "predicted_path"


def confidence_color(confidence: float) -> ColorRGBA:
    """Red for 0 over yellow to green for 1."""
    share = float(np.clip(confidence, 0.0, 1.0))
    return ColorRGBA(r=min(1.0, 2 * (1 - share)), g=min(1.0, 2 * share), b=0.0, a=1.0)


def path_markers(
    paths: ArrayLike, confidence: Sequence[float] | None, frame: str, stamp: float, lifetime_s: float = 1.0
) -> MarkerArray:
    """For each arm a line through its tool's positions and a dot on each, coloured by confidence.

    Args:
        paths: (arms, T, 3) metres; finite.
        confidence: (T,) in [0, 1], of all arms together; None where the policy has none.
        frame: frame of the points.
        stamp: of the observation that the paths answer, seconds.
        lifetime_s: seconds after which a viewer forgets them.
    """
    kinds = ((Marker.LINE_STRIP, LINE_WIDTH), (Marker.SPHERE_LIST, POINT_SIZE))
    markers = MarkerArray()
    for path in np.asarray(paths, dtype=np.float64):
        places = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in path]
        colors = [UNKNOWN_CONFIDENCE] * len(places) if confidence is None else [confidence_color(c) for c in confidence]
        for kind, size in kinds:
            number = len(markers.markers)
            marker = Marker(ns=NAMESPACE, id=number, type=kind, action=Marker.ADD, points=places, colors=colors)
            markers.markers.append(_placed(marker, size, frame, stamp, lifetime_s))
    return markers


def agent_markers(agents: Sequence[Agent], frame: str, stamp: float, lifetime_s: float = 1.0) -> MarkerArray:
    """A ball for each agent, as `forecast_node` takes them on `tracked_agents`.

    Args:
        agents: who is where, metres.
        frame: frame of the places.
        stamp: seconds.
        lifetime_s: seconds after which a viewer forgets them.
    """
    markers = MarkerArray()
    for agent in agents:
        marker = Marker(ns=agent.kind, id=agent.number, type=Marker.SPHERE, action=Marker.ADD)
        _placed(marker, AGENT_SIZE, frame, stamp, lifetime_s)
        marker.pose.position.x, marker.pose.position.y = agent.place
        marker.color.r = 1.0
        markers.markers.append(marker)
    return markers


def forecast_markers(
    samples: NDArray[np.float32],
    agents: Sequence[str],
    height: float,
    frame: str,
    stamp: float,
    lifetime_s: float = 1.0,
) -> MarkerArray:
    """Lines along all futures of each agent, a marker for each; alike agents have alike colours from call to call.

    Args:
        samples: (K, T, agents, 2) metres.
        agents: their names.
        height: of the lines, metres.
        frame: frame of the places.
        stamp: of what the forecast follows, seconds.
        lifetime_s: seconds after which a viewer forgets them.
    """
    markers = MarkerArray()
    for number, agent in enumerate(agents):
        futures = samples[:, :, number].astype(np.float64)
        # Pairs of ends: each future from its step to the next.
        ends = np.stack([futures[:, :-1], futures[:, 1:]], axis=2).reshape(-1, 2)
        points = [Point(x=float(x), y=float(y), z=height) for x, y in ends]
        marker = Marker(ns=f"{NAMESPACE}/{agent}", id=0, type=Marker.LINE_LIST, action=Marker.ADD, points=points)
        _placed(marker, FORECAST_WIDTH, frame, stamp, lifetime_s)
        hue = zlib.crc32(agent.encode()) / 2**32
        marker.color.r, marker.color.g, marker.color.b = colorsys.hsv_to_rgb(hue, 1.0, 1.0)
        marker.color.a = 0.4
        markers.markers.append(marker)
    return markers


def _placed(marker: Marker, size: float, frame: str, stamp: float, lifetime_s: float) -> Marker:
    """The marker in its frame, with a size, for a while."""
    marker.header.frame_id = frame
    marker.header.stamp = to_time(stamp)
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.y = marker.scale.z = size
    marker.color.a = 1.0
    marker.lifetime.sec, marker.lifetime.nanosec = divmod(round(lifetime_s * 1e9), 10**9)
    return marker

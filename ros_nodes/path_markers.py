"""`path_markers`: a planned motion of the tool to look at, for example in RViz."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point
from numpy.typing import ArrayLike
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from ros_nodes.convert import to_time

LINE_WIDTH = 0.006  # m
POINT_SIZE = 0.014  # m
UNKNOWN_CONFIDENCE = ColorRGBA(r=0.6, g=0.6, b=0.6, a=1.0)
NAMESPACE = "predicted_path"


def confidence_color(confidence: float) -> ColorRGBA:
    """Red for 0 over yellow to green for 1."""
    share = float(np.clip(confidence, 0.0, 1.0))
    return ColorRGBA(r=min(1.0, 2 * (1 - share)), g=min(1.0, 2 * share), b=0.0, a=1.0)


def path_markers(
    points: ArrayLike, confidence: Sequence[float] | None, frame: str, stamp: float, lifetime_s: float = 1.0
) -> MarkerArray:
    """A line through the tool's positions and a dot on each, coloured by confidence.

    Args:
        points: (T, 3) metres; finite.
        confidence: (T,) in [0, 1]; None where the policy has none.
        frame: frame of the points.
        stamp: of the observation that the path answers, seconds.
        lifetime_s: seconds after which a viewer forgets it.
    """
    places = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in np.asarray(points, dtype=np.float64)]
    colors = [UNKNOWN_CONFIDENCE] * len(places) if confidence is None else [confidence_color(c) for c in confidence]
    markers = MarkerArray()
    for number, (kind, size) in enumerate(((Marker.LINE_STRIP, LINE_WIDTH), (Marker.SPHERE_LIST, POINT_SIZE))):
        marker = Marker(ns=NAMESPACE, id=number, type=kind, action=Marker.ADD, points=places, colors=colors)
        marker.header.frame_id = frame
        marker.header.stamp = to_time(stamp)
        marker.pose.orientation.w = 1.0
        marker.scale.x = marker.scale.y = marker.scale.z = size
        marker.color.a = 1.0
        marker.lifetime.sec, marker.lifetime.nanosec = divmod(round(lifetime_s * 1e9), 10**9)
        markers.markers.append(marker)
    return markers

"""What is said of others around the arm: where they are, on `tracked_agents`, and where they may go."""

from __future__ import annotations

import array
import json

import numpy as np
from std_msgs.msg import Float32MultiArray, Header, MultiArrayDimension
from visualization_msgs.msg import Marker, MarkerArray

from policies.execution.separation import Futures

TOPIC = "tracked_agents"
_LABELS = ("steps", "agents", "xy")


def places(message: MarkerArray, frame: str) -> tuple[float, dict[str, tuple[float, float]]] | None:
    """Stamp, seconds, and places of agents by name, metres; None of a message without markers to add.

    Raises:
        ValueError: markers in another frame, of several stamps, or two of one agent.
    """
    markers = [marker for marker in message.markers if marker.action == Marker.ADD]
    if not markers:
        return None
    frames, stamps = ({get(marker.header) for marker in markers} for get in (lambda h: h.frame_id, _seconds))
    if frames != {frame}:
        raise ValueError(f"frame: expected {frame!r}, found {', '.join(map(repr, sorted(frames)))}")
    if len(stamps) > 1:
        raise ValueError(f"stamps: expected one in a message, found {min(stamps):.3f} to {max(stamps):.3f}")
    found = {f"{one.ns}/{one.id}": (one.pose.position.x, one.pose.position.y) for one in markers}
    if len(found) < len(markers):
        raise ValueError(f"agents: expected each once in a message, found {len(markers)} markers of {len(found)}")
    return stamps.pop(), found


def message_from_futures(futures: Futures, frame: str) -> Float32MultiArray:
    """Samples (K, T, agents, 2), m; the first label tells stamp, frame, period and agents as JSON."""
    described = {
        "stamp": futures.stamp,
        "frame": frame,
        "period_s": futures.period_s,
        "agents": list(futures.agents),
    }
    message = Float32MultiArray(data=array.array("f", futures.samples.ravel().tolist()))
    shape = futures.samples.shape
    message.layout.dim = [
        MultiArrayDimension(label=label, size=size, stride=int(np.prod(shape[place:])))
        for place, (label, size) in enumerate(zip((json.dumps(described), *_LABELS), shape, strict=True))
    ]
    return message


def futures_from_message(message: Float32MultiArray, frame: str) -> Futures:
    """What `message_from_futures` wrote.

    Raises:
        ValueError: another frame, or no such message.
    """
    try:
        described = json.loads(message.layout.dim[0].label)
        found, agents = described["frame"], tuple(str(name) for name in described["agents"])
        stamp, period_s = float(described["stamp"]), float(described["period_s"])
        samples = np.array(message.data, dtype=np.float32).reshape([dim.size for dim in message.layout.dim])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"forecast: expected stamp, frame, period_s, agents and samples, found {error!r}") from error
    if found != frame:
        raise ValueError(f"forecast: expected frame {frame!r}, found {found!r}")
    if samples.ndim != 4 or 0 in samples.shape or samples.shape[2:] != (len(agents), 2):
        raise ValueError(f"forecast: expected samples (K, T, {len(agents)}, 2), found {samples.shape}")
    if not (np.isfinite(samples).all() and np.isfinite(stamp) and 0 < period_s < np.inf):
        raise ValueError("forecast: expected finite numbers and a positive period, found others")
    return Futures(stamp, period_s, agents, samples)


def _seconds(header: Header) -> float:
    return header.stamp.sec + header.stamp.nanosec * 1e-9

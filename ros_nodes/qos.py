"""Quality of service of every topic of the graph, by kind of topic.

| Kind                               | Reliability        | Durability      | Depth |
|------------------------------------|--------------------|-----------------|-------|
| images, depth, camera_info         | `sensor(mode)`     | volatile        | 2     |
| joint_states, publisher            | reliable           | volatile        | 1000  |
| joint_states, subscriber, lockstep | reliable           | volatile        | 1000  |
| joint_states, subscriber, realtime | best effort        | volatile        | 10    |
| trajectories                       | reliable           | volatile        | 1     |
| instruction, extrinsics, estop     | reliable           | transient local | 1     |
| estop, speed_scale, 2nd subscriber | best effort        | volatile        | 10    |
| fixed frames (`tf_static`)         | reliable           | transient local | 100   |
| moving frames (`tf`), subscriber   | reliable           | volatile        | 100   |
| tracked agents, subscriber         | best effort        | volatile        | 10    |
| diagnostics, status                | reliable           | volatile        | 10    |

In lockstep nothing may be lost, so sensor topics are reliable there; in realtime a late frame is worth nothing, so they
are best effort. A best-effort subscriber also hears a reliable publisher. In lockstep the joint states of all control
steps since the last observation come at once, and none may push out another.

A subscriber that asks for what was latched hears nobody who does not latch, nor one who publishes as best effort. What
stops or slows the arm must be heard from anybody, so it has a second subscriber.
"""

from __future__ import annotations

from typing import Literal

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

Mode = Literal["lockstep", "realtime"]


def _profile(reliable: bool, latched: bool, depth: int) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


LOCKSTEP_JOINT_STATES = 1000  # most control steps between two observations
COMMAND = _profile(reliable=True, latched=False, depth=1)
JOINT_STATE_OUT = _profile(reliable=True, latched=False, depth=LOCKSTEP_JOINT_STATES)
LATCHED = _profile(reliable=True, latched=True, depth=1)
# Every node that fixes frames publishes once on the one topic: room for all of them.
STATIC_TRANSFORMS = _profile(reliable=True, latched=True, depth=100)
TRANSFORMS = _profile(reliable=True, latched=False, depth=100)
STATUS = _profile(reliable=True, latched=False, depth=10)
ANYBODY = _profile(reliable=False, latched=False, depth=10)
TRACKS_IN = _profile(reliable=False, latched=False, depth=10)


def sensor(mode: Mode) -> QoSProfile:
    """Images, depth and camera_info, both ends."""
    return _profile(reliable=mode == "lockstep", latched=False, depth=2)


def joint_state_in(mode: Mode) -> QoSProfile:
    """Subscribers of `joint_states`; best effort in realtime, because some drivers publish so."""
    lockstep = mode == "lockstep"
    return _profile(reliable=lockstep, latched=False, depth=LOCKSTEP_JOINT_STATES if lockstep else 10)

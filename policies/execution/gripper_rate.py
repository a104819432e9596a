"""Grippers that are asked for more than their speed follow as fast as they may, and the arm goes on as it was asked to.

A plan may begin at another opening than the gripper has: it was made for a motion that was then slowed or refused. To
slow the whole trajectory would not help, because the gap stays. A gripper is no part of the tool's path, so this bends
nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from policies.execution.trajectory import JointState, JointTrajectory

RATE = 0.5  # of the velocity limit, which leaves room for the curve between knots


def with_reachable_grippers(
    trajectory: JointTrajectory, start: JointState, grippers: NDArray[np.intp], max_velocity: NDArray[np.float64]
) -> tuple[JointTrajectory, list[int]]:
    """Lead grippers that cannot follow to their targets at `RATE`.

    Args:
        trajectory: knots to come.
        start: desired state of the controller.
        grippers: places of the gripper joints.
        max_velocity: (n,) m/s.

    Returns:
        The trajectory, and the places of the grippers that were changed; as it came if there are none.
    """
    if trajectory.accelerations is not None:
        return trajectory, []  # made by the gateway from what the controller follows
    durations = np.diff(np.append(start.time - trajectory.stamp, trajectory.times))
    asked = np.diff(np.vstack([start.positions, trajectory.positions]), axis=0) / durations[:, None]
    late = [joint for joint in grippers if np.abs(asked[:, joint]).max() > max_velocity[joint]]
    if not late:
        return trajectory, []
    positions, velocities = trajectory.positions.copy(), trajectory.velocities.copy()
    for joint in late:
        position = start.positions[joint]
        for knot, duration in enumerate(durations):
            reach = RATE * max_velocity[joint] * duration
            position += np.clip(positions[knot, joint] - position, -reach, reach)
            positions[knot, joint] = position
        slopes = np.diff(np.append(start.positions[joint], positions[:, joint])) / durations
        before, after = slopes[:-1], slopes[1:]
        gentle = np.sign(before) * np.minimum(abs(before), abs(after)) * (before * after > 0)
        velocities[:, joint] = np.append(gentle, 0.0)
    return replace(trajectory, positions=positions, velocities=velocities), late

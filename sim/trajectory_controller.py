"""What ros2_control's JointTrajectoryController does with trajectories, for a simulated arm.

A new trajectory replaces the running one from the current desired state; the last knot is held; a trajectory that the
real controller would refuse is refused, and the running one goes on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.execution.trajectory import JointState, JointTrajectory, Motion, hold
from policies.robots.spec import RobotSpec


class TrajectoryController:
    """Follows joint trajectories; sampled by the physics loop.

    Args:
        spec: the robot; trajectories hold all its joints, in its order.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self.spec = spec
        self._motion: Motion | None = None

    def reset(self, positions: ArrayLike, now: float) -> None:
        """Hold positions (n,), rad (m), and forget the trajectory.

        Raises:
            ValueError: another number of joints than the robot's, or a value that is not finite.
        """
        positions = np.array(positions, dtype=np.float64)
        if positions.shape != (len(self.spec.joint_names),) or not np.isfinite(positions).all():
            raise ValueError(
                f"positions: expected {len(self.spec.joint_names)} finite joint positions, found {positions}"
            )
        self._motion = Motion(hold(positions, now), JointState(now, positions, np.zeros_like(positions)))

    def accept(self, trajectory: JointTrajectory | None, now: float) -> None:
        """Replace the running trajectory from the desired state at `now`.

        A stamp of zero starts on arrival. A late stamp is not shifted: knots that are past are skipped, and the
        desired state jumps onto the segment of the present, so whoever sends must drop past knots.

        Args:
            trajectory: what to follow; None, which stands for an empty message, cancels and holds.
            now: present time in seconds.

        Raises:
            ValueError: what the real controller refuses; names the field, the expected and the found.
            RuntimeError: called before `reset`.
        """
        start = self._running().at(now)
        if trajectory is None:
            self.reset(start.positions, now)
            return
        self._check(trajectory, now)
        if trajectory.stamp == 0.0:
            trajectory = replace(trajectory, stamp=now)
        self._motion = Motion(trajectory, start)

    def sample(self, now: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the desired positions (n,) rad (m) and velocities (n,) rad/s (m/s) at `now`, in seconds.

        Raises:
            RuntimeError: called before `reset`.
        """
        return self._running().sample(now)

    def _running(self) -> Motion:
        if self._motion is None:
            raise RuntimeError("trajectory controller: expected reset() before the first use")
        return self._motion

    def _check(self, trajectory: JointTrajectory, now: float) -> None:
        count = len(self.spec.joint_names)
        if trajectory.positions.shape[1] != count:
            raise ValueError(f"trajectory: expected {count} joints, found {trajectory.positions.shape[1]}")
        if not (np.isfinite(trajectory.positions).all() and np.isfinite(trajectory.velocities).all()):
            raise ValueError("trajectory: expected finite positions and velocities, found some that are not")
        if trajectory.accelerations is not None and not np.isfinite(trajectory.accelerations).all():
            raise ValueError("trajectory: expected finite accelerations, found some that are not")
        if trajectory.velocities[-1].any():
            raise ValueError(f"trajectory: expected to end at rest, found velocities {trajectory.velocities[-1]}")
        if trajectory.stamp != 0.0 and trajectory.end < now:
            raise ValueError(f"trajectory: expected to end after {now} s, found its end at {trajectory.end} s")

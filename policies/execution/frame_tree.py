"""`FrameTree`: where frames are to each other, at a time.

Fixed frames come from calibration and from static transforms; moving ones from transforms with stamps, and from the
joints of the robot, whose bodies and sites are frames too. Between two stamps a moving frame is interpolated (positions
on a line, rotations on the shortest way, joints each on a line); beyond the newest and the oldest nothing is guessed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation, Slerp

from policies.execution.kinematics import Kinematics

RIGID_TOLERANCE = 1e-3


class FrameError(ValueError):
    """A frame is unknown, not connected, or its place at that time is not known."""


@dataclass(slots=True)
class _History:
    """Values by stamp, the oldest first."""

    length: int
    stamps: deque[float] = field(default_factory=deque)
    values: deque[NDArray[np.float64]] = field(default_factory=deque)

    def add(self, stamp: float, value: NDArray[np.float64]) -> None:
        """Append; stamps that jump back empty the history: a recording began again."""
        if self.stamps and stamp < self.stamps[-1]:
            self.stamps.clear()
            self.values.clear()
        if self.stamps and stamp == self.stamps[-1]:
            self.values[-1] = value
            return
        self.stamps.append(stamp)
        self.values.append(value)
        while len(self.stamps) > self.length:
            self.stamps.popleft()
            self.values.popleft()

    def around(self, stamp: float, what: str, tolerance: float) -> tuple[NDArray, NDArray, float]:
        """The values before and after a stamp, and how far it is from one to the other, 0 to 1."""
        if not self.stamps:
            raise FrameError(f"{what}: expected at least one before {stamp:.6f} s, found none")
        oldest, newest = self.stamps[0], self.stamps[-1]
        if not oldest - tolerance <= stamp <= newest + tolerance:
            raise FrameError(f"{what}: expected a stamp from {oldest:.6f} s to {newest:.6f} s, found {stamp:.6f} s")
        after = bisect_right(self.stamps, stamp)
        if after == 0 or after == len(self.stamps) or self.stamps[after - 1] == stamp:
            nearest = self.values[max(after - 1, 0)]
            return nearest, nearest, 0.0
        begin, end = self.stamps[after - 1], self.stamps[after]
        return self.values[after - 1], self.values[after], (stamp - begin) / (end - begin)


class FrameTree:
    """Frames by name, each with one parent, or with none where it is a root.

    Args:
        kinematics: the robot whose bodies and sites are frames below its base frame; None for no robot.
        history_length: values that are kept of each moving frame, and of the joints.
        tolerance_s: how far beyond the newest or the oldest value a stamp may lie, which then has that value.
    """

    def __init__(
        self, kinematics: Kinematics | None = None, history_length: int = 256, tolerance_s: float = 0.0
    ) -> None:
        self._kinematics = kinematics
        self._history_length = history_length
        self._tolerance_s = tolerance_s
        self._parents: dict[str, str] = {}
        self._fixed: dict[str, NDArray[np.float64]] = {}
        self._moving: dict[str, _History] = {}
        self._joints = _History(history_length)

    def __contains__(self, frame: str) -> bool:
        known = frame in self._parents or frame in self._parents.values()
        return known or (self._kinematics is not None and self._kinematics.has_frame(frame))

    def set_fixed(self, parent: str, child: str, parent_from_child: ArrayLike) -> None:
        """Fix a frame to its parent, for all times; a fixed frame may be fixed anew.

        Args:
            parent: frame that carries it.
            child: the frame.
            parent_from_child: (4, 4) its pose in the parent's frame, m.

        Raises:
            FrameError: the pose is not rigid, the child has another parent or moves, or there would be a cycle.
        """
        pose = _rigid(child, parent_from_child)
        if child in self._moving:
            raise FrameError(f"frame {child!r}: expected one that is fixed, found one that moves")
        self._connect(parent, child)
        self._fixed[child] = pose

    def add_moving(self, parent: str, child: str, stamp: float, parent_from_child: ArrayLike) -> None:
        """Add the pose (4, 4) of a moving frame at a stamp in seconds.

        Raises:
            FrameError: see `set_fixed`.
        """
        pose = _rigid(child, parent_from_child)
        if child in self._fixed:
            raise FrameError(f"frame {child!r}: expected one that moves, found one that is fixed")
        self._connect(parent, child)
        self._moving.setdefault(child, _History(self._history_length)).add(stamp, pose)

    def is_fixed(self, frame: str) -> bool:
        """Whether a frame was fixed to its parent."""
        return frame in self._fixed

    def add_joints(self, stamp: float, positions: NDArray[np.float64]) -> None:
        """Add the robot's joint positions (n,), rad (m), at a stamp in seconds."""
        self._joints.add(stamp, positions)

    def clear_motion(self) -> None:
        """Forget where moving frames and joints were; what is fixed stays."""
        self._moving = {frame: _History(self._history_length) for frame in self._moving}
        self._joints = _History(self._history_length)

    def lookup(self, target: str, source: str, stamp: float) -> NDArray[np.float64]:
        """Return the (4, 4) target_from_source at a stamp in seconds: where the source frame is in the target frame.

        Raises:
            FrameError: a frame is unknown, the two are not connected, or a stamp is older or newer than what is known.
        """
        for frame in (target, source):
            if frame not in self:
                raise FrameError(f"frame: expected one that is known, found {frame!r}")
        if reason := self.gap(target, source):
            raise FrameError(reason)
        from_source, from_target = self._path(source), self._path(target)
        common = next(frame for frame in from_source if frame in from_target)
        common_from_source = self._climb(from_source[: from_source.index(common)], stamp)
        upward = from_target[: from_target.index(common)]
        if not upward:
            return common_from_source
        return _inverse(self._climb(upward, stamp)) @ common_from_source

    def gap(self, one: str, other: str) -> str:
        """Why two frames are not connected, in words; empty if they are."""
        roots = self._path(one)[-1], self._path(other)[-1]
        if roots[0] == roots[1]:
            return ""
        return f"frames {one!r} and {other!r}: expected a common root, found {roots[0]!r} and {roots[1]!r}"

    def _connect(self, parent: str, child: str) -> None:
        if self._of_robot(child):
            raise FrameError(f"frame {child!r}: expected one that is not of the robot, whose joints place it")
        if self._parents.get(child, parent) != parent:
            raise FrameError(f"frame {child!r}: expected the parent {self._parents[child]!r}, found {parent!r}")
        path = self._path(parent)
        if child in path:
            raise FrameError(f"frame {child!r}: expected no cycle, found {' -> '.join([child, *path])}")
        self._parents[child] = parent

    def _of_robot(self, frame: str) -> bool:
        """Whether the joints place the frame; the robot's base may have a parent."""
        kinematics = self._kinematics
        return kinematics is not None and frame != kinematics.spec.base_frame and kinematics.has_frame(frame)

    def _path(self, frame: str) -> list[str]:
        """The frame, its parent, and so on to the root."""
        path = [frame]
        while True:
            parent = self._kinematics.spec.base_frame if self._of_robot(path[-1]) else self._parents.get(path[-1])
            if parent is None or parent in path:
                return path
            path.append(parent)

    def _climb(self, frames: list[str], stamp: float) -> NDArray[np.float64]:
        """Pose of the first of a chain of frames in the parent of the last."""
        pose = np.eye(4)
        for index, frame in enumerate(frames):
            edge = self._edge(frame, stamp)
            pose = edge if index == 0 else edge @ pose
        return pose

    def _edge(self, frame: str, stamp: float) -> NDArray[np.float64]:
        if frame in self._fixed:
            return self._fixed[frame].copy()
        if self._of_robot(frame):
            before, after, share = self._joints.around(stamp, "joint positions", self._tolerance_s)
            positions = before if share == 0.0 else before + share * (after - before)
            return self._kinematics.frame(positions, frame)
        before, after, share = self._moving[frame].around(stamp, f"poses of {frame!r}", self._tolerance_s)
        return before.copy() if share == 0.0 else _between(before, after, share)


def _rigid(frame: str, pose: ArrayLike) -> NDArray[np.float64]:
    pose = np.array(pose, dtype=np.float64)
    # Written so that NaN is refused as well.
    rigid = pose.shape == (4, 4) and bool(
        (np.abs(pose[:3, :3] @ pose[:3, :3].T - np.eye(3)) < RIGID_TOLERANCE).all()
        and np.linalg.det(pose[:3, :3]) > 0
        and np.isfinite(pose).all()
        and (pose[3] == (0, 0, 0, 1)).all()
    )
    if not rigid:
        raise FrameError(f"pose of {frame!r}: expected a (4, 4) rotation and translation, found {pose}")
    return pose


def _between(before: NDArray[np.float64], after: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    pose = np.eye(4)
    turns = Rotation.from_matrix(np.stack([before[:3, :3], after[:3, :3]]))
    pose[:3, :3] = Slerp([0.0, 1.0], turns)(share).as_matrix()
    pose[:3, 3] = before[:3, 3] + share * (after[:3, 3] - before[:3, 3])
    return pose


def _inverse(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse

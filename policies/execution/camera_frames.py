"""`CameraFrames`: where a robot's cameras are, from their mounts, from transforms and from its joints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from policies.execution.frame_tree import FrameTree
from policies.execution.kinematics import Kinematics
from policies.robots.camera_mount import CameraMount
from policies.robots.drivers import RobotDrivers
from policies.robots.spec import RobotSpec


class CameraFrames:
    """The frame tree of one robot and its cameras, in the names that its drivers use.

    Args:
        spec: the robot.
        drivers: names of its frames, and mounts of cameras that are known.
        cameras: names of the cameras.
        tolerance_s: how far the stamps of a picture and of the nearest joint positions may lie apart.

    Raises:
        ValueError: mounts that make no tree.
    """

    def __init__(
        self, spec: RobotSpec, drivers: RobotDrivers, cameras: Sequence[str], tolerance_s: float = 0.0
    ) -> None:
        self._base = spec.base_frame
        self._drivers = drivers
        self._kinematics = Kinematics(spec)
        self._tree = FrameTree(self._kinematics, tolerance_s=tolerance_s)
        self._frames = {camera: drivers.camera(camera).frame for camera in cameras}
        self.unplaced: list[str] = []
        for camera in cameras:
            if (mount := drivers.camera(camera).mount) is not None:
                self.fix_camera(camera, mount)
        self._find_unplaced()

    def fix_camera(self, camera: str, mount: CameraMount) -> None:
        """Take where a camera is fixed.

        Raises:
            ValueError: it is fixed to another frame already, or there would be a cycle.
        """
        self.fix(self._frames[camera], mount)

    def fix(self, frame: str, mount: CameraMount) -> None:
        """Take a static transform from `mount.parent_frame` to a frame; links of the robot are left to its joints.

        Raises:
            ValueError: the frame is fixed to another one already, or there would be a cycle.
        """
        frame, parent = self._drivers.frame(frame), self._drivers.frame(mount.parent_frame)
        if frame != self._base and self._kinematics.has_frame(frame):
            return
        self._tree.set_fixed(parent, frame, mount.pose)
        self._find_unplaced()

    def move(self, frame: str, stamp: float, mount: CameraMount) -> None:
        """Take where a moving frame was at a stamp in seconds, such as the head or the rail that carries a camera.

        Links of the robot are left to its joints, and what is fixed stays so.

        Raises:
            ValueError: the frame moves in another one already, or there would be a cycle.
        """
        frame, parent = self._drivers.frame(frame), self._drivers.frame(mount.parent_frame)
        of_robot = frame != self._base and self._kinematics.has_frame(frame)
        if of_robot or self._tree.is_fixed(frame):
            return
        self._tree.add_moving(parent, frame, stamp, mount.pose)
        if self.unplaced:
            self._find_unplaced()

    def add_joints(self, stamp: float, positions: NDArray[np.float64]) -> None:
        """Take joint positions (n,), rad (m), of a stamp in seconds."""
        self._tree.add_joints(stamp, positions)

    def clear(self) -> None:
        """Forget the joint positions and where moving frames were; what is fixed stays."""
        self._tree.clear_motion()

    def pose(self, camera: str, stamp: float) -> NDArray[np.float64]:
        """The (4, 4) base_from_camera of a camera's optical frame at a stamp in seconds.

        Raises:
            ValueError: the camera's place is not known, or the joints' at that time.
        """
        return self._tree.lookup(self._base, self._frames[camera], stamp)

    def _find_unplaced(self) -> None:
        """Say of each camera that cannot be placed what it lacks."""
        self.unplaced = []
        for camera, frame in self._frames.items():
            if frame not in self._tree:
                self.unplaced.append(f"{camera}/extrinsics never came")
            elif reason := self._tree.gap(self._base, frame):
                self.unplaced.append(f"{camera}/extrinsics lead elsewhere: {reason}")

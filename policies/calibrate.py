"""`python -m policies.calibrate hand-eye|intrinsics FOLDER`: calibrate a camera from a folder of views, without ROS.

`python -m ros_nodes.calibrate_cameras` leaves such folders; see `policies/calibration/files.py` for what they hold.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from policies.calibration.board import Board, BoardSpec
from policies.calibration.files import read_camera_info, read_images, read_views
from policies.calibration.hand_eye import Setup
from policies.calibration.joint_track import JointTrack
from policies.calibration.sessions import HandEyeSession, IntrinsicsSession
from policies.execution.kinematics import Kinematics
from policies.robots import get_robot


@dataclass(frozen=True, slots=True)
class HandEye:
    """Compute where a camera is fixed from images, `joints.csv` and `camera_info.yaml` in a folder.

    Attributes:
        folder: the views.
        camera: name of the camera.
        setup: whether the camera is on the hand or the board is.
        robot: name of the robot.
        tool_frame: body or site that carries camera or board; empty: the first arm's tool.
        output: directory for the result.
        joint_noise_deg: standard deviation of the error of a joint, degrees.
        board: the board.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    camera: str
    setup: Setup
    robot: str = "panda"
    tool_frame: str = ""
    output: Path = Path("runs/calibration")
    joint_noise_deg: float = 0.1
    board: BoardSpec = field(default_factory=BoardSpec)

    def run(self) -> str:
        """Calibrate; returns the report."""
        spec = get_robot(self.robot)
        images, positions = read_views(self.folder, spec.joint_names)
        session = HandEyeSession(
            Board(self.board),
            Kinematics(spec),
            self.camera,
            self.tool_frame or spec.arms[0].tool_site,
            self.setup,
            self.joint_noise_deg,
            read_camera_info(self.folder / "camera_info.yaml"),
        )
        for number, (image, joints) in enumerate(zip(images, positions, strict=True), start=1):
            verdict = session.add(image, joints)
            if not verdict.accepted:
                print(f"view {number} left out: {verdict.reason}")
        return session.finish(self.output)


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """Compute camera matrix and distortion from the PNG images in a folder.

    Attributes:
        folder: the images.
        camera: name of the camera.
        output: directory for the result.
        board: the board.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    camera: str
    output: Path = Path("runs/calibration")
    board: BoardSpec = field(default_factory=BoardSpec)

    def run(self) -> str:
        """Calibrate; returns the report."""
        session = IntrinsicsSession(Board(self.board), self.camera)
        for number, image in enumerate(read_images(self.folder), start=1):
            verdict = session.offer(image, 0.0, JointTrack(0.0))
            if not verdict.accepted:
                print(f"image {number} left out: {verdict.reason}")
        return session.finish(self.output)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    command = tyro.cli(HandEye | Intrinsics, args=args, prog="python -m policies.calibrate")
    try:
        print(command.run())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

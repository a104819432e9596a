from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from policies.execution.camera_frames import CameraFrames
from policies.execution.camera_pose import camera_pose
from policies.execution.kinematics import Kinematics
from policies.robots import get_drivers, get_robot
from policies.robots.camera_mount import CameraMount
from policies.robots.drivers import camera_driver

SPEC, DRIVERS = get_robot("panda"), get_drivers("panda")
UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])


def mount(parent: str, *position: float) -> CameraMount:
    return CameraMount(parent, np.array(position), UPRIGHT)


def test_a_camera_hangs_from_the_hand_by_the_links_of_its_driver():
    drivers = dataclasses.replace(DRIVERS, frames={"panda_hand": "hand"})
    frames = CameraFrames(SPEC, drivers, ("wrist",))
    assert frames.unplaced == ["wrist/extrinsics never came"]
    frames.fix("wrist_optical_frame", mount("wrist_link", 0.01, 0, 0))
    assert "expected a common root, found 'link0' and 'wrist_link'" in frames.unplaced[0]
    frames.fix("wrist_link", mount("panda_hand", 0, 0, 0.05))
    assert frames.unplaced == []
    frames.add_joints(1.0, SPEC.home)
    expected = camera_pose(Kinematics(SPEC), SPEC.home, mount("hand", 0.01, 0, 0.05))
    np.testing.assert_allclose(frames.pose("wrist", 1.0), expected, atol=1e-12)


def test_static_transforms_of_the_robot_s_own_links_change_nothing():
    frames = CameraFrames(SPEC, DRIVERS, ("wrist",))
    frames.fix("hand", mount("link8", 9, 9, 9))
    frames.fix("link0", mount("world", 0, 0, 0.7))
    frames.fix_camera("wrist", mount("hand", 0, 0, 0.05))
    frames.add_joints(1.0, SPEC.home)
    expected = camera_pose(Kinematics(SPEC), SPEC.home, mount("hand", 0, 0, 0.05))
    np.testing.assert_array_equal(frames.pose("wrist", 1.0), expected)


def test_a_mount_of_the_robot_s_file_is_there_from_the_start_and_a_moving_camera_is_where_it_was_at_its_picture():
    known = dataclasses.replace(camera_driver("wrist"), mount=mount("hand", 0, 0, 0.05))
    frames = CameraFrames(SPEC, dataclasses.replace(DRIVERS, cameras={"wrist": known}), ("wrist",), tolerance_s=0.02)
    assert frames.unplaced == []
    frames.add_joints(1.0, SPEC.home)
    frames.add_joints(1.01, SPEC.home + 0.02)
    expected = camera_pose(Kinematics(SPEC), SPEC.home + 0.01, known.mount)
    np.testing.assert_allclose(frames.pose("wrist", 1.005), expected, atol=1e-12)
    newest = camera_pose(Kinematics(SPEC), SPEC.home + 0.02, known.mount)
    np.testing.assert_array_equal(frames.pose("wrist", 1.02), newest)
    with pytest.raises(ValueError, match="joint positions: expected a stamp"):
        frames.pose("wrist", 1.05)
    frames.clear()
    with pytest.raises(ValueError, match="joint positions"):
        frames.pose("wrist", 1.0)

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from policies.execution.camera_pose import camera_pose
from policies.execution.kinematics import Kinematics
from policies.robots import get_robot
from policies.robots.camera_mount import CameraMount
from policies.robots.model import load_robot_spec

SPEC = get_robot("panda")


def test_wrist_camera_agrees_with_the_simulator():
    model = load_robot_spec(get_robot("panda")).compile()
    data = mujoco.MjData(model)
    data.qpos[:8] = SPEC.home + np.array([0.1, 0.2, -0.3, 0.1, 0.2, -0.1, 0.3, 0])
    mujoco.mj_forward(model, data)
    camera = model.camera("wrist")
    # MuJoCo looks along -z with y up: half a turn about x gives the optical frame.
    optical = np.zeros(4)
    mujoco.mju_mulQuat(optical, camera.quat, np.array([0.0, 1.0, 0.0, 0.0]))
    mount = CameraMount("hand", camera.pos, np.roll(optical, -1))
    pose = camera_pose(Kinematics(SPEC), data.qpos[:8], mount)
    np.testing.assert_allclose(pose[:3, 3], data.cam_xpos[camera.id], atol=1e-9)
    expected = data.cam_xmat[camera.id].reshape(3, 3) @ np.diag([1, -1, -1])
    np.testing.assert_allclose(pose[:3, :3], expected, atol=1e-9)


def test_fixed_camera_does_not_follow_the_joints():
    kinematics = Kinematics(SPEC)
    mount = CameraMount("link0", [1.2, 0.0, 0.6], [0.5, 0.5, -0.5, -0.5])
    first = camera_pose(kinematics, SPEC.home, mount)
    np.testing.assert_array_equal(first[:3, 3], mount.position)
    np.testing.assert_array_equal(camera_pose(kinematics, SPEC.home + 0.01, mount), first)


def test_poses_of_two_processes_are_bit_equal():
    mount = CameraMount("hand", [0.07, 0.0, 0.04], [0.1, 0.2, 0.3, np.sqrt(0.86)])
    q = SPEC.home + 0.05
    first, second = Kinematics(SPEC), Kinematics(SPEC)
    second.inverse(second.forward(SPEC.home), q)
    np.testing.assert_array_equal(camera_pose(first, q, mount), camera_pose(second, q, mount))


@pytest.mark.parametrize("quaternion", [[0, 0, 0, 2.0], [0, 0, 0, 0], [np.nan, 0, 0, 1], [0, 0, 1]])
def test_quaternions_that_are_no_rotation_are_refused(quaternion):
    with pytest.raises(ValueError, match="expected 4 values of norm 1"):
        CameraMount("hand", np.zeros(3), quaternion)

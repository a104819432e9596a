from __future__ import annotations

import mujoco
import numpy as np
import pytest
from scipy.linalg import expm

from policies.execution.kinematics import Kinematics, rotation_from_rpy
from policies.interface import ActionChunk
from policies.robots import get_robot
from policies.robots.model import load_robot_spec

SPEC = get_robot("aloha")
LEFT, RIGHT = 0, 1
# Product of exponentials as Interbotix publishes it for the vx300s (`mr_descriptions.py`): columns are screw axes
# (rotation, then velocity of the origin), HAND is the end effector's pose at zero.
SCREWS = np.array(
    [
        [0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, -0.12705, 0.0, 0.0],
        [0.0, 1.0, 0.0, -0.42705, 0.0, 0.05955],
        [1.0, 0.0, 0.0, 0.0, 0.42705, 0.0],
        [0.0, 1.0, 0.0, -0.42705, 0.0, 0.35955],
        [1.0, 0.0, 0.0, 0.0, 0.42705, 0.0],
    ]
)
HAND = np.array([0.536494, 0.0, 0.42705])
BASES = {LEFT: ([0.5, 0.469, 0.02], -np.pi / 2), RIGHT: ([0.5, -0.469, 0.02], np.pi / 2)}


@pytest.fixture(scope="module")
def model():
    return load_robot_spec(get_robot("aloha")).compile()


def published_pose(arm: int, joints: np.ndarray) -> np.ndarray:
    """(4, 4) of the published end effector in our base frame."""
    position, yaw = BASES[arm]
    pose = np.eye(4)
    pose[:3, :3] = rotation_from_rpy([0, 0, yaw])
    pose[:3, 3] = position
    for (wx, wy, wz, vx, vy, vz), angle in zip(SCREWS, joints, strict=True):
        twist = np.array([[0, -wz, wy, vx], [wz, 0, -wx, vy], [-wy, wx, 0, vz], [0, 0, 0, 0]])
        pose = pose @ expm(twist * angle)
    hand = np.eye(4)
    hand[:3, 3] = HAND
    return pose @ hand


@pytest.mark.parametrize("arm", [LEFT, RIGHT])
def test_the_hand_is_where_the_published_screw_axes_put_it(arm):
    kinematics = Kinematics(SPEC)
    rng = np.random.default_rng(0)
    places = list(SPEC.arms[arm].joints)
    for _ in range(20):
        q = rng.uniform(SPEC.lower, SPEC.upper)
        expected = published_pose(arm, q[places])
        found = kinematics.forward(q, arm)
        # The published frame lies 0.1072 m, ours 0.15 m before the last joint, both on its axis.
        axes = expected[:3, :3] @ np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
        np.testing.assert_allclose(found[:3, :3], axes, atol=1e-9)
        np.testing.assert_allclose(found[:3, 3], expected[:3, 3] + (0.15 - 0.1072) * axes[:, 2], atol=1e-6)


def test_joints_and_actuators_come_in_the_order_of_the_spec(model):
    for place, name in enumerate(SPEC.joint_names):
        np.testing.assert_allclose(model.joint(name).range, [SPEC.lower[place], SPEC.upper[place]])
        assert model.actuator(place).trnid[0] == model.joint(name).id
        np.testing.assert_allclose(model.actuator(place).forcerange[1], SPEC.max_torque[place])
    assert model.nu == len(SPEC.joint_names)


def test_links_weigh_what_is_published(model):
    published = {
        "base_link": 0.969034,
        "shoulder_link": 0.798614,
        "upper_arm_link": 0.792592,
        "upper_forearm_link": 0.322228,
        "lower_forearm_link": 0.414823,
        "wrist_link": 0.115395,
    }
    for side in ("left", "right"):
        assert {link: model.body(f"{side}/{link}").mass[0] for link in published} == pytest.approx(published)


def test_cameras_are_named_without_a_slash(model):
    assert [model.camera(i).name for i in range(model.ncam)] == ["left_wrist", "right_wrist"]


def test_home_is_symmetric_and_touches_nothing(model):
    data = mujoco.MjData(model)
    for place, name in enumerate(SPEC.joint_names):
        data.joint(name).qpos = SPEC.home[place]
    for arm in SPEC.arms:
        data.joint(arm.second_finger).qpos = SPEC.home[arm.gripper]
    mujoco.mj_forward(model, data)
    left, right = (data.site(arm.tool_site).xpos for arm in SPEC.arms)
    np.testing.assert_allclose(left, right * [1, -1, 1], atol=1e-9)
    np.testing.assert_allclose(left, [0.5, 0.2, 0.25], atol=1e-4)
    assert data.ncon == 0
    np.testing.assert_allclose(data.qfrc_gravcomp, data.qfrc_bias, atol=1e-9)


def test_fingers_close_together_and_to_the_limits_of_their_stroke(model):
    data = mujoco.MjData(model)
    for place, name in enumerate(SPEC.joint_names):
        data.joint(name).qpos = SPEC.home[place]
    for target in (0.002, 0.037, 0.02):
        data.ctrl[:] = SPEC.home
        data.ctrl[SPEC.grippers] = target
        mujoco.mj_step(model, data, 500)
        for arm in SPEC.arms:
            fingers = [data.joint(SPEC.joint_names[arm.gripper]).qpos[0], data.joint(arm.second_finger).qpos[0]]
            np.testing.assert_allclose(fingers, target, atol=5e-4)


def test_inverse_moves_one_arm_and_leaves_the_other():
    kinematics = Kinematics(SPEC)
    pose = kinematics.forward(SPEC.home, RIGHT)
    pose[:3, 3] = [0.55, -0.15, 0.1]
    pose[:3, :3] = rotation_from_rpy([-np.pi / 6, 0.0, 0.0]) @ pose[:3, :3]
    q = kinematics.inverse(pose, SPEC.home, RIGHT)
    np.testing.assert_allclose(kinematics.forward(q, RIGHT), pose, atol=2e-4)
    np.testing.assert_array_equal(q[:7], SPEC.home[:7])


def test_cartesian_rows_hold_seven_values_for_each_arm():
    kinematics = Kinematics(SPEC)
    row = np.array([[0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.02, 0.0, 0.0, 0.0, 0.0, 0.0]])
    found = kinematics.to_joint_chunk(ActionChunk(0.0, 0.04, "cartesian_delta", row), SPEC.home).rows[0]
    for arm, offset in ((LEFT, [0.01, 0, 0]), (RIGHT, [0, 0.02, 0])):
        moved = kinematics.forward(found, arm)[:3, 3] - kinematics.forward(SPEC.home, arm)[:3, 3]
        np.testing.assert_allclose(moved, offset, atol=1e-4)
    np.testing.assert_allclose(found[SPEC.grippers], [0.037, 0.002])
    with pytest.raises(ValueError, match="expected 7 values for each of 2 arms, found 7"):
        kinematics.to_joint_chunk(ActionChunk(0.0, 0.04, "cartesian_delta", row[:, :7]), SPEC.home)


def test_menagerie_stands_for_the_panda_only():
    with pytest.raises(ValueError, match="menagerie: expected one of panda, found 'aloha'"):
        load_robot_spec(get_robot("aloha"), "menagerie")

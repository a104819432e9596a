"""Every preset: it loads, and its kinematics are consistent and those that are published."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from policies.execution.kinematics import Kinematics, rotation_from_rpy
from policies.robots import get_drivers, get_robot
from policies.robots.description import PRESETS
from policies.robots.model import load_robot_spec

HALF_PI = np.pi / 2


def turned(kinematics: Kinematics, q: np.ndarray, pose: np.ndarray, arm: int) -> tuple[float, float]:
    """How far the tool at q is from a pose, m and rad."""
    found = kinematics.forward(q, arm)
    cosine = (np.trace(found[:3, :3].T @ pose[:3, :3]) - 1) / 2
    return float(np.linalg.norm(found[:3, 3] - pose[:3, 3])), float(np.arccos(np.clip(cosine, -1, 1)))


def test_these_are_the_presets():
    assert sorted(PRESETS) == ["aloha", "fr3", "panda", "so101", "ur5e", "xarm7"]


@pytest.mark.parametrize("name", PRESETS)
def test_the_name_is_that_of_the_file_and_the_drivers_have_every_joint(name):
    spec, drivers = get_robot(name), get_drivers(name)
    assert spec.name == name
    assert len(drivers.joint_names) == len(spec.joint_names)
    rng = np.random.default_rng(0)
    positions, velocities = rng.uniform(spec.lower, spec.upper), rng.normal(size=len(spec.lower))
    back = drivers.from_driver(*drivers.to_driver(positions, velocities))
    np.testing.assert_allclose(back, (positions, velocities), atol=1e-12)


@pytest.mark.parametrize("name", PRESETS)
def test_inverse_kinematics_returns_to_random_poses_from_nearby(name):
    spec = get_robot(name)
    kinematics, rng = Kinematics(spec), np.random.default_rng(0)
    middle, half = (spec.lower + spec.upper) / 2, np.minimum((spec.upper - spec.lower) / 2, np.pi)
    for _ in range(20):
        q = middle + 0.8 * half * rng.uniform(-1, 1, len(middle))
        for arm, entry in enumerate(spec.arms):
            pose = kinematics.forward(q, arm)
            seed = q.copy()
            seed[list(entry.joints)] += rng.uniform(-0.05, 0.05, len(entry.joints))
            found = kinematics.inverse(pose, seed, arm)
            distance, angle = turned(kinematics, found, pose, arm)
            assert distance < 1e-4
            assert angle < 1e-3
            assert (found >= spec.lower).all()
            assert (found <= spec.upper).all()


@pytest.mark.parametrize("name", PRESETS)
def test_home_touches_nothing_and_needs_no_torque(name):
    spec = get_robot(name)
    model = load_robot_spec(spec).compile()
    data = mujoco.MjData(model)
    for place, joint in enumerate(spec.joint_names):
        data.joint(joint).qpos = spec.home[place]
    for arm in spec.arms:
        if arm.second_finger is not None:
            data.joint(arm.second_finger).qpos = spec.home[arm.gripper]
    mujoco.mj_forward(model, data)
    assert data.ncon == 0
    np.testing.assert_allclose(data.qfrc_gravcomp, data.qfrc_bias, atol=1e-9)
    for arm in range(len(spec.arms)):
        tool = Kinematics(spec).forward(spec.home, arm)[:3, 3]
        assert (tool > spec.arms[arm].workspace_low).all()
        assert (tool < spec.arms[arm].workspace_high).all()


def step(position: tuple[float, ...], rpy: tuple[float, ...] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """(4, 4) pose of a URDF origin."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation_from_rpy(rpy), position
    return pose


def chain(origins: list[np.ndarray], q: np.ndarray) -> np.ndarray:
    """(4, 4) of joints about z behind their origins; an origin without a joint ends it."""
    pose = np.eye(4)
    for origin, angle in zip(origins, [*q, 0.0], strict=True):
        pose = pose @ origin @ step((0, 0, 0), (0, 0, angle))
    return pose


def dh(d: float, a: float, alpha: float) -> np.ndarray:
    """(4, 4) of a row of standard Denavit-Hartenberg parameters after its joint."""
    return step((0, 0, d)) @ step((a, 0, 0), (alpha, 0, 0))


# Universal Robots, "Parameters for calculations of kinematics and dynamics"; our base is half a turn from theirs.
UR5E = [
    step((0, 0, 0), (0, 0, np.pi)),
    dh(0.1625, 0, HALF_PI),
    dh(0, -0.425, 0),
    dh(0, -0.3922, 0),
    dh(0.1333, 0, HALF_PI),
    dh(0.0997, 0, -HALF_PI),
    dh(0.0996, 0, 0) @ step((0, 0, 0.145)),
]
# xarm_description, xarm7.urdf.xacro and xarm_gripper.urdf.xacro.
XARM7 = [
    step((0, 0, 0.267)),
    step((0, 0, 0), (-HALF_PI, 0, 0)),
    step((0, -0.293, 0), (HALF_PI, 0, 0)),
    step((0.0525, 0, 0), (HALF_PI, 0, 0)),
    step((0.0775, -0.3425, 0), (HALF_PI, 0, 0)),
    step((0, 0, 0), (HALF_PI, 0, 0)),
    step((0.076, 0.097, 0), (-HALF_PI, 0, 0)),
    step((0, 0, 0.172)),
]
# SO-ARM100, so101_new_calib.urdf; our base is a quarter turn from theirs, our tool frame is turned at the same place.
SO101 = [
    step((0, 0, 0), (0, 0, HALF_PI)) @ step((0.0207909, -0.0230745, 0.0948817), (np.pi, 0, HALF_PI)),
    step((-0.0303992, -0.0182778, -0.0542), (-HALF_PI, -HALF_PI, 0)),
    step((-0.11257, -0.028, 0), (0, 0, HALF_PI)),
    step((-0.1349, 0.0052, 0), (0, 0, -HALF_PI)),
    step((0, -0.0611, 0.0181), (HALF_PI, 0, np.pi)),
    step((-0.0079, -0.000218121, -0.0981274), (np.pi, 0, HALF_PI)),
]


@pytest.mark.parametrize(("name", "origins"), [("ur5e", UR5E), ("xarm7", XARM7), ("so101", SO101)])
def test_the_tool_is_where_the_published_kinematics_put_it(name, origins):
    spec = get_robot(name)
    kinematics, rng = Kinematics(spec), np.random.default_rng(1)
    for _ in range(20):
        q = rng.uniform(spec.lower, spec.upper)
        expected = chain(origins, q[list(spec.arms[0].joints)])
        np.testing.assert_allclose(kinematics.forward(q), expected, atol=1e-9)


def test_panda_and_fr3_share_their_frames():
    panda, fr3 = Kinematics(get_robot("panda")), Kinematics(get_robot("fr3"))
    q = get_robot("panda").home + 0.1
    np.testing.assert_array_equal(panda.forward(q), fr3.forward(q))
    assert get_robot("fr3").upper[5] == 4.5169

from __future__ import annotations

import sys

import mujoco
import numpy as np
import pytest

from policies.robots import get_robot
from policies.robots.model import adapt_menagerie, load_robot_spec


@pytest.fixture(scope="module")
def panda():
    return load_robot_spec(get_robot("panda")).compile()


def names(count, get):
    return [get(i).name for i in range(count)]


def test_names_are_those_of_menagerie(panda):
    joints = [f"joint{i}" for i in range(1, 8)] + ["finger_joint1", "finger_joint2"]
    bodies = [*(f"link{i}" for i in range(8)), "hand", "left_finger", "right_finger"]
    assert names(panda.njnt, panda.joint) == joints
    assert names(panda.nbody, panda.body)[1:] == bodies
    assert names(panda.nu, panda.actuator) == [f"actuator{i}" for i in range(1, 9)]
    assert panda.tendon("split").id == 0


def test_limits_agree_with_the_robot_spec(panda):
    spec = get_robot("panda")
    for i, name in enumerate(spec.joint_names):
        np.testing.assert_allclose(panda.joint(name).range, [spec.lower[i], spec.upper[i]])
        np.testing.assert_allclose(panda.actuator(f"actuator{i + 1}").forcerange[1], spec.max_torque[i])


def test_tool_is_where_denavit_hartenberg_parameters_put_it(panda):
    # Modified (Craig) parameters a, d, alpha of the manufacturer's documentation; the last row is the flange.
    table = np.array(
        [
            [0, 0.333, 0],
            [0, 0, -np.pi / 2],
            [0, 0.316, np.pi / 2],
            [0.0825, 0, np.pi / 2],
            [-0.0825, 0.384, -np.pi / 2],
            [0, 0, np.pi / 2],
            [0.088, 0, np.pi / 2],
            [0, 0.107, 0],
        ]
    )
    rng = np.random.default_rng(0)
    data = mujoco.MjData(panda)
    for _ in range(20):
        q = rng.uniform(panda.jnt_range[:7, 0], panda.jnt_range[:7, 1])
        pose = np.eye(4)
        for (a, d, alpha), theta in zip(table, [*q, -np.pi / 4], strict=True):
            ct, st, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
            pose = pose @ np.array(
                [[ct, -st, 0, a], [st * ca, ct * ca, -sa, -d * sa], [st * sa, ct * sa, ca, d * ca], [0, 0, 0, 1]]
            )
        data.qpos[:7] = q
        mujoco.mj_kinematics(panda, data)
        np.testing.assert_allclose(data.site("tcp").xpos, (pose @ [0, 0, 0.1034, 1])[:3], atol=1e-9)
        np.testing.assert_allclose(data.site("tcp").xmat.reshape(3, 3), pose[:3, :3], atol=1e-9)


def test_home_points_down_above_the_table_and_touches_nothing(panda):
    data = mujoco.MjData(panda)
    data.qpos[:8] = get_robot("panda").home
    data.qpos[8] = data.qpos[7]
    mujoco.mj_forward(panda, data)
    np.testing.assert_allclose(data.site("tcp").xpos, [0.45, 0, 0.35], atol=1e-4)
    np.testing.assert_allclose(data.site("tcp").xmat.reshape(3, 3), np.diag([1, -1, -1]), atol=1e-4)
    assert data.ncon == 0


def test_arm_floats_without_torque_because_gravity_is_compensated(panda):
    data = mujoco.MjData(panda)
    data.qpos[:9] = [0.3, 0.4, -0.2, -1.8, 0.5, 2.0, 0.1, 0.02, 0.02]
    mujoco.mj_forward(panda, data)
    np.testing.assert_allclose(data.qfrc_gravcomp, data.qfrc_bias, atol=1e-9)


def test_fingers_close_together_and_press_with_the_rated_force(panda):
    data = mujoco.MjData(panda)
    data.qpos[:8] = get_robot("panda").home
    data.qpos[8] = data.qpos[7]
    data.ctrl[:7] = data.qpos[:7]
    for opening in (0.0, 255.0, 127.5):
        data.ctrl[7] = opening
        mujoco.mj_step(panda, data, 500)
        np.testing.assert_allclose(data.qpos[7:9], 0.04 * opening / 255, atol=3e-4)
    assert abs(data.qpos[7] - data.qpos[8]) < 1e-4


def test_menagerie_gets_tool_camera_and_gravity_compensation_of_our_model():
    own = load_robot_spec(get_robot("panda"))
    other = load_robot_spec(get_robot("panda"))
    other.delete(other.site("tcp"))
    other.delete(other.camera("wrist"))
    for body in other.bodies:
        body.gravcomp = 0.0
    other.worldbody.add_light(name="top")
    other.add_key(name="home", qpos=np.zeros(9))
    expected, found = own.compile(), adapt_menagerie(other, own, "tcp").compile()
    np.testing.assert_array_equal(found.body_gravcomp, expected.body_gravcomp)
    np.testing.assert_array_equal(found.site("tcp").pos, expected.site("tcp").pos)
    np.testing.assert_allclose(found.camera("wrist").quat, expected.camera("wrist").quat, atol=1e-12)
    np.testing.assert_allclose(found.cam_fovy, expected.cam_fovy)
    assert found.nlight == 0
    assert found.nkey == 0


def test_menagerie_offline_is_a_clear_error(monkeypatch, tmp_path):
    pytest.importorskip("mujoco_menagerie")
    monkeypatch.setenv("MENAGERIE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path / "missing"))
    with pytest.raises(RuntimeError, match=r"franka_emika_panda could not be downloaded .*MENAGERIE_ROOT"):
        load_robot_spec(get_robot("panda"), "menagerie")


def test_menagerie_without_its_package_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_menagerie", None)
    with pytest.raises(RuntimeError, match="pip install mujoco-menagerie"):
        load_robot_spec(get_robot("panda"), "menagerie")


def test_unknown_model_is_refused():
    with pytest.raises(ValueError, match="expected polyarm or menagerie, found 'mesh'"):
        load_robot_spec(get_robot("panda"), "mesh")

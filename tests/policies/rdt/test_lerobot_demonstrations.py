from __future__ import annotations

import numpy as np
import pytest

from policies.rdt.images import BACKGROUND_LEVEL
from policies.rdt.lerobot_demonstrations import LeRobotDemonstrations
from representation.data.lerobot_writer import LeRobotWriter
from tests.policies.rdt.episodes import COLORS, LENGTH, write_bimanual


def write_panda(root, joints=8):
    features = {
        "observation.state": {"dtype": "float32", "shape": (joints,)},
        "action": {"dtype": "float32", "shape": (7,)},
    }
    writer = LeRobotWriter(root, 10, features, "panda")
    for step in range(4):
        state = np.full(joints, 0.01 * step, np.float32)
        writer.add_frame({"observation.state": state, "action": np.zeros(7, np.float32)}, task="go")
    writer.save_episode()
    writer.finalize()
    return root


def test_cartesian_actions_are_replaced_by_the_joints_of_the_step_after(tmp_path):
    data = LeRobotDemonstrations(write_panda(tmp_path))
    assert (data.robot, data.control_hz, data.variants) == ("panda", 10, None)
    np.testing.assert_allclose(data.steps.actions[:, 0], [0.01, 0.02, 0.03, 0.03], atol=1e-7)
    np.testing.assert_allclose(data.steps.chunks(np.array([2]), 3)[0, :, 0], [0.03, 0.03, 0.03], atol=1e-7)


def test_other_joints_than_the_robots_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"observation\.state: expected 8 joints of panda, found \(6,\)"):
        LeRobotDemonstrations(write_panda(tmp_path, joints=6))


def test_videos_are_decoded_once_and_pictures_have_their_roles(tmp_path):
    write_bimanual(tmp_path / "turn", np.random.default_rng(0), episodes=2)
    data, file = LeRobotDemonstrations(tmp_path / "turn"), tmp_path / "pictures" / "0.npy"
    cameras = ("top", "right_wrist", "")
    data.decode(cameras, 8, file, progress=False)
    read = data.pictures(cameras, 8, file)
    file.unlink()
    pictures, present = read(np.array([LENGTH, 3]))
    assert pictures.shape == (2, 3, 8, 8, 3)
    assert present.tolist() == [[True, True, False]] * 2
    for place, side in enumerate(("right", "left")):
        np.testing.assert_allclose(pictures[place, :2], np.broadcast_to(COLORS[side], (2, 8, 8, 3)), atol=6)
    assert (pictures[:, 2] == BACKGROUND_LEVEL).all()


def test_a_missing_camera_is_named(tmp_path):
    write_bimanual(tmp_path / "turn", np.random.default_rng(0), episodes=1)
    data = LeRobotDemonstrations(tmp_path / "turn")
    with pytest.raises(ValueError, match=r"observation\.images\.left_wrist"):
        data.decode(("top", "", "left_wrist"), 8, tmp_path / "0.npy", progress=False)

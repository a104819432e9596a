import json
from pathlib import Path

import numpy as np
import pytest
import torch

from policies import onboard
from policies.execution.kinematics import Kinematics
from policies.robots import get_robot
from representation.data.lerobot_writer import LeRobotWriter
from representation.registry import load_model

ENCODER = Path("policies/checkpoints/rdt_small/image_tower")
SIDE = 32


def write_dataset(root, robot, episodes=3, frames=6, velocity=True):
    spec, rng = get_robot(robot), np.random.default_rng(0)
    count = len(spec.joint_names)
    columns = ["observation.state", "observation.velocity"] if velocity else ["observation.state"]
    features = {name: {"dtype": "float32", "shape": (count,), "names": list(spec.joint_names)} for name in columns}
    features["observation.images.top"] = {"dtype": "video", "shape": (SIDE, SIDE, 3)}
    writer = LeRobotWriter(root, 10, features, robot)
    for _ in range(episodes):
        for _ in range(frames):
            picture = rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
            values = {name: rng.uniform(spec.lower, spec.upper).astype(np.float32) for name in columns}
            writer.add_frame({**values, "observation.images.top": picture}, "reach")
        writer.save_episode()
    writer.finalize()
    return root


def options(tmp_path, *words):
    few = ["--encoder", str(ENCODER), "--every", "1", "--steps", "6", "--hidden", "16", "--threads", "1"]
    return [*few, *map(str, words)]


def test_two_robots_learn_and_a_third_is_let_in(tmp_path, capsys):
    places = [write_dataset(tmp_path / robot, robot) for robot in ("panda", "aloha", "ur5e")]
    onboard.main(options(tmp_path, "--dataset", *places[:2], "--output", tmp_path / "known"))
    out = capsys.readouterr().out
    assert "panda: tool" in out
    assert "aloha: tool" in out
    known = load_model(tmp_path / "known" / "model")
    assert known.dims == {"panda": 16, "aloha": 28}
    words = ["--dataset", places[2], "--model", tmp_path / "known", "--samples", "8"]
    onboard.main(options(tmp_path, *words, "--output", tmp_path / "all"))
    told = json.loads((tmp_path / "all" / "onboard.json").read_text())
    assert set(told) == {"adapter only", "from scratch", "ridge regression"}
    model = load_model(tmp_path / "all" / "model")
    assert list(model.dims) == ["panda", "aloha", "ur5e"]
    x = torch.randn(3, 16)
    assert all(torch.equal(a, b) for a, b in zip(known(x, "panda"), model(x, "panda"), strict=True))
    with pytest.raises(ValueError, match="samples: expected at most 12 of ur5e, found 99"):
        onboard.main(options(tmp_path, *words[:-1], "99", "--output", tmp_path / "none"))
    with pytest.raises(ValueError, match="dataset: expected each of another robot"):
        onboard.main(options(tmp_path, "--dataset", places[0], places[0], "--output", tmp_path / "none"))
    with pytest.raises(ValueError, match="dataset: expected one, of a new robot"):
        onboard.main(options(tmp_path, *words, "--dataset", *places[:2], "--output", tmp_path / "none"))


def test_a_dataset_without_velocities_is_refused(tmp_path):
    place = write_dataset(tmp_path / "panda", "panda", velocity=False)
    with pytest.raises(ValueError, match=r"expected \['observation.velocity'\]"):
        onboard.main(options(tmp_path, "--dataset", place, "--output", tmp_path / "none"))


def test_the_pose_of_the_tool_is_its_place_and_two_axes():
    spec = get_robot("panda")
    pose = Kinematics(spec).forward(spec.home)
    (found,) = onboard.tool_pose(Kinematics(spec), np.array([spec.home]))
    assert np.allclose(found, [*pose[:3, 3], *pose[:3, 0], *pose[:3, 1]], atol=1e-6)
    same = torch.from_numpy(found)[None]
    turned = same.clone()
    turned[:, 3:6] = same[:, 6:9]
    turned[:, 0] += 0.03
    assert onboard.pose_errors(turned, same) == pytest.approx((0.03, 90.0), abs=1e-4)


def test_narrow_tokens_become_one_and_wide_ones_get_a_class_token():
    class Tower:
        def __init__(self, width):
            self.width = width

        def __call__(self, pixels):
            return pixels.mean(dim=(1, 2, 3))[:, None, None] * torch.ones(1, 4, self.width)

    pictures = np.full((3, 8, 8, 3), 255, np.uint8)
    assert onboard.scene_tokens(Tower(7), pictures).shape == (3, 1, 28)
    wide = onboard.scene_tokens(Tower(40), pictures, batch_size=2)
    assert wide.shape == (3, 5, 40)
    assert torch.allclose(wide[:, 0], wide[:, 1:].mean(dim=1))

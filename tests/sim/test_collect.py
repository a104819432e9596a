from dataclasses import replace

import numpy as np
import pytest

from policies.robots import get_robot
from representation.data.lerobot_dataset import LeRobotDataset
from sim.collect import CollectConfig, collect
from sim.collection_settings import COLLECTION_PATH
from sim.demonstrations import NoiseConfig
from sim.leader import LeaderConfig
from tests.representation.data import v3_conformance


def test_a_collection_resumes_with_new_episodes_and_keeps_images_depth_and_calibration(tmp_path):
    root = tmp_path / "demos"
    settings = {"task": "reach", "output": root, "cameras": ("front",), "size": 64}
    collect(CollectConfig(episodes=1, **settings))
    collect(CollectConfig(episodes=2, **settings))
    dataset = LeRobotDataset(root)
    assert dataset.num_episodes == 2
    first, second = dataset.episode(0), dataset.episode(1)
    assert int(first["collection.index"].ravel()[0]) < int(second["collection.index"].ravel()[0])
    assert first["observation.images.front"].shape[1:] == (64, 64, 3)
    depth = first["observation.depth.front"]
    assert 0.3 < np.nanmin(depth) < np.nanmax(depth) < 3.01
    assert first["action"].shape[1] == 7
    assert bool(first["next.success"].ravel()[-1])
    assert not first["next.success"].ravel()[:-1].any()
    focal = first["observation.camera.front.intrinsics"][0, 0]
    assert np.isclose(focal, 32 / np.tan(np.deg2rad(35.0) / 2))


def test_two_arms_are_recorded_at_their_rate_with_their_cameras(tmp_path):
    root = tmp_path / "demos"
    collect(CollectConfig(task="transfer_cube", output=root, episodes=1, size=48, noisy=False))
    dataset = LeRobotDataset(root)
    assert (dataset.info.fps, dataset.info.robot_type) == (25, "aloha")
    episode = dataset.episode(0)
    assert episode["action"].shape[1] == episode["observation.state"].shape[1] == 14
    for camera in ("top", "left_wrist", "right_wrist"):
        assert episode[f"observation.images.{camera}"].shape[1:] == (48, 48, 3)


def test_two_disturbed_arms_are_recorded_as_they_were_commanded_and_within_their_limits(tmp_path):
    root = tmp_path / "demos"
    collect(CollectConfig(task="lift_tray", output=root, episodes=1, size=48, cameras=("top",)))
    episode = LeRobotDataset(root).episode(0, ["action", "observation.state"])
    arms = get_robot("aloha").arm_joints
    commanded, measured = episode["action"][:, arms], episode["observation.state"][:, arms]
    ahead, behind = np.abs(commanded[:-1] - measured[1:]), np.abs(commanded[1:] - measured[1:])
    assert np.percentile(ahead, 95) < 0.02  # the arm is at each step where it was told to be
    assert ahead.mean() < behind.mean()
    fastest = np.abs(np.diff(commanded, axis=0)).max(axis=0) * 25
    assert (fastest <= get_robot("aloha").max_velocity[arms]).all()


def test_frames_in_which_a_kick_moved_the_arms_are_marked(tmp_path):
    kicks = NoiseConfig(clean_share=0.0, step_std_m=0.0, turn_std_rad=0.0, kick_rate=0.1, kick_turn_rad=0.1)
    settings = {"task": "lift_tray", "episodes": 1, "size": 48, "cameras": ("top",)}
    marks = {}
    for name, noise in (("kicked", kicks), ("clean", replace(kicks, clean_share=1.0))):
        collect(CollectConfig(output=tmp_path / name, noise=noise, **settings))
        marks[name] = LeRobotDataset(tmp_path / name).episode(0, ["collection.disturbed"])["collection.disturbed"]
    assert 0.0 < marks["kicked"].mean() < 0.6
    assert not marks["clean"].any()


def test_a_finished_collection_is_left_alone(tmp_path):
    root = tmp_path / "demos"
    settings = {"task": "reach", "output": root, "cameras": (), "size": 64, "episodes": 1}
    collect(CollectConfig(**settings))
    before = sorted((path, path.stat().st_size) for path in root.rglob("*.parquet"))
    assert collect(CollectConfig(**settings)) == {"reach": 0}
    assert sorted((path, path.stat().st_size) for path in root.rglob("*.parquet")) == before


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A finished collection, and what it was made with."""
    root = tmp_path_factory.mktemp("begun") / "demos"
    config = CollectConfig(task="reach", output=root, cameras=(), size=64, episodes=1)
    collect(config)
    return config


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("task", {"task": "push"}),
        ("task", {"task": "reach,push"}),
        ("seed", {"seed": 1001}),
        ("suite", {"suite": "camera"}),
        ("severity", {"severity": 2}),
        ("noisy", {"noisy": False}),
        ("noise.kick_rate", {"noise": NoiseConfig(kick_rate=0.2)}),
        ("leader.policy", {"leader": LeaderConfig("noop")}),
        ("step_m", {"step_m": 0.01}),
        ("cameras", {"cameras": ("front",)}),
        ("size", {"size": 48}),
    ],
)
def test_a_collection_goes_on_only_with_what_it_was_begun_with(begun, name, other):
    before = {path: path.read_bytes() for path in begun.output.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=rf"{name}: expected .*, found "):
        collect(replace(begun, episodes=2, **other))
    assert {path: path.read_bytes() for path in begun.output.rglob("*") if path.is_file()} == before


def test_what_a_collection_was_begun_with_does_not_disturb_readers_of_the_format(begun):
    assert (begun.output / COLLECTION_PATH).exists()
    v3_conformance.check(begun.output)


def test_a_collection_that_does_not_tell_what_it_was_begun_with_goes_on_with_a_warning(tmp_path):
    config = CollectConfig(task="reach", output=tmp_path, cameras=(), size=64, episodes=1)
    collect(config)
    (tmp_path / COLLECTION_PATH).unlink()
    with pytest.warns(UserWarning, match="make sure that these arguments are the same"):
        collect(replace(config, episodes=2))
    assert LeRobotDataset(tmp_path).num_episodes == 2
    assert not (tmp_path / COLLECTION_PATH).exists()


def test_the_expert_takes_no_longer_steps_than_asked_for(tmp_path):
    settings = {"task": "reach", "cameras": (), "size": 64, "episodes": 1}
    longest = {}
    for step_m in (0.03, 0.01):
        root = tmp_path / str(step_m)
        collect(CollectConfig(output=root, step_m=step_m, **settings))
        actions = LeRobotDataset(root).episode(0, ["action"])["action"]
        longest[step_m] = np.linalg.norm(actions[:, :3], axis=1).max()
    np.testing.assert_allclose(list(longest.values()), list(longest), rtol=1e-5)

from __future__ import annotations

import pickle
import warnings
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from sim.env import RENDER_SIZE, TabletopEnv
from sim.episode_id import EpisodeId
from sim.expert import Expert
from sim.registration import ENVIRONMENTS, register_envs

SMALL = {"width": 48, "height": 32}
PICK = "sim.env:polyarm/Pick-v0"


@pytest.fixture
def make():
    """A function that makes an environment and closes it after the test."""
    made = []

    def make(**arguments) -> TabletopEnv:
        env = TabletopEnv(**({"task": "reach"} | SMALL | arguments))
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()


def assert_equal_observations(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_gymnasiums_checker_finds_nothing(name):
    env = gymnasium.make(f"sim.env:{name}", render_mode="rgb_array", **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    assert env.unwrapped.task.replace("_", "") in name.lower()
    env.close()


@pytest.mark.parametrize("control_mode", ["cartesian_delta", "joint"])
def test_equal_seeds_and_actions_give_equal_episodes(make, control_mode):
    runs = []
    for _ in range(2):
        env = make(task="push", control_mode=control_mode)
        env.action_space.seed(4)
        runs.append([env.reset(seed=9)[0], *(env.step(env.action_space.sample())[0] for _ in range(3))])
    for first, second in zip(*runs, strict=True):
        assert_equal_observations(first, second)


def test_next_episode_of_a_seeded_sequence_differs_and_is_reproduced(make):
    env = make(task="pick")
    first, second = env.reset(seed=1)[1]["episode_id"], env.reset()[1]["episode_id"]
    assert first != second
    env.reset(seed=1)
    assert env.reset()[1]["episode_id"] == second


def test_options_start_a_named_episode(make):
    episode = EpisodeId("stack", "camera", 2, 3, 77)
    one, other = make(task="pick"), make(task="stack", suite="camera", severity=2)
    first, info = one.reset(seed=5, options={"episode": episode})
    assert info["episode_id"] == str(episode)
    assert_equal_observations(first, other.reset(options={"episode": episode})[0])


def test_vector_environments_in_processes_agree_with_those_in_this_process():
    workers = [partial(gymnasium.make, PICK, **SMALL) for _ in range(2)]
    results = []
    for vector in (SyncVectorEnv(workers), AsyncVectorEnv(workers, context="spawn")):
        vector.action_space.seed(0)
        observation, info = vector.reset(seed=[1, 2])
        step = vector.step(vector.action_space.sample())
        results.append((observation, step[0], info["instruction"].tolist()))
        vector.close()
    inline, processes = results
    assert_equal_observations(inline[0], processes[0])
    assert_equal_observations(inline[1], processes[1])
    assert inline[2] == processes[2]
    assert inline[0]["front_rgb"].shape == (2, 32, 48, 3)


def test_cartesian_action_moves_the_tool_by_its_displacement(make):
    env = make(cameras=())
    env.reset(seed=0)
    for delta in ((0.03, 0.0, 0.0), (0.0, -0.03, 0.0), (0.0, 0.0, -0.03)):
        before = env.simulation.scene.tool_position()
        env.step(np.array([*delta, 0.0, 0.0, 0.0, 1.0]))
        np.testing.assert_allclose(env.simulation.scene.tool_position() - before, delta, atol=6e-3)


def test_cartesian_action_turns_the_tool_about_the_axes_of_the_base(make):
    env = make(cameras=())
    env.reset(seed=0)
    before = env.simulation.scene.tool_rotation()
    env.step(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 1.0]))
    turn = env.simulation.scene.tool_rotation() @ before.T
    assert np.arctan2(turn[1, 0], turn[0, 0]) == pytest.approx(0.2, abs=0.03)


def test_joint_action_brings_the_arm_to_its_target(make):
    env = make(control_mode="joint", cameras=())
    observation, _ = env.reset(seed=0)
    target = observation["joint_positions"] + 0.05 * np.array([1, -1, 1, 1, -1, 1, -1, 0])
    for _ in range(3):
        observation, *_ = env.step(target)
    np.testing.assert_allclose(observation["joint_positions"][:7], target[:7], atol=5e-3)


def test_gripper_follows_its_action(make):
    env = make(cameras=())
    env.reset(seed=0)
    for opening in (0.0, 1.0):
        for _ in range(8):
            observation, *_ = env.step(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, opening]))
        assert observation["gripper_opening"][0] == pytest.approx(opening, abs=0.05)


def test_expert_actions_end_the_episode_with_success_and_reward(make):
    env = make(task="reach", cameras=())
    env.reset(seed=2)
    expert = Expert(env.simulation)
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated):
        _, reward, terminated, truncated, info = env.step(expert.act().rows[0])
        rewards.append(reward)
    assert terminated
    assert not truncated
    assert info["success"]
    assert info["progress"] == 1.0
    assert sum(rewards) == rewards[-1] == 1.0


def test_standing_still_is_truncated_at_the_step_limit(make):
    env = make(task="reach", cameras=(), control_mode="joint")
    observation, _ = env.reset(seed=2)
    truncated = terminated = False
    steps = 0
    while not (terminated or truncated):
        _, reward, terminated, truncated, info = env.step(observation["joint_positions"])
        steps += 1
        assert reward == 0.0
    assert truncated
    assert not terminated
    assert info["steps"] == steps


@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_an_object_corner_back_projects_within_five_millimetres(make, camera):
    env = make(task="pick", width=224, height=224)
    found = []
    for index in range(6):
        observation, _ = env.reset(options={"episode": EpisodeId("pick", "nominal", 1, index, 0)})
        points = back_project(observation, camera)
        corners = [corner for corner in top_corners(env) if is_visible(observation, camera, corner)]
        found += [np.linalg.norm(points - corner, axis=-1).min() for corner in corners]
    assert len(found) >= 4
    assert max(found) < 0.005


def top_corners(env: TabletopEnv) -> list[np.ndarray]:
    """Upper corners, in the base frame, of the cubes on the table."""
    scene = env.simulation.scene
    corners = []
    for slot, item in enumerate(scene.layout.objects):
        if item.shape == "cube":
            turn = np.array([[np.cos(item.yaw), -np.sin(item.yaw)], [np.sin(item.yaw), np.cos(item.yaw)]])
            for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                offset = turn @ np.multiply(signs, item.half_size)
                corners.append(scene.object_position(slot) + np.append(offset, item.half_size))
    return corners


def is_visible(observation: dict, camera: str, point: np.ndarray) -> bool:
    """Whether a point lies well inside the picture and nothing stands before it."""
    pose = observation[f"{camera}_base_from_camera"]
    local = pose[:3, :3].T @ (point - pose[:3, 3])
    pixel = observation[f"{camera}_intrinsics"] @ local / local[2]
    depth = observation[f"{camera}_depth"]
    column, row = pixel[:2].astype(int)
    if not (2 <= column < depth.shape[1] - 2 and 2 <= row < depth.shape[0] - 2):
        return False
    return bool(depth[row - 2 : row + 3, column - 2 : column + 3].min() > local[2] - 0.01)


def back_project(observation: dict, camera: str) -> np.ndarray:
    """(H, W, 3) points of a picture's pixels in the base frame."""
    depth, pose = observation[f"{camera}_depth"], observation[f"{camera}_base_from_camera"]
    column, row = np.meshgrid(np.arange(depth.shape[1]) + 0.5, np.arange(depth.shape[0]) + 0.5)
    rays = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(observation[f"{camera}_intrinsics"]).T
    return (rays * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]


def test_render_gives_a_picture_of_its_own_size(make):
    env = make(render_mode="rgb_array", cameras=())
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (RENDER_SIZE, RENDER_SIZE, 3)
    assert picture.std() > 10


def test_held_out_suites_change_what_is_asked(make):
    env = make(task="pick", suite="held_out_paraphrases", cameras=())
    texts = {env.reset(seed=seed)[1]["instruction"] for seed in range(6)}
    assert all("up from the table" in text or "and pick it up" in text for text in texts)


@pytest.mark.parametrize("action", [np.zeros(6), np.full(7, np.nan)])
def test_malformed_actions_are_refused(make, action):
    env = make(cameras=())
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action: expected \(7,\) finite values"):
        env.step(action)


def test_step_before_reset_is_refused(make):
    env = make(cameras=())
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(env.action_space.sample())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "juggle"}, "task: expected"),
        ({"suite": "moonlight"}, "suite: expected"),
        ({"severity": 9}, "severity: expected"),
        ({"control_mode": "torque"}, "control_mode: expected"),
        ({"render_mode": "human"}, "render_mode: expected"),
    ],
)
def test_unknown_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TabletopEnv(**({"task": "pick"} | arguments))


def test_unknown_options_are_refused(make):
    with pytest.raises(ValueError, match=r"found \['index'\]"):
        make().reset(options={"index": 3})


def test_registering_twice_changes_nothing():
    before = dict(gymnasium.registry)
    register_envs()
    assert gymnasium.registry == before


def test_episode_ids_and_specs_are_picklable():
    episode = EpisodeId("pick", "nominal", 1, 0, 3)
    assert pickle.loads(pickle.dumps(episode)) == episode
    spec = gymnasium.spec("polyarm/Pick-v0")
    assert pickle.loads(pickle.dumps(spec)) == spec

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from policies.execution.kinematics import Kinematics
from policies.interface import CameraView, Observation, load_policy
from policies.rdt.demonstrations import Episode, join
from policies.rdt.embodiment import FRANKA_EEF
from policies.rdt.tool_numbers import as_tool_numbers, tool_numbers
from policies.rdt.training_options import RDTTraining
from policies.robots import get_robot
from policies.train import new_run
from policies.train_config import TrainConfig
from representation.data.lerobot_writer import LeRobotWriter
from tests.policies.training_runs import run

SPEC = get_robot("panda")
KINEMATICS = Kinematics(SPEC)
SIDE, LENGTH, CHUNK = 16, 14, 8


def turned(steps):
    """Joints of an arm that turns its base while it closes its hand."""
    joints = np.tile(SPEC.home, (steps, 1))
    joints[:, 0] += 0.05 * np.arange(steps)
    joints[:, 7] = np.linspace(0.04, 0.0, steps)
    return joints


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tool")
    joints = {"dtype": "float32", "shape": (8,)}
    features = {"observation.images.front": {"dtype": "video", "shape": (SIDE, SIDE, 3)}}
    writer = LeRobotWriter(folder / "turn", 10, features | {"observation.state": joints, "action": joints}, "panda")
    for _ in range(4):
        path = turned(LENGTH + 1).astype(np.float32)
        for state, action in pairwise(path):
            picture = np.full((SIDE, SIDE, 3), 90, np.uint8)
            frame = {"observation.images.front": picture, "observation.state": state, "action": action}
            writer.add_frame(frame, task="turn")
        writer.save_episode()
    writer.finalize()
    body = replace(FRANKA_EEF, cameras=("front", "", ""))
    (folder / "tool.json").write_text(json.dumps(body.to_dict()))
    options = RDTTraining(image_size=SIDE, chunk=CHUNK, embodiments=(str(folder / "tool.json"),))
    return TrainConfig(
        dataset=(folder / "turn",),
        output=folder / "run",
        policy="rdt",
        size="tiny",
        rdt=options,
        steps=2,
        batch_size=4,
        validation_episodes=1,
        validate_every=2,
        threads=1,
    )


def test_the_numbers_are_pose_and_opening():
    joints = turned(3)
    numbers = tool_numbers(KINEMATICS, SPEC, joints)
    assert numbers.shape == (3, 10)
    for row, q in zip(numbers, joints, strict=True):
        pose = KINEMATICS.forward(q)
        np.testing.assert_allclose(row[:9], [*pose[:3, 3], *pose[:3, 0], *pose[:3, 1]])
    np.testing.assert_allclose(numbers[:, 9], [1.0, 0.5, 0.0])
    np.testing.assert_array_equal(tool_numbers(KINEMATICS, SPEC, joints[1]), numbers[1])


def test_deviations_are_those_of_each_episode():
    episodes = [
        Episode(joints, joints, np.zeros(len(joints), bool), joints.std(axis=0), ["turn"] * len(joints), "turn")
        for joints in (turned(5), turned(9)[::-1])
    ]
    steps = join(episodes)
    found = as_tool_numbers(steps, SPEC)
    for episode in (slice(0, 5), slice(5, 14)):
        expected = tool_numbers(KINEMATICS, SPEC, steps.states[episode]).std(axis=0)
        np.testing.assert_allclose(found.state_std[episode], np.tile(expected, (len(steps.states[episode]), 1)))


def test_a_policy_of_tool_poses_is_trained_and_answers_with_poses(config):
    learner = run(config).learner
    frames = learner.training[:1]
    batch = learner._plain(frames, None)
    place = int(learner.mixture.datasets[0].steps.first[frames[0]])
    wanted = tool_numbers(KINEMATICS, SPEC, turned(LENGTH + 1)[frames[0] - place + 1 :][:CHUNK])
    found = FRANKA_EEF.action_from_unified(batch["actions"][0].numpy())
    np.testing.assert_allclose(found[: len(wanted)], wanted, atol=1e-4)
    policy = load_policy(str(config.output / "policy"))
    view = CameraView(np.full((SIDE, SIDE, 3), 90, np.uint8), np.ones((SIDE, SIDE)), np.eye(3), np.eye(4))
    policy.reset(0)
    answer = policy.act(Observation(0.0, {"front": view}, SPEC.home, np.zeros(8), "turn"))
    assert (answer.kind, answer.rows.shape, answer.dt) == ("cartesian_absolute", (CHUNK, 7), 0.1)


def test_a_chunk_of_true_numbers_leads_where_the_demonstration_did(config):
    policy = load_policy(str(run(replace(config, output=config.output.parent / "other")).output / "policy"))
    joints = turned(CHUNK)
    vectors, _ = FRANKA_EEF.action_to_unified(tool_numbers(KINEMATICS, SPEC, joints))
    view = CameraView(np.zeros((SIDE, SIDE, 3), np.uint8), np.ones((SIDE, SIDE)), np.eye(3), np.eye(4))
    observation = Observation(0.0, {"front": view}, joints[0], np.zeros(8), "turn")
    chunk = policy.chunk(observation, torch.from_numpy(vectors))
    for row, q in zip(chunk.rows, joints, strict=True):
        pose = KINEMATICS.forward(q)
        np.testing.assert_allclose(row[:3], pose[:3, 3], atol=1e-5)
        np.testing.assert_allclose(Rotation.from_euler("xyz", row[3:6]).as_matrix(), pose[:3, :3], atol=1e-5)


def test_a_history_of_joints_is_refused(config):
    options = replace(config.rdt, history_steps=4)
    with pytest.raises(ValueError, match=r"--rdt\.history-steps: expected joints, found 'franka_eef' of kind 'eef'"):
        new_run(replace(config, output=config.output.parent / "third", rdt=options))

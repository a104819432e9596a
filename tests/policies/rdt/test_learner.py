from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from policies import training_loop, training_state
from policies.interface import CameraView, Observation, load_policy
from policies.rdt.demonstrations import read_steps
from policies.rdt.training_options import RDTTraining
from policies.robots import get_robot
from policies.train import check_output, new_run
from policies.train_config import TrainConfig
from policies.training_data import open_datasets
from representation.data.lerobot_writer import LeRobotWriter

SPEC = get_robot("aloha")
SIDE, LENGTH, EPISODES = 16, 12, 10
COLORS = {"left": (220, 40, 40), "right": (40, 60, 220)}


def write_bimanual(root, rng):
    """Episodes in which colour and words tell which arm turns its waist."""
    cameras = ("top", "right_wrist")
    features = {f"observation.images.{name}": {"dtype": "video", "shape": (SIDE, SIDE, 3)} for name in cameras}
    joints = {"dtype": "float32", "shape": (14,)}
    writer = LeRobotWriter(root, 25, {**features, "observation.state": joints, "action": joints}, "aloha")
    for episode in range(EPISODES):
        side = ("left", "right")[episode % 2]
        state = SPEC.home.copy()
        for _ in range(LENGTH):
            action = state.copy()
            action[0 if side == "left" else 7] += 0.1
            picture = np.full((SIDE, SIDE, 3), COLORS[side], np.uint8)
            frame = {f"observation.images.{name}": picture for name in cameras}
            noise = rng.normal(0, 0.003, 14)
            frame |= {"observation.state": (state + noise).astype(np.float32), "action": action.astype(np.float32)}
            writer.add_frame(frame, task=f"turn the {side} arm.")
            state = action
        writer.save_episode()
    writer.finalize()


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "turn"
    write_bimanual(root, np.random.default_rng(0))
    return root


@pytest.fixture(scope="module")
def config(demonstrations):
    return TrainConfig(
        dataset=(demonstrations,),
        output=demonstrations,
        policy="rdt",
        size="tiny",
        rdt=RDTTraining(left_wrist="", image_size=16, chunk=8),
        steps=60,
        batch_size=16,
        warmup_steps=4,
        lr=3e-3,
        average_decay=0.9,
        validation_episodes=2,
        validate_every=30,
        log_every=1,
        save_every=25,
        threads=1,
    )


def run(config):
    check_output(config)
    config.output.mkdir(parents=True, exist_ok=True)
    result = new_run(config)
    result.train()
    return result


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    return run(replace(config, output=tmp_path_factory.mktemp("runs") / "whole"))


def observe(side, stamp=0.0):
    picture = np.full((SIDE, SIDE, 3), COLORS[side], np.uint8)
    view = CameraView(picture, np.ones((SIDE, SIDE)), np.eye(3), np.eye(4))
    return Observation(stamp, {"top": view, "right_wrist": view}, SPEC.home, np.zeros(14), f"turn the {side} arm")


def test_training_lowers_the_loss_and_leaves_metrics(finished):
    rows = [json.loads(line) for line in (finished.output / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:3])
    held_out = [row for row in rows if "validation/loss" in row]
    assert [row["step"] for row in held_out] == [30, 60]
    assert held_out[-1]["validation/error/sample_mse"] < held_out[0]["validation/error/sample_mse"]
    assert np.isfinite(held_out[-1]["validation/error/l1/turn"])
    assert (finished.output / "loss.png").stat().st_size > 1000


def test_the_saved_policy_is_the_averaged_one_with_its_encoders(finished):
    policy = load_policy(str(finished.output / "policy"))
    assert (policy.robot, policy.cameras, policy.control_hz) == ("aloha", ("top", "right_wrist"), 25)
    expected = finished.average
    for found, wanted in ((policy.model, expected.model), (policy.tower.vision_model, expected.tower)):
        for name, value in found.state_dict().items():
            assert torch.equal(value, wanted.state_dict()[name]), name
    assert torch.equal(policy.text("turn"), expected.text("turn"))


def test_the_policy_answers_in_the_robots_own_numbers(finished):
    policy = load_policy(str(finished.output / "policy"))
    policy.reset(0)
    chunk = policy.act(observe("left"))
    assert (chunk.kind, chunk.rows.shape, chunk.dt) == ("joint", (8, 14), 0.04)
    assert np.abs(chunk.rows - SPEC.home)[:, [1, 2, 3, 4, 5, 8, 9, 10, 11, 12]].max() < 0.1


def test_a_resumed_run_equals_the_uninterrupted_one_exactly(finished, config, tmp_path, monkeypatch):
    def killed_at_step_30(average, model, decay, step):
        if step == 30:
            raise KeyboardInterrupt
        training_state.update_average(average, model, decay, step)

    config = replace(config, output=tmp_path / "interrupted")
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "update_average", killed_at_step_30)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    run(replace(config, resume=True))
    whole, resumed = (load_file(path / "training_state.safetensors") for path in (finished.output, config.output))
    assert whole.keys() == resumed.keys()
    for name in whole:
        assert torch.equal(whole[name], resumed[name]), name


def test_a_run_goes_on_from_a_policy(finished, config, tmp_path):
    first = replace(config, output=tmp_path, initial=finished.output / "policy", steps=1, lr=0.0)
    started = run(first)
    for name, value in started.bare_model.state_dict().items():
        assert torch.equal(value, finished.average.state_dict()[name]), name
    with pytest.raises(ValueError, match="expected a network of"):
        new_run(replace(first, output=tmp_path / "other", rdt=replace(config.rdt, chunk=4)))


@pytest.mark.parametrize(
    "rdt",
    [
        {"objective": "regression"},
        {"history": False, "max_delay": 3},
    ],
)
def test_variants_train_and_load(config, tmp_path, rdt):
    run(replace(config, output=tmp_path, steps=2, validate_every=2, rdt=replace(config.rdt, **rdt)))
    policy = load_policy(str(tmp_path / "policy"))
    policy.reset(0)
    first = policy.act(observe("left")).rows
    assert np.isfinite(first).all()
    again = policy.act(observe("left")).rows
    assert (first == again).all() == (rdt.get("objective") == "regression")
    assert policy.model.config.clean_prefix == bool(rdt.get("max_delay"))


def test_cartesian_actions_are_replaced_by_the_joints_of_the_step_after(tmp_path):
    joints = {"dtype": "float32", "shape": (8,)}
    writer = LeRobotWriter(
        tmp_path, 10, {"observation.state": joints, "action": {"dtype": "float32", "shape": (7,)}}, "panda"
    )
    for step in range(4):
        state = np.full(8, 0.01 * step, np.float32)
        writer.add_frame({"observation.state": state, "action": np.zeros(7, np.float32)}, task="go")
    writer.save_episode()
    writer.finalize()
    steps = read_steps(open_datasets([tmp_path]), get_robot("panda"))
    np.testing.assert_allclose(steps.actions[:, 0], [0.01, 0.02, 0.03, 0.03], atol=1e-7)
    np.testing.assert_allclose(steps.chunks(np.array([2]), 3)[0, :, 0], [0.03, 0.03, 0.03], atol=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 20}, "multiple of patch_size 8"),
        ({"exterior": "", "right_wrist": "", "left_wrist": ""}, "at least one"),
        ({"objective": "regression", "max_delay": 2}, "max_delay"),
    ],
)
def test_options_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        RDTTraining(**change)

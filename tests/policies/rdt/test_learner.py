from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partialmethod

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from policies.interface import CameraView, JointReadings, Observation, load_policy
from policies.lora import LoraSettings
from policies.rdt.embodiment import ALOHA_AGILEX
from policies.rdt.images import background_image
from policies.rdt.policy import RDTPolicy
from policies.rdt.training_options import RDTTraining
from policies.train import check_adapters, check_history, main, new_run
from policies.train_config import TrainConfig
from tests.policies.rdt.episodes import COLORS, LENGTH, SIDE, SPEC, VARIANTS, write_aloha, write_bimanual
from tests.policies.training_runs import check_resumed_equals_whole, run


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
    assert held_out[-1]["validation/error/normalized_l2"] < held_out[0]["validation/error/normalized_l2"]
    assert (finished.output / "loss.png").stat().st_size > 1000


def test_the_saved_policy_is_the_averaged_one_with_its_encoders(finished):
    policy = load_policy(str(finished.output / "policy"))
    assert (policy.robot, policy.cameras, policy.control_hz) == ("aloha", ("top", "right_wrist"), 25)
    expected = finished.average
    for found, wanted in ((policy.model, expected.model), (policy.tower, expected.tower)):
        for name, value in found.state_dict().items():
            assert torch.equal(value, wanted.state_dict()[name]), name
    assert torch.equal(policy.text("turn"), expected.text("turn"))


def test_the_policy_answers_in_the_robots_own_numbers(finished):
    policy = load_policy(str(finished.output / "policy"))
    policy.reset(0)
    chunk = policy.act(observe("left"))
    assert (chunk.kind, chunk.rows.shape, chunk.dt) == ("joint", (8, 14), 0.04)
    assert np.abs(chunk.rows - SPEC.home)[:, [1, 2, 3, 4, 5, 8, 9, 10, 11, 12]].max() < 0.1


def test_a_resumed_run_equals_the_uninterrupted_one_exactly(finished, config, tmp_path):
    check_resumed_equals_whole(finished, replace(config, output=tmp_path / "interrupted"), 30)


def test_a_run_goes_on_from_a_policy(finished, config, tmp_path):
    first = replace(config, output=tmp_path, initial=finished.output / "policy", steps=1, lr=0.0)
    started = run(first)
    for name, value in started.bare_model.state_dict().items():
        assert torch.equal(value, finished.average.state_dict()[name]), name
    with pytest.raises(ValueError, match=r"--rdt\.chunk: expected the policy's 8, found 4"):
        new_run(replace(first, output=tmp_path / "other", rdt=replace(config.rdt, chunk=4)))
    with pytest.raises(ValueError, match=r"--rdt\.relative: expected a fresh embodiment, found 'aloha' of positions"):
        new_run(replace(first, output=tmp_path / "other", rdt=replace(config.rdt, relative=True)))


@pytest.mark.parametrize(
    "rdt",
    [
        {"objective": "regression"},
        {"history": False, "max_delay": 3},
        {"masked_loss": False},
        {"relative": True},
        {"history_steps": 6},
        {"history_steps": 6, "history_mixer": "attention", "objective": "regression"},
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
    assert policy.settings.embodiment.relative == bool(rdt.get("relative"))
    mixer = rdt.get("history_mixer", "ponet")
    assert (policy.model.config.history_steps, policy.model.config.history_mixer) == (
        rdt.get("history_steps", 0),
        mixer,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 20}, "multiple of patch_size 8"),
        ({"exterior": "", "right_wrist": "", "left_wrist": ""}, "at least one"),
        ({"objective": "regression", "max_delay": 2}, "max_delay"),
        ({"history_steps": 1}, "history_steps: expected 0 or 2 to 100000, found 1"),
        ({"history_mixer": "ponet"}, "history_mixer: expected history_steps with ponet, found none"),
    ],
)
def test_options_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        RDTTraining(**change)


def test_pictures_are_augmented_if_asked_for_and_by_the_generator_alone(config, tmp_path):
    learner = new_run(replace(config, output=tmp_path, jitter=0.0, rdt=replace(config.rdt, augment=True))).learner
    frames = learner.training[:16]
    first, again, other = (learner.batch(frames, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["images"], other["images"])
    plain = learner._plain(frames, None)["images"]
    changed = (first["images"] - plain).abs().flatten(2).amax(-1) > 0.3  # not merely by the loss of the videos
    assert changed.any()
    assert not changed.all()


@pytest.fixture(scope="module")
def mixed(config, tmp_path_factory):
    """Two recordings of one robot at different rates, and what a run makes of them in many ways at once."""
    root = tmp_path_factory.mktemp("data")
    for name, fps in (("fast", 50), ("slow", 10)):
        write_bimanual(root / name, np.random.default_rng(fps), episodes=4, fps=fps)
    return replace(
        config,
        dataset=(root / "fast", root / "slow"),
        steps=6,
        save_every=3,
        validate_every=6,
        average_decay=0.9999,
        average_schedule="power",
        rdt=replace(config.rdt, weights=(1.0, 3.0), augment=True, max_delay=2),
    )


@pytest.fixture(scope="module")
def mixed_run(mixed, tmp_path_factory):
    return run(replace(mixed, output=tmp_path_factory.mktemp("runs") / "whole"))


def test_each_dataset_of_a_mixture_has_its_own_rate_and_the_policy_that_of_the_first(mixed_run):
    learner = mixed_run.learner
    frames = learner.training
    rates = torch.where(torch.from_numpy(learner.mixture.dataset[frames]) == 0, 50.0, 10.0)
    assert torch.equal(learner._plain(frames, None)["frequency"], rates)
    assert learner.weights[learner.mixture.dataset[frames] == 1].sum() == pytest.approx(0.75)
    policy = load_policy(str(mixed_run.output / "policy"))
    assert policy.control_hz == 50
    rows = [json.loads(line) for line in (mixed_run.output / "metrics.jsonl").read_text().splitlines()]
    errors = [name for row in rows for name in row if name.startswith("validation/error/l1/")]
    assert errors == ["validation/error/l1/fast", "validation/error/l1/slow"]


def test_dropped_conditions_are_the_datasets_mean_state_the_end_of_a_text_and_background(mixed, tmp_path):
    options = replace(mixed.rdt, drop=1.0, augment=False)
    learner = new_run(replace(mixed, output=tmp_path, jitter=0.0, rdt=options)).learner
    frames = learner.training
    batch, plain = learner.batch(frames, torch.Generator().manual_seed(0)), learner._plain(frames, None)
    for number in (0, 1):
        own = learner.mixture.dataset[frames] == number
        mean = plain["state"][own].mean(0)
        torch.testing.assert_close(batch["state"][own], mean.expand(own.sum(), -1, -1), atol=1e-5, rtol=0)
    assert not torch.equal(batch["state"][0], batch["state"][-1])
    assert not batch["frequency"].any()
    assert not batch["mask"].any()
    assert torch.equal(batch["slots"], plain["slots"])
    assert batch["language_mask"].sum(1).tolist() == [1] * len(frames)
    assert (batch["language"][:, 0, 0] == learner.model.text.ids("")[0]).all()
    assert torch.equal(batch["images"], background_image(SIDE).expand_as(batch["images"]))


def test_a_resumed_mixture_equals_the_uninterrupted_one_exactly(mixed_run, mixed, tmp_path):
    check_resumed_equals_whole(mixed_run, replace(mixed, output=tmp_path / "interrupted"), 4)


def test_the_average_of_the_published_schedule_forgets_the_first_weights_at_once(mixed, tmp_path):
    first = run(replace(mixed, output=tmp_path, steps=1, validation_episodes=0))
    for average, trained in zip(first.average.parameters(), first.bare_model.parameters(), strict=True):
        assert torch.equal(average, trained)


def test_episodes_of_aloha_train_from_the_command_line(tmp_path, capsys):
    write_aloha(tmp_path / "lift", (130, 130))
    arguments = f"--policy rdt --dataset {tmp_path}/lift --output {tmp_path}/run --size tiny --steps 2 --batch-size 4"
    options = "--threads 1 --validation-frames 8 --rdt.chunk 8 --rdt.image-size 16"
    words = [*arguments.split(), *options.split(), "--validation-episodes"]
    assert main([*words, "2"]) == 2
    assert "error: validation_episodes: expected fewer than the 2" in capsys.readouterr().err
    assert main([*words, "1"]) == 0
    policy = load_policy(str(tmp_path / "run" / "policy"))
    assert (policy.robot, policy.control_hz) == ("aloha", 25)
    assert policy.cameras == ("cam_high", "cam_right_wrist", "cam_left_wrist")
    known = {word for text in VARIANTS.texts for word in text.lower().removesuffix(".").split()}
    assert set(policy.text.words[2:]) == known
    assert "validation/error/l1/lift" in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_both_formats_train_together_by_named_embodiments(config, demonstrations, tmp_path):
    write_aloha(tmp_path / "lift", (130, 130))
    files = {}
    for name, hz in (("static", 50.0), ("simulated", 25.0)):
        body = replace(ALOHA_AGILEX, name=name, control_hz=hz, cameras=("top", "right_wrist", ""))
        files[name] = tmp_path / f"{name}.json"
        files[name].write_text(json.dumps(body.to_dict()))
    both = replace(config, dataset=(tmp_path / "lift", demonstrations), output=tmp_path / "run", steps=1)
    with pytest.raises(ValueError, match=r"--rdt\.embodiments: expected one for each dataset"):
        new_run(both)
    named = tuple(str(path) for path in files.values())
    learner = run(replace(both, rdt=replace(config.rdt, embodiments=named))).learner
    batch = learner._plain(learner.training[[0, -1]], None)
    assert batch["frequency"].tolist() == [50, 25]
    policy = load_policy(str(tmp_path / "run" / "policy"))
    assert (policy.control_hz, policy.cameras) == (50, ("top", "right_wrist"))
    swapped = replace(both, rdt=replace(config.rdt, embodiments=named[::-1]))
    with pytest.raises(ValueError, match=r"turn: embodiment 'static': control_hz: expected the dataset's 25, found 50"):
        new_run(swapped)


def test_rows_that_lie_closer_than_steps_are_trained_and_answered_as_steps(config, tmp_path):
    cameras = ("top", "right_wrist", "")
    body = replace(ALOHA_AGILEX, control_hz=25.0, cameras=cameras, chunk_steps=4, frequency=10.0)
    (tmp_path / "dense.json").write_text(json.dumps(body.to_dict()))
    options = replace(config.rdt, embodiments=(str(tmp_path / "dense.json"),))
    finished = run(replace(config, output=tmp_path / "run", steps=2, validate_every=2, rdt=options))
    batch = finished.learner._plain(finished.learner.training[:3], None)
    assert batch["actions"].shape[1] == 8
    assert batch["frequency"].tolist() == [10, 10, 10]
    policy = load_policy(str(tmp_path / "run" / "policy"))
    policy.reset(0)
    answer = policy.act(observe("left"))
    assert (answer.rows.shape, answer.dt) == ((4, 14), 1 / 25)


def test_a_policy_of_another_robot_is_refused_as_a_start(finished, config, tmp_path):
    policy = tmp_path / "panda"
    shutil.copytree(finished.output / "policy", policy)
    content = json.loads((policy / "policy.json").read_text())
    (policy / "policy.json").write_text(json.dumps(content | {"robot": "panda"}))
    with pytest.raises(ValueError, match="turn: robot: expected panda as of the policy to start from, found aloha"):
        new_run(replace(config, initial=policy, output=tmp_path / "run"))


def test_a_policy_is_fine_tuned_by_adapters_and_saved_whole_and_alone(finished, config, tmp_path):
    policy = finished.output / "policy"
    tuned = replace(config, output=tmp_path / "lora", initial=policy, steps=2, lora=LoraSettings(rank=2))
    run(tuned)
    before, after = (load_policy(str(path)) for path in (policy, tuned.output / "policy"))
    old = before.model.state_dict()
    changed = {name for name, value in after.model.state_dict().items() if not torch.equal(value, old[name])}
    assert {"model.blocks.1.cross_attn.kv.weight", "img_adaptor.2.weight"} <= changed
    assert all(name.endswith(".weight") and "norm" not in name and "embed" not in name for name in changed)
    for name, value in before.tower.state_dict().items():
        assert torch.equal(after.tower.state_dict()[name], value), name
    assert torch.equal(before.text("turn the left arm"), after.text("turn the left arm"))
    names = load_file(tuned.output / "adapters" / "adapter_model.safetensors")
    assert "base_model.model.model.blocks.0.attn.qkv.lora_A.weight" in names
    assert run(replace(tuned, steps=3, resume=True)).progress.step == 3


def test_clean_rows_are_taught_to_a_policy_without_a_mark_for_them_and_not_by_adapters(finished, config, tmp_path):
    taught = replace(
        config,
        output=tmp_path / "taught",
        initial=finished.output / "policy",
        steps=1,
        lr=0.0,
        rdt=replace(config.rdt, max_delay=2),
    )
    model = run(taught).bare_model.model
    assert not model.model.clean_embed.any()
    for name, value in load_policy(str(finished.output / "policy")).model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    policy = load_policy(str(taught.output / "policy"))
    assert policy.model.config.clean_prefix
    assert policy.settings.max_delay == 2
    with pytest.raises(ValueError, match=r"--rdt\.max-delay: expected 0 to 7 rows, found 8"):
        new_run(replace(taught, output=tmp_path / "fourth", rdt=replace(config.rdt, max_delay=8)))
    with pytest.raises(ValueError, match=r"--rdt\.max-delay: expected 0 with adapters"):
        new_run(replace(taught, output=tmp_path / "other", lora=LoraSettings(rank=2)))
    with pytest.raises(ValueError, match=r"--rdt\.max-delay: expected > 0"):
        new_run(replace(config, output=tmp_path / "third", initial=taught.output / "policy"))


def test_demonstrations_that_were_disturbed_throughout_are_refused(config, tmp_path):
    write_bimanual(tmp_path / "noisy", np.random.default_rng(0), episodes=4, disturbed=True)
    with pytest.raises(ValueError, match="noisy: expected training steps from which 8 actions on nothing"):
        new_run(replace(config, dataset=(tmp_path / "noisy",), output=tmp_path / "run"))


def test_a_share_of_the_demonstrations_is_learned_from(config, tmp_path):
    training = new_run(replace(config, share=0.25, output=tmp_path / "run"))
    assert len(training.learner.training) == 2 * (12 - 1 + 1)
    with pytest.raises(ValueError, match=r"share: expected in \(0, 1\], found 0"):
        replace(config, share=0)


def test_a_frozen_tower_sees_pictures_that_do_not_change_once(config, finished, tmp_path):
    options = replace(config.rdt, freeze=True, image_size=None, drop=0.0)
    config = replace(config, initial=finished.output / "policy", jitter=0.0, rdt=options)
    once = new_run(replace(config, output=tmp_path / "once")).learner
    each = new_run(replace(config, jitter=1e-9, output=tmp_path / "each")).learner
    rows = once.training[:8]
    features, pixels = (one.batch(rows, torch.Generator().manual_seed(3)) for one in (once, each))
    tokens = once.model.model.config.image_grid[2]
    assert features["images"].shape == (8, 6, tokens, once.model.tower.width)
    assert pixels["images"].shape == (8, 6, 3, SIDE, SIDE)
    found = once.model.tower(pixels["images"].flatten(0, 1)).unflatten(0, (8, 6))
    torch.testing.assert_close(features["images"], found, atol=1e-5, rtol=1e-5)
    assert not list((tmp_path / "once").glob("pictures*"))
    assert once.validate(once.model, 8).keys() == each.validate(each.model, 8).keys()


def test_a_compiled_run_is_one_graph_and_learns_the_same(config, tmp_path, monkeypatch):
    graphs = []

    def backend(graph, inputs):  # one that generates code takes a minute
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=backend, fullgraph=True))
    runs = {
        compiled: run(
            replace(config, output=tmp_path / str(compiled), steps=4, validation_episodes=0, compile=compiled)
        )
        for compiled in (False, True)
    }
    assert len(graphs) == 1
    for name, value in runs[False].average.state_dict().items():
        torch.testing.assert_close(runs[True].average.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_what_only_spatialvla_has_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match=r"--lora\.train-tables: expected --policy spatialvla, found rdt"):
        check_adapters(replace(config, output=tmp_path, lora=LoraSettings(train_tables=True)))


def test_what_training_shows_of_the_past_is_what_the_policy_sees_in_the_same_episode(finished, config, demonstrations):
    options = replace(config.rdt, history_steps=6)
    learner = new_run(replace(config, output=finished.output.parent / "windows", rdt=options)).learner
    policy = RDTPolicy(learner.model.model, learner.model.tower, learner.model.text, learner.settings)
    (part,) = learner.mixture.parts
    steps = part.data.steps
    for stride in (1, 4):
        for start in (0, LENGTH):  # of two episodes
            policy.reset()
            for step in range(stride - 1, LENGTH, stride):
                between = np.arange(max(0, step - stride + 1), step)
                readings = JointReadings(between / 25, steps.states[start + between]) if len(between) else None
                seen = replace(
                    observe("left", step / 25), joint_positions=steps.states[start + step], readings=readings
                )
                policy.act(seen)
                shown = learner.mixture.samples(np.array([start + step]), 8, True, 6)
                window, present = policy._joints.window(seen.stamp)
                np.testing.assert_array_equal(present, shown["history_present"][0].numpy())
                np.testing.assert_allclose(window, shown["history"][0].numpy(), atol=1e-4)
                assert present.sum() == min(6, step + 1)


def test_a_dropped_history_is_one_of_which_nothing_is_known(config, tmp_path):
    options = replace(config.rdt, history_steps=6, drop=1.0)
    learner = new_run(replace(config, output=tmp_path, rdt=options)).learner
    batch = learner.batch(learner.training[:4], torch.Generator().manual_seed(0))
    assert batch["history"].shape == (4, 6, 128)
    assert not batch["history_present"].any()


def test_a_history_is_taught_to_a_policy_without_one_and_not_by_adapters(finished, config, tmp_path):
    policy = finished.output / "policy"
    options = replace(config.rdt, history_steps=6, history_mixer="attention")
    taught = replace(config, output=tmp_path / "taught", initial=policy, steps=1, lr=0.0, rdt=options)
    trained = run(taught).bare_model.model.state_dict()
    before = load_policy(str(policy)).model.state_dict()
    assert all(torch.equal(trained[name], value) for name, value in before.items())
    after = load_policy(str(taught.output / "policy"))
    assert (after.model.config.history_steps, after.model.config.history_mixer) == (6, "attention")
    on = replace(taught, initial=taught.output / "policy", output=tmp_path / "on")
    assert new_run(replace(on, rdt=config.rdt)).learner.model.model.config.history_steps == 6
    for change, words in (
        ({"history_steps": 5, "history_mixer": None}, "expected 6, attention, found 5, attention"),
        ({"history_mixer": "ponet"}, "expected 6, attention, found 6, ponet"),
        ({"history_steps": 0, "history_mixer": None}, "expected 6, attention, found 0, attention"),
    ):
        with pytest.raises(ValueError, match=rf"--rdt\.history-steps: {words}"):
            new_run(replace(on, rdt=replace(options, **change)))
    with pytest.raises(ValueError, match=r"--rdt\.history-steps: expected none with adapters, found 6, attention"):
        new_run(replace(taught, output=tmp_path / "lora", lora=LoraSettings(rank=2)))


def test_a_history_of_joints_is_of_rdt_alone(config):
    with pytest.raises(ValueError, match=r"--rdt\.history-steps: expected --policy rdt, found spatialvla"):
        check_history(replace(config, policy="spatialvla", rdt=replace(config.rdt, history_steps=6)))

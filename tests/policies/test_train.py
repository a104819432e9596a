from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from policies.interface import load_policy
from policies.lora import LoraSettings
from policies.spatialvla import learner as spatialvla_learner
from policies.spatialvla.augmentation import augment
from policies.train import (
    check_adapters,
    check_augment,
    check_checkpointing,
    check_dataset_key,
    check_text_table,
    main,
    new_run,
)
from policies.train_config import TrainConfig
from representation import training, training_state
from representation.generative.mmist import Look, RestyleOptions, StyleAugment
from representation.training import check_output
from tests.policies.demonstrations import PLAIN, write_demonstrations, write_plain_v21
from tests.policies.spatialvla.conftest import make_released_kind
from tests.policies.training_runs import check_resumed_equals_whole, run


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "push"
    write_demonstrations(root, 10, np.random.default_rng(0))
    return root


@pytest.fixture(scope="module")
def config(demonstrations):
    return TrainConfig(
        dataset=(demonstrations,),
        output=demonstrations,
        size="tiny",
        steps=24,
        batch_size=8,
        warmup_steps=4,
        lr=3e-3,
        average_decay=0.8,
        validation_episodes=2,
        validate_every=12,
        log_every=1,
        save_every=10,
        threads=1,
    )


def metrics(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    return run(replace(config, output=tmp_path_factory.mktemp("runs") / "whole"))


def test_training_lowers_the_loss_and_leaves_metrics_picture_and_config(finished):
    rows = metrics(finished.output)
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert (finished.output / "loss.png").stat().st_size > 1000
    assert json.loads((finished.output / "policy" / "train_config.json").read_text())["lr"] == 3e-3
    held_out = [row for row in rows if "validation/loss" in row]
    assert [row["step"] for row in held_out] == [12, 24]
    for name in ("accuracy", "accuracy/gripper", "l1/push/translation_m", "l1/push/rotation_rad", "l1/push/gripper"):
        assert np.isfinite(held_out[-1][f"validation/{name}"])


def test_saved_policy_loads_with_the_averaged_weights(finished):
    policy = load_policy(str(finished.output / "policy"))
    expected = finished.average.state_dict()
    for name, value in policy.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert (policy.robot, policy.cameras, policy.control_hz, policy.chunk_length) == ("panda", ("front",), 10, 4)


def test_a_resumed_run_equals_the_uninterrupted_one_exactly(finished, config, tmp_path):
    resumed = check_resumed_equals_whole(finished, replace(config, output=tmp_path / "interrupted"), 13)
    losses = [
        [(row["step"], row["loss"]) for row in metrics(one.output) if "loss" in row] for one in (finished, resumed)
    ]
    assert losses[0] == losses[1]


def test_a_run_is_not_overwritten_nor_resumed_from_nothing(finished, config, tmp_path):
    with pytest.raises(ValueError, match="--resume"):
        check_output(replace(config, output=finished.output))
    with pytest.raises(ValueError, match=r"training_state\.safetensors"):
        check_output(replace(config, output=tmp_path, resume=True))


def test_learning_rate_warms_up_and_follows_the_later_of_steps_and_time():
    config = TrainConfig(dataset=(), output=None, steps=1000, warmup_steps=10, lr=1.0, final_lr=0.1, max_minutes=10)
    rate = lambda step, minutes: training.learning_rate(config, training_state.Progress(step, 60 * minutes))  # noqa: E731
    assert rate(0, 0) == pytest.approx(0.1)
    assert rate(500, 0) == rate(20, 5) == pytest.approx(0.55)
    assert rate(1000, 0) == rate(20, 12) == pytest.approx(0.1)


def test_learning_rate_falls_in_a_line_or_stays_when_told_so():
    config = TrainConfig(dataset=(), output=None, steps=1000, warmup_steps=10, lr=1.0, final_lr=0.0)
    linear, constant = replace(config, lr_schedule="linear"), replace(config, final_lr=1.0, warmup_steps=0)
    rates = [training.learning_rate(linear, training_state.Progress(step)) for step in (4, 250, 500, 1000)]
    assert rates == pytest.approx([0.5 * 0.996, 0.75, 0.5, 0.0])
    assert {training.learning_rate(constant, training_state.Progress(step)) for step in (0, 500, 1000)} == {1.0}


def test_a_run_goes_on_with_the_betas_of_its_arguments(finished, config, tmp_path):
    """A state does not hold them, so that one from before there was a choice is read like any other."""
    chosen = run(replace(config, output=tmp_path / "chosen", steps=2, betas=(0.8, 0.999)))
    resumed = run(replace(config, output=chosen.output, steps=3, resume=True))
    for loop, betas in ((finished, (0.9, 0.95)), (chosen, (0.8, 0.999)), (resumed, (0.9, 0.95))):
        assert {group["betas"] for group in loop.optimizer.param_groups} == {betas}
    assert json.loads((chosen.output / "policy" / "train_config.json").read_text())["betas"] == [0.9, 0.95]
    with safe_open(finished.output / training_state.STATE_FILE, framework="pt") as state:
        assert set(state.metadata()) == {"progress"}
        assert not any("beta" in key for key in state.keys())  # noqa: SIM118 (not a mapping)


def test_time_limit_ends_the_run(config, tmp_path):
    short = run(replace(config, output=tmp_path / "short", steps=10**6, max_minutes=0.03, validation_episodes=0))
    assert 0 < short.progress.step < 10**6
    assert (short.output / "policy" / "model.safetensors").exists()


def test_training_without_ego3d_reads_no_depth(config, tmp_path):
    flat = run(replace(config, output=tmp_path / "flat", ego3d=False, steps=2))
    assert flat.learner.data.images.depth_codes is None
    assert not load_policy(str(flat.output / "policy")).model.config.use_ego3d


def test_training_goes_on_from_a_policy_with_its_weights_and_bins(finished, config, tmp_path):
    policy = finished.output / "policy"
    tuned = run(replace(config, output=tmp_path / "tuned", initial=policy, steps=1, lr=0.0, weight_decay=0.0))
    assert tuned.learner.data.processor.grid.edges.keys() == finished.learner.data.processor.grid.edges.keys()
    for axis, edges in finished.learner.data.processor.grid.edges.items():
        np.testing.assert_array_equal(tuned.learner.data.processor.grid.edges[axis], edges)
    expected = load_policy(str(policy)).model.state_dict()
    for name, value in load_policy(str(tuned.output / "policy")).model.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=1e-7, rtol=0, msg=name)


def text_table(model):
    """Rows of the text table that no action token overrides."""
    return model.language_model.model.embed_tokens.weight[: model.config.action_token_begin_idx].detach().clone()


@pytest.mark.parametrize("wanted", [None, False, True])
def test_the_words_of_a_policy_to_start_from_are_trained_only_when_asked_for(finished, config, tmp_path, wanted):
    policy = finished.output / "policy"
    start = replace(config, output=tmp_path / "run", initial=policy, steps=4, weight_decay=0.5, train_text_table=wanted)
    before = load_policy(str(policy)).model
    tuned = run(start)
    resumed = run(replace(tuned.config, steps=8, resume=True))
    assert resumed.progress.step == 8
    words = resumed.bare_model.language_model.model.embed_tokens.weight
    held_by_optimizer = any(words is p for group in resumed.optimizer.param_groups for p in group["params"])
    assert (words.requires_grad, held_by_optimizer) == (bool(wanted), bool(wanted))
    for model in (tuned.bare_model, resumed.bare_model, load_policy(str(start.output / "policy")).model):
        assert torch.equal(text_table(model), text_table(before)) != bool(wanted)
        assert not torch.equal(model.spatial_embed_tokens.weight, before.spatial_embed_tokens.weight)
        assert not torch.equal(model.language_model.lm_head.weight, before.language_model.lm_head.weight)


def test_a_fresh_policy_learns_its_words(finished, config, tmp_path):
    fresh = new_run(replace(config, output=tmp_path / "fresh"))
    assert not torch.equal(text_table(finished.bare_model), text_table(fresh.bare_model))


@pytest.mark.parametrize("change", [{"policy": "rdt"}, {"lora": LoraSettings(rank=4)}])
def test_a_table_of_words_that_is_not_trained_anyway_is_not_asked_for(config, tmp_path, change):
    check_text_table(replace(config, **change))
    with pytest.raises(ValueError, match="--train-text-table: expected --policy spatialvla without adapters"):
        check_text_table(replace(config, train_text_table=False, **change))


def test_a_policy_of_another_kind_is_no_start(finished, config, tmp_path):
    other = replace(config, output=tmp_path / "other", initial=finished.output / "policy", ego3d=False)
    with pytest.raises(ValueError, match=r"'ego3d': False.*'ego3d': True"):
        run(other)


def test_accumulated_passes_equal_one_large_batch(config, tmp_path):
    large = run(replace(config, output=tmp_path / "large", steps=3, batch_size=8, jitter=0.0))
    small = run(replace(config, output=tmp_path / "small", steps=3, batch_size=4, accumulation=2, jitter=0.0))
    for first, second in zip(large.average.parameters(), small.average.parameters(), strict=True):
        torch.testing.assert_close(first, second, atol=2e-4, rtol=1e-3)


def test_processes_decode_once_and_train_together(demonstrations, tmp_path):
    options = f"--dataset {demonstrations} --output {tmp_path}/run --size tiny --steps 3 --batch-size 4 --threads 1"
    launcher = f"{sys.executable} -m torch.distributed.run --standalone --nproc_per_node 2"
    done = subprocess.run(
        [*launcher.split(), "-m", "policies.train", *options.split(), "--validation-episodes", "0", "--log-every", "1"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("decoding videos:   0%|") == 1
    assert [row["step"] for row in metrics(tmp_path / "run")] == [1, 2, 3]
    assert load_policy(str(tmp_path / "run" / "policy")).chunk_length == 4
    assert not list((tmp_path / "run").glob("frames.*"))


def test_command_line_trains(demonstrations, tmp_path, monkeypatch):
    arguments = f"--policy spatialvla --dataset {demonstrations} --output {tmp_path}/run --size tiny --steps 1"
    options = "--batch-size 4 --threads 1 --seed 3 --no-ego3d --validation-episodes 0"
    monkeypatch.setattr("sys.argv", ["train", *arguments.split(), *options.split()])
    main()
    saved = json.loads((tmp_path / "run/policy/train_config.json").read_text())
    assert (saved["seed"], saved["ego3d"], saved["dataset"]) == (3, False, [str(demonstrations)])


def test_fine_tuning_by_adapters_saves_an_ordinary_policy_and_the_adapters(finished, config, tmp_path):
    policy = finished.output / "policy"
    settings = LoraSettings(rank=4)
    tuned = run(replace(config, output=tmp_path / "lora", initial=policy, steps=6, lora=settings))
    before, after = load_policy(str(policy)).model, load_policy(str(tuned.output / "policy")).model
    changed = {name for name, value in after.state_dict().items() if not torch.equal(value, before.state_dict()[name])}
    assert "multi_modal_projector.linear.weight" in changed
    assert not any("norm" in name or "embed_tokens" in name or "lm_head" in name for name in changed)
    assert (tuned.output / "adapters" / "adapter_model.safetensors").is_file()
    resumed = run(replace(tuned.config, steps=8, resume=True))
    assert resumed.progress.step == 8


def test_adapters_without_a_policy_to_adapt_are_refused(config, tmp_path):
    with pytest.raises(ValueError, match=r"--lora\.rank: expected --initial"):
        check_adapters(replace(config, output=tmp_path, lora=LoraSettings(rank=4)))


def test_the_published_changes_of_pictures_are_made_where_they_are_asked_for(config, tmp_path):
    learner = new_run(replace(config, output=tmp_path / "run", augment=True, jitter=0.0)).learner
    frames = learner.training[:4]
    seen = learner.batch(frames, torch.Generator().manual_seed(3))
    expected = augment(learner.data.batch(frames), torch.Generator().manual_seed(3))
    assert all(torch.equal(value, seen[name]) for name, value in expected.items())
    assert not torch.equal(seen["depth"], learner.data.batch(frames)["depth"])
    check_augment(learner.config)
    with pytest.raises(ValueError, match=r"--augment: expected --policy spatialvla, found rdt"):
        check_augment(replace(config, augment=True, policy="rdt"))


def test_looks_are_changed_by_episode_where_they_are_asked_for(config, tmp_path):
    class Darker:
        def style(self, look):
            return SimpleNamespace(mean=torch.zeros(1))

        def restyle(self, frames, style, strength, seed):
            return frames / 2

    learner = new_run(replace(config, output=tmp_path / "plain", jitter=0.0)).learner
    assert learner.restyle is None
    frames = learner.training
    plain = learner.batch(frames, torch.Generator().manual_seed(3))
    learner.restyle = StyleAugment([Look("dark", torch.rand(1, 3, 8, 8))], Darker())
    seen = learner.batch(frames, torch.Generator().manual_seed(3))
    ratios = (seen["pixel_values"] / plain["pixel_values"]).mean(dim=(1, 2, 3))
    episodes = learner.data.columns.episode[frames]
    wanted = [1.0 if learner.restyle.look_of(episode, 3) is None else 0.5 for episode in episodes]
    assert ratios.tolist() == pytest.approx(wanted)
    assert set(wanted) == {0.5, 1.0}
    assert all(torch.equal(value, seen[key]) for key, value in plain.items() if key != "pixel_values")
    with pytest.raises(ValueError, match="expected a model and looks or neither"):
        RestyleOptions(model=tmp_path)


def write_plain_v30(root, episodes, generator):
    write_demonstrations(root, episodes, generator, keys=PLAIN)


@pytest.mark.parametrize("write", [write_plain_v30, write_plain_v21])
@pytest.mark.parametrize("start", ["fresh", "released"])
def test_a_dataset_without_depth_and_calibration_trains_what_needs_neither(config, tmp_path, write, start):
    write(tmp_path / "plain", 4, np.random.default_rng(0))
    plain = replace(config, dataset=(tmp_path / "plain",), output=tmp_path / "run", steps=2, batch_size=2)
    with pytest.raises(ValueError, match=r"plain: expected observation\.depth\.front, .*--no-ego3d"):
        new_run(replace(plain, output=tmp_path / "refused"))
    if start == "fresh":
        plain = replace(plain, ego3d=False)
    else:
        make_released_kind(torch.float32).save_pretrained(tmp_path / "start")
        plain = replace(plain, initial=tmp_path / "start", train_text_table=False)
    trained = run(plain)
    assert trained.progress.step == 2
    assert all(np.isfinite(row["loss"]) for row in metrics(trained.output) if "loss" in row)
    tuned = load_policy(str(trained.output / "policy"))
    assert tuned.processor.needs == trained.learner.data.processor.needs
    assert tuned.model.config.use_vision_zoe == (start == "released")


def test_states_that_are_not_the_joints_of_the_robot_are_refused(config, tmp_path):
    write_plain_v21(tmp_path / "plain", 2, np.random.default_rng(0))
    info = tmp_path / "plain" / "meta" / "info.json"
    content = json.loads(info.read_text())
    content["features"]["observation.state"]["shape"] = [6]
    info.write_text(json.dumps(content))
    plain = replace(config, dataset=(tmp_path / "plain",), output=tmp_path / "run", ego3d=False)
    with pytest.raises(
        ValueError, match=r"plain: observation\.state: expected the 8 joints of panda, found shape \(6,\)"
    ):
        new_run(plain)
    content["robot_type"] = None
    info.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"robot_type: expected a robot's name, found none"):
        new_run(plain)


@pytest.fixture(scope="module")
def quick_and_slow(tmp_path_factory):
    """The same demonstrations, and those of an arm of half the steps."""
    roots = [tmp_path_factory.mktemp("scales") / name for name in ("quick", "slow")]
    for root, scale in zip(roots, (1.0, 0.5), strict=True):
        write_demonstrations(root, 6, np.random.default_rng(0), scale=scale)
    return tuple(roots)


@pytest.fixture(scope="module")
def of_both(config, quick_and_slow, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "both"
    return run(replace(config, dataset=quick_and_slow, output=output, dataset_key="slow", steps=2, ego3d=False))


def test_each_dataset_is_normalised_by_its_own_statistics_and_one_is_chosen_to_answer(of_both):
    data, processor = of_both.learner.data, load_policy(str(of_both.output / "policy")).processor
    spreads = {key: processor.normalizer_of(key).q99[0] for key in ("quick", "slow")}
    assert processor.settings.dataset_key == "slow"
    assert list(processor.statistics) == ["quick", "slow"]
    assert spreads["slow"] == pytest.approx(spreads["quick"] / 2, rel=0.05)
    assert processor.normalizer.q99[0] == spreads["slow"]
    frames = np.array([np.flatnonzero(data.columns.dataset == number)[0] for number in (0, 1)])
    tokens, (actions, _) = data.batch(frames)["labels"][:, :-1].numpy(), data.chunks(frames)
    for row, key in enumerate(("quick", "slow")):
        normalized = processor.normalizer_of(key).normalize(actions[row])
        np.testing.assert_array_equal(tokens[row], processor.actions.encode(normalized).ravel())
    decoded = data.processor.decode(tokens, data.keys_of(frames))
    np.testing.assert_allclose(decoded[0, :, 0], 2 * decoded[1, :, 0], rtol=0.2)
    np.testing.assert_allclose(data.processor.decode(tokens)[:, :, 0], decoded[1:, :, 0].repeat(2, 0), rtol=0.2)


def test_a_run_with_statistics_by_dataset_goes_on_with_them(of_both):
    resumed = run(replace(of_both.config, steps=3, resume=True))
    assert resumed.learner.data.dataset_keys == ("quick", "slow")
    assert resumed.learner.data.processor.statistics == of_both.learner.data.processor.statistics


def test_errors_on_held_out_frames_are_in_the_units_of_their_dataset(of_both):
    """With labels in place of decoded tokens, only what the bins round off is left."""
    data = of_both.learner.data
    frames = of_both.learner.held_out
    tokens = data.batch(frames)["labels"][:, :-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("policies.spatialvla.validation.decode_greedy", lambda *_: (tokens, None))
        found = of_both.learner.validate(of_both.bare_model.eval(), len(frames))
    assert found["l1/quick/translation_m"] == pytest.approx(2 * found["l1/slow/translation_m"], rel=0.1)


def test_a_choice_of_statistics_that_names_no_dataset_is_refused(config, quick_and_slow, finished, tmp_path):
    wrong = replace(config, dataset=quick_and_slow, output=tmp_path / "run", dataset_key="other")
    with pytest.raises(ValueError, match=r"--dataset-key: expected one of .*'other' and \['quick', 'slow'\]"):
        new_run(wrong)
    start = replace(wrong, dataset_key="slow", initial=finished.output / "policy")
    with pytest.raises(ValueError, match=r"expected statistics of \['quick', 'slow'\] .*, found \['default'\]"):
        new_run(start)
    check_dataset_key(wrong)
    with pytest.raises(ValueError, match="--dataset-key: expected --policy spatialvla, found rdt"):
        check_dataset_key(replace(wrong, policy="rdt"))


def test_actions_of_another_scale_than_the_policy_are_warned_of(config, quick_and_slow, finished, tmp_path, capsys):
    start = replace(config, initial=finished.output / "policy", dataset=quick_and_slow, output=tmp_path / "run")
    new_run(start)
    warning = capsys.readouterr().err
    assert "quick: its actions" not in warning
    assert re.search(r"slow: its actions do not fit the statistics 'default' .* dx: expected a spread of 0\.0", warning)
    assert f"fit_grids --dataset {quick_and_slow[1]} --policy {start.initial}" in warning
    assert re.search(r"^default +no .*0\.5\d*x", warning, re.MULTILINE)


def test_the_weights_to_start_from_are_read_once_and_into_no_others(finished, config, tmp_path, monkeypatch):
    """A network of 4 billion weights is neither drawn at random first nor read for its processor."""
    empty, read = [], spatialvla_learner.load_weights

    def counted(model, *arguments):
        empty.append(all(parameter.is_meta for parameter in model.parameters()))
        read(model, *arguments)

    monkeypatch.setattr(spatialvla_learner, "load_weights", counted)
    monkeypatch.setattr("policies.spatialvla.policy.load_weights", counted)
    start = replace(config, initial=finished.output / "policy", output=tmp_path / "run")
    model = new_run(start).bare_model
    assert empty == [True]
    assert not any(tensor.is_meta for tensor in model.state_dict().values())


def test_layers_are_computed_again_where_asked_for_and_training_stays_the_same(config, tmp_path):
    short = replace(config, steps=2, batch_size=4)
    plain, again = (run(replace(short, output=tmp_path / str(on), checkpointing=on)) for on in (False, True))
    assert again.bare_model.checkpointing
    for expected, found in zip(plain.bare_model.parameters(), again.bare_model.parameters(), strict=True):
        assert torch.equal(expected, found)
    check_checkpointing(again.config)
    with pytest.raises(ValueError, match="--checkpointing: expected --policy spatialvla, found rdt"):
        check_checkpointing(replace(again.config, policy="rdt"))

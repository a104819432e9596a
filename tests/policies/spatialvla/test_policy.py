from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from policies.interface import Policy
from policies.spatialvla.decoding import decode_greedy
from policies.spatialvla.policy import SpatialVLAPolicy
from policies.spatialvla.processor_file import read_processor
from tests.policies.spatialvla.conftest import make_observations, make_policy


@pytest.fixture(scope="module")
def policy():
    return make_policy(sharpen=20.0)


@pytest.fixture
def saved(policy, tmp_path):
    policy.save_pretrained(tmp_path)
    return tmp_path


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_weights(directory, change):
    path = directory / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_it_is_a_policy_that_answers_with_cartesian_deltas(policy):
    observation = make_observations(np.random.default_rng(0), 2)[1]
    chunk = policy.act(observation)
    assert isinstance(policy, Policy)
    assert (policy.robot, policy.cameras, policy.chunk_length) == ("panda", ("front",), 4)
    assert (chunk.kind, chunk.stamp, chunk.dt) == ("cartesian_delta", observation.stamp, 0.1)
    assert chunk.rows.shape == (4, 7)
    assert set(chunk.rows[:, 6]) <= {0.0, 1.0}
    assert ((chunk.confidence > 0) & (chunk.confidence <= 1)).all()


def test_each_row_tells_the_probabilities_of_its_tokens(policy):
    observations = make_observations(np.random.default_rng(0), 3)
    inputs, slots = policy.processor.observe(observations), policy.processor.actions.slot_ranges()
    ids, _ = decode_greedy(policy.model, inputs, slots, 4)
    suffix = {name: torch.cat([inputs[name], ids.new_ones(ids.shape)], 1) for name in ("input_ids", "attention_mask")}
    suffix["input_ids"][:, -ids.shape[1] :] = ids
    kinds = torch.cat([torch.zeros_like(inputs["input_ids"]), torch.ones_like(ids)], dim=1)
    with torch.inference_mode():
        logits = policy.model(**inputs | suffix, token_type_ids=kinds, logits_to_keep=ids.shape[1] + 1).logits
    for number, chunk in enumerate(policy.act_batch(observations)):
        for token, found in enumerate(chunk.token_log_probs.ravel()):
            begin, end = slots[token % 3]
            expected = logits[number, token, begin:end].log_softmax(-1)[ids[number, token] - begin]
            assert found == pytest.approx(float(expected), abs=1e-3)
        np.testing.assert_allclose(chunk.confidence, np.exp(chunk.token_log_probs).prod(axis=1))
        assert (chunk.token_log_probs[:, 2] >= np.log(0.5)).all(), "the better of two"


def test_a_batch_is_answered_as_one_by_one(policy):
    observations = make_observations(np.random.default_rng(0), 5)
    for chunk, observation in zip(policy.act_batch(observations), observations, strict=True):
        alone = policy.act(observation)
        np.testing.assert_array_equal(chunk.rows, alone.rows)
        np.testing.assert_allclose(chunk.confidence, alone.confidence, rtol=1e-3)
        assert chunk.stamp == observation.stamp


def test_without_constraint_tokens_of_the_whole_vocabulary_are_clipped_into_their_slots(policy):
    free = SpatialVLAPolicy(
        policy.model,
        replace(policy.processor, settings=replace(policy.processor.settings, constrained=False)),
    )
    observation = make_observations(np.random.default_rng(0), 1)[0]
    rows = free.act(observation).rows
    assert np.isfinite(rows).all()
    assert not np.array_equal(rows, policy.act(observation).rows)


def test_an_empty_batch_has_no_answers(policy):
    assert policy.act_batch([]) == []


def test_save_load_save_is_bit_equal_and_answers_alike(policy, saved, tmp_path_factory):
    loaded = SpatialVLAPolicy.from_pretrained(saved)
    again = tmp_path_factory.mktemp("again")
    loaded.save_pretrained(again)
    names = sorted(path.name for path in saved.iterdir())
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} < set(names)
    for name in names:
        assert (saved / name).read_bytes() == (again / name).read_bytes(), name
    observations = make_observations(np.random.default_rng(0), 2)
    loaded.processor.__dict__["base_from_tool"] = policy.processor.base_from_tool
    for before, after in zip(policy.act_batch(observations), loaded.act_batch(observations), strict=True):
        np.testing.assert_array_equal(before.rows, after.rows)


def test_saved_action_rows_of_both_tables_agree(policy, saved):
    tensors = load_file(saved / "model.safetensors")
    begin = policy.model.config.action_token_begin_idx
    assert torch.equal(
        tensors["language_model.model.embed_tokens.weight"][begin:], tensors["spatial_embed_tokens.weight"]
    )


def test_a_missing_weight_is_named(saved):
    edit_weights(saved, lambda tensors: tensors.pop("multi_modal_projector.linear.bias"))
    with pytest.raises(ValueError, match=r"model\.safetensors.*missing \['multi_modal_projector.linear.bias'\]"):
        SpatialVLAPolicy.from_pretrained(saved)


def test_an_extra_weight_is_named(saved):
    edit_weights(saved, lambda tensors: tensors.update(surplus=torch.zeros(1)))
    with pytest.raises(ValueError, match=r"model\.safetensors.*extra \['surplus'\]"):
        SpatialVLAPolicy.from_pretrained(saved)


def test_a_weight_of_another_shape_is_named(saved):
    edit_weights(saved, lambda tensors: tensors.update({"multi_modal_projector.linear.bias": torch.zeros(3)}))
    with pytest.raises(ValueError, match=r"multi_modal_projector.linear.bias: expected shape \(32,\), found \(3,\)"):
        SpatialVLAPolicy.from_pretrained(saved)


def test_weights_that_are_not_numbers_are_refused(saved):
    edit_weights(saved, lambda tensors: tensors["multi_modal_projector.linear.bias"].fill_(torch.nan))
    with pytest.raises(ValueError, match=r"multi_modal_projector.linear.bias: expected finite"):
        SpatialVLAPolicy.from_pretrained(saved)


def test_a_truncated_weights_file_is_refused(saved):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors: not a readable"):
        SpatialVLAPolicy.from_pretrained(saved)


def test_an_unknown_robot_is_refused(saved):
    edit_json(saved / "processor_config.json", lambda content: content["polyarm"].update(robot="octopus"))
    with pytest.raises(ValueError, match="'octopus'"):
        SpatialVLAPolicy.from_pretrained(saved)


@pytest.mark.parametrize("file", ["config.json", "processor_config.json"])
def test_an_unknown_field_of_ours_is_named(saved, file):
    edit_json(saved / file, lambda content: content["polyarm"].update(colour=1))
    with pytest.raises(ValueError, match=rf"{file}.*colour"):
        SpatialVLAPolicy.from_pretrained(saved)


def test_bins_that_do_not_fit_the_vocabulary_are_refused(saved):
    def shrink(content):
        content["bin_policy"]["rotation"]["yaw_bins"] = [-1.0, 1.0]
        content["polyarm"]["centroids"]["yaw"] = [0.0]

    edit_json(saved / "processor_config.json", shrink)
    with pytest.raises(ValueError, match=r"processor_config\.json: grid: expected 80 tokens"):
        SpatialVLAPolicy.from_pretrained(saved)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "processor_config.json", "tokenizer.json"])
def test_a_missing_file_is_named(saved, file):
    (saved / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        SpatialVLAPolicy.from_pretrained(saved)


def test_the_processor_is_read_without_the_weights(policy, saved):
    (saved / "model.safetensors").unlink()
    processor = read_processor(saved)
    assert (processor.settings, processor.config) == (policy.processor.settings, policy.processor.config)
    assert processor.statistics == policy.processor.statistics

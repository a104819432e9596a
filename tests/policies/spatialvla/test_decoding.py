from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.decoding import decode_greedy, decode_prompt
from policies.spatialvla.token_steps import CompiledSteps
from tests.policies.spatialvla.conftest import make_frames, make_policy


def free_greedy(model, inputs, steps, legal=None):
    """Greedy decoding by whole passes, without a cache; `legal` restricts each step's ids."""
    inputs, ids, log_probs = dict(inputs), [], []
    types = torch.zeros_like(inputs["input_ids"])
    for step in range(steps):
        scores = model(**inputs, token_type_ids=types, logits_to_keep=1).logits[:, -1]
        begin, end = legal[step % len(legal)] if legal else (0, scores.shape[-1])
        best = scores[:, begin:end].log_softmax(-1).max(-1)
        token = (best.indices + begin)[:, None]
        ids.append(token)
        log_probs.append(best.values)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], token], 1)
        inputs["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(token, dtype=torch.bool)], 1)
        types = torch.cat([types, torch.ones_like(token)], 1)
    return torch.cat(ids, 1), torch.stack(log_probs, 1)


@pytest.fixture(params=["bidirectional", "causal"])
def policy(request):
    return make_policy(replace(SpatialVLAConfig.tiny(), prefix_attention=request.param), sharpen=20.0)


@torch.no_grad()
def test_ids_and_probabilities_equal_those_of_uncached_slotwise_decoding(policy):
    inputs = policy.processor.collate(**make_frames(np.random.default_rng(0), 3))
    slots = policy.processor.actions.slot_ranges()
    ids, log_probs = decode_greedy(policy.model, inputs, slots, 4)
    expected_ids, expected_log_probs = free_greedy(policy.model, inputs, 12, slots)
    assert torch.equal(ids, expected_ids)
    assert len(ids.unique()) > 3
    torch.testing.assert_close(log_probs, expected_log_probs, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_ids_equal_free_greedy_decoding_when_its_choices_are_legal(policy):
    slots = policy.processor.actions.slot_ranges()
    head = policy.model.language_model.lm_head.weight
    # A vocabulary in which only one rotation and no text is likely: free decoding then stays in one slot.
    head[: slots[1][0]] = 0
    head[slots[1][1] :] = 0
    inputs = policy.processor.collate(**make_frames(np.random.default_rng(0), 3))
    free, _ = free_greedy(policy.model, inputs, 12)
    assert ((free >= slots[1][0]) & (free < slots[1][1])).all()
    ids, _ = decode_greedy(policy.model, inputs, slots[1:2], 12)
    assert torch.equal(ids, free)


@torch.no_grad()
def test_ranges_of_the_whole_vocabulary_decode_freely_even_where_ids_are_no_actions(policy):
    model = policy.model
    inputs = policy.processor.collate(**make_frames(np.random.default_rng(0), 3))
    ids, _ = decode_greedy(model, inputs, [(0, model.config.vocabulary_size)] * 3, 4)
    assert torch.equal(ids, free_greedy(model, inputs, 12)[0])
    assert (ids < model.config.action_token_begin_idx).any()


def test_every_token_is_legal_in_its_slot(policy):
    inputs = policy.processor.collate(**make_frames(np.random.default_rng(1), 4))
    slots = policy.processor.actions.slot_ranges()
    ids, log_probs = decode_greedy(policy.model, inputs, slots, 4)
    assert ids.shape == log_probs.shape == (4, 12)
    for position in range(12):
        begin, end = slots[position % 3]
        assert ((ids[:, position] >= begin) & (ids[:, position] < end)).all()
    assert (log_probs <= 0).all()


@pytest.fixture
def counter():
    torch.compiler.reset()
    yield CompileCounterWithBackend("aot_eager")
    torch.compiler.reset()


@torch.no_grad()
def test_compiled_steps_equal_uncached_decoding_and_one_compilation_serves_all_prompts(policy, counter):
    """A whole graph has no point at which the host waits for a number."""
    slots = policy.processor.actions.slot_ranges()
    compiled = CompiledSteps(policy.model, backend=counter)
    for seed, words in enumerate(("reach", "push the blue ball to the green zone")):
        frames = make_frames(np.random.default_rng(seed), 3) | {"instructions": [words, "reach the cube", words]}
        inputs = policy.processor.collate(**frames)
        assert not inputs["attention_mask"].all()
        ids, log_probs = decode_greedy(policy.model, inputs, slots, 4, compiled)
        expected_ids, expected_log_probs = free_greedy(policy.model, inputs, 12, slots)
        assert torch.equal(ids, expected_ids)
        torch.testing.assert_close(log_probs, expected_log_probs, atol=1e-4, rtol=1e-4)
    assert counter.frame_count == 1


@torch.no_grad()
def test_compiled_steps_equal_free_greedy_decoding(policy, counter):
    inputs = policy.processor.collate(**make_frames(np.random.default_rng(0), 3))
    whole = [(0, policy.model.config.vocabulary_size)] * 3
    ids, _ = decode_greedy(policy.model, inputs, whole, 4, CompiledSteps(policy.model, backend=counter))
    assert torch.equal(ids, free_greedy(policy.model, inputs, 12)[0])


@torch.no_grad()
def test_steps_in_torch_equal_those_in_numpy(policy):
    """As on a GPU, here in double precision, which NumPy's steps leave to torch."""
    inputs = policy.processor.collate(**make_frames(np.random.default_rng(0), 3))
    slots = policy.processor.actions.slot_ranges()
    ids, log_probs = decode_greedy(policy.model, inputs, slots, 4)
    double = copy.deepcopy(policy.model).double()
    torch_ids, torch_log_probs = decode_greedy(double, inputs, slots, 4)
    assert torch.equal(ids, torch_ids)
    torch.testing.assert_close(log_probs, torch_log_probs.float(), atol=1e-4, rtol=1e-4)


def test_a_prompt_is_answered_without_waiting_for_a_number(policy):
    """A tensor without memory has no numbers: whatever asked for one would raise."""
    model = copy.deepcopy(policy.model).to("meta")
    mask = torch.ones(2, 30, dtype=torch.bool, device="meta")
    embeds = torch.empty(2, 30, model.config.text_config["hidden_size"], device="meta")
    ids, log_probs = decode_prompt(model, embeds, mask, policy.processor.actions.slot_ranges(), 4)
    assert ids.shape == log_probs.shape == (2, 12)

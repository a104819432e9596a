from __future__ import annotations

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from policies.spatialvla.decoder import MASKED, KeyValueCache, prefix_mask, run_decoder


@pytest.fixture
def gemma():
    config = Gemma2Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=8,
        attn_logit_softcapping=2.0,
        attn_implementation="eager",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Gemma2ForCausalLM(config).eval()
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@pytest.fixture
def embeds():
    return torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(1))


POSITIONS = torch.arange(1, 10).expand(2, -1)


@torch.no_grad()
def test_hidden_states_equal_those_of_the_library(gemma, embeds):
    mask = prefix_mask(torch.ones(2, 9, dtype=torch.bool), None, torch.float32)
    masks = {"full_attention": mask[:, None], "sliding_attention": mask[:, None]}
    expected = gemma.model(inputs_embeds=embeds, attention_mask=masks, position_ids=POSITIONS).last_hidden_state
    hidden = run_decoder(gemma.model, embeds, POSITIONS, mask)
    torch.testing.assert_close(hidden, expected, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_kept_positions_equal_the_same_positions_of_a_whole_pass(gemma, embeds):
    mask = prefix_mask(torch.ones(2, 9, dtype=torch.bool), None, torch.float32)
    whole = run_decoder(gemma.model, embeds, POSITIONS, mask)
    torch.testing.assert_close(run_decoder(gemma.model, embeds, POSITIONS, mask, keep=4), whole[:, -4:])


@torch.no_grad()
def test_cached_steps_equal_a_whole_causal_pass(gemma, embeds):
    mask = prefix_mask(torch.ones(2, 9, dtype=torch.bool), None, torch.float32)
    whole = run_decoder(gemma.model, embeds, POSITIONS, mask)
    cache = KeyValueCache(gemma.config, 2, 12, embeds)  # larger than it need be
    wide = torch.nn.functional.pad(mask, (0, 3), value=MASKED)
    first = run_decoder(gemma.model, embeds[:, :5], POSITIONS[:, :5], mask[:, :5, :5], cache=cache)

    def step(i):
        at = slice(i, i + 1)
        place = torch.tensor([i])
        return run_decoder(gemma.model, embeds[:, at], POSITIONS[:, at], wide[:, at], cache=cache, place=place)

    steps = [step(i) for i in range(5, 9)]
    torch.testing.assert_close(torch.cat([first, *steps], 1), whole, atol=1e-5, rtol=1e-5)
    assert (cache.store[..., 9:, :] == 0).all()


def test_prefix_is_seen_by_all_and_padding_by_none():
    present = torch.tensor([[True, False, True, True]])
    prefix = torch.tensor([[True, True, True, False]])
    seen = prefix_mask(present, prefix, torch.float32)[0] == 0
    expected = [[True, False, True, False]] * 3 + [[True, False, True, True]]
    assert seen.tolist() == expected

"""Slot-wise greedy decoding: exactly chunk x 3 tokens, each the best of its slot's ids, with a key-value cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from policies.spatialvla.decoder import KeyValueCache, prefix_mask, run_decoder
from policies.spatialvla.model import SpatialVLAModel, position_ids
from policies.spatialvla.token_steps import CompiledSteps, token_steps


@torch.inference_mode()
def decode_greedy(
    model: SpatialVLAModel,
    inputs: Mapping[str, Tensor],
    slots: Sequence[tuple[int, int]],
    actions: int,
    compiled: CompiledSteps | None = None,
) -> tuple[Tensor, Tensor]:
    """Decode a batch of prompts.

    The ids equal those of free greedy decoding whenever that picks legal ids; where it would not, the best legal id is
    taken instead. Ranges that hold the whole vocabulary give free decoding itself.

    Args:
        model: in evaluation mode.
        inputs: `input_ids` (B, P), `attention_mask` (B, P) and what else `SpatialVLAModel.embed` takes.
        slots: half-open id range of each token of an action, in order.
        actions: number of actions T to decode.
        compiled: makes the steps after the prompt; None for steps as they are.

    Returns:
        Ids (B, T * len(slots)) and their log-probabilities within the slot's legal ids, same shape, float32.
    """
    inputs = dict(inputs)
    mask = inputs.pop("attention_mask").bool()
    return decode_prompt(model, model.embed(**inputs), mask, slots, actions, compiled)


@torch.inference_mode()
def decode_prompt(
    model: SpatialVLAModel,
    embeds: Tensor,
    mask: Tensor,
    slots: Sequence[tuple[int, int]],
    actions: int,
    compiled: CompiledSteps | None = None,
) -> tuple[Tensor, Tensor]:
    """Decode from prompt embeddings (B, P, D) and their mask (B, P) bool; the rest is as in `decode_greedy`.

    Nothing that is computed is waited for, so that a GPU is given the whole answer's work at once.
    """
    batch, prompt = mask.shape
    steps = actions * len(slots)
    decoder = model.language_model.model
    if compiled is None:
        cache = KeyValueCache(decoder.config, batch, prompt + steps - 1, embeds)
    else:
        cache = compiled.cache(batch, prompt + steps - 1, embeds)
    prefix = torch.ones_like(mask) if model.config.prefix_attention == "bidirectional" else None
    unmasked = prefix is not None and mask.device.type == "cpu" and bool(mask.all())
    bias = None if unmasked else prefix_mask(mask, prefix, embeds.dtype)
    hidden = run_decoder(decoder, embeds, position_ids(mask), bias, keep=1, cache=cache)[:, -1]
    stepper = token_steps(model, cache, mask) if compiled is None else compiled.steps(cache, mask)
    ids, log_probs = [], []
    for step in range(steps):
        if step:
            hidden = stepper.advance(ids[-1])
        token, log_prob = stepper.choose(hidden, *slots[step % len(slots)])
        ids.append(token)
        log_probs.append(log_prob)
    return torch.stack(ids, 1), torch.stack(log_probs, 1)

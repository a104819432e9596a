"""Runs transformers' Gemma-2 layers for SpatialVLA: soft-capped attention, prefix mask, key-value cache.

The layers and their parameters are the library's; the forward pass is written here because SpatialVLA needs only the
last positions' outputs (so the last layer computes only those), shares one mask among all layers, and decodes a fixed
number of tokens into a cache of known size. Gemma 2: arXiv 2408.00118.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import Gemma2Config, Gemma2Model

# Large enough that softmax gives exactly 0, small enough for half precision.
MASKED = -30000.0


class KeyValueCache:
    """Keys and values of all layers in one block of fixed size; zero where nothing was written.

    Args:
        config: the decoder's configuration.
        batch: sequences.
        capacity: tokens per sequence.
        like: tensor whose device and dtype the cache takes.

    Attributes:
        store: (layers, 2, B, kv, capacity, d).
    """

    def __init__(self, config: Gemma2Config, batch: int, capacity: int, like: Tensor) -> None:
        shape = (config.num_hidden_layers, 2, batch, config.num_key_value_heads, capacity, config.head_dim)
        self.store = like.new_zeros(shape)

    def begin(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Write the prompt's (B, kv, n, d) keys and values to the first n places of a layer."""
        self.store[layer, 0, :, :, : keys.shape[2]] = keys
        self.store[layer, 1, :, :, : keys.shape[2]] = values

    def put(self, layer: int, keys: Tensor, values: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Write (B, kv, 1, d) keys and values to a place (1,) of a layer; return those of all places."""
        held_keys, held_values = self.store[layer, 0], self.store[layer, 1]
        return held_keys.index_copy_(2, place, keys), held_values.index_copy_(2, place, values)


def prefix_mask(attention_mask: Tensor, prefix: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Additive mask (B, L, L): causal, plus every prefix key for every query; never a padded key.

    Args:
        attention_mask: (B, L) bool, False where padded.
        prefix: (B, L) bool, True for prompt tokens; None for a purely causal mask.
        dtype: of the result.
    """
    length = attention_mask.shape[1]
    allowed = torch.ones(length, length, dtype=torch.bool, device=attention_mask.device).tril()
    allowed = allowed[None] if prefix is None else allowed[None] | prefix[:, None, :]
    allowed = allowed & attention_mask[:, None, :]
    return torch.where(allowed, 0.0, MASKED).to(dtype)


def rotary(decoder: Gemma2Model, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and signed sine (B, 1, L, d) of rotary embedding, for `_rotate`."""
    angles = position_ids[:, None, :, None].float() * decoder.rotary_emb.inv_freq
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def _rotate(x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    swapped = torch.cat([x[..., half:], x[..., :half]], -1)
    return (x * cos + swapped * signed_sin).to(x.dtype)


def rms_norm(norm: nn.Module, x: Tensor) -> Tensor:
    """Gemma's RMSNorm: float32 inside, multiplier 1 + weight."""
    # Written out, because the library call takes three times as many passes over memory on a CPU.
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm.eps)
    return (wide * scale * (1.0 + norm.weight.float())).to(x.dtype)


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float, cap: float | None
) -> Tensor:
    """Grouped-query attention with soft-capped scores.

    Args:
        queries: (B, heads, n, d).
        keys: (B, kv, m, d).
        values: (B, kv, m, d).
        mask: additive (B, n, m) or None.
        scale: of the scores.
        cap: scores become cap * tanh(score / cap); None leaves them.

    Returns:
        (B, n, heads * d).
    """
    batch, heads, n, d = queries.shape
    kv, m = keys.shape[1:3]
    groups = heads // kv
    folded = queries.reshape(batch, kv, groups * n, d) * (scale if cap is None else scale / cap)
    scores = folded @ keys.transpose(-1, -2)  # (B, kv, groups * n, m)
    if cap is not None:
        scores = scores.tanh() * cap
    if mask is not None:
        scores = (scores.view(batch, kv, groups, n, m) + mask[:, None, None]).view(batch, kv, groups * n, m)
    weights = scores.softmax(-1, dtype=torch.float32).to(values.dtype)
    return (weights @ values).view(batch, heads, n, d).transpose(1, 2).reshape(batch, n, heads * d)


def run_layer(
    layer: nn.Module,
    hidden: Tensor,
    angles: tuple[Tensor, Tensor],
    mask: Tensor | None,
    keep: int | None = None,
    cache: KeyValueCache | None = None,
    place: Tensor | None = None,
) -> Tensor:
    """One Gemma-2 layer on hidden (B, n, D); with `keep`, only the last `keep` positions are computed and returned.

    See `run_decoder` for `cache` and `place`.
    """
    attention = layer.self_attn
    normed = rms_norm(layer.input_layernorm, hidden)
    asking, query_angles = normed, angles
    if keep is not None and keep < hidden.shape[1]:
        asking, hidden = normed[:, -keep:], hidden[:, -keep:]
        query_angles = (angles[0][:, :, -keep:], angles[1][:, :, -keep:])
        mask = None if mask is None else mask[:, -keep:]

    def heads(x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, attention.head_dim).transpose(1, 2)

    queries = _rotate(heads(attention.q_proj(asking)), *query_angles)
    keys = _rotate(heads(attention.k_proj(normed)), *angles)
    values = heads(attention.v_proj(normed))
    if cache is not None and place is None:
        cache.begin(attention.layer_idx, keys, values)
    elif cache is not None:
        keys, values = cache.put(attention.layer_idx, keys, values, place)
    mixed = attend(queries, keys, values, mask, attention.scaling, attention.attn_logit_softcapping)
    hidden = hidden + rms_norm(layer.post_attention_layernorm, attention.o_proj(mixed))
    fed = layer.mlp(rms_norm(layer.pre_feedforward_layernorm, hidden))
    return hidden + rms_norm(layer.post_feedforward_layernorm, fed)


def run_decoder(
    decoder: Gemma2Model,
    embeds: Tensor,
    position_ids: Tensor,
    mask: Tensor | None,
    keep: int | None = None,
    cache: KeyValueCache | None = None,
    place: Tensor | None = None,
    checkpointing: bool = False,
) -> Tensor:
    """All layers and the final norm.

    Args:
        decoder: the stack of layers.
        embeds: (B, n, D) input embeddings, already scaled.
        position_ids: (B, n), 1-based.
        mask: additive (B, n, m) over the m keys (with `place`: all places of the cache), or None.
        keep: number of last positions to return; None for all.
        cache: takes the keys and values of the n tokens when given.
        place: (1,) int64 place of a single token in the cache, whose keys it sees; None for a prompt, which is written
            to the first places and sees itself alone.
        checkpointing: keep only the inputs of the layers for the backward pass; not with a cache.

    Returns:
        (B, keep or n, D).
    """
    angles = rotary(decoder, position_ids)
    last = len(decoder.layers) - 1
    hidden = embeds
    for index, layer in enumerate(decoder.layers):
        kept = keep if index == last else None
        if checkpointing:
            hidden = checkpoint(run_layer, layer, hidden, angles, mask, kept, use_reentrant=False)
        else:
            hidden = run_layer(layer, hidden, angles, mask, kept, cache, place)
    return rms_norm(decoder.norm, hidden)

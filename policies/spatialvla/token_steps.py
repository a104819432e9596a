"""Single-token steps of the decoder after a cached prompt: in PyTorch, or in NumPy for float32 on a CPU.

One token of a small model is a few hundred thousand multiplications; PyTorch's cost per call, about a hundred calls a
layer, is many times that. NumPy reads the same weights and the same cache without copying them and gives the same
numbers to rounding.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policies.spatialvla.decoder import KeyValueCache, run_decoder
from policies.spatialvla.model import SpatialVLAModel

Array = NDArray[np.floating]


class TokenSteps(Protocol):
    """Chooses tokens one after another."""

    def choose(self, hidden: Tensor, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Best id (B,) within [begin, end) for the hidden states (B, D) and its log-probability (B,) there."""
        ...

    def advance(self, ids: Tensor, positions: Tensor, bias: Tensor | None) -> Tensor:
        """Hidden states (B, D) after ids (B,) at positions (B,); bias (B, m) over the m keys, or None."""
        ...


def token_steps(model: SpatialVLAModel, cache: KeyValueCache) -> TokenSteps:
    """Choose the implementation for the model's device and number format."""
    weight = model.language_model.lm_head.weight
    on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
    return NumpySteps(model, cache) if on_cpu else TorchSteps(model, cache)


class TorchSteps:
    """Steps through `run_decoder`, on any device."""

    def __init__(self, model: SpatialVLAModel, cache: KeyValueCache) -> None:
        self._model, self._cache = model, cache

    def choose(self, hidden: Tensor, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """See `TokenSteps`."""
        best = self._model.logits(hidden, slice(begin, end)).float().log_softmax(-1).max(-1)
        return best.indices + begin, best.values

    def advance(self, ids: Tensor, positions: Tensor, bias: Tensor | None) -> Tensor:
        """See `TokenSteps`."""
        mask = None if bias is None else bias[:, None]
        embeds = self._model.embed_tokens(ids[:, None])
        return run_decoder(self._model.language_model.model, embeds, positions[:, None], mask, cache=self._cache)[:, 0]


class NumpySteps:
    """Steps in NumPy on views of the model's weights and of the cache."""

    def __init__(self, model: SpatialVLAModel, cache: KeyValueCache) -> None:
        decoder = model.language_model.model
        self._model, self._cache = model, cache
        self._layers = [_LayerView(layer) for layer in decoder.layers]
        self._norm, self._eps = 1.0 + _view(decoder.norm.weight), decoder.norm.eps
        self._head = _view(model.language_model.lm_head.weight)
        self._embedding = _view(model.spatial_embed_tokens.weight)
        self._scale = np.float32(model.embedding_scale)
        self._begin = model.config.action_token_begin_idx
        self._frequencies = decoder.rotary_emb.inv_freq.numpy()
        self._cap = model.final_cap

    def choose(self, hidden: Tensor, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """See `TokenSteps`."""
        scores = _capped(hidden.numpy() @ self._head[begin:end].T, self._cap)
        best = scores.argmax(-1)
        highest = scores[np.arange(len(best)), best]
        log_probs = -np.log(np.exp(scores - highest[:, None]).sum(-1))
        return torch.from_numpy(best + begin), torch.from_numpy(log_probs)

    def advance(self, ids: Tensor, positions: Tensor, bias: Tensor | None) -> Tensor:
        """See `TokenSteps`."""
        angles = positions.numpy()[:, None].astype(np.float32) * self._frequencies
        cos, sin = np.cos(angles), np.sin(angles)
        rotation = np.concatenate([cos, cos], -1)[:, None], np.concatenate([-sin, sin], -1)[:, None]
        hidden = self._embed(ids)
        mask = None if bias is None else bias.numpy()[:, None, None]
        for index, layer in enumerate(self._layers):
            hidden = layer.run(hidden, rotation, mask, self._cache, index)
        self._cache.length += 1
        return torch.from_numpy(_normalized(hidden, self._norm, self._eps))

    def _embed(self, ids: Tensor) -> Array:
        index = ids.numpy() - self._begin
        if ((index >= 0) & (index < len(self._embedding))).all():
            return self._embedding[index] * self._scale
        return self._model.embed_tokens(ids[:, None])[:, 0].numpy()


class _LayerView:
    def __init__(self, layer: torch.nn.Module) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.query, self.key, self.value, self.output = (
            _view(projection.weight).T
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
        )
        self.gate, self.up, self.down = (_view(p.weight).T for p in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
        self.norms = [
            1.0 + _view(norm.weight)
            for norm in (
                layer.input_layernorm,
                layer.post_attention_layernorm,
                layer.pre_feedforward_layernorm,
                layer.post_feedforward_layernorm,
            )
        ]
        self.eps = layer.input_layernorm.eps
        self.head_dim, self.scale = attention.head_dim, np.float32(attention.scaling)
        self.cap = attention.attn_logit_softcapping

    def run(
        self, hidden: Array, rotation: tuple[Array, Array], mask: Array | None, cache: KeyValueCache, index: int
    ) -> Array:
        normed = _normalized(hidden, self.norms[0], self.eps)
        mixed = self._attend(normed, rotation, mask, cache, index) @ self.output
        hidden = hidden + _normalized(mixed, self.norms[1], self.eps)
        normed = _normalized(hidden, self.norms[2], self.eps)
        fed = (_gelu(normed @ self.gate) * (normed @ self.up)) @ self.down
        return hidden + _normalized(fed, self.norms[3], self.eps)

    def _attend(
        self, normed: Array, rotation: tuple[Array, Array], mask: Array | None, cache: KeyValueCache, index: int
    ) -> Array:
        batch = len(normed)
        queries = _rotated((normed @ self.query).reshape(batch, -1, self.head_dim), rotation)
        keys = _rotated((normed @ self.key).reshape(batch, -1, self.head_dim), rotation)
        values = (normed @ self.value).reshape(batch, -1, self.head_dim)
        stored = cache.layer_view(index)  # (2, B, kv, capacity, d)
        position = cache.length
        stored[0, :, :, position], stored[1, :, :, position] = keys, values
        held = stored[:, :, :, : position + 1]
        grouped = (queries * self.scale).reshape(batch, keys.shape[1], -1, self.head_dim)
        scores = _capped(grouped @ held[0].swapaxes(-1, -2), self.cap)  # (B, kv, groups, m)
        if mask is not None:
            scores = scores + mask
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return (weights @ held[1]).reshape(batch, -1)


def _view(weight: Tensor) -> Array:
    return weight.detach().numpy()


def _normalized(x: Array, multiplier: Array, eps: float) -> Array:
    mean_square = np.einsum("bd,bd->b", x, x) / x.shape[-1]
    return x * (1.0 / np.sqrt(mean_square + np.float32(eps)))[:, None] * multiplier


def _rotated(x: Array, rotation: tuple[Array, Array]) -> Array:
    half = x.shape[-1] // 2
    return x * rotation[0] + np.concatenate([x[..., half:], x[..., :half]], -1) * rotation[1]


def _capped(scores: Array, cap: float | None) -> Array:
    return scores if cap is None else np.tanh(scores / np.float32(cap)) * np.float32(cap)


def _gelu(x: Array) -> Array:
    inner = np.float32((2.0 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (np.float32(1.0) + np.tanh(inner))

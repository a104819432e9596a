"""Single-token steps of the decoder after a cached prompt: in PyTorch, compiled, or in NumPy for float32 on a CPU.

Every step has the same shapes: the cache has its full size from the start, and a mask hides the places that are not
written yet. So one compiled step, or one recorded graph of a GPU, serves all tokens of all answers.

One token of a small model is a few hundred thousand multiplications; PyTorch's cost per call, about a hundred calls a
layer, is many times that. NumPy reads the same weights and the same cache without copying them and gives the same
numbers to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policies.spatialvla.decoder import MASKED, KeyValueCache, run_decoder
from policies.spatialvla.model import SpatialVLAModel, position_ids

TEXT_PLACES = 64
Array = NDArray[np.floating]


class TokenSteps(Protocol):
    """Chooses tokens one after another."""

    def choose(self, hidden: Tensor, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Best id (B,) within [begin, end) for the hidden states (B, D) and its log-probability (B,) there."""
        ...

    def advance(self, ids: Tensor) -> Tensor:
        """Hidden states (B, D) after ids (B,), the tokens that follow what is in the cache."""
        ...


def token_steps(model: SpatialVLAModel, cache: KeyValueCache, mask: Tensor) -> TokenSteps:
    """Choose the implementation for the model's device and number format.

    Args:
        model: the network.
        cache: holds the prompt, and has room for the tokens.
        mask: (B, P) bool, False where the prompt is padded.
    """
    weight = model.language_model.lm_head.weight
    on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
    return NumpySteps(model, cache, mask) if on_cpu else TorchSteps(model, cache, mask)


def decode_step(
    model: SpatialVLAModel, cache: KeyValueCache, ids: Tensor, positions: Tensor, bias: Tensor, place: Tensor
) -> Tensor:
    """Hidden states (B, D) after a token: ids and positions (B, 1), bias (B, 1, capacity), place (1,) in the cache."""
    embeds = model.embed_tokens(ids)
    return run_decoder(model.language_model.model, embeds, positions, bias, cache=cache, place=place)[:, 0]


class TorchSteps:
    """Steps through `decode_step`, on any device."""

    def __init__(
        self, model: SpatialVLAModel, cache: KeyValueCache, mask: Tensor, step: Callable[..., Tensor] = decode_step
    ) -> None:
        self._model, self._cache, self._step = model, cache, step
        batch, prompt = mask.shape
        self._positions = position_ids(mask)[:, -1:]
        self._place = torch.full((1,), prompt - 1, device=mask.device)
        self._bias = cache.store.new_full((batch, 1, cache.store.shape[-2]), MASKED)
        self._bias[:, 0, :prompt].masked_fill_(mask, 0.0)

    def choose(self, hidden: Tensor, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """See `TokenSteps`."""
        best = self._model.logits(hidden, slice(begin, end)).float().log_softmax(-1).max(-1)
        return best.indices + begin, best.values

    def advance(self, ids: Tensor) -> Tensor:
        """See `TokenSteps`."""
        self._positions, self._place = self._positions + 1, self._place + 1
        self._bias.index_fill_(2, self._place, 0.0)
        return self._step(self._model, self._cache, ids[:, None], self._positions, self._bias, self._place)


class CompiledSteps:
    """Makes `TorchSteps` that are compiled, which takes a minute at the first, and keeps the caches that they share.

    A GPU's graph is tied to the memory that it was recorded with, and every other shape is compiled anew. So prompts of
    different lengths share a cache of `TEXT_PLACES` places after the image.

    Args:
        model: the network.
        mode: of `torch.compile`; None records a CUDA graph on a GPU.
        backend: of `torch.compile`.
    """

    def __init__(self, model: SpatialVLAModel, mode: str | None = None, backend: Any = "inductor") -> None:
        on_gpu = model.language_model.lm_head.weight.device.type == "cuda"
        if backend == "inductor":
            mode = mode or ("reduce-overhead" if on_gpu else "default")
        self._model = model
        step = torch.compile(decode_step, mode=mode, backend=backend, fullgraph=True, dynamic=False)

        def begun(*inputs: Any) -> Tensor:
            torch.compiler.cudagraph_mark_step_begin()  # what the step before gave may be overwritten
            return step(*inputs)

        self._step = begun
        self._caches: dict[tuple[int, int], KeyValueCache] = {}

    def cache(self, batch: int, length: int, like: Tensor) -> KeyValueCache:
        """A cache for at least so many tokens; the one before of its shape, whose content is to be overwritten."""
        image = self._model.config.image_tokens
        capacity = image + -(-(length - image) // TEXT_PLACES) * TEXT_PLACES
        if (batch, capacity) not in self._caches:
            cache = KeyValueCache(self._model.language_model.config, batch, capacity, like)
            torch._dynamo.mark_static_address(cache.store)
            self._caches[batch, capacity] = cache
        return self._caches[batch, capacity]

    def steps(self, cache: KeyValueCache, mask: Tensor) -> TokenSteps:
        """Steps after a prompt; see `token_steps`."""
        return TorchSteps(self._model, cache, mask, self._step)


class NumpySteps:
    """Steps in NumPy on views of the model's weights and of the cache; looks at no more places than are written."""

    def __init__(self, model: SpatialVLAModel, cache: KeyValueCache, mask: Tensor) -> None:
        decoder = model.language_model.model
        self._model, self._store = model, cache.store.numpy()
        self._place = mask.shape[1] - 1
        self._positions = position_ids(mask)[:, -1].numpy()
        self._mask: Array | None = None
        if not bool(mask.all()):
            self._mask = np.zeros((len(mask), 1, 1, self._store.shape[-2]), dtype=np.float32)
            self._mask[:, 0, 0, : mask.shape[1]] = np.where(mask.numpy(), 0.0, MASKED)
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

    def advance(self, ids: Tensor) -> Tensor:
        """See `TokenSteps`."""
        self._positions, self._place = self._positions + 1, self._place + 1
        angles = self._positions[:, None].astype(np.float32) * self._frequencies
        cos, sin = np.cos(angles), np.sin(angles)
        rotation = np.concatenate([cos, cos], -1)[:, None], np.concatenate([-sin, sin], -1)[:, None]
        hidden = self._embed(ids)
        mask = None if self._mask is None else self._mask[..., : self._place + 1]
        for stored, layer in zip(self._store, self._layers, strict=True):
            hidden = layer.run(hidden, rotation, mask, stored, self._place)
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

    def run(self, hidden: Array, rotation: tuple[Array, Array], mask: Array | None, stored: Array, place: int) -> Array:
        normed = _normalized(hidden, self.norms[0], self.eps)
        mixed = self._attend(normed, rotation, mask, stored, place) @ self.output
        hidden = hidden + _normalized(mixed, self.norms[1], self.eps)
        normed = _normalized(hidden, self.norms[2], self.eps)
        fed = (_gelu(normed @ self.gate) * (normed @ self.up)) @ self.down
        return hidden + _normalized(fed, self.norms[3], self.eps)

    def _attend(
        self, normed: Array, rotation: tuple[Array, Array], mask: Array | None, stored: Array, place: int
    ) -> Array:
        batch = len(normed)
        queries = _rotated((normed @ self.query).reshape(batch, -1, self.head_dim), rotation)
        keys = _rotated((normed @ self.key).reshape(batch, -1, self.head_dim), rotation)
        values = (normed @ self.value).reshape(batch, -1, self.head_dim)
        stored[0, :, :, place], stored[1, :, :, place] = keys, values  # (2, B, kv, capacity, d)
        held = stored[:, :, :, : place + 1]
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

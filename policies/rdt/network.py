"""`RDTModel`: a transformer that predicts a clean chunk of actions from a noisy one.

Tokens are the diffusion step, the control frequency, the state and T action rows; the vector of a history, where a
network has one, is added to the state's. Blocks attend in turn to language and to images. Conditions do not depend on
the noisy actions, so their keys and values are computed once (`Attended`) for all steps of the sampler and all samples.
Source: RDT-1B, arXiv 2410.07864, section 4.2; parameter names are those of the released weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.rdt.config import NormStat, RDTConfig
from policies.rdt.history_mixer import HistoryMixer
from policies.rdt.position_tables import grid_table, language_table, token_table

SINUSOID_SIZE = 256
NORM_EPS = 1e-6
STEP, FREQUENCY, STATE = 0, 1, 2  # places of the tokens before the action rows
FIRST_ACTION = 3


class Norm(nn.Module):
    """Divides by a statistic of the last axis and multiplies by a weight; see `RDTConfig.norm_stat`."""

    def __init__(self, size: int, stat: NormStat) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.stat = stat

    def forward(self, x: Tensor) -> Tensor:
        """Norm of x (..., size)."""
        wide = x.float()
        if self.stat == "var":
            # As `wide.var`, which takes several times as long on a CPU.
            square = (wide - wide.mean(-1, keepdim=True)).square().sum(-1, keepdim=True) / (wide.shape[-1] - 1)
        else:
            square = wide.square().mean(-1, keepdim=True)
        return (wide * torch.rsqrt(square + NORM_EPS)).to(x.dtype) * self.weight


def set_norm_stat(model: RDTModel, stat: NormStat) -> None:
    """Let the norms of a network compute another statistic of the same weights; see `RDTConfig.norm_stat`."""
    model.config = replace(model.config, norm_stat=stat)
    for module in model.modules():
        if isinstance(module, Norm):
            module.stat = stat


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention of (B, heads, n, d) to (B, heads, m, d); mask is True at the keys to attend to.

    The backward pass of PyTorch's fused kernel takes several times as long on a CPU as that of the plain formula.
    """
    if queries.is_cuda or not torch.is_grad_enabled():
        return functional.scaled_dot_product_attention(queries, keys, values, mask)
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1).to(values.dtype) @ values


class SelfAttention(nn.Module):
    """Attention among the tokens, with normed queries and keys."""

    def __init__(self, size: int, heads: int, stat: NormStat) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(size, 3 * size)
        self.q_norm = Norm(size // heads, stat)
        self.k_norm = Norm(size // heads, stat)
        self.proj = nn.Linear(size, size)

    def forward(self, x: Tensor, keep: int) -> Tensor:
        """Answers (B, keep, D) of the last `keep` of the tokens x (B, n, D)."""
        q, k, v = (_split(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        mixed = attend(self.q_norm(q[:, :, -keep:]), self.k_norm(k), v, None)
        return self.proj(_merge(mixed))


class CrossAttention(nn.Module):
    """Attention of the tokens to a condition, whose keys and values come from `keys_values`."""

    def __init__(self, size: int, heads: int, stat: NormStat) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(size, size)
        self.kv = nn.Linear(size, 2 * size)
        self.q_norm = Norm(size // heads, stat)
        self.k_norm = Norm(size // heads, stat)
        self.proj = nn.Linear(size, size)

    def keys_values(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, (B, heads, m, D / heads) each, of condition tokens (B, m, D)."""
        k, v = (_split(part, self.heads) for part in self.kv(condition).chunk(2, dim=-1))
        return self.k_norm(k), v

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Answers (B, n, D); mask is True at the keys to attend to, (B, 1, 1, m), or None for all."""
        mixed = attend(self.q_norm(_split(self.q(x), self.heads)), keys, values, mask)
        return self.proj(_merge(mixed))


class Mlp(nn.Module):
    """Two linear layers with a GELU (tanh form) between."""

    def __init__(self, size: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(size, size)
        self.fc2 = nn.Linear(size, out)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., size) to (..., out)."""
        return self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    """Attention among the tokens, to one condition, and an MLP, each added to its input."""

    def __init__(self, size: int, heads: int, stat: NormStat) -> None:
        super().__init__()
        self.norm1 = Norm(size, stat)
        self.attn = SelfAttention(size, heads, stat)
        self.cross_attn = CrossAttention(size, heads, stat)
        self.norm2 = Norm(size, stat)
        self.ffn = Mlp(size, size)
        self.norm3 = Norm(size, stat)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, keep: int) -> Tensor:
        """Tokens x (B, n, D) to the last `keep` of them."""
        x = x[:, -keep:] + self.attn(self.norm1(x), keep)
        x = x + self.cross_attn(self.norm2(x), keys, values, mask)
        return x + self.ffn(self.norm3(x))


class ScalarEmbedder(nn.Module):
    """Token of a number, from cosines and sines of it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(SINUSOID_SIZE, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, numbers: Tensor) -> Tensor:
        """Tokens (B, D) of numbers (B,)."""
        half = SINUSOID_SIZE // 2
        exponent = torch.arange(half, device=numbers.device, dtype=torch.float32) / half
        angles = numbers.float()[:, None] * torch.exp(-math.log(10000.0) * exponent)
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return self.mlp(waves.to(self.mlp[0].weight.dtype))


class FinalLayer(nn.Module):
    """Norm and MLP to the action vector."""

    def __init__(self, size: int, out: int, stat: NormStat) -> None:
        super().__init__()
        self.norm_final = Norm(size, stat)
        self.ffn_final = Mlp(size, out)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, n, D) to (B, n, out)."""
        return self.ffn_final(self.norm_final(x))


class Trunk(nn.Module):
    """Blocks, position tables and head."""

    def __init__(self, config: RDTConfig) -> None:
        super().__init__()
        size, stat = config.hidden_size, config.norm_stat
        self.x_pos_embed = nn.Parameter(torch.zeros(1, config.pred_horizon + FIRST_ACTION, size))
        self.lang_cond_pos_embed = nn.Parameter(torch.zeros(1, config.max_lang_cond_len, size))
        self.img_cond_pos_embed = nn.Parameter(torch.zeros(1, config.img_cond_len, size))
        if config.clean_prefix:
            self.clean_embed = nn.Parameter(torch.zeros(1, 1, size))
        self.t_embedder = ScalarEmbedder(size)
        self.freq_embedder = ScalarEmbedder(size)
        self.blocks = nn.ModuleList(Block(size, config.num_heads, stat) for _ in range(config.depth))
        self.final_layer = FinalLayer(size, config.action_dim, stat)


@dataclass(frozen=True)
class Attended:
    """Keys and values of one condition, for the blocks that attend to it.

    Attributes:
        pairs: keys and values of each of those blocks, (B, heads, m, D / heads) each.
        mask: (B, 1, 1, m) bool, True at tokens to attend to; None for all.
    """

    pairs: Sequence[tuple[Tensor, Tensor]]
    mask: Tensor | None = None


@dataclass(frozen=True)
class Conditions:
    """What the network attends to, ready for every step of the sampler; a batch of 1 serves any number of samples.

    Attributes:
        language: for the even blocks.
        images: for the odd blocks.
        history: (B, D) from `encode_history`, for a network that has one.
    """

    language: Attended
    images: Attended
    history: Tensor | None = None


class RDTModel(nn.Module):
    """Trunk and adaptors.

    Args:
        config: sizes.
    """

    def __init__(self, config: RDTConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.lang_adaptor = _adaptor(config.lang_adaptor, config.lang_token_dim, config.hidden_size)
        self.img_adaptor = _adaptor(config.img_adaptor, config.img_token_dim, config.hidden_size)
        self.state_adaptor = _adaptor(config.state_adaptor, 2 * config.action_dim, config.hidden_size)
        self.history: HistoryMixer | None = None
        if config.history_steps:
            size, steps = config.hidden_size, config.history_steps
            self.history = HistoryMixer(config.history_mixer, config.action_dim, steps, size)

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.model.x_pos_embed.dtype

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.model.x_pos_embed.device

    def encode_language(self, tokens: Tensor, valid: Tensor | None = None) -> Attended:
        """Keys and values of language tokens (B, L, lang_token_dim).

        Args:
            tokens: of the text encoder.
            valid: (B, L) bool, True at tokens that are no padding; None if all are.

        Raises:
            ValueError: no tokens, more than `max_lang_cond_len`, or a text without a valid one: a text that says
                nothing is the embedding of the empty string.
        """
        length = tokens.shape[1]
        if not 0 < length <= self.config.max_lang_cond_len:
            raise ValueError(f"language: expected 1 to {self.config.max_lang_cond_len} tokens, found {length}")
        adapted = self.lang_adaptor(tokens.to(self.dtype)) + self.model.lang_cond_pos_embed[:, :length]
        pairs = [block.cross_attn.keys_values(adapted) for block in self.model.blocks[::2]]
        return Attended(pairs, _attention_mask(valid))

    def encode_images(self, tokens: Tensor, slots: Sequence[int] | None = None) -> Attended:
        """Keys and values of image tokens.

        Args:
            tokens: (B, n, img_token_dim), image after image.
            slots: places of these images in the order of time, camera; None for all images.

        Raises:
            ValueError: another number of tokens than these images have.
        """
        times, cameras, length = self.config.image_grid
        slots = range(times * cameras) if slots is None else slots
        if tokens.shape[1] != len(slots) * length:
            raise ValueError(f"images: expected {len(slots)} x {length} tokens, found {tokens.shape[1]}")
        positions = self.model.img_cond_pos_embed.unflatten(1, (-1, length))[:, list(slots)].flatten(1, 2)
        adapted = self.img_adaptor(tokens.to(self.dtype)) + positions
        return Attended([block.cross_attn.keys_values(adapted) for block in self.model.blocks[1::2]])

    def encode_history(self, joints: Tensor, present: Tensor) -> Tensor | None:
        """What is added to the state's token (B, D); None for a network without history.

        Args:
            joints: (B, N, action_dim) of the last control steps, see `joint_window`.
            present: (B, N) bool, which of them there are.

        Raises:
            ValueError: another number of steps than `history_steps`.
        """
        if self.history is None:
            return None
        if joints.shape[1] != self.config.history_steps:
            raise ValueError(f"history: expected {self.config.history_steps} control steps, found {joints.shape[1]}")
        return self.history(joints.to(self.dtype), present)

    def forward(
        self,
        state: Tensor,
        noisy: Tensor,
        mask: Tensor,
        steps: Tensor,
        frequencies: Tensor,
        conditions: Conditions,
        clean: Tensor | None = None,
    ) -> Tensor:
        """Predict the chunk (B, T, action_dim), clean or the noise in it.

        Args:
            state: (B, 1, action_dim) in the unified space.
            noisy: (B, T, action_dim) actions with noise.
            mask: (B, 1, action_dim), 1 in the slots that the robot has.
            steps: (B,) diffusion steps.
            frequencies: (B,) control frequencies in Hz, 0 for unknown.
            conditions: from `encode_language`, `encode_images` and `encode_history`.
            clean: (B, T) bool, True at rows of `noisy` that are given; only with `config.clean_prefix`.

        Raises:
            ValueError: conditions without a history for a network that has one, or with one for another.
        """
        trunk = self.model
        if (conditions.history is None) != (self.history is None):
            expected, found = ("one", "none") if conditions.history is None else ("none", "one")
            raise ValueError(f"history: expected {expected}, found {found}")
        rows = torch.cat([state, noisy], dim=1).to(self.dtype)
        tokens = self.state_adaptor(torch.cat([rows, mask.to(rows).expand_as(rows)], dim=-1))
        if conditions.history is not None:
            tokens = torch.cat([tokens[:, :1] + conditions.history[:, None], tokens[:, 1:]], dim=1)
        scalars = torch.stack([trunk.t_embedder(steps), trunk.freq_embedder(frequencies)], dim=1)
        x = torch.cat([scalars, tokens], dim=1) + trunk.x_pos_embed
        if clean is not None:
            marks = functional.pad(clean, (FIRST_ACTION, 0))
            x = x + marks[..., None] * trunk.clean_embed
        last = len(trunk.blocks) - 1
        for i, block in enumerate(trunk.blocks):
            attended = conditions.images if i % 2 else conditions.language
            keys, values = (part.expand(len(x), -1, -1, -1) for part in attended.pairs[i // 2])
            x = block(x, keys, values, attended.mask, keep=noisy.shape[1] if i == last else x.shape[1])
        return trunk.final_layer(x)


def build_model(config: RDTConfig, seed: int) -> RDTModel:
    """Build a model with the reference's initial weights, drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RDTModel(config)
        trunk = model.model
        for module in trunk.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for embedder in (trunk.t_embedder, trunk.freq_embedder):
            nn.init.normal_(embedder.mlp[0].weight, std=0.02)
            nn.init.normal_(embedder.mlp[2].weight, std=0.02)
        nn.init.zeros_(trunk.final_layer.ffn_final.fc2.weight)
        nn.init.zeros_(trunk.final_layer.ffn_final.fc2.bias)
    times, cameras, tokens = config.image_grid
    size = config.hidden_size
    with torch.no_grad():
        trunk.x_pos_embed[0] = torch.from_numpy(token_table(size, config.pred_horizon))
        trunk.img_cond_pos_embed[0] = torch.from_numpy(grid_table(size, (times, cameras, -tokens)))
        trunk.lang_cond_pos_embed[0] = torch.from_numpy(language_table(size, config.max_lang_cond_len))
    return model


def _attention_mask(valid: Tensor | None) -> Tensor | None:
    """Mask (B, 1, 1, m) from valid tokens (B, m), or None when all are and code is not compiled."""
    if valid is None or (not torch.compiler.is_compiling() and bool(valid.all())):
        return None
    if not torch.compiler.is_compiling() and not bool(valid.any(-1).all()):
        raise ValueError("language mask: expected a valid token in every row, found a row without")
    return valid[:, None, None, :]


def _adaptor(kind: str, inputs: int, size: int) -> nn.Sequential | nn.Linear:
    if kind == "linear":
        return nn.Linear(inputs, size)
    layers: list[nn.Module] = [nn.Linear(inputs, size)]
    for _ in range(int(kind.removeprefix("mlp")[0]) - 1):
        layers += [nn.GELU(approximate="tanh"), nn.Linear(size, size)]
    return nn.Sequential(*layers)


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)

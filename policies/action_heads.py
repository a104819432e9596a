"""The part of a policy's network that turns its last features into actions, taken out so that it can be looked into.

SpatialVLA's head is one linear map from the decoder's features to the scores of all tokens; each token of an action
reads its own rows of it, which makes three heads: of translation, rotation and gripper. RDT's head is a perceptron of
one hidden layer (GELU), which is run at each step of the sampler for each row of the chunk.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from policies.interface import Observation, Policy
from policies.rdt.policy import RDTPolicy
from policies.rdt.unified_space import slots_of
from policies.spatialvla.action_tokenizer import TOKENS_PER_ACTION
from policies.spatialvla.decoder import prefix_mask, run_decoder
from policies.spatialvla.decoding import decode_greedy
from policies.spatialvla.model import position_ids
from policies.spatialvla.policy import SpatialVLAPolicy

SLOTS = {
    "translation": ("dx", "dy", "dz"),
    "rotation": ("droll", "dpitch", "dyaw"),
    "gripper": ("gripper",),
}
"""Numbers of a SpatialVLA action that each of its tokens tells."""


class TokenChances(nn.Module):
    """Scores of a slot's tokens to 2 sqrt(p) of their probabilities: a step there is as far as it changes the choice.

    The squared length of a small step is twice the Kullback-Leibler divergence of what the policy would draw.
    """

    def __init__(self, cap: float | None) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, scores: Tensor) -> Tensor:
        """(N, tokens) of scores (N, tokens)."""
        capped = scores if self.cap is None else self.cap * (scores / self.cap).tanh()
        return 2 * (capped.log_softmax(dim=-1) / 2).exp()


class BestToken(nn.Module):
    """Scores of a slot's tokens to the normalised action of the best."""

    actions: Tensor

    def __init__(self, actions: Tensor) -> None:
        super().__init__()
        self.register_buffer("actions", actions)

    def forward(self, scores: Tensor) -> Tensor:
        """(N, k) of scores (N, tokens)."""
        return self.actions[scores.argmax(dim=-1)]


@dataclass(frozen=True)
class ActionHead:
    """One head of a policy.

    Attributes:
        name: of what it tells.
        seq: its maps, and what follows them; takes features (N, d). Of RDT it gives actions (N, k), of SpatialVLA what
            tells how the choice of a token changes.
        acted: the same, to actions (N, k) in the policy's own units.
        axes: names of the k numbers.
        weights: names of the policy's weights that each linear map of `seq` is, by the map's place.
        rows: which rows of these weights it reads, by the map's place.
        centered: whether the maps have biases to keep the mean of features in.
        chooses: whether it chooses one of some tokens, and so gives the same action or another one.
    """

    name: str
    seq: nn.Sequential
    acted: nn.Sequential
    axes: tuple[str, ...]
    weights: dict[int, str]
    rows: dict[int, slice | Tensor]
    centered: bool
    chooses: bool


def headed(policy: Policy) -> SpatialVLAPolicy | RDTPolicy:
    """The policy, if its head can be looked into.

    Raises:
        ValueError: it is neither SpatialVLA nor RDT.
    """
    if not isinstance(policy, SpatialVLAPolicy | RDTPolicy):
        raise ValueError(f"policy: expected a SpatialVLA or an RDT, found {type(policy).__name__}")
    return policy


def action_heads(policy: Policy) -> list[ActionHead]:
    """The heads of a policy.

    Raises:
        ValueError: it is neither SpatialVLA nor RDT.
    """
    policy = headed(policy)
    return _rdt_heads(policy) if isinstance(policy, RDTPolicy) else _spatialvla_heads(policy)


def _rdt_heads(policy: RDTPolicy) -> list[ActionHead]:
    last, embodiment = policy.model.model.final_layer.ffn_final, policy.settings.embodiment
    # A network that learned one robot gives exactly 0 in the slots of others; if it does not, these count too: the
    # sampler shows them to the network again.
    slots = (last.fc2.weight.abs().sum(dim=1) + last.fc2.bias.abs()).nonzero()[:, 0]
    slots = torch.tensor(sorted({*slots.tolist(), *slots_of(embodiment.names).tolist()}))
    names = dict(zip(slots_of(embodiment.names).tolist(), embodiment.names, strict=True))
    out = nn.Linear(last.fc2.in_features, len(slots))
    out.weight, out.bias = (nn.Parameter(one.detach()[slots]) for one in (last.fc2.weight, last.fc2.bias))
    seq = nn.Sequential(copy.deepcopy(last.fc1), nn.GELU(approximate="tanh"), out)
    axes = tuple(names.get(slot, f"slot {slot}") for slot in slots.tolist())
    prefix = "model.final_layer.ffn_final"
    weights, rows = {0: f"{prefix}.fc1", 2: f"{prefix}.fc2"}, {0: slice(None), 2: slots}
    return [ActionHead("action rows", seq, seq, axes, weights, rows, centered=True, chooses=False)]


def _spatialvla_heads(policy: SpatialVLAPolicy) -> list[ActionHead]:
    weight, tokenizer = policy.model.language_model.lm_head.weight.detach(), policy.processor.actions
    heads, place = [], 0
    sizes = tokenizer.grid.slot_sizes
    for slot, (name, axes) in enumerate(SLOTS.items()):
        ids = np.zeros((sizes[slot], TOKENS_PER_ACTION), dtype=np.int64)
        ids[:, slot] = np.arange(sizes[slot])
        centres = tokenizer.grid.decode(ids, policy.processor.settings.decode)[:, place : place + len(axes)]
        begin, end = tokenizer.slot_ranges()[slot]
        scores = nn.Linear(weight.shape[1], end - begin, bias=False)
        scores.weight = nn.Parameter(weight[begin:end])
        seq = nn.Sequential(scores, TokenChances(policy.model.final_cap))
        acted = nn.Sequential(scores, BestToken(torch.from_numpy(centres)))
        weights, rows = {0: "language_model.lm_head"}, {0: slice(begin, end)}
        heads.append(ActionHead(name, seq, acted, axes, weights, rows, centered=False, chooses=True))
        place += len(axes)
    return heads


def features(policy: Policy, episodes: Sequence[Sequence[Observation]]) -> dict[str, Tensor]:
    """What enters each head (N, d), by its name, while the policy answers recorded episodes.

    Raises:
        ValueError: the policy is neither SpatialVLA nor RDT, or an observation does not fit it.
    """
    policy = headed(policy)
    if isinstance(policy, RDTPolicy):
        return {"action rows": _rdt_features(policy, episodes)}
    parts = [_spatialvla_features(policy, episode) for episode in episodes]
    return {name: torch.cat([part[name] for part in parts]) for name in SLOTS}


@torch.no_grad()
def _rdt_features(policy: RDTPolicy, episodes: Sequence[Sequence[Observation]]) -> Tensor:
    seen: list[Tensor] = []
    last = policy.model.model.final_layer.ffn_final
    handle = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().cpu().flatten(0, -2)))
    try:
        for episode in episodes:
            policy.reset(0)
            for observation in episode:
                policy.act(observation)
    finally:
        handle.remove()
    return torch.cat(seen).float()


@torch.no_grad()
def _spatialvla_features(policy: SpatialVLAPolicy, observations: Sequence[Observation]) -> Mapping[str, Tensor]:
    """The decoder's features before each token of the policy's own answers."""
    model, processor = policy.model, policy.processor
    inputs = {name: value.to(policy.device) for name, value in processor.observe(observations).items()}
    ids, _ = decode_greedy(model, inputs, processor.actions.slot_ranges(), policy.chunk_length)
    mask = torch.cat([inputs.pop("attention_mask").bool(), torch.ones_like(ids, dtype=torch.bool)], dim=1)
    count = ids.shape[1]
    embeds = model.embed(**inputs | {"input_ids": torch.cat([inputs["input_ids"], ids], dim=1)})
    suffix = torch.zeros_like(mask)
    suffix[:, -count:] = True
    prefix = ~suffix if model.config.prefix_attention == "bidirectional" else None
    bias = prefix_mask(mask, prefix, embeds.dtype)
    hidden = run_decoder(model.language_model.model, embeds, position_ids(mask), bias, keep=count + 1)[:, :-1]
    by_slot = hidden.unflatten(1, (-1, TOKENS_PER_ACTION)).flatten(0, 1).cpu().float()
    return dict(zip(SLOTS, by_slot.unbind(dim=1), strict=True))


@torch.no_grad()
def replace_maps(policy: Policy, head: ActionHead, maps: Mapping[int, tuple[nn.Linear, nn.Linear]]) -> None:
    """Write low-rank maps into a policy's network, in place.

    Args:
        policy: changed.
        head: of this policy, or of an equal one.
        maps: by the place of the map in `head.seq`: to few numbers, and from these.
    """
    network = headed(policy).model
    for place, (down, up) in maps.items():
        module = network.get_submodule(head.weights[place])
        rows = head.rows[place]
        module.weight[rows] = (up.weight.double() @ down.weight.double()).to(module.weight)
        if module.bias is not None:
            offset = 0.0 if down.bias is None else up.weight.double() @ down.bias.double()
            module.bias[rows] = (up.bias.double() + offset).to(module.bias)

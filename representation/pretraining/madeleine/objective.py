"""What is minimised: bags of the reference and of each other modality of the same sample find each other.

Globally by InfoNCE of their vectors, locally by transport between their tokens, and, if asked for, by InfoNCE of two
halves of each bag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from representation.pretraining.madeleine.bag_encoder import BagEncoder
from representation.pretraining.madeleine.optimal_transport import graph_optimal_transport

FEWEST = 2
"""Samples of a batch that must have a modality for it to count: one has no negatives."""


@dataclass(frozen=True)
class LossConfig:
    """Which terms count, and how much; the defaults are those of the released script.

    Attributes:
        temperature: of InfoNCE.
        global_weight: of InfoNCE of the bags; 0 leaves it out.
        local_weight: of the transport between tokens, which is a sum over the batch; 0 leaves it out.
        intra_weight: of InfoNCE of two halves of each bag, of the reference and of each other modality; 0 leaves it
            out.
        n_tokens: of each bag that are transported, drawn at random.
    """

    temperature: float = 0.001
    global_weight: float = 1.0
    local_weight: float = 1.0
    intra_weight: float = 0.0
    n_tokens: int = 256

    def __post_init__(self) -> None:
        weights = self.global_weight, self.local_weight, self.intra_weight
        if self.temperature <= 0 or min(weights) < 0 or max(weights) == 0 or self.n_tokens < 1:
            raise ValueError(
                "temperature, weights, n_tokens: expected positive, not negative with one positive, at least 1, found "
                f"{self.temperature}, {weights}, {self.n_tokens}"
            )


class MultiModalLoss(NamedTuple):
    """The loss of a batch.

    Attributes:
        total: scalar; 0, with gradients of 0, where no modality has enough samples.
        parts: the terms, summed over the modalities, by name: those that have a weight.
        modalities: how many counted, without the reference.
        reference: vectors (R, h) of the samples that have the reference; none where no modality counted.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    modalities: int
    reference: Tensor


def symmetric_info_nce(q: Tensor, k: Tensor, temperature: float) -> Tensor:
    """Mean of the cross-entropies of finding each vector's partner among all, both ways.

    Args:
        q: (B, D), of any length; brought to unit length, in float32.
        k: (B, D), partners in the same order.
        temperature: that the cosines are divided by.

    Raises:
        ValueError: shapes that differ, or a temperature that is not positive.
    """
    if q.shape != k.shape or q.ndim != 2 or not len(q):
        raise ValueError(f"q, k: expected (B, D) of one shape, found {tuple(q.shape)} and {tuple(k.shape)}")
    if temperature <= 0:
        raise ValueError(f"temperature: expected positive, found {temperature}")
    with torch.autocast(q.device.type, enabled=False):
        logits = F.normalize(q.float(), dim=1) @ F.normalize(k.float(), dim=1).T / temperature
        own = torch.arange(len(q), device=q.device)
        return 0.5 * F.cross_entropy(logits, own) + 0.5 * F.cross_entropy(logits.T, own)


def multi_modal_loss(
    encoder: BagEncoder, tokens: Tensor, available: Tensor, config: LossConfig, generator: torch.Generator
) -> MultiModalLoss:
    """The loss of a batch of samples seen by several modalities, of which the first is the reference.

    What a modality that is not there holds instead is never looked at.

    Args:
        encoder: of all modalities.
        tokens: (B, M, N, d).
        available: (B, M), whether each sample has each modality; samples without the reference do not count.
        config: which terms count.
        generator: a CPU generator that draws tokens and splits bags.

    Raises:
        ValueError: shapes that do not fit, or fewer than two modalities.
    """
    if tokens.ndim != 4 or tokens.shape[1] < FEWEST or available.shape != tokens.shape[:2]:
        raise ValueError(
            "tokens, available: expected (B, M, N, d) with M of at least 2 and (B, M), found "
            f"{tuple(tokens.shape)} and {tuple(available.shape)}"
        )
    kept = available[:, 0].bool()
    tokens, available = tokens[kept], available[kept].bool()
    usable = [m for m in range(1, tokens.shape[1]) if int(available[:, m].sum()) >= FEWEST]
    weights = {"global": config.global_weight, "local": config.local_weight, "intra": config.intra_weight}
    sums = {name: tokens.new_zeros(()) for name, weight in weights.items() if weight}
    if not usable:
        nothing = 0 * torch.stack([parameter.sum() for parameter in encoder.parameters()]).sum()
        return MultiModalLoss(nothing, sums, 0, tokens.new_zeros(0, encoder.hidden_dim))
    reference = encoder(tokens[:, 0], 0)
    for m in usable:
        rows = available[:, m]
        other = encoder(tokens[rows, m], m) if config.global_weight or config.local_weight else reference
        if config.global_weight:
            sums["global"] = sums["global"] + symmetric_info_nce(
                reference.embedding[rows], other.embedding, config.temperature
            )
        if config.local_weight:
            sums["local"] = sums["local"] + graph_optimal_transport(
                reference.tokens[rows], other.tokens, config.n_tokens, generator
            )
        if config.intra_weight:
            for number in (0, m):
                halves = encoder.halves(tokens[rows, number], number, generator)
                sums["intra"] = sums["intra"] + symmetric_info_nce(*halves, config.temperature)
    total = torch.stack([weights[name] * value for name, value in sums.items()]).sum()
    return MultiModalLoss(total, sums, len(usable), reference.embedding)

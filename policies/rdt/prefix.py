"""`Prefix`: what a new chunk must agree with, because the arm already executes it.

Real-time chunking treats the new chunk as inpainting: rows that are executed while it is computed are fixed, later rows
of the running chunk weigh less and less. Black, Galliker and Levine, arXiv 2506.07339, carried over from flow matching
to data prediction: the flow's time is alpha / (alpha + sigma).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from policies.interface import GuidanceJacobian, OverlapSchedule
from policies.rdt.solver import Level

PrefixMode = Literal["guided", "blend", "replace", "clean"]


@dataclass(frozen=True)
class Prefix:
    """Rows of the running chunk, and how a new one is held to them.

    Attributes:
        actions: (T, d) the running chunk in the unified space, shifted so that row 0 is the first that the new chunk
            answers for; rows beyond its end repeat the last.
        committed: rows b that will have been executed when the new chunk is there; their weight is 1.
        overlap: rows e of the running chunk that count at all, at least `committed`.
        schedule: how the weights fall from row b to row e: not at all ("ones"), at once ("zeros"), or between.
        mode: "guided" corrects each prediction along the network's Jacobian; "blend" averages each prediction with the
            rows; with both, what separates the chunks in the end fades out after the committed rows, see `joined`;
            "replace" puts the committed rows, with noise, into every step; "clean" puts them in without noise, for a
            network that was trained so (`RDTConfig.clean_prefix`, arXiv 2512.05964).
        beta: largest weight of the correction.
        jacobian: "identity" saves the pass through the network that "exact" needs, and is the coarser.
        slots: (d,) 1 where the rows count; leave out what demonstrations switch abruptly, such as grippers. None for
            all.
    """

    actions: Tensor
    committed: int
    overlap: int
    schedule: OverlapSchedule = "exp"
    mode: PrefixMode = "guided"
    beta: float = 5.0
    jacobian: GuidanceJacobian = "exact"
    slots: Tensor | None = None

    def __post_init__(self) -> None:
        rows = len(self.actions)
        if self.actions.ndim != 2 or not 0 <= self.committed <= rows or not 0 <= self.overlap <= rows:
            raise ValueError(
                f"prefix: expected (T, d) actions and 0 <= committed, overlap <= T, found {tuple(self.actions.shape)}, "
                f"{self.committed}, {self.overlap}"
            )
        if not bool(torch.isfinite(self.actions).all()):
            raise ValueError("prefix: expected finite actions, found others")

    def weights(self) -> Tensor:
        """Weight (T, d) of every number, in [0, 1]."""
        rows = prefix_weights(len(self.actions), self.committed, self.overlap, self.schedule)
        columns = torch.ones(self.actions.shape[1]) if self.slots is None else self.slots
        return rows[:, None].to(self.actions) * columns.to(self.actions)

    def given(self, mask: Tensor) -> Tensor:
        """True (T, d) at the committed rows of the slots in mask (d,) that count."""
        rows = torch.arange(len(self.actions), device=self.actions.device) < self.committed
        columns = mask > 0 if self.slots is None else (mask > 0) & (self.slots.to(mask) > 0)
        return rows[:, None] & columns


def prefix_weights(rows: int, committed: int, overlap: int, schedule: OverlapSchedule) -> Tensor:
    """Weights (rows,): 1 before row b, falling to 0 at row e (arXiv 2506.07339, equation 5, and its variants).

    Args:
        rows: T.
        committed: b; cut to `overlap`.
        overlap: e.
        schedule: see `Prefix`.
    """
    start = min(committed, overlap)
    i = torch.arange(rows, dtype=torch.float64)
    linear = ((start - 1 - i) / (overlap - start + 1) + 1).clamp(0, 1)
    falling = {
        "linear": linear,
        "exp": linear * torch.expm1(linear) / (torch.e - 1),
        "ones": torch.ones_like(i),
        "zeros": torch.zeros_like(i),
    }[schedule]
    return torch.where(i < start, 1.0, torch.where(i < overlap, falling, 0.0))


def guidance_scale(level: Level, beta: float) -> float:
    """min(beta, 1 / (alpha sigma)): the guidance weight of arXiv 2506.07339, in terms of signal and noise."""
    return min(beta, 1 / (level.alpha * level.sigma))


def guided(clean: Tensor, noisy: Tensor, prefix: Prefix, mask: Tensor, level: Level) -> Tensor:
    """Correct a predicted chunk towards the prefix.

    With the exact Jacobian J the correction goes along J^T of the error, as in arXiv 2506.07339, and as far as leaves
    the least error there. The paper's own weight is that for numbers of unit variance; actions in rad vary less, and
    with it an error of several rows is left.

    Args:
        clean: (B, T, d) predicted; with the exact Jacobian it must depend on `noisy` in autograd's graph.
        noisy: (B, T, d) what it was predicted from.
        prefix: what to agree with.
        mask: (d,) 1 in the slots that the robot has.
        level: signal and noise in `noisy`.
    """
    weights = prefix.weights() * mask
    error = weights * (prefix.actions - clean.detach())
    if prefix.jacobian == "identity":
        scale = guidance_scale(level, prefix.beta)
        return clean.detach() + min(1.0, level.sigma / (level.alpha + level.sigma) * scale) * error
    (pulled,) = torch.autograd.grad(clean, noisy, error.to(clean))
    gained = (error * pulled).sum((-2, -1), keepdim=True)
    moved = (weights * pulled.square()).sum((-2, -1), keepdim=True)
    # Without any way to go, 0 / 0, nothing is moved.
    return clean.detach() + (gained / moved).nan_to_num(0.0).clamp(0.0, prefix.beta) * pulled


def joined(clean: Tensor, prefix: Prefix, mask: Tensor) -> Tensor:
    """Let what still separates a chunk (B, T, d) from the prefix fade out after the committed rows.

    The arm executes these as the chunk before has them, so a difference that is left would be a jump of the next row.
    It takes as many rows as are committed, as far as both chunks go: a policy that answers quickly is not held to what
    it said before. It fades by the schedule of the prefix, but evenly where that one says "exp", whose first fall is a
    third of the whole.

    Args:
        clean: the chunk.
        prefix: what it goes on with.
        mask: (d,) 1 in the slots that the robot has.
    """
    schedule = "linear" if prefix.schedule == "exp" else prefix.schedule
    fading = replace(prefix, schedule=schedule, overlap=min(prefix.overlap, 2 * prefix.committed))
    weights = fading.weights() * mask
    return torch.lerp(clean, prefix.actions.expand_as(clean), weights)


def most_consistent(chunks: Tensor, prefix: Prefix, mask: Tensor) -> int:
    """Number of the chunk, of (N, T, d), that goes on best with the running one.

    The backward coherence of bidirectional decoding (Liu et al., arXiv 2408.17355): the weighted sum of distances.
    """
    difference = prefix.weights() * mask * (chunks - prefix.actions)
    return int(difference.norm(dim=-1).sum(-1).argmin())

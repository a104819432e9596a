"""A few steps of an objective on frames, for benchmarks that train many networks."""

from __future__ import annotations

from typing import Any

import torch

from representation.data.batches import BatchOrder
from representation.data.frames import Frames


def train_shortly(
    objective: Any,
    frames: Frames,
    order: BatchOrder,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    steps: int,
    seed: int,
    clip: float | None = None,
) -> None:
    """Train an objective of `representation.pretrain` on batches in an order, with draws by seed and step.

    Gradients longer than `clip` are shortened to it.
    """
    for step in range(steps):
        batch = objective.batch(frames, order[step], torch.Generator().manual_seed(seed * 1_000_003 + step))
        optimizer.zero_grad()
        objective(batch).total.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(objective.parameters(), clip)
        optimizer.step()
        schedule.step()

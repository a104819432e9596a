"""When the learning rate rises and falls, and when training ends."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn


class WarmupCosineScheduler(torch.optim.lr_scheduler.LambdaLR):
    """Linear warm-up, then a cosine, in steps of the optimizer.

    The cosine is not clamped at its end: past `total` steps the factor rises again, as in the published code.

    Args:
        optimizer: whose learning rates are scaled.
        warmup: steps to the peak.
        total: step at which the cosine is 0.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, warmup: int = 50, total: int = 3000) -> None:
        if not 0 <= warmup < total:
            raise ValueError(f"warmup, total: expected 0 <= warmup < total, found {warmup} and {total}")
        super().__init__(optimizer, lambda step: warmup_cosine(step, warmup, total))


def warmup_cosine(step: int, warmup: int = 50, total: int = 3000) -> float:
    """Factor of the learning rate at a step, from 0 to 1."""
    if step < warmup:
        return step / warmup
    return max(0.0, 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))))


def warmup_polynomial(step: int, warmup: int = 1500, total: int = 20_000, start: float = 1e-6) -> float:
    """Factor of the learning rate at a step: linear from `start` to 1, then linear to 0 at `total`."""
    if step < warmup:
        return start + (1 - start) * step / warmup
    return max(0.0, (total - step) / (total - warmup))


class EarlyStopping:
    """Keeps the best weights; ends when a measure has not strictly improved for some evaluations.

    Args:
        patience: evaluations without improvement after which it ends.
    """

    def __init__(self, patience: int = 10) -> None:
        if patience < 1:
            raise ValueError(f"patience: expected at least 1, found {patience}")
        self.patience, self.best, self.since = patience, -math.inf, 0
        self._state: dict[str, Tensor] | None = None

    @property
    def stopped(self) -> bool:
        """Whether it is time to end."""
        return self.since >= self.patience

    def update(self, measure: float, model: nn.Module) -> bool:
        """Take note of an evaluation; returns whether it is the best so far.

        Raises:
            ValueError: the measure is not a number.
        """
        if math.isnan(measure):
            raise ValueError("measure: expected a number, found NaN")
        if measure > self.best:
            self.best, self.since = measure, 0
            self._state = copy.deepcopy(model.state_dict())
            return True
        self.since += 1
        return False

    def restore(self, model: nn.Module) -> None:
        """Give a model the best weights.

        Raises:
            RuntimeError: nothing was evaluated.
        """
        if self._state is None:
            raise RuntimeError("early stopping: expected at least one evaluation, found none")
        model.load_state_dict(self._state)

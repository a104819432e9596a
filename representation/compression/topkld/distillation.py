"""`distill`: train a module of rounded weights to answer like the module that it was made from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

CLIP_NORM, WEIGHT_DECAY = 1.0, 0.0


def distill(
    student: nn.Module,
    teacher: nn.Module,
    batches: Iterable[Any],
    loss: Callable[[Any, Any, Any], Tensor],
    lr: float = 3e-4,
    steps: int = 80,
    answer: Callable[[nn.Module, Any], Any] = lambda module, batch: module(batch),
    progress: bool = False,
) -> list[float]:
    """Train a student in place with AdamW, a cosine to zero, and gradients clipped at 1.

    Both are in evaluation mode: dropout would make the teacher's answers noisy.

    Args:
        student: of `fake_quantize`.
        teacher: not changed.
        batches: at least `steps` of them.
        loss: of the student's answer, the teacher's and the batch.
        lr: largest learning rate.
        steps: optimizer steps.
        answer: of a module to a batch.
        progress: show a progress bar.

    Returns:
        The loss of each step.

    Raises:
        ValueError: fewer batches than steps, or a loss that is not finite.
    """
    teacher.eval()
    student.eval()
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr, weight_decay=WEIGHT_DECAY)
    losses: list[float] = []
    for step, batch in enumerate(
        tqdm(islice(batches, steps), "distilling", total=steps, unit="step", disable=not progress)
    ):
        for group in optimizer.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        with torch.no_grad():
            wanted = answer(teacher, batch)
        value = loss(answer(student, batch), wanted, batch)
        if not bool(torch.isfinite(value)):
            raise ValueError(f"distillation: expected a finite loss, found {float(value)} in step {step}")
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(trained, CLIP_NORM)
        optimizer.step()
        losses.append(value.item())
    if len(losses) < steps:
        raise ValueError(f"batches: expected {steps}, found {len(losses)}")
    return losses

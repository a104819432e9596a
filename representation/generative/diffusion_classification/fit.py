"""`fit_head`: train a head on frozen features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

DROPS = 4  # of the step size with SGD, over the whole training


@dataclass(frozen=True)
class HeadTraining:
    """How a head is trained.

    Attributes:
        method: "adamw" with a cosine, or "sgd" as in the paper: without momentum, a tenth after every quarter.
        epochs: over all samples.
        lr: step size; the paper's SGD has 0.01 for linear heads and 0.05 for attention.
        batch: samples of a step.
        weight_decay: of AdamW.
    """

    method: Literal["adamw", "sgd"] = "adamw"
    epochs: int = 28
    lr: float = 1e-3
    batch: int = 32
    weight_decay: float = 0.05


def part_of(inputs: Any, rows: Tensor) -> Any:
    """Some samples of a tensor (N, ...), or of each of several by name."""
    return {name: value[rows] for name, value in inputs.items()} if isinstance(inputs, Mapping) else inputs[rows]


def fit_head(head: nn.Module, inputs: Any, labels: Tensor, training: HeadTraining, seed: int) -> nn.Module:
    """Train in place by cross-entropy; in evaluation mode afterwards.

    Args:
        head: of what `inputs` are.
        inputs: features (N, C, h, w), several of them by name, or pictures of a `FeedbackHead`.
        labels: classes (N,), from 0.
        training: how.
        seed: of the order of the samples.

    Raises:
        ValueError: labels of one class, or another number of them; inputs that are not finite.
    """
    tensors = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    if any(len(one) != len(labels) for one in tensors) or len(torch.unique(labels)) < 2:
        raise ValueError(
            f"labels: expected {len(tensors[0])} of at least two classes, found {len(labels)} of "
            f"{len(torch.unique(labels))}"
        )
    if not all(torch.isfinite(one).all() for one in tensors):
        raise ValueError("inputs: expected finite numbers, found others")
    generator = torch.Generator().manual_seed(seed)
    steps = training.epochs * int(np.ceil(len(labels) / training.batch))
    parameters = [parameter for parameter in head.parameters() if parameter.requires_grad]
    if training.method == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(parameters, training.lr)
        schedule: Any = torch.optim.lr_scheduler.StepLR(optimizer, max(1, steps // DROPS), 0.1)
    else:
        optimizer = torch.optim.AdamW(parameters, training.lr, weight_decay=training.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    head.train()
    for _ in range(training.epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(training.batch):
            if len(rows) > 1:  # a batch norm learns nothing of one sample
                loss = F.cross_entropy(head(part_of(inputs, rows)), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
    return head.eval()


@torch.no_grad()
def head_accuracy(head: nn.Module, inputs: Any, labels: Tensor, batch: int = 64) -> float:
    """Share of samples whose class a head tells; arguments as of `fit_head`."""
    parts = torch.arange(len(labels)).split(batch)
    return float(np.concatenate([(head(part_of(inputs, r)).argmax(1) == labels[r]).numpy() for r in parts]).mean())

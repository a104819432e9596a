"""`fit`: train a model by the individual objective, by the group objective, or by both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from representation.generative.dts.model import DTSModel
from representation.generative.dts.objectives import (
    GroupHeads,
    dts_group_loss,
    dts_individual_loss,
    reversal_strength,
)
from representation.metrics_log import MetricsLog

Objective = Literal["individual", "group", "both"]
LOG_EVERY = 20


@dataclass(frozen=True)
class TrainingOptions:
    """How a model is trained.

    Attributes:
        objective: `both` is the individual one with the groups' targets, if there are any.
        steps: of Adam.
        batch: windows of a step; 64 and more, for the estimates.
        lr: learning rate.
        warmup: share of the steps over which all that is not the likelihood comes in.
        clip: largest norm of the gradient.
        likelihood: weight of the likelihood in the individual objective.
        seed: of batches and draws.
    """

    objective: Objective = "individual"
    steps: int = 1200
    batch: int = 128
    lr: float = 1e-3
    warmup: float = 0.1
    clip: float = 1.0
    likelihood: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.objective not in ("individual", "group", "both"):
            raise ValueError(f"objective: expected individual, group or both, found {self.objective!r}")
        if self.steps < 1 or self.batch < 2 or not 0 <= self.warmup <= 1:
            raise ValueError(
                f"steps, batch, warmup: expected from 1, from 2 and in [0, 1], found {self.steps}, {self.batch} and "
                f"{self.warmup}"
            )


def fit(
    model: DTSModel,
    x: Tensor,
    options: TrainingOptions,
    heads: GroupHeads | None = None,
    targets: Mapping[str, Tensor] | None = None,
    log: MetricsLog | None = None,
    progress: bool = False,
) -> dict[str, float]:
    """Train a model, which is then in evaluation mode.

    Args:
        model: changed.
        x: (N, T, C) windows.
        options: how.
        heads: of the groups' targets, changed; for other objectives than the individual one.
        targets: classes (N,) by group.
        log: where the losses go.
        progress: whether a bar is shown.

    Returns:
        Parts of the loss at the last step.

    Raises:
        ValueError: heads without targets or for the individual objective, or the wrong number of classes; as
            `DTSModel.encode` and `GroupHeads`.
    """
    given = (heads is not None, targets is not None)
    if given not in ((False, False), (True, True)) or (any(given) and options.objective == "individual"):
        raise ValueError(
            f"heads, targets: expected both or none, and none for the objective individual, found {given} and "
            f"{options.objective!r}"
        )
    for name, classes in (targets or {}).items():
        if classes.shape != (len(x),):
            raise ValueError(f"{name}: expected classes ({len(x)},), found {tuple(classes.shape)}")
    generator = torch.Generator().manual_seed(options.seed)
    trained = [*model.parameters(), *(heads.parameters() if heads else ())]
    optimizer, config = torch.optim.Adam(trained, options.lr), model.config
    size = min(options.batch, len(x))
    order, parts = torch.empty(0, dtype=torch.int64), {}
    model.train()
    for step in tqdm(range(options.steps), desc="steps", unit="step", disable=not progress):
        if len(order) < size:
            order = torch.randperm(len(x), generator=generator)
        rows, order = order[:size], order[size:]
        warmth = min(1.0, (step + 1) / max(1.0, options.warmup * options.steps))
        output = model(x[rows], generator)
        if options.objective == "group":
            loss = dts_group_loss(output, x[rows], len(x), config.group_beta, warmth)
        else:
            loss = dts_individual_loss(output, x[rows], len(x), config.alpha, config.beta, warmth, options.likelihood)
        total, parts = loss
        if heads is not None and targets is not None:
            told = heads(
                output.mu,
                {name: value[rows] for name, value in targets.items()},
                reversal_strength(step / options.steps),
            )
            total, parts = total + config.targets * told.total, parts | told.parts
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(trained, options.clip)
        optimizer.step()
        if log is not None and ((step + 1) % LOG_EVERY == 0 or step + 1 == options.steps):
            row = {"step": step + 1, "lr": options.lr, "loss": total.item()}
            log.write(row | {name: value.item() for name, value in parts.items()})
    model.eval()
    if heads is not None:
        heads.eval()
    return {name: value.item() for name, value in parts.items()}

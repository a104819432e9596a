"""Members of a concatenation: the same encoder, trained from several seeds; and the control that trains them as one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.transfer.rich_representations.cat_encoder import CatEncoder, encoded
from representation.transfer.rich_representations.samples import Inputs, Samples, rows_of

MakeEncoder = Callable[[int], nn.Module]
"""An untrained encoder of a seed."""


@dataclass(frozen=True)
class TrainConfig:
    """How a classifier is trained, by Adam.

    Attributes:
        epochs: over the samples.
        batch: samples of a step.
        lr: step size.
        final_lr: that a cosine ends at; None for a constant step size, which snapshots want.
        weight_decay: added to the gradient.
    """

    epochs: int = 60
    batch: int = 32
    lr: float = 1e-3
    final_lr: float | None = None
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch) < 1 or self.lr <= 0:
            raise ValueError(f"epochs, batch, lr: expected more than 0, found {self}")


class Classifier(nn.Module):
    """An encoder under a head.

    Args:
        encoder: with `encode` and `width`.
        head: linear, from vectors to logits.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, C)."""
        return self.head(encoded(self.encoder, inputs))


@dataclass(frozen=True)
class Member:
    """A trained encoder with the head that it was trained under.

    Attributes:
        encoder: its vectors.
        head: linear, to the logits of the source classes.
    """

    encoder: nn.Module
    head: nn.Linear

    def logits(self, inputs: Inputs) -> Tensor:
        """Logits (B, C)."""
        return self.head(encoded(self.encoder, inputs))


class ParallelBranches(Classifier):
    """Several encoders under one head, trained together in one episode: as large as a concatenation, and less rich.

    Args:
        encoders: the branches.
        num_classes: of the head.
        generator: draws the head.
    """

    def __init__(self, encoders: Sequence[nn.Module], num_classes: int, generator: torch.Generator) -> None:
        joined = CatEncoder(encoders, frozen=False)
        super().__init__(joined, new_head(joined.width, num_classes, generator))


def new_head(width: int, num_classes: int, generator: torch.Generator) -> nn.Linear:
    """A linear head with torch's usual first weights, from a generator."""
    head, reach = nn.Linear(width, num_classes), width**-0.5
    with torch.no_grad():
        head.weight.uniform_(-reach, reach, generator=generator)
        head.bias.uniform_(-reach, reach, generator=generator)
    return head


def fit_classifier(
    model: nn.Module,
    samples: Samples,
    config: TrainConfig,
    generator: torch.Generator,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> None:
    """Train what of a classifier has gradients by cross-entropy; it is then in evaluation mode.

    Args:
        model: gives logits of inputs.
        samples: to train on.
        config: how.
        generator: of the order of the samples.
        after_epoch: called with the number of each epoch, from 1.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, config.lr, weight_decay=config.weight_decay)
    end = config.lr if config.final_lr is None else config.final_lr
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs, end)
    model.train()
    for epoch in range(config.epochs):
        for rows in torch.randperm(len(samples), generator=generator).split(config.batch):
            if len(rows) < 2 <= len(samples):  # batch norms cannot learn from one sample
                continue
            optimizer.zero_grad()
            F.cross_entropy(model(rows_of(samples.inputs, rows)), samples.labels[rows]).backward()
            optimizer.step()
        schedule.step()
        after_epoch(epoch + 1)
    model.eval()


def train_members(
    make_encoder: MakeEncoder,
    dataset: Samples,
    n: int,
    seeds: Sequence[int],
    cfg: TrainConfig,
    snapshots: bool = False,
) -> list[Member]:
    """Train n classifiers of one kind.

    Args:
        make_encoder: of a seed.
        dataset: source samples.
        n: members.
        seeds: n, of first weights and of the order of the samples; one with snapshots.
        cfg: of each training.
        snapshots: whether the members are the states of one training, evenly along it (Cat-S).

    Raises:
        ValueError: one class, or seeds that do not fit.
    """
    wanted = 1 if snapshots else n
    if n < 1 or len(seeds) != wanted or len(set(seeds)) != wanted:
        raise ValueError(f"seeds: expected {wanted} different ones for {n} members, found {list(seeds)}")
    if snapshots and cfg.epochs < n:
        raise ValueError(f"epochs: expected at least {n} for as many snapshots, found {cfg.epochs}")
    marks = [round(cfg.epochs * (number + 1) / n) for number in range(n)] if snapshots else [cfg.epochs]
    members: list[Member] = []
    for seed in seeds:
        generator, encoder = torch.Generator().manual_seed(seed), make_encoder(seed)
        model = Classifier(encoder, new_head(encoder.width, dataset.classes, generator))

        def keep(epoch: int, model: Classifier = model) -> None:
            if epoch in marks:
                copied = copy.deepcopy(model).eval()
                members.append(Member(copied.encoder, copied.head))

        fit_classifier(model, dataset, cfg, generator, keep)
    return members


def train_parallel(
    make_encoder: MakeEncoder, dataset: Samples, n: int, seed: int, cfg: TrainConfig
) -> ParallelBranches:
    """Train n branches of different first weights under one head, together."""
    generator = torch.Generator().manual_seed(seed)
    encoders = [make_encoder(n * seed + number) for number in range(n)]
    model = ParallelBranches(encoders, dataset.classes, generator)
    fit_classifier(model, dataset, cfg, generator)
    return model

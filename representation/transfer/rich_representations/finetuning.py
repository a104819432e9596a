"""Tuning several encoders to a target: each by itself and then the joint head, or all of them at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from representation.transfer.rich_representations.cat_encoder import CatEncoder, all_vectors
from representation.transfer.rich_representations.members import (
    Classifier,
    Member,
    ParallelBranches,
    TrainConfig,
    fit_classifier,
    new_head,
)
from representation.transfer.rich_representations.samples import Samples, split_by_class


@dataclass(frozen=True)
class FinetuneConfig:
    """How members are tuned in two stages.

    Attributes:
        each: of every member with its own head.
        head_epochs: of the joint head.
        head_lr: its step size.
        weight_decays: of the joint head, that are tried.
        held_out: share of each class on which the weight decay is chosen; then all samples are trained on.
        seed: of heads, order and what is held out.
    """

    each: TrainConfig = field(default_factory=lambda: TrainConfig(epochs=40, final_lr=1e-7))
    head_epochs: int = 2
    head_lr: float = 1e-3
    weight_decays: tuple[float, ...] = (0.0, 1e-5, 1e-4, 5e-4)
    held_out: float = 0.2
    seed: int = 0


def concat_heads(heads: Sequence[nn.Linear], average: bool = True) -> nn.Linear:
    """One head on concatenated vectors whose logits are the mean of the heads' logits, or their sum.

    Raises:
        ValueError: no heads, or heads of different numbers of classes.
    """
    classes = {head.out_features for head in heads}
    if len(classes) != 1:
        raise ValueError(f"heads: expected some of one number of classes, found {sorted(classes)}")
    share = 1 / len(heads) if average else 1.0
    joint = nn.Linear(sum(head.in_features for head in heads), heads[0].out_features)
    with torch.no_grad():
        joint.weight.copy_(share * torch.cat([head.weight for head in heads], dim=1))
        biases = [head.bias for head in heads if head.bias is not None]
        joint.bias.copy_(share * torch.stack(biases).sum(dim=0) if biases else torch.zeros_like(joint.bias))
    return joint


def two_stage_finetune(members: Sequence[Member], dataset: Samples, cfg: FinetuneConfig) -> Classifier:
    """Tune every member with a head of its own, then train the joined heads on the frozen concatenation ([2ft]cat).

    Args:
        members: left as they are.
        dataset: target samples.
        cfg: how.

    Returns:
        A classifier of the target's classes over a `CatEncoder`.

    Raises:
        ValueError: one class, or with several weight decays a class of one sample.
    """
    decay = cfg.weight_decays[0]
    if len(cfg.weight_decays) > 1:
        generator = torch.Generator().manual_seed(cfg.seed)
        kept, held = split_by_class(dataset.labels, cfg.held_out, generator)
        tuned = _tuned(members, dataset.subset(kept), dataset.classes, cfg)
        others = dataset.subset(held)
        right = []
        for tried in cfg.weight_decays:
            model = _joined(tuned, dataset.subset(kept), cfg, tried)
            with torch.no_grad():
                told = model.head(all_vectors(model.encoder, others.inputs)).argmax(dim=1)
            right.append(float((told == others.labels).float().mean()))
        decay = cfg.weight_decays[right.index(max(right))]
    return _joined(_tuned(members, dataset, dataset.classes, cfg), dataset, cfg, decay)


def finetune_jointly(members: Sequence[Member], dataset: Samples, cfg: TrainConfig, seed: int = 0) -> ParallelBranches:
    """Tune all members under one new head together ([init]cat): one branch tends to rule, which two stages avoid."""
    generator = torch.Generator().manual_seed(seed)
    model = ParallelBranches([_trainable(member) for member in members], dataset.classes, generator)
    fit_classifier(model, dataset, cfg, generator)
    return model


def _trainable(member: Member) -> nn.Module:
    return copy.deepcopy(member.encoder).requires_grad_(True)


def _tuned(members: Sequence[Member], samples: Samples, classes: int, cfg: FinetuneConfig) -> list[Classifier]:
    found = []
    for number, member in enumerate(members):
        generator, encoder = torch.Generator().manual_seed(cfg.seed + number), _trainable(member)
        model = Classifier(encoder, new_head(encoder.width, classes, generator))
        fit_classifier(model, samples, cfg.each, generator)
        found.append(model)
    return found


def _joined(tuned: Sequence[Classifier], samples: Samples, cfg: FinetuneConfig, decay: float) -> Classifier:
    encoder, head = CatEncoder([model.encoder for model in tuned]), concat_heads([model.head for model in tuned])
    config = replace(cfg.each, epochs=cfg.head_epochs, lr=cfg.head_lr, final_lr=None, weight_decay=decay)
    seen = Samples(all_vectors(encoder, samples.inputs), samples.labels)
    fit_classifier(head, seen, config, torch.Generator().manual_seed(cfg.seed))
    return Classifier(encoder, head).eval()

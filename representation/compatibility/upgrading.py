"""Training the new encoder of an upgrade, by the common loop, and measuring it beside the old one."""

from __future__ import annotations

import copy
import time
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from representation.compatibility import bt2, d_simplex, oca
from representation.compatibility.class_prototypes import class_prototypes
from representation.compatibility.picture_encoder import labels_of
from representation.compatibility.upgrade_report import Measurement, UpgradeReport
from representation.data.batches import split_frames
from representation.data.frames import Frames
from representation.embedding import embed
from representation.interface import Encoder
from representation.objective_learner import ObjectiveLearner
from representation.registry import load_encoder
from representation.training import LoopConfig, TrainingLoop, new_accelerator

Method = Literal["oca", "bt2", "bct", "independent", "d_simplex"]
HELD_OUT = 0.3


def split(frames: Frames, held_out: float, seed: int) -> tuple[Frames, Frames]:
    """Frames to train on and frames to measure with, of other episodes.

    Args:
        frames: all of them.
        held_out: share of the episodes that is measured with; at least one is on either side.
        seed: chooses them.
    """
    episodes = len(np.unique(frames.episode))
    count = min(max(1, round(held_out * episodes)), episodes - 1)
    train, test = split_frames(frames, count, np.random.default_rng(seed))
    return frames.subset(train), frames.subset(test)


def copy_of(encoder: Any, training: bool) -> Any:
    """A copy of an encoder, to train on or to measure with."""
    return copy.deepcopy(encoder).train(training)


def new_objective(
    method: Method,
    frames: Frames,
    seed: int,
    backbone: Encoder,
    old: Encoder | None = None,
    prototypes: Tensor | None = None,
    extra_dims: int = 16,
) -> Any:
    """What is trained for an upgrade.

    Args:
        method: "oca", "bt2" or "d_simplex"; or the older "bct", or "independent", which knows nothing of the old one.
        frames: to train on, with labels.
        seed: of the first weights.
        backbone: what the head stands on; it is trained, too.
        old: the old encoder; "oca" and "bct" do without it if there are prototypes.
        prototypes: its class prototypes (C, d).
        extra_dims: numbers that "oca" and "bt2" add.

    Raises:
        ValueError: what the method needs is missing.
    """
    frames.need(oca.OCAObjective.needs)
    if method == "bt2":
        if old is None:
            raise ValueError("old: expected the old encoder for bt2, found none")
        independent = copy_of(backbone, training=False)
        return bt2.new_between(bt2.Config(extra_dims=extra_dims), frames, seed, old, independent, backbone)
    if method == "d_simplex":
        if not isinstance(old, d_simplex.DSimplexEncoder):
            raise ValueError(f"old: expected an encoder of d_simplex, found {type(old).__name__}")
        config = d_simplex.Config(num_classes=old.num_classes, from_end=old.from_end)
        return d_simplex.new_after(config, frames, seed, old, backbone)
    if method not in ("oca", "bct", "independent"):
        raise ValueError(f"method: expected oca, bt2, bct, independent or d_simplex, found {method!r}")
    if prototypes is None:
        if old is None:
            raise ValueError(f"old, prototypes: expected one of them for {method}, found none")
        labels = labels_of(frames)
        prototypes = class_prototypes(torch.from_numpy(embed(old, frames)), labels, int(labels.max()) + 1)
    configs = {
        "oca": oca.Config(extra_dims=extra_dims),
        "bct": oca.Config(extra_dims=0, rotate=False, weights=(1.0, 10.0, 0.0)),
        "independent": oca.Config(dim=prototypes.shape[1], rotate=False),
    }
    known = None if method == "independent" else prototypes
    return oca.new_with_prototypes(configs[method], frames, seed, known, backbone)


def train(objective: Any, frames: Frames, cfg: LoopConfig) -> Encoder:
    """Run the loop; the encoder, with averaged weights, lies in `encoder/` of the run's directory then."""
    cfg.output.mkdir(parents=True, exist_ok=True)
    run = TrainingLoop(cfg, ObjectiveLearner(cfg, objective, frames), new_accelerator(cfg))
    run.train()
    run.end()
    encoder = load_encoder(cfg.output)
    assert isinstance(encoder, Encoder)
    return encoder


def upgrade_encoder(
    old_encoder: Encoder, new_backbone: Encoder, dataset: Frames, method: Method, cfg: LoopConfig
) -> UpgradeReport:
    """Train a new encoder that can search what the old one stored, and measure both on held-out episodes.

    Args:
        old_encoder: whose vectors are stored.
        new_backbone: what the new one stands on; for "bt2" also the independent encoder. It stays as it is.
        dataset: with labels.
        method: see `new_objective`.
        cfg: of the loop; its `output` gets `encoder/`.
    """
    training, queries = split(dataset, HELD_OUT, cfg.seed)
    given, backbone = copy_of(new_backbone, training=False), copy_of(new_backbone, training=True)
    objective = new_objective(method, training, cfg.seed, backbone, old_encoder)
    return _trained_report(objective, method, training, queries, old_encoder, given, cfg)


def train_bt2(encoder: bt2.BT2Encoder, old: Encoder, new: Encoder, dataset: Frames, cfg: LoopConfig) -> UpgradeReport:
    """Train an encoder between an old and an independent one, and measure all on held-out episodes.

    Args:
        encoder: whose sizes fit to both.
        old: the old encoder.
        new: the independent one.
        dataset: with labels.
        cfg: of the loop; its `output` gets `encoder/`.
    """
    training, queries = split(dataset, HELD_OUT, cfg.seed)
    objective = bt2.BT2Objective(bt2.Config(), encoder, training, old, new)
    return _trained_report(objective, "bt2", training, queries, old, new, cfg)


def _trained_report(
    objective: Any,
    method: Method,
    training: Frames,
    queries: Frames,
    old: Encoder,
    given: Encoder,
    cfg: LoopConfig,
) -> UpgradeReport:
    began = time.perf_counter()
    upgraded = train(objective, training, cfg)
    cost = {"seconds of training": time.perf_counter() - began, "frames trained on": float(len(training))}
    found = Measurement(old, upgraded, given, queries)
    return UpgradeReport(
        method, retrieval=found.retrieval, galleries=found.galleries, found_again=found.found_again, cost=cost
    )

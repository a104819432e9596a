"""Drawn subjects that see different stimuli through maps of their own: what a new one gains from the decoder of three.

The target of a stimulus is a fixed function of it, for all. Each subject has 3,000 stimuli of its own. A new subject
has 30 or 100: it trains an adapter under the decoder of the others, all of that, or the same network from scratch. What
counts is how often the right one of 300 new targets is found.
"""

from __future__ import annotations

import copy
import math

import torch

from representation.benchmarks.claims import BenchOptions, Claim
from representation.transfer.neural_cross_subject import (
    CrossSubjectConfig,
    CrossSubjectModel,
    FitOptions,
    SubjectData,
    SubjectLoader,
    fit_joint,
    fit_new_subject,
    retrieval_top1,
    synthetic_subjects,
)

DIMS, NEW, NEW_DIM = {"first": 200, "second": 180, "third": 160}, "new", 150
STIMULI, FEW, TESTED = 3000, (30, 100), 300
ROUNDS, NEW_ROUNDS, BATCH, LR, TEMPERATURE = 1200, 300, 64, 1e-3, 0.05
CONFIG = CrossSubjectConfig(
    hidden=64,
    n_tokens=1,
    token_dim=32,
    out_dim=32,
    projector_dim=64,
    first_dropout=0.1,
    dropout=0.1,
)
LEAST = 0.15  # by which an adapter alone is better than the whole from scratch, with the more samples


def fit_options(loader: SubjectLoader, rounds: int, seed: int) -> FitOptions:
    """So many batches of a loader, with symmetric cross-entropy alone: nothing is mixed."""
    return FitOptions(
        epochs=math.ceil(rounds / len(loader)),
        lr=LR,
        warmup_epochs=1,
        mix_share=1.0,
        mix_probability=0.0,
        mix_temperature=TEMPERATURE,
        global_weights=(0.0, 0.0),
        noise=0.0,
        seed=seed,
    )


def found(model: CrossSubjectModel, subject: str, data: SubjectData) -> float:
    """Share of targets that are found among those of all samples."""
    with torch.no_grad():
        return retrieval_top1(model(data.signals, subject)[1], data.tokens)


def measured(seed: int, options: BenchOptions) -> dict[str, float]:
    """What is found in one draw, by who and how."""
    counts = {**dict.fromkeys(DIMS, STIMULI + TESTED), NEW: max(FEW) + TESTED}
    subjects = synthetic_subjects({**DIMS, NEW: NEW_DIM}, counts, seed)
    first = torch.arange(STIMULI)
    loaders = {name: SubjectLoader(subjects[name].subset(first), BATCH, seed) for name in DIMS}
    joint = CrossSubjectModel(DIMS, CONFIG, seed)
    fit_joint(joint, loaders, fit_options(loaders["first"], options.steps(ROUNDS), seed))
    held = torch.arange(STIMULI, STIMULI + TESTED)
    scores = {name: found(joint, name, subjects[name].subset(held)) for name in DIMS}
    test = subjects[NEW].subset(torch.arange(max(FEW), max(FEW) + TESTED))
    for count in FEW:
        loader = SubjectLoader(subjects[NEW].subset(torch.arange(count)), BATCH, seed)
        settings = fit_options(loader, options.steps(NEW_ROUNDS), seed)
        for name, frozen in (("adapter", True), ("all", False)):
            model = copy.deepcopy(joint)
            fit_new_subject(model, loader, NEW, frozen, settings)
            scores[f"{name}, {count}"] = found(model, NEW, test)
        alone = CrossSubjectModel({NEW: NEW_DIM}, CONFIG, 1000 + seed)
        fit_joint(alone, {NEW: loader}, settings)
        scores[f"scratch, {count}"] = found(alone, NEW, test)
    return scores


def run(options: BenchOptions) -> list[Claim]:
    """Retrieval by seed."""
    scores = [measured(seed, options) for seed in range(options.seeds)]

    def by_seed(name: str) -> tuple[float, ...]:
        return tuple(one[name] for one in scores)

    claims = []
    for count in FEW:
        task = f"targets found of {TESTED}, new subject of {count} samples"
        least = LEAST if count == max(FEW) else None
        scratch = by_seed(f"scratch, {count}")
        claims.append(Claim(f"{task}, adapter only", "from scratch", by_seed(f"adapter, {count}"), scratch, least))
        claims.append(
            Claim(
                f"{task}, adapter only", "all trained on", by_seed(f"adapter, {count}"), by_seed(f"all, {count}"), None
            )
        )
    chance = (1 / TESTED,) * options.seeds
    own = "targets found of the {} known subject, joint model"
    return [*claims, *(Claim(own.format(name), "chance", by_seed(name), chance, None) for name in DIMS)]

"""Heads that are generated for three digits from five pictures of each, for triples that no head of the zoo was for.

400 linear heads on 32 frozen random features, of triples of digits in a random order; 20 triples are held out, with
three orders each. Generated heads stand beside the zoo's nearest, trained ones, and heads generated for other digits.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.digit_encoders import split_digits
from representation.transfer.d2nwg import (
    GeneratorConfig,
    GeneratorTraining,
    build_zoo,
    draw_support,
    generate_weights,
    head_logits,
    task_rows,
    train_generator,
    trained_head,
    tune_head,
)

FEATURES, WAYS, HEADS, HELD_OUT, ORDERS, SHOTS, CACHED = 32, 3, 400, 20, 3, 5, 20
STRENGTH = 1.0
DRAWS = 20
CONFIG = GeneratorConfig(latent=24, hidden=256, steps=200)
VAE_STEPS, STEPS = 3000, 4000


def random_features(x: Tensor, seed: int) -> Tensor:
    """ReLU features (N, 32) of digits (N, 64) by a random layer that is never trained."""
    generator = torch.Generator().manual_seed(seed)
    return (x @ torch.randn(x.shape[1], FEATURES, generator=generator) / x.shape[1] ** 0.5).relu()


def standardised_digits(seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Features and classes of training and test digits, by the statistics of the first."""
    (x, y), (other, wanted) = split_digits(seed)
    fitted, scored = random_features(x, seed), random_features(other, seed)
    mean, std = fitted.mean(dim=0), fitted.std(dim=0).clamp(min=1e-6)
    return ((fitted - mean) / std, y), ((scored - mean) / std, wanted)


def accuracy(head: dict[str, Tensor], features: Tensor, labels: Tensor) -> float:
    """Share of features whose class a head tells."""
    return float((head_logits(head, features).argmax(dim=1) == labels).float().mean())


def measured(seed: int, options: BenchOptions) -> dict[str, float]:
    """Mean accuracies over the held-out tasks."""
    training, testing = standardised_digits(seed)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    triples = rng.permutation(list(itertools.combinations(range(10), WAYS)))
    tasks = [rng.permutation(triples[HELD_OUT + place % (len(triples) - HELD_OUT)]) for place in range(HEADS)]
    tests = [rng.permutation(triple) for triple in triples[:HELD_OUT] for _ in range(ORDERS)]
    zoo = build_zoo(*training, tasks, CACHED, STRENGTH, rng)
    steps = GeneratorTraining(options.steps(VAE_STEPS), steps=options.steps(STEPS))
    model = train_generator(zoo, CONFIG, steps, seed)
    supports = [draw_support(*training, classes, SHOTS, rng) for classes in tests]
    rows: list[dict[str, float]] = []
    for place, (classes, support) in enumerate(zip(tests, supports, strict=True)):
        scored, wanted = task_rows(testing[1], classes)
        fitted, numbers = task_rows(training[1], classes)
        trained = trained_head(training[0][fitted], numbers, STRENGTH)
        whole = model.vectorizer.flatten(trained)
        with torch.no_grad():
            passed = model.decode(model.latents(((whole - model.vector_mean) / model.vector_std)[None]))[0]
        drawn = generate_weights(model, support, DRAWS, DRAWS, seed=place)
        single = generate_weights(model, support, 1, 1, seed=place)[0]
        other = generate_weights(model, supports[(place + ORDERS) % len(tests)], 1, 1, seed=place)[0]
        fresh = {name: 0.1 * torch.randn(value.shape, generator=generator) for name, value in trained.items()}
        heads = {
            "trained": trained,
            "autoencoder": model.vectorizer.unflatten(passed),
            "generated": single,
            "best": drawn[0],
            "other": other,
            "nearest": model.nearest(support),
            "one step": tune_head(single, support, 1),
            "ten steps": tune_head(fresh, support, 10),
        }
        rows.append({name: accuracy(head, testing[0][scored], wanted) for name, head in heads.items()})
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def run(options: BenchOptions) -> list[Claim]:
    """Accuracies by seed."""
    found = [measured(seed, options) for seed in range(options.seeds)]
    by = {name: tuple(one[name] for one in found) for name in found[0]}
    task = f"unseen triples of digits told by a head generated from {SHOTS} shots"
    return [
        Claim(task, "asked", by["generated"], (0.85,) * options.seeds),
        Claim(task, "the zoo's nearest head", by["generated"], by["nearest"], 0.04),
        Claim(
            "the same of a head for other digits, negated",
            "asked: 0.45, negated",
            tuple(-value for value in by["other"]),
            (-0.45,) * options.seeds,
        ),
        Claim(f"{task}, after a step on the support", "10 steps from random weights", by["one step"], by["ten steps"]),
        Claim(f"best of {DRAWS} by loss on the support", "one draw", by["best"], by["generated"], 0.01),
        Claim(task, "head trained on all samples", by["generated"], by["trained"], None),
        Claim("trained heads through the autoencoder", "before", by["autoencoder"], by["trained"], None),
    ]

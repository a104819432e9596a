"""Subsets of features that predict alike in all environments, beside all features on pooled environments.

The model is the paper's, of 7 nodes and random interventions on three of them; 10 000 samples an environment. The
certificate is tried with moments in closed form, 200 times over all seeds: how often any subset that passed changes in
more than it allows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from representation.analysis.pac_invariant import (
    InvariantSubset,
    Moments,
    example_sem,
    generalization_rate,
    invariant_subsets,
    moments_of,
    pac_certificate,
    pooled_erm,
    population_moments,
)
from representation.analysis.pac_invariant.sem import Intervention
from representation.analysis.pac_invariant.subsets import count_subsets
from representation.benchmarks.claims import BenchOptions, Claim

SAMPLES, TOLERANCE, TESTS = 10_000, 0.02, 30
FEW, MANY, FEWEST_SEEDS = 3, 20, 4
ALL, PARENTS, INVARIANT = tuple(range(6)), (1, 3), ((3,), (0, 3), (1, 3), (0, 1, 3))
COVERED, REPEATS, FRESH, DELTA, SLACK = 40, 200, 2000, 0.05, 0.03


def run(options: BenchOptions) -> list[Claim]:
    """Shares of unseen environments in which rules stay, by seed, and how often the certificate fails."""
    seeds = max(FEWEST_SEEDS, options.seeds)
    soft, hard = ([rates(kind, seed) for seed in range(seeds)] for kind in ("soft", "hard"))

    def column(found: Sequence[dict[str, float]], name: str, less: float = 0.0) -> tuple[float, ...]:
        return tuple(one[name] - less for one in found)

    repeats = options.steps(REPEATS // seeds)
    failed = tuple(-failures(repeats, seed) for seed in range(seeds))
    return [
        Claim(
            f"accepted subsets on unseen environments, {MANY} environments, soft", f"{FEW} environments",
            column(soft, "many"), column(soft, "few"), 0.05,
        ),
        Claim(
            f"accepted subsets on unseen environments, {MANY} environments, soft", "all features, pooled",
            column(soft, "many"), column(soft, "pooled"), 0.3,
        ),
        Claim("the target's parents on unseen environments, soft", "asked", column(soft, "parents"), (0.9,) * seeds),
        Claim(
            "hard: whether exactly the four invariant subsets are accepted", "asked",
            column(hard, "exact"), (1.0,) * seeds,
        ),
        Claim("hard: the worst of them on unseen environments", "asked", column(hard, "worst"), (0.75,) * seeds),
        Claim("hard: all features, pooled, negated", "asked", column(hard, "negated"), (0.0,) * seeds),
        Claim(
            f"share of {repeats} repetitions a seed in which an accepted subset breaks the certificate, negated",
            f"asked: {DELTA + SLACK:g}, negated",
            failed, (-DELTA - SLACK,) * seeds,
        ),
    ]  # fmt: skip


def environments(kind: Intervention, count: int, rng: np.random.Generator) -> Moments:
    """Moments of samples of some environments."""
    model, sites = example_sem()
    return moments_of([model.intervene(kind, sites, rng).sample(SAMPLES, rng) for _ in range(count)])


def rates(kind: Intervention, seed: int) -> dict[str, float]:
    """Of one seed: how accepted subsets, the parents, and all features do on unseen environments."""
    rng = np.random.default_rng((seed, kind == "hard"))
    training, test = environments(kind, MANY, rng), environments(kind, TESTS, rng)
    few = Moments(*(part[:FEW] for part in training))

    def rate(found: InvariantSubset) -> float:
        return generalization_rate(found.subset, found.coef, test, TOLERANCE)

    looked = {name: invariant_subsets(envs, TOLERANCE) for name, envs in (("few", few), ("many", training))}
    accepted = {name: [one for one in found if one.accepted] for name, found in looked.items()}
    by_subset = {one.subset: one for one in looked["many"]}
    pooled = generalization_rate(ALL, pooled_erm(training), test, TOLERANCE)
    exact = all({one.subset for one in found} == set(INVARIANT) for found in accepted.values())
    return {
        **{name: float(np.mean([rate(one) for one in found])) if found else 0.0 for name, found in accepted.items()},
        "parents": rate(by_subset[PARENTS]),
        "pooled": pooled,
        "negated": -pooled,
        "exact": float(exact),
        "worst": min(rate(by_subset[subset]) for subset in INVARIANT),
    }


def failures(repeats: int, seed: int) -> float:
    """Share of repetitions in which any accepted subset changes in more of the family than the certificate allows."""
    model, sites = example_sem()
    rng, allowed = np.random.default_rng((seed, 2)), pac_certificate(COVERED, count_subsets(6), DELTA)
    fresh = population_moments([model.intervene("soft", sites, rng) for _ in range(FRESH)])
    wrong = 0
    for _ in range(repeats):
        envs = population_moments([model.intervene("soft", sites, rng) for _ in range(COVERED)])
        accepted = [one for one in invariant_subsets(envs, TOLERANCE, "anchor_max") if one.accepted]
        changed = [1 - generalization_rate(one.subset, one.coef, fresh, TOLERANCE) for one in accepted]
        wrong += max(changed, default=0.0) > allowed
    return wrong / repeats

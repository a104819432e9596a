import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom

from representation.analysis.pac_invariant import (
    LinearSEM,
    coefficient_bands,
    environment_coefficients,
    envs_needed,
    example_sem,
    generalization_rate,
    greedy_subsets,
    invariant_map,
    invariant_subsets,
    moments_of,
    pac_certificate,
    pooled_erm,
    population_moments,
)
from representation.analysis.pac_invariant.subsets import count_subsets

MODEL, SITES = example_sem()


def random_sem(seed):
    """A random model without cycles of 3 to 9 nodes."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 10))
    b = np.tril(rng.normal(size=(n, n)) * (rng.random((n, n)) < 0.5), -1)
    order = rng.permutation(n)
    return LinearSEM(b[order][:, order], rng.uniform(0.5, 1.5, n), int(rng.integers(n))), rng


def soft(count, seed):
    rng = np.random.default_rng(seed)
    return [MODEL.intervene("soft", SITES, rng) for _ in range(count)]


@pytest.mark.parametrize("kind", ["soft", "hard", "rademacher"])
def test_population_coefficients_are_those_of_many_samples(kind):
    for seed in range(20):
        model, rng = random_sem(seed)
        site = model.covariates[int(rng.integers(len(model.covariates)))]
        changed = model.intervene(kind, [site], rng)
        columns = sorted(rng.choice(len(model.covariates), min(2, len(model.covariates)), replace=False).tolist())
        # Least squares of exact second moments of a large sample with whitened noise: no sampling error is left.
        u = rng.normal(size=(400, len(model.B)))
        u = np.linalg.qr(u - u.mean(axis=0))[0] * 20
        nodes = np.linalg.inv(np.eye(len(model.B)) - changed.B) @ (changed.shift + changed.noise_std * u).T
        x, y = nodes[list(changed.covariates)].T, nodes[changed.target]
        wanted = np.linalg.lstsq(x[:, columns], y, rcond=1e-9)[0]
        assert changed.population_coefficients(columns) == pytest.approx(wanted, abs=1e-6)


def test_samples_have_the_moments_of_their_model():
    model, rng = random_sem(3)
    x, y = model.sample(400_000, rng)
    columns = [0, 1]
    found = environment_coefficients([(x, y)], columns)[0]
    assert found == pytest.approx(model.population_coefficients(columns), abs=0.02)
    assert float(np.mean(y**2)) == pytest.approx(model.moments()[model.target, model.target], rel=0.02)


def test_interventions_change_what_they_should_and_nothing_else():
    rng = np.random.default_rng(0)
    hard = MODEL.intervene("hard", [3], rng)
    assert not hard.B[3].any()
    assert hard.noise_std[3] == 0
    assert hard.shift[3] != 0
    np.testing.assert_array_equal(np.delete(hard.B, 3, axis=0), np.delete(MODEL.B, 3, axis=0))
    changed = MODEL.intervene("soft", [3], rng)
    np.testing.assert_array_equal(changed.B != 0, MODEL.B != 0)
    np.testing.assert_array_equal(np.delete(changed.B, 3, axis=0), np.delete(MODEL.B, 3, axis=0))
    turned = MODEL.intervene("rademacher", [], rng)
    np.testing.assert_array_equal(np.abs(turned.B), np.abs(MODEL.B))
    assert (turned.B[4] >= 0).all()
    draws = [MODEL.intervene("soft", [3], rng, v=4.0).B[3, 1] for _ in range(2000)]
    assert np.std(draws) == pytest.approx(2.0, rel=0.1)


def test_the_causes_keep_their_coefficients_and_effects_do_not():
    assert MODEL.parents() == (1, 3)
    assert MODEL.markov_blanket() == (1, 3, 4, 5)
    moved = {True: [], False: []}
    for model in soft(200, 1):
        assert model.population_coefficients((1, 3)) == pytest.approx([1, 1], abs=1e-10)
        for subset in ((1, 3, 4), (1, 3, 5), (4, 5)):
            found = model.population_coefficients(subset)
            wanted = MODEL.population_coefficients(subset)
            moved[5 in subset].append(np.linalg.norm(found - wanted) > 0.02 * np.linalg.norm(wanted))
    assert np.mean(moved[True]) >= 0.95


def test_the_blanket_is_that_of_the_graph():
    for seed in range(5):
        model, _ = random_sem(seed)
        edges = [(int(source), int(sink)) for sink, source in zip(*np.nonzero(model.B), strict=True)]
        children = {sink for source, sink in edges if source == model.target}
        wanted = children | {source for source, sink in edges if sink in children | {model.target}}
        assert {model.covariates[column] for column in model.markov_blanket()} == wanted - {model.target}


def test_the_arithmetic_of_the_certificate_is_that_of_the_binomial():
    assert envs_needed(63, 0.1, 0.05) == 1 + math.ceil((math.log(63) + math.log(20)) / 0.1) == 73
    assert pac_certificate(73, 63, 0.05) <= 0.1
    for envs, hypotheses in ((2, 1), (40, 63), (500, 10**6)):
        wanted = 1 - (0.05 / hypotheses) ** (1 / (envs - 1))
        assert pac_certificate(envs, hypotheses, 0.05) == pytest.approx(wanted, abs=1e-12)
    tolerated = pac_certificate(60, 63, 0.05, violations=3)
    assert binom.cdf(3, 59, tolerated) == pytest.approx(0.05 / 63, rel=1e-9)
    assert tolerated > pac_certificate(60, 63, 0.05)
    assert pac_certificate(60, 63, 0.05, 1) > pac_certificate(60, 63, 0.05, 0)


def test_an_accepted_subset_seldom_changes_in_more_than_the_certificate_allows():
    allowed, fresh = pac_certificate(40, 63, 0.05), population_moments(soft(500, 99))
    broken, seen = 0, 0
    for seed in range(15):
        found = invariant_subsets(population_moments(soft(40, seed)), 0.02, "anchor_max")
        accepted = [one for one in found if one.accepted]
        seen += len(accepted)
        broken += any(1 - generalization_rate(one.subset, one.coef, fresh) > allowed for one in accepted)
        assert (1, 3) in {one.subset for one in accepted}
    assert seen >= 15
    assert broken <= 1


def test_spreads_and_rules_are_those_of_their_definitions():
    envs = [model.sample(300, np.random.default_rng(number)) for number, model in enumerate(soft(5, 2))]
    coefficients = environment_coefficients(envs, (1, 5))
    wanted = [np.linalg.lstsq(x[:, [1, 5]], y, rcond=None)[0] for x, y in envs]
    assert coefficients == pytest.approx(np.array(wanted), rel=1e-8)
    pairs = [np.linalg.norm(a - b) for a, b in itertools.product(coefficients, repeat=2)]
    by_rule = {
        rule: next(one for one in invariant_subsets(envs, 0.02, rule) if one.subset == (1, 5))
        for rule in ("pairwise_mean", "anchor_max")
    }
    mean, first = coefficients.mean(axis=0), coefficients[0]
    assert by_rule["pairwise_mean"].spread == pytest.approx(np.mean(pairs) / np.linalg.norm(mean))
    farthest = np.linalg.norm(coefficients - first, axis=1)
    assert by_rule["anchor_max"].spread == pytest.approx(farthest.max() / np.linalg.norm(first))
    lenient = invariant_subsets(envs, 0.02, "anchor_max", violations=2)
    spread = next(one.spread for one in lenient if one.subset == (1, 5))
    assert spread == pytest.approx(np.sort(farthest)[2] / np.linalg.norm(first))
    assert len(lenient) == count_subsets(6) == 63
    assert len(invariant_subsets(envs, max_size=2)) == count_subsets(6, 2) == 21


def test_columns_that_determine_each_other_give_the_shortest_coefficients_and_a_warning():
    rng = np.random.default_rng(4)
    x = np.stack([np.full(50, 2.0), np.full(50, -1.0), rng.normal(size=50)], axis=1)
    y = x @ [1.0, 0.5, 3.0] + 0.1 * rng.normal(size=50)
    with pytest.warns(UserWarning, match=r"columns \[0, 1, 2\]: expected rank 3, found 2 in 1 of 1"):
        (found,) = environment_coefficients([(x, y)], (0, 1, 2))
    assert found == pytest.approx(np.linalg.lstsq(x, y, rcond=None)[0], abs=1e-8)
    rigid = [MODEL.intervene("hard", SITES, rng).sample(100, rng) for _ in range(4)]
    assert all(np.isfinite(one.coef).all() for one in invariant_subsets(rigid))


def test_centred_environments_have_slopes_without_shifts():
    rng = np.random.default_rng(5)
    envs = []
    for offset in (0.0, 5.0, -3.0):
        x = rng.normal(size=(200, 1)) + offset
        envs.append((x, 2 * x[:, 0] + offset**2))
    assert environment_coefficients(envs, (0,), fit_intercept=True) == pytest.approx(np.full((3, 1), 2.0))
    assert np.ptp(environment_coefficients(envs, (0,))) > 1
    assert pooled_erm(envs, fit_intercept=True) == pytest.approx([2.0])


def test_the_true_coefficients_lie_within_their_bands():
    outside = 0
    for seed in range(60):
        model = soft(1, seed)[0]
        envs = [model.sample(400, np.random.default_rng((seed, 1)))]
        far = np.linalg.norm(environment_coefficients(envs, (1, 3))[0] - 1.0)
        outside += far > coefficient_bands(envs, (1, 3), delta=0.05)[0]
    assert outside <= 5
    assert coefficient_bands(envs, (1, 3), 0.05)[0] < 0.4


def test_parents_generalise_where_all_features_pooled_do_not():
    rng = np.random.default_rng(6)
    train, test = (moments_of([model.sample(5000, rng) for model in soft(count, count)]) for count in (20, 30))
    found = {one.subset: one for one in invariant_subsets(train, 0.02)}
    assert found[1, 3].accepted
    kept = generalization_rate((1, 3), found[1, 3].coef, test, 0.03)
    pooled = generalization_rate(range(6), pooled_erm(train), test, 0.03)
    assert kept > 0.9
    assert kept > pooled + 0.2


def test_a_greedy_search_finds_an_invariant_rule_among_many_features():
    rng = np.random.default_rng(7)
    envs = []
    for model in soft(12, 8):
        x, y = model.sample(3000, rng)
        envs.append((np.concatenate([x, 0.02 * rng.normal(size=(3000, 19))], axis=1), y))
    with pytest.raises(ValueError, match="expected at most 20 without max_size, found 25"):
        invariant_subsets(envs)
    found = greedy_subsets(envs, tolerance=0.1, max_size=4)
    assert found
    assert found[0].accepted
    assert {1, 3} <= set(found[0].subset)


def test_a_linear_map_finds_what_is_invariant_in_mixtures():
    rng = np.random.default_rng(9)
    mixing = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    models = [MODEL.intervene("soft", (*SITES, 6), rng) for _ in range(15)]
    population = population_moments(models)
    mixed = population._replace(gram=mixing @ population.gram @ mixing.T, cross=population.cross @ mixing.T)
    found = invariant_map(mixed, k=2, weight=100.0)
    assert found.phi @ found.phi.T == pytest.approx(np.eye(2), abs=1e-9)
    causes = np.array([0, 1, 0, 1, 0, 0])
    assert mixing.T @ found.phi.T @ found.head == pytest.approx(causes, abs=0.01)
    pooled = pooled_erm(mixed)
    assert found.gradient.mean() < 0.05 * np.linalg.norm(mixed.gram @ pooled - mixed.cross, axis=1).mean()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LinearSEM([[0, 1], [1, 0]], 1.0, 0), "B: expected no cycles"),
        (lambda: LinearSEM(np.zeros((2, 2)), -1.0, 0), "noise not negative"),
        (lambda: MODEL.intervene("soft", [4], np.random.default_rng(0)), "expected nodes but the target 4"),
        (lambda: MODEL.intervene("firm", [2], np.random.default_rng(0)), "kind: expected soft"),
        (lambda: invariant_subsets([(np.eye(3), np.ones(3))]), "expected at least 2"),
        (lambda: moments_of([(np.eye(3), np.ones(2))]), r"environment 0: expected \(n, d\)"),
        (lambda: moments_of([(np.eye(3), np.ones(3)), (np.eye(2), np.ones(2))]), "environment 1: expected 3 features"),
        (lambda: moments_of([(np.eye(3), np.full(3, np.nan))]), "environment 0: expected finite"),
        (lambda: environment_coefficients([(np.eye(3), np.ones(3))], (0, 0)), "subset: expected different columns"),
        (lambda: pac_certificate(1, 5), "expected 2, 1"),
        (lambda: pac_certificate(5, 5, violations=4), "violations: expected 0 to 3"),
        (lambda: envs_needed(5, 1.5), "delta_prime"),
        (lambda: invariant_map([(np.eye(3), np.ones(3))], 4), "k: expected 1 to 3"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

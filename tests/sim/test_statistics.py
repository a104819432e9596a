from __future__ import annotations

import math

import numpy as np
import pytest

from sim.statistics import bootstrap_difference, mcnemar, percentiles, wilson_interval


def wilson_by_hand(successes: int, trials: int) -> tuple[float, float]:
    z = 1.959963984540054
    rate = successes / trials
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials**2))
    return centre - half, centre + half


@pytest.mark.parametrize(("successes", "trials"), [(8, 10), (1, 3), (95, 100), (0, 20), (20, 20)])
def test_wilson_interval_is_the_textbook_formula(successes: int, trials: int) -> None:
    interval = wilson_interval(successes, trials)
    assert (interval.low, interval.high) == pytest.approx(wilson_by_hand(successes, trials), abs=1e-12)


def test_wilson_interval_of_eight_in_ten() -> None:
    interval = wilson_interval(8, 10)
    assert (interval.low, interval.high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_interval_refuses_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(successes, trials)


def test_mcnemar_of_one_against_six_disagreements() -> None:
    """P = 2 * (C(7,0) + C(7,1)) / 2^7 = 16 / 128."""
    first = [True] * 5 + [True] + [False] * 6
    second = [True] * 5 + [False] + [True] * 6
    result = mcnemar(first, second)
    assert (result.only_first, result.only_second) == (1, 6)
    assert result.p_value == pytest.approx(0.125)


def test_mcnemar_is_certain_of_nothing_when_no_pair_disagrees() -> None:
    assert mcnemar([True, False], [True, False]).p_value == 1.0


def test_mcnemar_refuses_unpaired_samples() -> None:
    with pytest.raises(ValueError, match="equal lengths"):
        mcnemar([True], [True, False])


def test_bootstrap_interval_of_a_constant_difference_is_a_point() -> None:
    interval = bootstrap_difference([0.0, 0.5, 1.0], [0.25, 0.75, 1.25], np.random.default_rng(0))
    assert (interval.low, interval.high) == pytest.approx((0.25, 0.25))


def test_bootstrap_interval_has_the_width_that_theory_gives() -> None:
    rng = np.random.default_rng(1)
    difference = rng.normal(0.3, 1.0, 400)
    interval = bootstrap_difference(np.zeros(400), difference, rng)
    half = 1.96 * difference.std() / math.sqrt(400)
    assert interval.low == pytest.approx(difference.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(difference.mean() + half, abs=0.01)


def test_percentiles_interpolate_and_are_none_without_samples() -> None:
    assert percentiles(np.arange(101.0)) == pytest.approx({"p50": 50.0, "p95": 95.0, "p99": 99.0})
    assert percentiles([]) is None

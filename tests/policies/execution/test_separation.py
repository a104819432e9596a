from __future__ import annotations

import numpy as np
import pytest

from policies.execution.separation import Futures, SeparationConfig, allowed_speed, clearances

CONFIG = SeparationConfig(stop_m=0.5, full_m=1.5, horizon_s=0.8, walking_m_s=1.6, doubt=0.1)
TOOLS = np.array([[0.0, 0.0], [5.0, 0.0]])
WORST = CONFIG.walking_m_s * CONFIG.horizon_s


def straight(place, speed, samples=20, agents=("p",)):
    """All futures of a walk, 0.4 s a step from the stamp 10."""
    path = np.array(place) + 0.4 * np.arange(1, 6)[:, None] * np.array(speed)
    return Futures(10.0, 0.4, agents, np.tile(path[None, :, None], (samples, 1, 1, 1)).astype(np.float32))


def test_who_is_not_foretold_counts_as_walking_towards_the_nearest_tool():
    found = clearances(TOOLS, {"near": (0.0, 3.0), "right": (5.0, 2.0)}, None, 10.0, CONFIG)
    assert found == pytest.approx({"near": 3.0 - WORST, "right": 2.0 - WORST})
    others = straight((9.0, 9.0), (0.0, 0.0), agents=("other",))
    assert clearances(TOOLS, {"near": (0.0, 3.0)}, others, 10.0, CONFIG)["near"] == pytest.approx(3.0 - WORST)


def test_who_is_foretold_counts_where_he_may_be_within_the_horizon_and_one_step():
    away = clearances(TOOLS, {"p": (0.0, 2.0)}, straight((0.0, 2.0), (0.0, 1.0)), 10.0, CONFIG)
    assert away["p"] == pytest.approx(2.0)
    towards = clearances(TOOLS, {"p": (0.0, 2.0)}, straight((0.0, 2.0), (0.0, -1.0)), 9.95, CONFIG)
    assert towards["p"] == pytest.approx(2.0 - 0.8, abs=1e-6)
    later = clearances(TOOLS, {"p": (0.0, 1.9)}, straight((0.0, 2.0), (0.0, -1.0)), 10.05, CONFIG)
    assert later["p"] == pytest.approx(2.0 - 1.2, abs=1e-6)


def test_a_forecast_that_is_over_is_none():
    found = clearances(TOOLS, {"p": (0.0, 3.0)}, straight((0.0, 2.0), (0.0, 1.0)), 12.5, CONFIG)
    assert found["p"] == pytest.approx(3.0 - WORST)


def test_all_but_a_share_of_the_futures_stay_as_far_away_as_is_told():
    futures = straight((0.0, 2.0), (0.0, 0.0), samples=20)
    for number, count in ((1, 2.0), (3, 0.2)):
        samples = futures.samples.copy()
        samples[:number] = 0.2 * np.array([0.0, 1.0])
        found = clearances(TOOLS, {"p": (0.0, 2.0)}, Futures(10.0, 0.4, ("p",), samples), 10.0, CONFIG)
        assert found["p"] == pytest.approx(count, abs=1e-6)


def test_the_speed_goes_from_none_to_all_between_the_two_distances():
    assert [allowed_speed(nearest, CONFIG) for nearest in (-1.0, 0.5, 1.0, 1.5, 9.0)] == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_distances_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match=r"full_m: expected more than stop_m, 1, found 0\.5"):
        SeparationConfig(stop_m=1.0, full_m=0.5)

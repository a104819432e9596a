from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from representation.dynamics.gcrl import GCRL, GRAPH
from representation.dynamics.gcrl.forecaster import Forecaster, ShiftAlarm, TrackBreakError, TrackWindows, Window


def windows(**changes) -> TrackWindows:
    return TrackWindows(**({"observed": 3, "period_s": 0.4, "max_gap_s": 0.5, "max_agents": 3} | changes))


def test_places_are_read_at_the_period_by_their_stamps():
    followed = windows()
    for stamp in np.arange(100.0, 101.01, 0.3):  # 0.9 s: one message more than the window needs
        assert followed.window() is None
        followed.add(stamp, {"a": (stamp, -2 * stamp), "b": (0.0, 1.0)})
    window = followed.window()
    assert window.agents == ("a", "b")
    assert window.stamp == pytest.approx(100.9)
    np.testing.assert_allclose(window.past[:, 0, 0], [100.1, 100.5, 100.9], rtol=1e-6)
    np.testing.assert_allclose(window.past[:, 0, 1], [-200.2, -201.0, -201.8], rtol=1e-6)
    np.testing.assert_allclose(window.past[:, 1], [[0, 1]] * 3)


def test_only_those_count_who_were_followed_all_the_time():
    followed = windows()
    for step in range(4):
        followed.add(0.4 * step, {"a": (0, 0)} | ({"b": (1, 1)} if step != 2 else {}) | ({"c": (2, 2)} if step else {}))
    assert followed.window().agents == ("a", "c")  # b was away for longer than the gap that is allowed
    followed.add(1.6, {"c": (2, 2)})
    assert followed.window().agents == ("c",)


@pytest.mark.parametrize("stamp", [0.8, 0.3, 1.4, 100.0])
def test_stamps_that_jump_or_stand_still_begin_anew(stamp):
    followed = windows()
    for step in range(3):
        followed.add(0.4 * step, {"a": (0, 0)})
    assert followed.window() is not None
    with pytest.raises(TrackBreakError, match=r"stamp: expected one up to 0\.5 s after 0\.800, found"):
        followed.add(stamp, {"a": (0, 0)})
    assert followed.window() is None
    for step in range(1, 3):
        followed.add(stamp + 0.4 * step, {"a": (0, 0)})
    assert followed.window() is not None


def test_what_is_wrong_is_not_taken():
    followed = windows()
    for step in range(3):
        followed.add(0.4 * step, {"a": (0, 0)})
    with pytest.raises(ValueError, match=r"expected finite numbers, found others of \['b'\]"):
        followed.add(1.2, {"a": (0, 0), "b": (0, math.nan)})
    with pytest.raises(ValueError, match="expected finite numbers, found others of the stamp"):
        followed.add(math.nan, {"a": (0, 0)})
    with pytest.raises(ValueError, match="agents: expected at most 3, found 4"):
        followed.add(1.2, {str(number): (0, 0) for number in range(4)})
    assert followed.window().stamp == 0.8
    followed.clear()
    assert followed.window() is None


def test_the_alarm_measures_how_far_s_has_moved():
    rng = np.random.default_rng(0)
    alarm = ShiftAlarm(first=200, newest=20)
    told = [alarm.shift(s) for s in rng.normal(3.0, 2.0, (400, 4))]
    assert told[:219] == [None] * 219
    assert max(told[219:]) < 2.0
    moved = rng.normal([3.0, 3.0, 15.0, 3.0], 2.0, (20, 4))
    assert [alarm.shift(s) for s in moved][-1] == pytest.approx(6.0, abs=1.5)


def test_forecasts_follow_their_window():
    torch.manual_seed(0)
    model = GCRL(GRAPH)
    forecaster = Forecaster(model, samples=5, alarm=ShiftAlarm(1, 1), seed=3)
    past = np.random.default_rng(0).normal(size=(8, 3, 2)).astype(np.float32)
    first, second = (forecaster.foretell(Window(1.0, ("a", "b", "c"), past)) for _ in range(2))
    assert first.samples.shape == (5, 12, 3, 2)
    assert np.isfinite(first.samples).all()
    assert not np.array_equal(first.samples, second.samples)
    again = Forecaster(model, samples=5, alarm=ShiftAlarm(1, 1), seed=3).foretell(first.window)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert (first.shift, second.shift) == (None, pytest.approx(0.0, abs=1e-3))
    with pytest.raises(ValueError, match="expected"):
        forecaster.foretell(Window(1.0, ("a",), past[:5, :1]))

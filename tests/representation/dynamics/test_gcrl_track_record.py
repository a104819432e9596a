from __future__ import annotations

import numpy as np
import pytest

from representation.dynamics.gcrl.track_record import TrackRecord

PERIOD_S, STEPS = 0.4, 5


def places(time):
    """One walks along x, the other along a parabola."""
    return {"a": (time, 0.0), "b": (0.0, time**2)}


@pytest.fixture
def record() -> TrackRecord:
    record = TrackRecord()
    for time in np.arange(0, 301) / 100:
        record.add(time, places(time))
    return record


def test_places_are_read_between_stamps_and_nowhere_else(record):
    found = record.places(["b", "a", "nobody"], np.array([-0.1, 0.255, 3.1]))
    assert found[1, 1] == pytest.approx((0.255, 0.0))
    assert found[1, 0] == pytest.approx((0.0, (0.25**2 + 0.26**2) / 2))
    assert np.isnan(found[[0, 2]]).all()
    assert np.isnan(found[:, 2]).all()


def test_an_agent_is_not_followed_across_a_gap(record):
    record.add(5.0, {"a": (9.0, 9.0)})
    assert np.isnan(record.places(["a"], np.array([4.0]))).all()


def true_future(stamp):
    times = stamp + PERIOD_S * np.arange(1, STEPS + 1)
    return np.array([[places(time)[name] for name in ("a", "b")] for time in times])


def test_errors_are_those_of_the_best_sample_of_all_and_of_constant_velocity(record):
    true = true_future(0.9)
    samples = np.stack([true + 0.3 * np.array([1.0, 0.0]), true + 0.1, true - 0.5 * np.array([0.0, 1.0])])
    found = record.errors(samples.astype(np.float32), ["a", "b"], 0.9, PERIOD_S, STEPS)
    off = [0.3, 0.1 * 2**0.5, 0.5]
    assert found.best == pytest.approx(off[1], abs=1e-4)
    assert found.single == pytest.approx(np.mean(off), abs=1e-4)
    # A parabola is s (s + p) away, s later, from a line through its places now and p before; the other walks on one.
    ahead = PERIOD_S * np.arange(1, STEPS + 1)
    assert found.constant == pytest.approx(np.mean(ahead * (ahead + PERIOD_S)) / 2, abs=1e-3)


def test_steps_that_nobody_saw_do_not_count_and_too_few_of_them_are_none(record):
    stamp = 3.0 - 2.5 * PERIOD_S
    samples = true_future(stamp)[None].astype(np.float32)
    samples[:, 2:] = 100.0
    assert record.errors(samples, ["a", "b"], stamp, PERIOD_S, 2).best == pytest.approx(0.0, abs=1e-4)
    assert record.errors(samples, ["a", "b"], stamp, PERIOD_S, 3) is None
    assert record.errors(samples, ["a", "nobody"], stamp, PERIOD_S, 1) is None

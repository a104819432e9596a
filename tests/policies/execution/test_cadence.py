from __future__ import annotations

import numpy as np
import pytest

from policies.execution.cadence import Cadence


def used(cadence: Cadence, stamps: np.ndarray) -> list[float]:
    found = []
    for stamp in stamps:
        if cadence.due(stamp):
            cadence.use(stamp)
            found.append(stamp)
    return found


@pytest.mark.parametrize("jitter", [0.0, 0.004])
def test_every_third_picture_of_30_hz_is_used_at_10_hz(jitter):
    generator = np.random.default_rng(0)
    stamps = np.arange(300) / 30 + generator.uniform(-jitter, jitter, 300)
    np.testing.assert_array_equal(used(Cadence(10.0), stamps), stamps[::3])


def test_without_a_rate_every_observation_is_used():
    assert used(Cadence(), np.arange(5.0)) == [0, 1, 2, 3, 4]


def test_after_a_reset_an_older_stamp_is_used():
    cadence = Cadence(10.0)
    cadence.use(5.0)
    assert not cadence.due(1.0)
    cadence.reset()
    assert cadence.due(1.0)

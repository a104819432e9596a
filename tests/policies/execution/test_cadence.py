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


@pytest.mark.parametrize("hz", [25.0, 50.0])
def test_every_eighth_step_is_used_however_fast_the_cameras_are(hz):
    generator = np.random.default_rng(0)
    stamps = np.arange(400) / hz + generator.uniform(-0.001, 0.001, 400)
    np.testing.assert_array_equal(used(Cadence(25.0, 8), stamps), stamps[:: round(8 * hz / 25.0)])


def test_the_next_chunk_is_asked_for_when_no_more_than_a_share_of_the_last_is_left():
    cadence = Cadence(10.0, queue_share=0.25)
    cadence.use(5.0)
    assert not cadence.due(9.0)  # its answer is on its way
    cadence.planned(5.0, 7.0)
    assert not cadence.due(6.4)
    assert cadence.due(6.5)
    cadence.use(6.5)
    cadence.unanswered()
    assert cadence.due(6.6)
    cadence.use(6.6)
    cadence.reset()
    assert cadence.due(0.0)


def test_a_whole_share_never_waits_for_an_answer():
    cadence = Cadence(10.0)
    cadence.use(5.0)
    assert cadence.due(5.1)
    cadence.planned(5.0, 7.0)
    assert cadence.due(5.1)

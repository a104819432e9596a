from __future__ import annotations

import numpy as np
import pytest

from policies.interface import Continuation, Observation
from sim.benchmarks.circling import ASIDE, HZ, JOINTS, RADIUS, ROBOT, CirclingPolicy, median_step, motions, phase_at


def test_every_distance_is_kept_at_one_constant_speed() -> None:
    ways = motions([0.3, 2.0, 4.0], [-ASIDE, 0.0, ASIDE]) - ROBOT.home[list(JOINTS)]
    for way, aside in zip(ways, (-ASIDE, 0.0, ASIDE), strict=True):
        np.testing.assert_allclose(np.hypot(way[:, 0], way[:, 1] - aside), RADIUS)
        np.testing.assert_allclose(np.linalg.norm(np.diff(way, axis=0), axis=1), median_step())
    assert median_step() == pytest.approx(2 * RADIUS * np.sin(phase_at([1 / HZ])[0] / 2))
    assert (np.abs(motions([0.0], [ASIDE])) < ROBOT.upper[list(JOINTS)]).all()


def test_a_chunk_goes_on_with_the_one_before() -> None:
    policy = CirclingPolicy(0)
    policy.reset()
    first = policy.act(observed(0.0)).rows
    at = Observation(5 / HZ, {}, first[4], np.zeros(len(ROBOT.home)), "")
    second = policy.act_on(at, Continuation(6, "replace")).rows
    np.testing.assert_allclose(second[:6], first[5:11], atol=1e-6)


def observed(stamp: float) -> Observation:
    return Observation(stamp, {}, ROBOT.home, np.zeros(len(ROBOT.home)), "")

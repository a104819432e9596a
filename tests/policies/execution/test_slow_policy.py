from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from policies.baselines import NoopPolicy
from policies.execution.slow_policy import SlowPolicy
from policies.interface import Continuation, ContinuingPolicy, Observation, query_steps
from policies.robots import get_robot

SPEC = get_robot("panda")
SEEN = Observation(1.0, {}, SPEC.home, np.zeros(8), "anything")


@dataclass
class Time:
    """A clock that goes on by itself while somebody sleeps."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Continuing(NoopPolicy):
    query_steps = 3

    def __init__(self, time: Time, takes: float) -> None:
        super().__init__()
        self._time, self._takes = time, takes

    def act_on(self, observation: Observation, continuation: Continuation):
        self._time.now += self._takes
        return self.act(observation)


@pytest.mark.parametrize(("takes", "slept"), [(0.05, 0.15), (0.3, 0.0)])
def test_an_answer_takes_as_long_as_asked_or_as_the_policy(takes, slept):
    time = Time()
    policy = SlowPolicy(Continuing(time, takes), 0.2, time.sleep, lambda: time.now)
    found = policy.act_on(SEEN, Continuation(0))
    np.testing.assert_array_equal(found.rows, NoopPolicy().act(SEEN).rows)
    assert time.slept == [pytest.approx(slept)]


def test_it_is_what_the_policy_is():
    assert isinstance(SlowPolicy(Continuing(Time(), 0.0), 0.2), ContinuingPolicy)
    assert not isinstance(SlowPolicy(NoopPolicy(), 0.2), ContinuingPolicy)
    assert query_steps(SlowPolicy(Continuing(Time(), 0.0), 0.2)) == 3

from __future__ import annotations

import time

import pytest

from sim.benchmarks.step_rate import SYSTEMS, RenderClock, System, measure


class _Episodes:
    """A fake simulation whose episodes last three steps and whose resets take long."""

    def __init__(self) -> None:
        self.clock = RenderClock()
        self.render = self.clock.timed(lambda: time.sleep(0.001))
        self.steps = self.resets = 0

    def system(self) -> System:
        return System(self.step, self.reset, control_hz=10.0, physics_steps=50, clock=self.clock)

    def reset(self) -> None:
        self.resets += 1
        self.render()
        time.sleep(0.02)

    def step(self) -> bool:
        self.steps += 1
        self.render()
        time.sleep(0.001)
        return self.steps % 3 == 0


def test_resets_and_warm_up_count_neither_as_time_nor_as_steps_nor_as_pictures() -> None:
    episodes = _Episodes()
    start = time.perf_counter()
    result = measure(episodes.system(), seconds=0.05)
    elapsed = time.perf_counter() - start
    assert result["seconds"] >= 0.05
    assert result["steps"] == result["render_calls"] == episodes.steps - 5
    assert elapsed - result["seconds"] >= 0.02 * episodes.resets
    assert 0.001 * result["steps"] <= result["render_seconds"] < result["seconds"]


def test_a_slow_system_still_makes_enough_steps() -> None:
    assert measure(_Episodes().system(), seconds=1e-9)["steps"] == 10


@pytest.mark.parametrize("profile", ["fast", "quality"])
def test_our_control_step_takes_one_picture_and_fifty_physics_steps(profile: str) -> None:
    system = SYSTEMS["polyarm"](profile, 32, 0)
    result = measure(system, seconds=1e-9)
    assert (system.control_hz, system.physics_steps) == (10.0, 50)
    assert result["steps"] == result["render_calls"] == 10

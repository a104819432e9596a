from __future__ import annotations

import numpy as np
import pytest

from sim.held_tools import EVENTS, HeldTool, passive

AT_S = 0.5


def read(event: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    tool = HeldTool(rng)
    tool.wiggle(rng)
    return tool.read(2.0, event, AT_S, rng)


def test_a_tool_swings_freely_until_something_happens_and_the_same_draw_repeats_it():
    found = {event: read(event) for event in EVENTS}
    calm = round(AT_S / 0.01)
    assert np.ptp(found["nothing"][:calm, 0]) > 0.05
    assert np.abs(found["nothing"][-60:, 1]).max() > 0.9 * np.abs(found["nothing"][:60, 1]).max()
    for event in ("collision", "slip"):
        np.testing.assert_array_equal(found[event][:calm], found["nothing"][:calm])
        assert np.abs(found[event][calm + 1 :] - found["nothing"][calm + 1 :]).max() > 0.005
    assert np.abs(found["collision"][-60:, 1]).max() < 0.9 * np.abs(found["nothing"][-60:, 1]).max()


@pytest.mark.parametrize("kind", ["pendulum", "spring"])
def test_free_swings_have_the_rates_that_they_move_by(kind):
    states, rates = passive(kind, np.random.default_rng(0))
    np.testing.assert_allclose((states[2:] - states[:-2]) / 0.02, rates[1:-1], atol=0.02 * np.abs(rates).max())
    spread = np.hypot(*(states / np.abs(states).max(axis=0)).T)
    assert spread.min() > 0.9

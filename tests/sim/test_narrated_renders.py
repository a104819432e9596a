from __future__ import annotations

import numpy as np
import pytest

from representation.data.clips import script_of
from sim.narrated_renders import ACTIONS, render_steps


def test_episodes_show_what_their_sentences_say_in_any_order():
    frames = render_steps(12, 4, 3, 24, seed=0)
    assert len(frames) == 12 * 4 * 3
    orders = set()
    for row in range(0, len(frames), 12):
        episode, _ = script_of(frames, row)
        actions = frames.columns["label"][row : row + 12 : 3]
        orders.add(tuple(actions.tolist()))
        assert len(episode.steps) == len(set(actions.tolist())) == 4
        ends = frames.columns["position"][row + 2 : row + 12 : 3]
        for k, moved in enumerate(np.diff(ends, axis=0)):
            way = np.array(list(ACTIONS.values())[actions[k + 1]])
            np.testing.assert_allclose(moved, 0.05 * way[:2], atol=1e-6)
    assert len(orders) > 8
    assert np.abs(frames.columns["position"]).max() < 0.09
    first = frames.images[0].astype(int)
    assert (np.abs(frames.images[11].astype(int) - first) > 20).any()
    with pytest.raises(ValueError, match="steps: expected 1 to 5, found 6"):
        render_steps(1, 6, 3, 24, seed=0)

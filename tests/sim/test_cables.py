from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim.cables import RADIUS, CableOptions, CableScene, episode

NODES, LENGTH = 12, 0.3


def test_a_cable_keeps_its_length_while_it_falls_and_comes_to_lie_on_the_table():
    scene = CableScene(NODES, LENGTH, np.random.default_rng(0))
    before = scene.positions
    assert np.linalg.norm(np.diff(before, axis=0), axis=1) == pytest.approx(np.full(NODES - 1, LENGTH / 11), rel=0.05)
    assert before[:, 2].min() > 2 * RADIUS
    scene.advance(0.6)
    after = scene.positions
    assert np.linalg.norm(np.diff(after, axis=0), axis=1).sum() == pytest.approx(LENGTH, rel=0.03)
    assert after[:, 2].min() < 2 * RADIUS
    assert after[:, 2].min() > 0
    assert after[:, 2].mean() < before[:, 2].mean()


def test_a_pulled_node_follows_the_hand():
    scene = CableScene(NODES, LENGTH, np.random.default_rng(1))
    target = np.array([0.2, 0.1, 0.2])
    for _ in range(500):
        scene.pull(0, target)
        scene.advance(0.002)
    assert np.linalg.norm(scene.positions[0] - target) < 0.05
    scene.let_go()
    scene.advance(0.5)
    assert scene.positions[0, 2] < 0.1


def test_the_same_draw_gives_the_same_episode():
    options = CableOptions(Path("unused"), nodes=NODES, length=LENGTH, seconds=0.4)
    first, none = episode(options, np.random.default_rng(3))
    assert first.shape == (4, NODES, 3)
    assert none.size == 0
    np.testing.assert_array_equal(first, episode(options, np.random.default_rng(3))[0])
    seen, pictures = episode(replace(options, seconds=0.2, size=48), np.random.default_rng(3))
    assert pictures.shape == (2, 48, 48, 3)
    blue = pictures[..., 2].astype(int) > pictures[..., 0].astype(int) + 30
    assert 5 < blue[0].sum() < 500
    assert seen.shape == (2, NODES, 3)
    with pytest.raises(ValueError, match=r"nodes: expected at most 31 on a cable of 0\.3 m, found 40"):
        CableOptions(Path("unused"), nodes=40, length=LENGTH)

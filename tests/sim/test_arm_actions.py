from __future__ import annotations

import numpy as np
import pytest

from sim.arm_actions import ACTIONS, ActionArm, arm_actions, seen


@pytest.fixture(scope="module")
def arm():
    return ActionArm("panda")


@pytest.mark.parametrize("name", ACTIONS)
def test_the_tool_follows_the_way(arm, name):
    rng = np.random.default_rng(0)
    way = ACTIONS[name](np.linspace(0, 1, 40), rng)
    np.testing.assert_allclose(way[0], 0, atol=1e-9)
    places, positions = arm.follow(way, rng)
    assert positions.shape == (40, 8)
    assert np.linalg.norm(places - places[0] - way, axis=1).max() < 0.03


def test_up_is_up_and_the_robots_left_is_right_to_who_faces_it():
    found = seen(np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), azimuth=0.0, elevation=0.0)
    np.testing.assert_allclose(found, [[0.0, -1.0], [1.0, 0.0]], atol=1e-12)


def test_motions_are_labelled_and_the_same_under_a_seed():
    frames = arm_actions("panda", count=1, size=32, seed=0)
    assert frames.columns["label"].tolist() == list(range(len(ACTIONS)))
    assert frames.texts[1] == "the arm does a push"
    assert (frames.images.reshape(len(frames), -1).max(axis=1) > 120).all()
    np.testing.assert_array_equal(arm_actions("panda", count=1, size=32, seed=0).images, frames.images)

from __future__ import annotations

import numpy as np
import pytest

from policies.benchmarks import activation_noise
from policies.benchmarks.activation_noise import (
    OTHER_DRAW,
    NoiseSettings,
    compared,
    format_markdown,
    format_text,
    run,
    way,
)
from policies.interface import ActionChunk, CameraView, Observation
from policies.robots import get_robot

SIZES = (1e-6, 0.5)
ROBOTS = {("front",): ("panda", "pick up the red cube"), ("top", "right_wrist", "left_wrist"): ("aloha", "lift it")}


def observations(path, cameras, most):
    """Episodes of one observation, of random pictures."""
    name, instruction = ROBOTS[tuple(cameras)]
    rng, home = np.random.default_rng(0), get_robot(name).home
    calibration = np.array([[60.0, 0, 32], [0, 60.0, 32], [0, 0, 1]])
    found = []
    for _ in range(most):
        picture = rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
        view = CameraView(picture, rng.uniform(0.5, 1.0, (64, 64)), calibration, np.eye(4))
        joints = home + rng.normal(0, 0.05, len(home))
        found.append([Observation(0.0, dict.fromkeys(cameras, view), joints, np.zeros(len(home)), instruction)])
    return found


@pytest.fixture(scope="module")
def result():
    settings = NoiseSettings(("spatialvla_small=a", "rdt_small=b"), SIZES, observations=3, episodes=3, seeds=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activation_noise, "recorded_observations", observations)
        return run(settings)


def test_more_noise_changes_more_and_hardly_any_leaves_tokens_as_they_are(result):
    tokens, diffused = result["results"]["spatialvla_small"], result["results"]["rdt_small"]
    assert set(tokens) == {"1e-06", "0.5"}  # it draws nothing
    assert tokens["1e-06"] == {"change": [0.0], "median": [0.0], "same": [1.0]}
    assert tokens["0.5"]["same"][0] < 1
    assert set(diffused) == {OTHER_DRAW, "1e-06", "0.5"}
    assert 0 < diffused["1e-06"]["change"][0] < 1e-3 < diffused["0.5"]["change"][0]
    assert diffused[OTHER_DRAW]["change"][0] > 1e-3


def test_the_tables_name_policies_and_sizes(result):
    for text in (format_text(result), format_markdown(result)):
        assert all(name in text for name in ("spatialvla_small", "rdt_small", OTHER_DRAW, "1e-06"))


def test_ways_are_from_where_the_arm_was_seen():
    seen = Observation(0.0, {}, np.array([0.5, 1.0]), np.zeros(2), "")
    joints = ActionChunk(0.0, 0.1, "joint", np.array([[0.6, 1.0], [0.7, 0.0]]))
    np.testing.assert_allclose(way(joints, seen), [[0.1, 0.0], [0.2, -1.0]])
    steps = ActionChunk(0.0, 0.1, "cartesian_delta", np.array([[0.1, 0, 0, 0, 0, 0, 1.0], [0.2, 0, 0, 0, 0, 0, 1.0]]))
    np.testing.assert_allclose(way(steps, seen)[:, [0, 6]], [[0.1, 1.0], [0.3, 1.0]])
    with pytest.raises(ValueError, match="found absolute poses"):
        way(ActionChunk(0.0, 0.1, "cartesian_absolute", np.zeros((1, 7))), seen)


def test_changes_are_told_in_units_of_how_answers_differ():
    without = np.array([[[-2.0, 7.0]], [[2.0, 7.0]]])  # the second number never differs
    found = compared([without + np.array([1.0, 0.0]), without], without)
    assert found == {"change": [0.5, 0.0], "median": [0.5, 0.0], "same": [0.5, 1.0]}
    with pytest.raises(ValueError, match="found them all alike"):
        compared([without], np.ones((2, 1, 2)))


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="policies: expected some as NAME=DATASET, found rdt_small"):
        NoiseSettings(("rdt_small",)).named()
    with pytest.raises(ValueError, match="observations, episodes, seeds, sizes"):
        NoiseSettings(sizes=(0.0,))

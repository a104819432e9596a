from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim.episode_id import EpisodeId

EPISODE = EpisodeId("pick", "nominal", 1, 3, 7)


def draws(episode: EpisodeId, purpose: str = "world") -> list[int]:
    return np.random.default_rng(episode.seed_sequence(purpose)).integers(0, 2**32, 4).tolist()


def test_equal_ids_give_equal_draws() -> None:
    assert draws(EPISODE) == draws(EpisodeId("pick", "nominal", 1, 3, 7))


@pytest.mark.parametrize(
    "change", [{"task": "push"}, {"suite": "lighting"}, {"severity": 2}, {"index": 4}, {"seed": 8}]
)
def test_each_field_changes_the_draws(change: dict) -> None:
    assert draws(EPISODE) != draws(replace(EPISODE, **change))


def test_fields_with_swapped_values_are_told_apart() -> None:
    assert draws(replace(EPISODE, index=1, seed=2)) != draws(replace(EPISODE, index=2, seed=1))


def test_purposes_have_independent_streams() -> None:
    assert draws(EPISODE, "world") != draws(EPISODE, "policy")


def test_the_seed_is_the_same_in_every_process_and_release() -> None:
    """A changed value would silently make old reports incomparable."""
    assert EPISODE.integer_seed("policy") == 2675319713


@pytest.mark.parametrize("change", [{"index": -1}, {"seed": 1.0}, {"severity": True}])
def test_what_cannot_seed_is_refused(change: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(EPISODE, **change)

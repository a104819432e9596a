from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sim.episode_id import EpisodeId
from sim.protocol import EvaluationProtocol

PROTOCOL = EvaluationProtocol(("reach", "pick"), ("nominal", "lighting"), (1, 2), episodes=3, seed=5)


def test_every_cell_has_its_episodes() -> None:
    ids = PROTOCOL.episode_ids()
    assert len(ids) == len(set(ids)) == 2 * 2 * 2 * 3
    assert ids[0] == EpisodeId("reach", "nominal", 1, 0, 5)
    assert ids[-1] == EpisodeId("pick", "lighting", 2, 2, 5)


def test_more_episodes_keep_those_that_there_were() -> None:
    assert set(PROTOCOL.episode_ids()) < set(replace(PROTOCOL, episodes=4).episode_ids())


def test_it_survives_json_with_its_hash() -> None:
    protocol = replace(PROTOCOL, execution={"scheduler": {"mode": "splice", "horizon": 2}})
    again = EvaluationProtocol.from_dict(json.loads(json.dumps(protocol.to_dict())))
    assert again.to_dict() == protocol.to_dict()
    assert again.sha256() == protocol.sha256()


@pytest.mark.parametrize(
    "change",
    [
        {"blank_images": True},
        {"shuffle_instructions": True},
        {"query_steps": 2},
        {"profile": "quality"},
        {"execution": {"scheduler": {"horizon": 3}}},
    ],
)
def test_what_changes_results_changes_the_hash_and_is_named(change: dict) -> None:
    other = replace(PROTOCOL, **change)
    assert other.sha256() != PROTOCOL.sha256()
    assert [line.split(":")[0] for line in PROTOCOL.differences(other)] == list(change)


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="surprise"):
        EvaluationProtocol.from_dict({**PROTOCOL.to_dict(), "surprise": 1})


@pytest.mark.parametrize("change", [{"tasks": ()}, {"suites": ("nominal", "nominal")}, {"episodes": 0}])
def test_empty_or_doubled_cells_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(PROTOCOL, **change)


def test_its_defaults_are_the_simulations() -> None:
    from sim.simulation import SimulationConfig

    for name in ("robot", "robot_model", "profile", "width", "height", "control_hz"):
        assert getattr(PROTOCOL, name) == getattr(SimulationConfig(), name)

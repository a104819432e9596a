from __future__ import annotations

import pytest

from representation.benchmarks import tvts, tvts_arm
from representation.benchmarks.claims import BenchOptions
from representation.benchmarks.tvts import block_episodes
from representation.data.frames import write_frames


def claims_against_constants(claims):
    return [claim.holds() for claim in claims if claim.baseline_name == "asked"]


@pytest.mark.parametrize(("sorting", "holds"), [(0.46, True), (0.44, False)])
def test_enough_sentences_are_asked_to_be_put_at_their_places(monkeypatch, sorting, holds):
    slots = {f"slots: {name}": 0.5 for name in (tvts.SORTED, tvts.ALIGNED, tvts.UNTRAINED)}
    found = {"sorting": sorting, f"sorting: {tvts.OTHER}": 0.25} | slots
    monkeypatch.setattr(tvts, "scores", lambda *_: found)
    assert claims_against_constants(tvts.run(BenchOptions(seeds=2))) == [holds]


@pytest.mark.parametrize(
    ("sorting", "backwards", "hold"),
    [(0.61, 0.34, [True, True]), (0.59, 0.36, [False, False]), (0.61, 0.36, [True, False])],
)
def test_an_arm_that_runs_backwards_is_asked_to_be_sorted_badly(monkeypatch, tmp_path, sorting, backwards, hold):
    write_frames(block_episodes(2, 0), tmp_path / "narrated")
    found = {"sorting": sorting, f"sorting: {tvts.BACKWARDS}": backwards, f"sorting: {tvts.OTHER}": 0.25}
    monkeypatch.setattr(tvts_arm, "scores", lambda *_: found)
    assert claims_against_constants(tvts_arm.run(BenchOptions(seeds=2, data=tmp_path / "renders"))) == hold

from __future__ import annotations

import numpy as np
import pytest

from representation.structure.commutative_monoids.object_evidence import EvidenceConfig, ObjectEvidence
from sim.bench import BENCHMARKS
from sim.benchmarks.fused_things import BOTH, MEAN, FusedSettings, claims_of, format_text, look
from tests.red_finder import red_finder

CAMERAS = ("front", "wrist")


def test_the_mean_of_what_both_cameras_of_the_simulator_see_is_where_the_thing_is():
    fuser = ObjectEvidence(EvidenceConfig(dim=8)).eval()
    errors = look(red_finder(), fuser, FusedSettings(test_tables=4, views=2, size=96), 0)
    assert set(errors) == {*CAMERAS, BOTH, MEAN}
    assert len({len(values) for values in errors.values()}) == 1
    assert np.isfinite(errors[MEAN]).any()
    assert errors[MEAN][np.isfinite(errors[MEAN])].max() < 0.05


def test_claims_compare_with_the_better_camera_on_what_both_saw():
    one = {
        "front": np.array([0.02, 0.04, np.inf]),
        "wrist": np.array([0.04, 0.06, 0.01]),
        BOTH: np.array([0.01, 0.03, 0.01]),
        MEAN: np.array([0.03, 0.05, 0.05]),
    }
    error, mean_error, share, mean_share = claims_of([one, one], CAMERAS)
    assert (error.ours[0], error.baseline[0]) == pytest.approx((-2.0, -3.0))
    assert mean_error.baseline[0] == pytest.approx(-4.0)
    assert (share.ours[0], share.baseline[0], mean_share.baseline[0]) == pytest.approx((1.0, 1 / 3, 1 / 3))
    assert all(claim.holds() for claim in (error, mean_error, share, mean_share))
    worse = one | {BOTH: one["wrist"] + 0.01}
    assert not claims_of([worse, worse], CAMERAS)[0].holds()
    with pytest.raises(ValueError, match="each camera told of"):
        claims_of([one | {"front": np.full(3, np.inf)}] * 2, CAMERAS)


def test_it_is_offered_and_asks_for_two_seeds():
    assert "fused_things" in BENCHMARKS
    with pytest.raises(ValueError, match="seeds: expected at least 2"):
        FusedSettings(seeds=1)
    claims = [{"claim": "c", "baseline_name": "b", "ours": (1.0, 1.0), "baseline": (0.0, 2.0), "least": 0.0}]
    text = format_text({"settings": {"seeds": 2}, "seconds": 1.0, "claims": claims})
    assert "c: 1.000, b 1.000; +0.000" in text

from __future__ import annotations

from collections import defaultdict

from representation.benchmarks import shda_ktf
from representation.benchmarks.claims import BenchOptions


def test_the_time_of_a_fit_is_asked_of_the_slowest_seed(monkeypatch):
    seconds = (1.0, shda_ktf.LONGEST_S + 1)
    monkeypatch.setattr(shda_ktf, "measured", lambda seed, _: defaultdict(float, seconds=seconds[seed]))
    (claim,) = [claim for claim in shda_ktf.run(BenchOptions(seeds=2)) if "seconds" in claim.claim]
    assert not claim.holds()
    assert claim.ours == (-max(seconds),) * 2

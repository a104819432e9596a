from __future__ import annotations

import pytest

from representation.benchmarks import mochi
from representation.benchmarks.claims import BenchOptions


@pytest.mark.parametrize("warmup", [1, 0])
def test_all_kinds_are_the_same_until_the_first_mixture(monkeypatch, warmup):
    monkeypatch.setattr(mochi, "WARMUP", warmup)
    monkeypatch.setattr(mochi, "ORACLES", {})
    found = list(mochi.run_seed(0, BenchOptions(scale=0.01)).values())
    same = [kind["keys missed"] == found[0]["keys missed"] for kind in found[1:]]
    assert same == [bool(warmup)] * 2

from __future__ import annotations

import pytest

from representation.benchmarks import mochi


@pytest.mark.parametrize("warmup", [1, 0])
def test_all_kinds_are_the_same_until_the_first_mixture(monkeypatch, warmup):
    monkeypatch.setattr(mochi, "EPOCHS", 1)
    monkeypatch.setattr(mochi, "WARMUP", warmup)
    monkeypatch.setattr(mochi, "ORACLES", {})
    found = list(mochi.run_seed(0).values())
    same = [kind["proxy accuracy"] == found[0]["proxy accuracy"] for kind in found[1:]]
    assert same == [bool(warmup)] * 2

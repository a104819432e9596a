from __future__ import annotations

from representation.benchmarks import geodesic_mixup
from representation.benchmarks.claims import BenchOptions


def test_all_weights_start_from_the_same_encoders_and_a_seed_tells_all(monkeypatch):
    options = BenchOptions(scale=0.01)  # an epoch of each kind
    first, again = (geodesic_mixup.run_seed(0, options) for _ in range(2))
    assert first == again
    gaps = [found["gap"] for found in first.values()]
    assert len(set(gaps)) == len(gaps) == 4
    monkeypatch.setattr(geodesic_mixup, "LR", 0.0)
    untouched = list(geodesic_mixup.run_seed(0, options).values())
    assert all(found == untouched[0] for found in untouched)

from __future__ import annotations

from representation.benchmarks import geodesic_mixup


def test_all_weights_start_from_the_same_encoders_and_a_seed_tells_all(monkeypatch):
    monkeypatch.setattr(geodesic_mixup, "PRETRAINING_EPOCHS", 1)
    monkeypatch.setattr(geodesic_mixup, "EPOCHS", 0)
    untouched = geodesic_mixup.run_seed(0)
    assert all(found == untouched["before"] for found in untouched.values())
    monkeypatch.setattr(geodesic_mixup, "EPOCHS", 1)
    first, again = geodesic_mixup.run_seed(0), geodesic_mixup.run_seed(0)
    assert first == again
    assert first["before"] == untouched["before"]
    gaps = [found["gap"] for found in first.values()]
    assert len(set(gaps)) == len(gaps)

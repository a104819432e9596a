from representation.benchmarks import pac_invariant
from representation.benchmarks.claims import BenchOptions


def test_the_certificate_is_tried_with_each_seed(monkeypatch):
    tried = []
    names = ("few", "many", "parents", "pooled", "negated", "exact", "worst")
    monkeypatch.setattr(pac_invariant, "rates", lambda kind, seed: dict.fromkeys(names, 0.1 * seed))
    monkeypatch.setattr(pac_invariant, "failures", lambda repeats, seed: tried.append((repeats, seed)) or 0.01 * seed)
    claims = pac_invariant.run(BenchOptions(seeds=5))
    assert tried == [(pac_invariant.REPEATS // 5, seed) for seed in range(5)]
    assert claims[-1].ours == (0.0, -0.01, -0.02, -0.03, -0.04)
    assert all(len(set(claim.ours)) == 5 for claim in claims)

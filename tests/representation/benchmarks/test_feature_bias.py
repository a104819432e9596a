import numpy as np

from representation.benchmarks import feature_bias
from representation.benchmarks.claims import BenchOptions


def test_each_seed_is_told(monkeypatch):
    def shares(config):
        rows = np.arange(1.0, 1 + config.seeds)
        scale = 4.0 if config.first else 1.0
        return {"share": np.stack([6 * rows, scale * rows]), "decodability": np.stack([rows, 1 - 0.01 * rows])}

    monkeypatch.setattr(feature_bias, "shares", shares)
    monkeypatch.setattr(feature_bias, "dissimilarities", lambda seed, epochs: (0.5 + 0.1 * seed, 0.1))
    claims = {claim.claim: claim for claim in feature_bias.run(BenchOptions(seeds=3))}
    later = claims["share of the hard feature, learned first"]
    assert (later.ours, later.baseline) == ((4.0, 8.0, 12.0, 16.0), (2.0, 4.0, 6.0, 8.0))
    read = claims["accuracy of reading the hard feature, Adam"]
    assert read.ours == (0.99, 0.98, 0.97, 0.96)
    assert not read.holds()
    alike = next(claim for name, claim in claims.items() if name.startswith("rank correlation"))
    assert alike.ours == (0.5, 0.6, 0.7)
    assert alike.holds()

from representation.benchmarks import invariance_transfer
from representation.benchmarks.claims import BenchOptions

NAMES = ("same", "few", "disjoint", "superset", "apart same", "apart disjoint", "colour coloured", "colour moved")


def test_each_seed_is_told_and_must_hold_where_the_difference_is_asked_of_each(monkeypatch):
    values = [
        dict.fromkeys(NAMES, 0.0) | {"same": same, "few": 0.3 + same, "apart disjoint": 1.0 + same}
        for same in (0.1, 0.9)
    ]
    monkeypatch.setattr(invariance_transfer, "measured", lambda seed, epochs: values[seed])
    claims = invariance_transfer.run(BenchOptions(seeds=2))
    asked = [claim for claim in claims if claim.every]
    assert [claim.ours for claim in asked] == [(0.1, 0.9), (0.4, 1.2), (0.0, 0.0)]
    assert [claim.baseline for claim in asked] == [(0.0, 0.0), (0.0, 0.0), (-1.1, -1.9)]
    assert [claim.holds() for claim in asked] == [False, True, True]

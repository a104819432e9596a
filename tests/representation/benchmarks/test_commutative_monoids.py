import pytest
import torch

from representation.benchmarks import commutative_monoids, object_evidence
from representation.benchmarks.claims import BenchOptions
from representation.benchmarks.commutative_monoids import KINDS, relative_penalty, trained
from representation.structure.commutative_monoids.object_evidence import EvidenceConfig, ObjectEvidence, drawn_sights


@pytest.mark.parametrize("kind", KINDS)
def test_every_network_is_trained_alike_and_repeats_itself(kind):
    x = torch.ones(2, 5, commutative_monoids.BITS)
    # Up to rounding: with several threads torch adds gradients of gathered rows in no fixed order.
    assert torch.allclose(trained(kind, 3, steps=2)(x), trained(kind, 3, steps=2)(x), atol=1e-6)
    assert not torch.allclose(trained(kind, 3, steps=2)(x), trained(kind, 4, steps=2)(x), atol=1e-6)


def test_the_penalty_makes_the_operator_more_associative(monkeypatch):
    monkeypatch.setattr(commutative_monoids, "BATCH", 8)
    monkeypatch.setattr(commutative_monoids, "TRIPLES", 60)
    plain, penalised = (relative_penalty(trained(kind, 0, steps=40), 0) for kind in ("monoid", "monoid and penalty"))
    assert penalised < plain


def test_times_are_told_by_size(monkeypatch):
    monkeypatch.setattr(commutative_monoids, "GROWTH_SIZES", (100, 1000))
    growth = commutative_monoids.growth()
    assert all(len(times) == 2 and min(times) > 0 for times in growth.seconds.values())
    assert "| 1000 |" in growth.table("x.png")


def test_cameras_that_fuse_by_themselves_lose_no_sight(monkeypatch):
    fuser = ObjectEvidence(EvidenceConfig(dim=4), torch.Generator().manual_seed(0))
    monkeypatch.setattr(fuser.monoid, "combine", lambda a, b: a + b)  # an exact one
    sights, _ = drawn_sights(20, 9, torch.Generator().manual_seed(1))
    one, four = (object_evidence.fused(fuser, sights, cameras) for cameras in (1, 4))
    assert torch.allclose(one, four, atol=1e-5)
    claims = object_evidence.run(BenchOptions(seeds=2, scale=0.001))
    assert [len(claim.ours) for claim in claims] == [2, 2, 2]

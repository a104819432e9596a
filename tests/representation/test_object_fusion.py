import numpy as np
import pytest
import torch

from representation.object_fusion import ObjectFusion
from representation.structure.commutative_monoids.object_evidence import EvidenceConfig, ObjectEvidence, sights_of

DEPTH, INTRINSICS = np.full((8, 8), 1.0, np.float32), np.array([[8.0, 0, 4], [0, 8, 4], [0, 0, 1]])


@pytest.fixture
def fuser():
    return ObjectEvidence(EvidenceConfig(dim=8), torch.Generator().manual_seed(0)).eval()


def found(*sure):
    return np.array([[one, 0.1, 0.2 * one, -0.3 * one] for one in sure], np.float32)


def test_each_kind_is_told_from_the_newest_sights_of_it(fuser):
    fusion = ObjectFusion(fuser, window=2)
    assert fusion.things(0.0) == []
    for sure in (0.6, 0.7, 0.8):
        fusion.see(0.0, found(0.1, sure), DEPTH, INTRINSICS, np.eye(4))
    (thing,) = fusion.things(0.0)
    assert thing.kind == 1
    kept = torch.cat([torch.from_numpy(sights_of(found(one), DEPTH, INTRINSICS, np.eye(4))) for one in (0.7, 0.8)])
    expected = fuser.told(fuser.monoid.fold(fuser.elements(kept)[None]))[0].detach().numpy()
    np.testing.assert_allclose([*thing.position, thing.error], expected, atol=1e-6)
    fusion.restart()
    assert fusion.things(0.0) == []
    fusion.see(0.0, found(0.6), DEPTH, INTRINSICS, np.eye(4))
    with pytest.raises(ValueError, match="expected 1 kinds as before, found 2"):
        fusion.see(0.0, found(0.6, 0.6), DEPTH, INTRINSICS, np.eye(4))


def test_what_another_camera_tells_counts_until_it_is_old(fuser):
    here, there = ObjectFusion(fuser, max_age_s=1.0), ObjectFusion(fuser)
    here.see(10.0, found(0.6), DEPTH, INTRINSICS, np.eye(4))
    alone = here.things(10.0)
    there.see(10.0, found(0.9, 0.9), DEPTH, INTRINSICS, np.eye(4))
    here.hear("side", 9.5, there.states(9.5))
    both = here.things(10.0)
    assert [thing.kind for thing in both] == [0, 1]
    assert both[1] == there.things(9.5)[1]
    states = [torch.from_numpy(one.states(at)[0]) for one, at in ((here, 10.0), (there, 9.5))]
    expected = fuser.told(fuser.monoid.combine(*states)).tolist()
    np.testing.assert_allclose([*both[0].position, both[0].error], expected, atol=1e-6)
    assert here.things(10.9) == alone
    with pytest.raises(ValueError, match="states of side: expected 8 numbers"):
        here.hear("side", 9.5, {0: [1.0]})
    with pytest.raises(ValueError, match="states of side: expected 8 numbers"):
        here.hear("side", 9.5, {0: [float("nan")] * 8})


def test_a_thing_that_is_seen_no_more_is_soon_told_no_more_and_begins_anew_where_it_comes_back(fuser):
    fusion, fresh = ObjectFusion(fuser, max_age_s=1.0), ObjectFusion(fuser, max_age_s=1.0)
    fusion.see(0.0, found(0.9, 0.9), DEPTH, INTRINSICS, np.eye(4))
    for stamp in (0.5, 1.0):
        fusion.see(stamp, found(0.9, 0.1), DEPTH, INTRINSICS, np.eye(4))
    assert [thing.kind for thing in fusion.things(1.0)] == [0, 1]
    fusion.see(1.5, found(0.9, 0.1), DEPTH, INTRINSICS, np.eye(4))
    assert [thing.kind for thing in fusion.things(1.5)] == [0]
    assert list(fusion.states(1.5)) == [0]
    for one in (fusion, fresh):
        one.see(2.0, found(0.9, 0.7), DEPTH, INTRINSICS, np.eye(4))
    assert fusion.things(2.0)[1] == fresh.things(2.0)[1]

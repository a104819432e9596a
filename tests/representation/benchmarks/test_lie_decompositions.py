import math

import torch

from representation.benchmarks.lie_decompositions import QUARTERS, UPRIGHT, digits, integrals, mapped, posed, rotations


def test_maps_of_pictures_are_what_they_say():
    pictures, labels = digits(0, 18)
    assert pictures.shape == (1797, 1, 18, 18)
    assert sorted(labels.unique().tolist()) == list(range(10))
    some, none = pictures[:3], torch.zeros(3, 2)
    quarter = rotations(torch.full((3,), math.pi / 2))
    turned = mapped(some, quarter, none)
    assert min(float((turned - some.rot90(k, (2, 3))).abs().max()) for k in (1, 3)) < 1e-4
    torch.testing.assert_close(mapped(some, torch.eye(2).expand(3, 2, 2), none), some, atol=1e-5, rtol=0)
    moved = mapped(some, torch.eye(2).expand(3, 2, 2), torch.tensor([2 / 18, 0.0]).expand(3, 2))
    torch.testing.assert_close(moved[..., 1:], some[..., :-1], atol=1e-4, rtol=0)


def test_every_pose_shows_the_digits_and_quarter_turns_lose_nothing():
    pictures, _ = digits(0, 18)
    found = posed(pictures[:6], torch.Generator().manual_seed(0))
    assert torch.equal(found[UPRIGHT], pictures[:6])
    torch.testing.assert_close(found[QUARTERS].sum(dim=(1, 2, 3)), pictures[:6].sum(dim=(1, 2, 3)))
    for name, shown in found.items():
        assert shown.shape == (6, 1, 18, 18), name
        assert 0.5 < float(shown.sum() / pictures[:6].sum()) < 1.6, name
        if name != UPRIGHT:
            assert float((shown - pictures[:6]).abs().amax(dim=(1, 2, 3)).min()) > 0.1, name


def test_of_three_measures_the_invariant_one_keeps_an_integral():
    found = integrals(0, 100_000)
    assert abs(found["kept"]) < 0.03 < found["undivided"] < found["flat"]

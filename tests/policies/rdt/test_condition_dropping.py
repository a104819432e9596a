from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from policies.rdt.condition_dropping import Substitutes, drop_conditions

BATCH = 4000
SUBSTITUTES = Substitutes(torch.full((5,), 7.0), torch.full((2, 3), -1.0), torch.full((1, 4), 9.0))


def make_batch(size=BATCH):
    mask = torch.zeros(size, 6, dtype=torch.bool)
    mask[:, :3] = True
    return {
        "frequency": torch.full((size,), 25),
        "state": torch.ones(size, 1, 5),
        "mask": torch.ones(size, 5),
        "images": torch.ones(size, 6, 2, 3),
        "language": torch.ones(size, 6, 4) * mask[..., None],
        "language_mask": mask,
        "actions": torch.ones(size, 8, 5),
    }


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_everything_dropped_is_what_stands_for_it():
    dropped = drop_conditions(make_batch(2), SUBSTITUTES, generator(), probability=1.0)
    assert dropped["frequency"].tolist() == [0, 0]
    assert dropped["frequency"].dtype == torch.int64
    assert (dropped["state"] == 7).all()
    assert not dropped["mask"].any()
    assert (dropped["images"] == -1).all()
    assert dropped["language_mask"].tolist() == [[True] + [False] * 5] * 2
    assert (dropped["language"][:, 0] == 9).all()
    assert not dropped["language"][:, 1:].any()
    assert (dropped["actions"] == 1).all()


def test_nothing_is_dropped_at_probability_zero_and_the_batch_stays_as_it_is():
    batch = make_batch(50)
    drop_conditions(batch, SUBSTITUTES, generator())
    kept = drop_conditions(batch, SUBSTITUTES, generator(), probability=0.0)
    for name, value in make_batch(50).items():
        assert torch.equal(kept[name], value), name
        assert torch.equal(batch[name], value), name


def drops(batch):
    """Which conditions of each sample are dropped: frequency, state, mask, language, and six images."""
    columns = [
        batch["frequency"] == 0,
        (batch["state"] == 7).all(dim=(1, 2)),
        (batch["mask"] == 0).all(dim=1),
        batch["language_mask"].sum(dim=1) == 1,
        *(batch["images"] == -1).all(dim=(2, 3)).unbind(1),
    ]
    return torch.stack(columns).float()


def test_each_condition_is_dropped_a_tenth_of_the_time_and_on_its_own():
    dropped = drops(drop_conditions(make_batch(), SUBSTITUTES, generator()))
    assert dropped.mean(dim=1).sub(0.1).abs().max() < 0.02
    correlations = torch.corrcoef(dropped) - torch.eye(10)
    assert correlations.abs().max() < 0.07


def test_the_exterior_camera_may_be_dropped_more_or_less_often():
    dropped = drops(drop_conditions(make_batch(), SUBSTITUTES, generator(), 0.1, exterior=0.4)).mean(dim=1)
    exterior = torch.tensor([False] * 4 + [True, False, False] * 2)
    assert dropped[exterior].sub(0.4).abs().max() < 0.03
    assert dropped[~exterior].sub(0.1).abs().max() < 0.02
    never = drops(drop_conditions(make_batch(), SUBSTITUTES, generator(), 1.0, exterior=0.0)).mean(dim=1)
    assert torch.equal(never, (~exterior).float())
    with pytest.raises(ValueError, match="exterior: expected 0 to 1, found -1"):
        drop_conditions(make_batch(), SUBSTITUTES, generator(), exterior=-1)


def test_the_generator_alone_decides():
    first, again, other = (drops(drop_conditions(make_batch(), SUBSTITUTES, generator(seed))) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_each_sample_may_have_the_mean_of_its_own_data_set():
    means = torch.arange(3.0)[:, None].expand(3, 5)
    dropped = drop_conditions(make_batch(3), replace(SUBSTITUTES, state=means), generator(), probability=1.0)
    assert torch.equal(dropped["state"][:, 0], means)


@pytest.mark.parametrize(
    ("changed", "probability", "message"),
    [
        ({"image": torch.ones(3, 3)}, 0.1, r"substitutes.image: expected \(2, 3\), found \(3, 3\)"),
        ({"language": torch.ones(1, 5)}, 0.1, r"substitutes.language: expected \(L, 4\) with 1 <= L <= 6"),
        ({"language": torch.ones(0, 4)}, 0.1, r"substitutes.language: .*found \(0, 4\)"),
        ({}, 1.5, "probability: expected 0 to 1, found 1.5"),
    ],
)
def test_what_does_not_fit_is_named(changed, probability, message):
    with pytest.raises(ValueError, match=message):
        drop_conditions(make_batch(2), replace(SUBSTITUTES, **changed), generator(), probability)

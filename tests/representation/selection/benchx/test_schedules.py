import pytest
import torch
from torch import nn

from representation.selection.benchx.schedules import (
    EarlyStopping,
    WarmupCosineScheduler,
    warmup_cosine,
    warmup_polynomial,
)


@pytest.mark.parametrize(("step", "factor"), [(0, 0.0), (25, 0.5), (50, 1.0), (1525, 0.5), (3000, 0.0)])
def test_the_learning_rate_rises_and_falls_as_published(step, factor):
    assert warmup_cosine(step) == pytest.approx(factor, abs=1e-12)


def test_the_cosine_is_not_clamped_at_its_end():
    assert warmup_cosine(5950) == pytest.approx(1.0)
    assert warmup_cosine(5950 + 2950) == pytest.approx(0.0, abs=1e-12)
    assert warmup_cosine(4475) == pytest.approx(0.5)


def test_all_groups_of_an_optimizer_follow():
    layers = [nn.Linear(1, 1) for _ in range(2)]
    groups = [{"params": layer.parameters(), "lr": lr} for layer, lr in zip(layers, (1.0, 0.1), strict=True)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    schedule = WarmupCosineScheduler(optimizer)
    for _ in range(25):
        optimizer.step()
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.05])
    with pytest.raises(ValueError, match="expected 0 <= warmup < total"):
        WarmupCosineScheduler(optimizer, 10, 10)


def test_the_polynomial_starts_near_nothing_and_ends_there():
    factors = [warmup_polynomial(step) for step in (0, 750, 1500, 10_750, 20_000)]
    assert factors == pytest.approx([1e-6, 0.5000005, 1.0, 0.5, 0.0])


def test_training_ends_at_the_tenth_evaluation_without_improvement_and_gives_back_the_best_weights():
    model, stopping, ended = nn.Linear(1, 1, bias=False), EarlyStopping(10), []
    for number, measure in enumerate([0.5, 0.6, 0.6, *[0.59] * 9], 1):
        assert not stopping.stopped
        with torch.no_grad():
            model.weight.fill_(number)
        stopping.update(measure, model)
        ended.append(stopping.stopped)
    assert ended == [False] * 11 + [True]
    stopping.restore(model)
    assert float(model.weight.detach()) == 2
    assert stopping.best == 0.6


def test_a_measure_that_is_no_number_is_told():
    with pytest.raises(ValueError, match="measure: expected a number, found NaN"):
        EarlyStopping().update(float("nan"), nn.Linear(1, 1))
    with pytest.raises(RuntimeError, match="expected at least one evaluation"):
        EarlyStopping().restore(nn.Linear(1, 1))

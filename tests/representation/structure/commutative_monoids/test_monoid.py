import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from representation.structure.commutative_monoids import (
    CommutativeMonoid,
    LCMAggregation,
    RecurrentAggregation,
    SlidingFold,
    dense_sets,
    fold_levels,
    second_minimum_sets,
)


class TwoSmallest:
    """The exact monoid of the two smallest numbers."""

    def combine(self, a, b):
        return torch.cat([a, b], dim=-1).sort(dim=-1).values[..., :2]


def seeded(number=0):
    return torch.Generator().manual_seed(number)


@pytest.fixture(params=["gru", "mlp"])
def monoid(request):
    return CommutativeMonoid(8, request.param, generator=seeded())


def test_the_operator_commutes_and_small_sets_are_what_they_should_be(monoid):
    x = torch.randn(5, 2, 8, generator=seeded(1))
    a, b = x[:, 0], x[:, 1]
    assert torch.allclose(monoid.combine(a, b), monoid.combine(b, a), atol=1e-7)
    assert torch.equal(monoid.fold(x[:, :1]), a)
    assert torch.equal(monoid.fold(x), monoid.combine(a, b))
    assert torch.equal(monoid.fold(x[:, :0]), torch.zeros(5, 8))
    torch.nn.init.ones_(monoid.identity)
    assert torch.equal(monoid.fold(x, torch.zeros(5, 2, dtype=torch.bool)), torch.ones(5, 8))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_the_fold_is_the_recursion_over_a_gru_cell_written_out(count):
    monoid = CommutativeMonoid(8, generator=seeded())
    cell = monoid.cell

    def gru(a, b):
        (ri, zi, ni), (rh, zh, nh) = (
            F.linear(v, getattr(cell, f"weight_{name}"), getattr(cell, f"bias_{name}")).chunk(3, dim=-1)
            for v, name in ((a, "ih"), (b, "hh"))
        )
        r, z = torch.sigmoid(ri + rh), torch.sigmoid(zi + zh)
        return (1 - z) * torch.tanh(ni + r * nh) + z * b

    def folded(elements):
        if len(elements) == 1:
            return elements[0]
        pairs = [(gru(a, b) + gru(b, a)) / 2 for a, b in zip(elements[::2], elements[1::2], strict=False)]
        return folded(pairs + ([elements[-1]] if len(elements) % 2 else []))

    x = torch.randn(4, count, 8, generator=seeded(1))
    assert torch.allclose(monoid.fold(x), folded(list(x.unbind(dim=1))), atol=1e-6)
    assert len(fold_levels(monoid.combine, x)) - 1 == (count - 1).bit_length()


def test_no_set_minds_the_others(monoid):
    index = torch.tensor([2, 0, 2, 4, 2, 0, 2, 4, 2])
    x = torch.randn(9, 8, generator=seeded(1))
    layer = LCMAggregation(8, 8, project=False, generator=seeded()).eval()
    layer.monoid = monoid
    together = layer(x, index, 5)
    for number in range(5):
        alone = layer(x[index == number], torch.zeros(int((index == number).sum()), dtype=torch.long), 1)
        assert torch.allclose(together[number], alone[0], atol=1e-6)
    recurrent = RecurrentAggregation(8, 6, seeded()).eval()
    assert torch.allclose(recurrent(x, index, 5)[4], recurrent(x[index == 4], torch.zeros(2, dtype=torch.long), 1)[0])
    assert layer(x, index).shape == (5, 8)
    assert dense_sets(x[:0], index[:0], 3)[0].shape == (3, 0, 8)
    with pytest.raises(ValueError, match="expected sets below 4, found 4"):
        layer(x, index, 4)


def test_an_exact_monoid_finds_the_second_smallest_of_any_number():
    for size in (2, 3, 17, 1000, 1024):
        bits, second = second_minimum_sets(8, 12, size, seeded(size))
        weights = 2.0 ** torch.arange(11, -1, -1)
        numbers = bits @ weights
        pairs = torch.stack([numbers, torch.full_like(numbers, torch.inf)], dim=-1)
        states, there = fold_levels(TwoSmallest().combine, pairs)[-1]
        assert there.all()
        assert torch.equal(states[:, 0, 1], second @ weights)
        assert torch.equal(second @ weights, numbers.sort(dim=1).values[:, 1])


@pytest.mark.parametrize("window", [1, 7, 16])
def test_a_sliding_fold_is_the_fold_of_what_it_keeps(window):
    exact, learned = TwoSmallest(), CommutativeMonoid(2, generator=seeded())
    elements = torch.randn(500, 2, generator=seeded(1))
    folds = [SlidingFold(exact, window), SlidingFold(learned, window)]
    assert folds[0].value() is None
    ring = torch.zeros(1, 1 << (window - 1).bit_length(), 2)
    there = torch.zeros(ring.shape[:2], dtype=torch.bool)
    for number, element in enumerate(elements):
        element = element.sort().values
        ring[0, number % window], there[0, number % window] = element, True
        for fold, monoid in zip(folds, (exact, learned), strict=True):
            fold.push(element)
            with torch.no_grad():
                again = fold_levels(monoid.combine, ring, there)[-1][0][0, 0]
            assert torch.allclose(fold.value(), again, atol=1e-6)
        newest = elements[max(0, number + 1 - window) : number + 1].flatten().sort().values[:2]
        assert torch.equal(folds[0].value(), newest)
    folds[0].clear()
    assert folds[0].value() is None


@pytest.mark.parametrize("count", [1, 6, 7])
def test_filling_is_pushing_one_after_the_other(count):
    monoid, elements = CommutativeMonoid(4, generator=seeded()), torch.randn(count + 3, 3, 4, generator=seeded(1))
    filled, pushed = SlidingFold(monoid, 7), SlidingFold(monoid, 7)
    filled.fill(elements[:count])
    for element in elements[:count]:
        pushed.push(element)
    for element in elements[count:]:
        filled.push(element)
        pushed.push(element)
        assert torch.allclose(filled.value(), pushed.value(), atol=1e-6)
    with pytest.raises(ValueError, match="expected 1 to 7 elements, found 8"):
        filled.fill(torch.zeros(8, 3, 4))


def test_the_penalties_are_zero_where_the_laws_hold_and_fall_in_training():
    monoid = CommutativeMonoid(4, "mlp", identity=True, generator=seeded())
    states = torch.randn(30, 4, generator=seeded(1))
    optimizer = torch.optim.Adam(monoid.parameters(), 1e-2)
    before = monoid.associativity_penalty(states), monoid.identity_penalty(states)
    assert min(before) > 1e-3
    for _ in range(60):
        loss = monoid.associativity_penalty(states) + monoid.identity_penalty(states)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert monoid.associativity_penalty(states) < before[0] / 2
    for parameter in monoid.cell.parameters():  # a + b alone
        torch.nn.init.zeros_(parameter)
    torch.nn.init.zeros_(monoid.identity)
    assert monoid.associativity_penalty(states) < 1e-10
    assert monoid.identity_penalty(states) == 0


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="op: expected gru or mlp, found 'max'"):
        CommutativeMonoid(4, "max")
    with pytest.raises(ValueError, match="d_out: expected 3 without a projection, found 4"):
        LCMAggregation(3, 4, project=False)
    with pytest.raises(ValueError, match="window: expected at least 1"):
        SlidingFold(TwoSmallest(), 0)
    with pytest.raises(ValueError, match=r"expected \(B, n, d\)"):
        fold_levels(TwoSmallest().combine, torch.zeros(2, 0, 2))

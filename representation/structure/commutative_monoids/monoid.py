"""The learned operator, its fold over a balanced tree, aggregations for graphs, and the tree of a sliding window.

States are (..., d); sets are (B, n, d) with a mask, or rows (E, d) with the number of their set, as edges of graphs
have. Source: see the package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

Operator = Literal["gru", "mlp"]


class Monoid(Protocol):
    """Something that combines two states to one."""

    def combine(self, a: Tensor, b: Tensor) -> Tensor:
        """States (..., d) of a and b together."""
        ...


def fold_levels(
    combine: Callable[[Tensor, Tensor], Tensor], x: Tensor, mask: Tensor | None = None
) -> list[tuple[Tensor, Tensor]]:
    """All levels of the balanced tree over sets, from the elements to one state.

    Neighbours are joined; one that is left over goes to the next level as it is; beside an absent one it stays itself.

    Args:
        combine: takes states (M, d) twice to (M, d).
        x: (B, n, d), n at least 1.
        mask: (B, n), which are there; None for all.

    Returns:
        States (B, m, d) and which are there (B, m), for m = n, ceil(n / 2), ..., 1.

    Raises:
        ValueError: no elements, or a mask of another size.
    """
    mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
    if x.ndim != 3 or x.shape[1] < 1 or mask.shape != x.shape[:2]:
        raise ValueError(f"x, mask: expected (B, n, d) and (B, n), n > 0, found {tuple(x.shape)}, {tuple(mask.shape)}")
    levels = [(x, mask)]
    while x.shape[1] > 1:
        pairs = x.shape[1] // 2
        left, right, rest = x[:, 0 : 2 * pairs : 2], x[:, 1 : 2 * pairs : 2], x[:, 2 * pairs :]
        has_left, has_right = mask[:, 0 : 2 * pairs : 2], mask[:, 1 : 2 * pairs : 2]
        both = has_left & has_right
        joined = torch.where(has_left[..., None], left, right)
        if bool(both.all()):
            joined = combine(left.flatten(0, 1), right.flatten(0, 1)).unflatten(0, left.shape[:2])
        elif bool(both.any()):
            joined = joined.masked_scatter(both[..., None], combine(left[both], right[both]))
        x, mask = torch.cat([joined, rest], dim=1), torch.cat([has_left | has_right, mask[:, 2 * pairs :]], dim=1)
        levels.append((x, mask))
    return levels


class CommutativeMonoid(nn.Module):
    """A learned operator on states of d numbers: ½ (f(a, b) + f(b, a)).

    Args:
        dim: numbers d of a state.
        op: f: a GRU cell with input a and hidden state b, whose states stay bounded; or a perceptron whose result is
            added to a + b, for what must be counted.
        identity: whether an empty set has a learned state; it is 0 otherwise.
        generator: draws the first weights.
    """

    def __init__(
        self, dim: int, op: Operator = "gru", identity: bool = False, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if op not in ("gru", "mlp"):
            raise ValueError(f"op: expected gru or mlp, found {op!r}")
        self.dim, self.op = dim, op
        if op == "gru":
            self.cell: nn.Module = nn.GRUCell(dim, dim)
        else:
            self.cell = nn.Sequential(nn.Linear(2 * dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))
        self.identity = nn.Parameter(torch.zeros(dim), requires_grad=identity)
        _draw(self.cell, generator)

    def combine(self, a: Tensor, b: Tensor) -> Tensor:
        """States (..., d) of a and b together; the same for b and a."""
        first, second = torch.cat([a, b]).reshape(-1, self.dim), torch.cat([b, a]).reshape(-1, self.dim)
        if self.op == "gru":
            both = self.cell(first, second)
        else:
            both = first + second + self.cell(torch.cat([first, second], dim=-1))
        ab, ba = both.chunk(2)
        return ((ab + ba) / 2).reshape(a.shape)

    def fold(self, x: Tensor, mask: Tensor | None = None, order: Tensor | None = None) -> Tensor:
        """States (B, d) of sets.

        Args:
            x: (B, n, d) elements.
            mask: (B, n), which are there.
            order: (n,) places, in which the elements are taken.
        """
        if order is not None:
            x, mask = x[:, order], None if mask is None else mask[:, order]
        if x.shape[1] == 0:
            return self.identity.expand(len(x), self.dim)
        states, there = fold_levels(self.combine, x, mask)[-1]
        return torch.where(there, states[:, 0], self.identity)

    def associativity_penalty(self, states: Tensor) -> Tensor:
        """Mean of ||(a ⊕ b) ⊕ c - a ⊕ (b ⊕ c)||² over triples of states (N, d), N at least 3, that folds reach."""
        a, b, c = states[: len(states) // 3 * 3].chunk(3)
        difference = self.combine(self.combine(a, b), c) - self.combine(a, self.combine(b, c))
        return difference.square().sum(dim=-1).mean()

    def identity_penalty(self, states: Tensor) -> Tensor:
        """Mean of ||a ⊕ e - a||² over states (N, d)."""
        return (self.combine(states, self.identity.expand_as(states)) - states).square().sum(dim=-1).mean()


class LCMAggregation(nn.Module):
    """Sums up the rows of each set by a learned monoid.

    Args:
        d_in: numbers of a row.
        d_out: numbers of a state.
        project: whether rows first go through a linear map and ReLU; needed if the numbers differ.
        op: of the monoid.
        generator: draws the first weights, and the order of the elements in training.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        project: bool = True,
        op: Operator = "gru",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not project and d_in != d_out:
            raise ValueError(f"d_out: expected {d_in} without a projection, found {d_out}")
        self.projection = nn.Sequential(nn.Linear(d_in, d_out), nn.ReLU()) if project else nn.Identity()
        _draw(self.projection, generator)
        self.monoid = CommutativeMonoid(d_out, op, generator=generator)
        self._generator = generator

    def forward(self, x: Tensor, index: Tensor, dim_size: int | None = None) -> Tensor:
        """States (dim_size, d_out) of the sets.

        Args:
            x: (E, d_in) rows, in any order.
            index: (E,) set of each row.
            dim_size: number of sets; up to the last one that has a row if None.
        """
        dense, mask = dense_sets(self.projection(x), index, dim_size)
        order = torch.randperm(dense.shape[1], generator=self._generator) if self.training else None
        return self.monoid.fold(dense, mask, order)


class RecurrentAggregation(nn.Module):
    """Sums up the rows of each set by a GRU, one after the other: as much can be held, in n steps instead of log2 n.

    Args:
        d_in: numbers of a row.
        d_out: numbers of a state.
        generator: draws the first weights, and the order of the elements in training.
    """

    def __init__(self, d_in: int, d_out: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.cell = nn.GRUCell(d_in, d_out)
        _draw(self.cell, generator)
        self._generator = generator

    def forward(self, x: Tensor, index: Tensor, dim_size: int | None = None) -> Tensor:
        """See `LCMAggregation.forward`."""
        dense, mask = dense_sets(x, index, dim_size)
        order = torch.arange(dense.shape[1])
        return self.fold(dense, mask, torch.randperm(len(order), generator=self._generator) if self.training else order)

    def fold(self, x: Tensor, mask: Tensor, order: Tensor) -> Tensor:
        """States (B, d_out) of sets (B, n, d_in), their elements taken in an order (n,)."""
        state = x.new_zeros(len(x), self.cell.hidden_size)
        for place in order.tolist():
            state = torch.where(mask[:, place, None], self.cell(x[:, place], state), state)
        return state


def dense_sets(x: Tensor, index: Tensor, dim_size: int | None = None) -> tuple[Tensor, Tensor]:
    """Rows (E, d) with the number of their set (E,) as (B, n, d) and which are there (B, n); n is the largest set's."""
    if index.shape != x.shape[:1]:
        raise ValueError(f"index: expected ({len(x)},), found {tuple(index.shape)}")
    size = int(index.max()) + 1 if dim_size is None and len(index) else dim_size or 0
    counts = torch.bincount(index, minlength=size)
    if len(counts) > size:
        raise ValueError(f"index: expected sets below {size}, found {len(counts) - 1}")
    order = torch.argsort(index, stable=True)
    place = torch.arange(len(index), device=x.device) - (counts.cumsum(0) - counts)[index[order]]
    dense = x.new_zeros(size, int(counts.max()) if size else 0, x.shape[1])
    dense = dense.index_put((index[order], place), x[order])
    return dense, torch.arange(dense.shape[1], device=x.device) < counts[:, None]


class SlidingFold:
    """The state of the newest elements, kept in a tree: a new one costs log2 of their number.

    Args:
        monoid: combines states.
        window: how many are kept.

    The elements are joined by their places in a ring, not by age: `value` is `fold_levels` over the ring.
    """

    def __init__(self, monoid: Monoid, window: int) -> None:
        if window < 1:
            raise ValueError(f"window: expected at least 1, found {window}")
        self._monoid, self.window = monoid, window
        self._leaves = 1 << (window - 1).bit_length()
        self._there = bytearray(2 * self._leaves)
        self._nodes: Tensor | None = None
        self._next = 0

    def clear(self) -> None:
        """Forget everything."""
        self._there = bytearray(2 * self._leaves)
        self._next = 0

    @torch.no_grad()
    def fill(self, x: Tensor) -> None:
        """Put elements (n, ..., d), at most a window, in the place of everything, level by level."""
        if not 0 < len(x) <= self.window:
            raise ValueError(f"x: expected 1 to {self.window} elements, found {len(x)}")
        self.clear()
        self._nodes = x.new_zeros(2 * self._leaves, *x.shape[1:])
        self._nodes[self._leaves : self._leaves + len(x)] = x
        first, count = self._leaves, len(x)
        self._there[first : first + count] = b"\1" * count
        self._next = count % self.window
        while first > 1:
            pairs, odd = divmod(count, 2)
            if pairs:
                below = self._nodes[first : first + 2 * pairs]
                self._nodes[first // 2 : first // 2 + pairs] = self._monoid.combine(below[0::2], below[1::2])
            if odd:
                self._nodes[first // 2 + pairs] = self._nodes[first + 2 * pairs]
            first, count = first // 2, pairs + odd
            self._there[first : first + count] = b"\1" * count

    @torch.no_grad()
    def push(self, x: Tensor) -> None:
        """Take an element (..., d) in the place of the oldest."""
        if self._nodes is None:
            self._nodes = x.new_zeros(2 * self._leaves, *x.shape)
        place = self._leaves + self._next
        self._next = (self._next + 1) % self.window
        nodes, there = self._nodes, self._there
        nodes[place], there[place] = x, 1
        while place > 1:
            left, right, place = place & ~1, place | 1, place // 2
            there[place] = 1
            if there[left] and there[right]:
                nodes[place] = self._monoid.combine(nodes[left][None], nodes[right][None])[0]
            else:
                nodes[place] = nodes[left if there[left] else right]

    def value(self) -> Tensor | None:
        """The state (..., d) of all that is kept; None if nothing is."""
        return self._nodes[1].clone() if self._nodes is not None and self._there[1] else None


def second_minimum_sets(n_sets: int, bits: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sets of whole numbers as bits, the highest first, and the bits of their second smallest, with multiplicity.

    Args:
        n_sets: number B of them.
        bits: of a number.
        size: elements n of each, at least 2.
        generator: draws them.

    Returns:
        (B, n, bits) and (B, bits), both of 0 and 1.
    """
    numbers = torch.randint(2**bits, (n_sets, size), generator=generator)
    second = numbers.sort(dim=1).values[:, 1]
    powers = 2 ** torch.arange(bits - 1, -1, -1)
    return ((numbers[..., None] // powers) % 2).float(), ((second[:, None] // powers) % 2).float()


def _draw(module: nn.Module, generator: torch.Generator | None) -> None:
    """Draw all weights as torch does, evenly up to 1 / sqrt(inputs), but from a generator."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.GRUCell):
            reach = (part.in_features if isinstance(part, nn.Linear) else part.hidden_size) ** -0.5
            for parameter in part.parameters():
                nn.init.uniform_(parameter, -reach, reach, generator=generator)

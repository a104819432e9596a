"""Encoders of small datasets: set transformers, which mind no order, and two that keep the order of the classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Support = Sequence[Tensor]
"""Features (C, n, d) of n samples of each of C classes, of several datasets."""


def check_support(support: Support, width: int) -> None:
    """Refuse what is no support of vectors of a width.

    Raises:
        ValueError: other shapes, fewer than two classes, or numbers that are not finite.
    """
    for one in support:
        if one.ndim != 3 or one.shape[2] != width or one.shape[0] < 2 or not one.shape[1]:
            raise ValueError(f"support: expected (C >= 2, n, {width}), found {tuple(one.shape)}")
        if not torch.isfinite(one).all():
            raise ValueError("support: expected finite numbers, found others")


class AttentionBlock(nn.Module):
    """Queries look at a set: O = Q + A V, then O + ReLU(linear O), without normalisation (Lee et al., 2019).

    Args:
        queries: numbers of a query.
        keys: numbers of an element of the set.
        width: numbers of the result.
        heads: of the attention, whose scores are divided by sqrt(width).
    """

    def __init__(self, queries: int, keys: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.q, self.k, self.v = nn.Linear(queries, width), nn.Linear(keys, width), nn.Linear(keys, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, N, width) of queries (B, N, queries) and sets (B, M, keys)."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q(x), self.k(y), self.v(y)))
        attention = (q @ k.mT / self.width**0.5).softmax(dim=-1)
        seen = (q + attention @ v).transpose(1, 2).flatten(2)
        return seen + F.relu(self.out(seen))


class InducedBlock(nn.Module):
    """Self-attention of a set through learned points, at a cost that grows with its size and not its square."""

    def __init__(self, before: int, width: int, heads: int, points: int) -> None:
        super().__init__()
        self.points = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, points, width)))
        self.gather = AttentionBlock(width, before, width, heads)
        self.spread = AttentionBlock(before, width, width, heads)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, before) to (B, N, width)."""
        return self.spread(x, self.gather(self.points.expand(len(x), -1, -1), x))


class SetTransformer(nn.Module):
    """A vector of a set: two induced blocks, pooling by one seed, two self-attentions, a linear layer.

    Args:
        d_in: numbers of an element.
        d_out: numbers of the vector.
        width: between.
        heads: of all attentions.
        points: that induced blocks learn.
    """

    def __init__(self, d_in: int, d_out: int, width: int = 128, heads: int = 2, points: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            InducedBlock(d_in, width, heads, points), InducedBlock(width, width, heads, points)
        )
        self.seed = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, 1, width)))
        self.pool = AttentionBlock(width, width, width, heads)
        self.selves = nn.ModuleList(AttentionBlock(width, width, width, heads) for _ in range(2))
        self.last = nn.Linear(width, d_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, d_out) of sets (B, N, d_in), in whatever order."""
        pooled = self.pool(self.seed.expand(len(x), -1, -1), self.encoder(x))
        for block in self.selves:
            pooled = block(pooled, pooled)
        return self.last(pooled[:, 0])


class DatasetEncoder(nn.Module):
    """A set of classes, each a set of samples: no order of either matters.

    It cannot tell which row of a head belongs to which class; heads must then have their classes in an order that
    follows from the classes themselves, see `WeightGenerator`.

    Args:
        d_in: numbers of a sample.
        d_out: numbers of the vector.
        width: of the set transformers.
        heads: likewise.
        points: likewise.
    """

    def __init__(self, d_in: int = 512, d_out: int = 1024, width: int = 128, heads: int = 2, points: int = 32) -> None:
        super().__init__()
        self.d_in, self.width = d_in, d_out
        self.intra = SetTransformer(d_in, d_in, width, heads, points)
        self.inter = SetTransformer(d_in, d_in, width, heads, points)
        self.project = nn.Linear(d_in, d_out)

    def forward(self, support: Support) -> Tensor:
        """(B, d_out) of B supports, of any numbers of classes and samples."""
        check_support(support, self.d_in)
        if len({one.shape for one in support}) == 1:
            stacked = torch.stack(list(support))
            classes = self.intra(stacked.flatten(0, 1)).unflatten(0, stacked.shape[:2])
            return self.project(self.inter(classes))
        return self.project(torch.cat([self.inter(self.intra(one)[None]) for one in support]))


class OrderedEncoder(nn.Module):
    """All samples side by side through a linear layer over samples and one over all: minds every order.

    Fewer classes than most use the first columns of the first layer.

    Args:
        d_in: numbers of a sample.
        d_out: numbers of the vector.
        classes: at most.
        shots: samples n of each class.
    """

    def __init__(self, d_in: int, d_out: int, classes: int, shots: int = 5) -> None:
        super().__init__()
        self.d_in, self.width, self.shots = d_in, d_out, shots
        self.mix, self.last = nn.Linear(shots * classes, 4), nn.Linear(4 * d_in, d_out)

    def forward(self, support: Support) -> Tensor:
        """(B, d_out) of B supports.

        Raises:
            ValueError: more classes, or another number of samples of each.
        """
        check_support(support, self.d_in)
        found = []
        for one in support:
            columns = one.flatten(0, 1)
            if one.shape[1] != self.shots or len(columns) > self.mix.in_features:
                most = self.mix.in_features // self.shots
                raise ValueError(
                    f"support: expected {self.shots} samples of at most {most} classes, found {one.shape[:2]}"
                )
            found.append(F.linear(columns.T, self.mix.weight[:, : len(columns)], self.mix.bias))
        return self.last(F.leaky_relu(torch.stack(found)).flatten(1))


class ClassMeans(nn.Module):
    """The means of the classes side by side, in the order of the classes: what a head's rows follow.

    Args:
        d_in: numbers of a sample.
        classes: number C.
    """

    def __init__(self, d_in: int, classes: int) -> None:
        super().__init__()
        self.d_in, self.classes, self.width = d_in, classes, d_in * classes

    def forward(self, support: Support) -> Tensor:
        """(B, C d) of B supports.

        Raises:
            ValueError: another number of classes.
        """
        check_support(support, self.d_in)
        if any(len(one) != self.classes for one in support):
            raise ValueError(f"support: expected {self.classes} classes, found {[len(one) for one in support][:10]}")
        return torch.stack([one.mean(dim=1).flatten() for one in support])

"""`Ponita`: scalars and vectors at points to scalars and vectors."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from representation.equivariant.cloud_graphs import complete_graph, radius_graph, with_self_loops
from representation.equivariant.ponita.invariants import (
    KernelBasis,
    distances,
    oriented_invariants,
    pair_invariants,
    window,
)
from representation.equivariant.ponita.layers import PonitaBlock, SeparableFiberConv
from representation.equivariant.ponita.orientations import Kind, orientation_grid

PLAIN, LIFTED_EDGES = 0, -1
"""Numbers of orientations with a meaning of their own, see `Ponita`."""


class _Space(NamedTuple):
    """Where features live: M oriented points, which are those of the cloud, or its edges."""

    pos: Tensor  # (M, n)
    edges: Tensor  # (2, E)
    orientation: Tensor | None  # (1, O, n) of all points, or (M, 1, n)
    base: Tensor | None  # (M,) the point of the cloud that each belongs to; None if they are the same


class Ponita(nn.Module):
    """Message passing over places and orientations; a motion of the cloud moves what comes out.

    With several orientations at each point this is so up to the coarseness of their grid, and exactly for its own
    symmetries. Kernels see distances only (`num_ori=0`: no vectors), or every edge is an oriented point
    (`num_ori=-1`); both are exact. In space mirror images are not told apart, in the plane they are.

    Args:
        in_scalars: scalars of a point.
        in_vectors: vectors of a point.
        hidden: channels H.
        out_scalars: scalars that come out.
        out_vectors: vectors that come out.
        layers: blocks.
        dim: n, 2 or 3.
        num_ori: orientations O at each point, or `PLAIN`, or `LIFTED_EDGES`.
        radius: how far points are told of, in units of the places; None for any distance.
        basis_dim: functions that kernels are made of; H if None.
        degree: of the polynomials of invariants.
        task: values of every point ("node") or their sum over each cloud ("graph").
        multiple_readouts: whether every block is read, and the mean taken, or the last one alone.
        layer_scale: see `PonitaBlock`.
        grid: of orientations, see `orientation_grid`.

    Raises:
        ValueError: vectors without orientations.
    """

    grid: Tensor

    def __init__(
        self,
        in_scalars: int,
        in_vectors: int,
        hidden: int,
        out_scalars: int,
        out_vectors: int,
        layers: int,
        *,
        dim: int = 3,
        num_ori: int = 20,
        radius: float | None = None,
        basis_dim: int | None = None,
        degree: int = 3,
        task: Literal["node", "graph"] = "node",
        multiple_readouts: bool = True,
        layer_scale: float | None = None,
        grid: Kind | None = None,
    ) -> None:
        super().__init__()
        if num_ori == PLAIN and (in_vectors or out_vectors):
            raise ValueError(f"num_ori: expected orientations for vectors, found {num_ori}")
        self.inputs, self.outputs, self.dim = (in_scalars, in_vectors), (out_scalars, out_vectors), dim
        self.num_ori, self.radius, self.task, self.multiple_readouts = num_ori, radius, task, multiple_readouts
        basis_dim = basis_dim or hidden
        if num_ori > 0:
            self.register_buffer("grid", orientation_grid(dim, num_ori, grid).float())
        spatial = 2 if num_ori > 0 else 1 if num_ori == PLAIN else 3
        self.basis = KernelBasis(spatial, hidden, basis_dim, degree)
        self.fiber_basis = KernelBasis(1, hidden, basis_dim, degree) if num_ori > 0 else None
        self.x_embedder = nn.Linear(in_scalars + in_vectors, hidden, bias=False)
        self.blocks = nn.ModuleList(
            PonitaBlock(SeparableFiberConv(hidden, basis_dim, num_ori > 0), hidden, layer_scale=layer_scale)
            for _ in range(layers)
        )
        self.readouts = nn.ModuleList(
            nn.Linear(hidden, out_scalars + out_vectors) for _ in range(layers if multiple_readouts else 1)
        )

    def forward(
        self,
        pos: Tensor,
        scalars: Tensor | None = None,
        vectors: Tensor | None = None,
        edge_index: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Scalars (N, S) and vectors (N, V, n), or of each of B clouds; None where there are none.

        Args:
            pos: (N, n) places.
            scalars: (N, in_scalars).
            vectors: (N, in_vectors, n).
            edge_index: (2, E) senders and receivers; if None all points of a cloud, or those within `radius`.
            batch: (N,) number of the cloud of each point; if None there is one cloud.

        Raises:
            ValueError: other inputs than those that it was made for.
        """
        self._check(pos, scalars, vectors)
        batch = torch.zeros(len(pos), dtype=torch.long, device=pos.device) if batch is None else batch
        if edge_index is None:
            edge_index = complete_graph(batch) if self.radius is None else radius_graph(pos, self.radius, batch)
        space = self._space(pos, with_self_loops(edge_index, len(pos)))
        basis, fiber_basis = self._bases(space)
        x = self.x_embedder(self._lifted(space, scalars, vectors))
        read = []
        for number, block in enumerate(self.blocks):
            x = block(x, space.edges, basis, fiber_basis)
            if self.multiple_readouts or number == len(self.blocks) - 1:
                read.append(self.readouts[len(read)](x))
        return self._lowered(torch.stack(read).mean(dim=0), space, batch)

    def of_graph(self, graph: Any) -> tuple[Tensor | None, Tensor | None]:
        """The same of a graph of torch_geometric: `pos`; if there, `x` (scalars), `vec`, `edge_index` and `batch`."""
        return self(graph.pos, *(getattr(graph, name, None) for name in ("x", "vec", "edge_index", "batch")))

    def _check(self, pos: Tensor, scalars: Tensor | None, vectors: Tensor | None) -> None:
        found = (
            tuple(pos.shape[1:]),
            None if scalars is None else tuple(scalars.shape[1:]),
            None if vectors is None else tuple(vectors.shape[1:]),
        )
        number, vector_number = self.inputs
        wanted = (self.dim,), (number,) if number else None, (vector_number, self.dim) if vector_number else None
        if found != wanted:
            raise ValueError(f"pos, scalars, vectors: expected shapes of a point {wanted}, found {found}")

    def _space(self, pos: Tensor, edges: Tensor) -> _Space:
        if self.num_ori == PLAIN:
            return _Space(pos, edges, None, None)
        if self.num_ori > 0:
            return _Space(pos, edges, self.grid.to(pos)[None], None)
        sender, receiver = edges[:, edges[0] != edges[1]]
        orientation = nn.functional.normalize(pos[sender] - pos[receiver], dim=1)
        is_edge = torch.zeros(len(pos), len(pos), dtype=torch.bool, device=pos.device)
        is_edge[edges[0], edges[1]] = True
        lifted = is_edge[receiver][:, receiver].nonzero().T
        return _Space(pos[receiver], lifted, orientation[:, None], receiver)

    def _bases(self, space: _Space) -> tuple[Tensor, Tensor | None]:
        """Values (E, O, basis_dim) of pairs of points, faded out with distance, and (O, O, basis_dim)."""
        length, fiber_basis = distances(space.pos, space.edges), None
        if self.fiber_basis is not None:
            invariants, fiber = pair_invariants(space.pos, space.edges, self.grid.to(space.pos))
            fiber_basis = self.fiber_basis(fiber)
        elif space.orientation is not None:
            invariants = oriented_invariants(space.pos, space.edges, space.orientation[:, 0])
        else:
            invariants = length[:, None, None]
        return self.basis(invariants) * window(length, self.radius)[:, None, None], fiber_basis

    def _lifted(self, space: _Space, scalars: Tensor | None, vectors: Tensor | None) -> Tensor:
        """Inputs (M, O, C + V) at oriented points."""
        if space.base is not None:
            scalars, vectors = (None if one is None else one[space.base] for one in (scalars, vectors))
        count = 1 if space.orientation is None else space.orientation.shape[1]
        parts = [] if scalars is None else [scalars[:, None].expand(-1, count, -1)]
        if vectors is not None and space.orientation is not None:
            parts.append(torch.einsum("mvn,mon->mov", vectors, space.orientation.expand(len(vectors), -1, -1)))
        return torch.cat(parts, dim=2)

    def _lowered(self, read: Tensor, space: _Space, batch: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Scalars and vectors of points, or their sums over clouds, of what was read (M, O, S + V)."""
        scalar_part, vector_part = read.split(self.outputs, dim=2)
        results: list[Tensor | None] = [scalar_part.mean(dim=1) if self.outputs[0] else None, None]
        if self.outputs[1] and space.orientation is not None:
            every = space.orientation.expand(len(read), -1, -1)
            results[1] = torch.einsum("mov,mon->mvn", vector_part, every) / read.shape[1]
        if space.base is not None:
            results = [None if one is None else _mean(one, space.base, len(batch)) for one in results]
        if self.task == "graph":
            clouds = int(batch.max()) + 1
            results = [None if one is None else _summed(one, batch, clouds) for one in results]
        return results[0], results[1]


def _summed(values: Tensor, number: Tensor, count: int) -> Tensor:
    return values.new_zeros(count, *values.shape[1:]).index_add(0, number, values)


def _mean(values: Tensor, number: Tensor, count: int) -> Tensor:
    """Means by number; 0 where there is nothing."""
    degree = torch.bincount(number, minlength=count).clamp(min=1)
    return _summed(values, number, count) / degree.view(-1, *[1] * (values.ndim - 1))

"""What does not change when a pair of points with orientations is moved, and the functions that kernels are made of.

As published, the way to the sender in the frame of the receiver, and the cosine of both orientations. In space that
leaves open how the sender's orientation is turned about the receiver's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SQUARED_EPSILON = 1e-12
"""Added to squared lengths, so that a length of 0 has a gradient: of a point to itself."""


def pair_invariants(pos: Tensor, edges: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Invariants of all pairs of points along edges, for each orientation of the receiver.

    Args:
        pos: (N, n) places, n = 2 or 3.
        edges: (2, E) senders and receivers.
        grid: (O, n) orientations, the same at every point.

    Returns:
        (E, O, 2): the way to the sender along the orientation, and across it (in the plane signed, to its left); and
        (O, O, 1): cosines of two orientations.
    """
    along, across = _along_and_across((pos[edges[0]] - pos[edges[1]])[:, None], grid)
    return torch.stack([along, across], dim=2), (grid @ grid.T)[..., None]


def oriented_invariants(pos: Tensor, edges: Tensor, orientation: Tensor) -> Tensor:
    """Invariants (E, 1, 3) of pairs of points (N, n), each with its own orientation (N, n): as above, together."""
    own = orientation[edges[1]]
    along, across = _along_and_across(pos[edges[0]] - pos[edges[1]], own)
    return torch.stack([along, across, (own * orientation[edges[0]]).sum(dim=1)], dim=1)[:, None]


def distances(pos: Tensor, edges: Tensor) -> Tensor:
    """Lengths (E,) of edges between points (N, n)."""
    return ((pos[edges[0]] - pos[edges[1]]).square().sum(dim=1) + SQUARED_EPSILON).sqrt()


def _along_and_across(way: Tensor, orientation: Tensor) -> tuple[Tensor, Tensor]:
    along = (way * orientation).sum(dim=-1)
    if way.shape[-1] == 2:
        return along, way[..., 1] * orientation[..., 0] - way[..., 0] * orientation[..., 1]
    rest = way - along[..., None] * orientation
    return along, (rest.square().sum(dim=-1) + SQUARED_EPSILON).sqrt()


def polynomials(values: Tensor, degree: int) -> Tensor:
    """Values (..., d) and all products of up to `degree` of them, (..., d + d^2 + ...); products repeat."""
    powers = [values]
    for _ in range(degree - 1):
        powers.append((powers[-1][..., :, None] * values[..., None, :]).flatten(-2))
    return torch.cat(powers, dim=-1)


def window(distance: Tensor, radius: float | None, order: int = 6) -> Tensor:
    """A factor that falls from 1 to 0 at `radius`, where two derivatives are 0 too; 1 without radius."""
    if radius is None:
        return torch.ones_like(distance)
    s, p = distance / radius, order
    falling = 1 - (p + 1) * (p + 2) / 2 * s**p + p * (p + 2) * s ** (p + 1) - p * (p + 1) / 2 * s ** (p + 2)
    return torch.where(s < 1, falling, torch.zeros_like(s))


class KernelBasis(nn.Module):
    """Functions of invariants, of which all layers make their kernels.

    Args:
        inputs: number d of invariants.
        hidden: width inside.
        basis_dim: number of functions.
        degree: of the polynomials.
    """

    def __init__(self, inputs: int, hidden: int, basis_dim: int, degree: int) -> None:
        super().__init__()
        self.degree = degree
        count = sum(inputs**power for power in range(1, degree + 1))
        self.layers = nn.Sequential(nn.Linear(count, hidden), nn.GELU(), nn.Linear(hidden, basis_dim), nn.GELU())

    def forward(self, invariants: Tensor) -> Tensor:
        """Invariants (..., d) to values (..., basis_dim)."""
        return self.layers(polynomials(invariants, self.degree))

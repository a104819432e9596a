"""`ClusterNet`: positions and species, as of atoms, to features by what lies around each point and powers of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from representation.equivariant.cloud_graphs import radius_graph
from representation.equivariant.gaunt_tensor_product.layers import GauntManyBody
from representation.equivariant.gaunt_tensor_product.point_net import Radial
from representation.equivariant.gaunt_tensor_product.product import by_degree
from representation.equivariant.gaunt_tensor_product.spherical_harmonics import number_of, real_spherical_harmonics


class ClusterNet(nn.Module):
    """Features of the points of one cluster: `GauntManyBody` of the sum of its neighbours' directions.

    Neighbours fade out smoothly with distance. A power of order k tells what k neighbours make together.

    Args:
        n_species: kinds of points.
        cutoff: how far neighbours are, in the unit of the positions.
        l_max: largest degree of the sums.
        l_out: of what comes out, at most order * l_max.
        channels: C.
        order: of the highest power.
    """

    def __init__(
        self, n_species: int, cutoff: float, l_max: int = 2, l_out: int = 2, channels: int = 8, order: int = 3
    ) -> None:
        super().__init__()
        if n_species < 1 or not cutoff > 0:
            raise ValueError(f"n_species, cutoff: expected at least 1 and more than 0, found {n_species}, {cutoff}")
        self.cutoff, self.l_max = cutoff, l_max
        self.species = nn.Embedding(n_species, channels)
        self.radial = Radial(channels, l_max)
        self.powers = GauntManyBody(l_max, l_out, channels, order, n_species)

    def forward(self, positions: Tensor, species: Tensor) -> Tensor:
        """Features (N, C, (l_out + 1)^2) of points.

        Args:
            positions: (N, 3); where the cluster is does not matter.
            species: (N,) kinds, from 0 on.

        Raises:
            ValueError: other shapes, or species that there are not.
        """
        count, kinds = len(positions), self.species.num_embeddings
        if positions.shape != (count, 3) or species.shape != (count,):
            found = f"{tuple(positions.shape)}, {tuple(species.shape)}"
            raise ValueError(f"positions, species: expected (N, 3) and (N,), found {found}")
        if count and not 0 <= int(species.min()) <= int(species.max()) < kinds:
            raise ValueError(f"species: expected 0 to {kinds - 1}, found {int(species.min())} to {int(species.max())}")
        sender, receiver = radius_graph(positions, self.cutoff, torch.zeros_like(species))
        sender, receiver = sender[sender != receiver], receiver[sender != receiver]
        way = positions[sender] - positions[receiver]
        distance = way.norm(dim=1) / self.cutoff
        strength = self.radial(2 * distance) * (1 - distance.square()).square()[:, None, None]
        told = by_degree(strength * self.species(species[sender])[..., None])
        told = told * real_spherical_harmonics(self.l_max, way)[:, None]
        around = told.new_zeros(count, told.shape[1], number_of(self.l_max)).index_add(0, receiver, told)
        return self.powers(around, species)

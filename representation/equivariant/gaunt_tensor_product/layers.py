"""Layers with weights: the product of two features, with directions as filters, and of many."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from representation.equivariant.gaunt_tensor_product.product import (
    Method,
    by_degree,
    from_torus,
    gaunt_tensor_product,
    output_deviation,
    to_torus,
)
from representation.equivariant.gaunt_tensor_product.spherical_harmonics import real_spherical_harmonics


class GauntTensorProduct(nn.Module):
    """Channel by channel, the product of two features; each path's weight is a product of three, one of each degree.

    Degrees that come out have a variance of about 1 at first, for features of that variance.

    Args:
        l1: largest degree of the first.
        l2: of the second.
        l_out: of what comes out.
        channels: C.
        method: see `gaunt_tensor_product`.
    """

    scale: Tensor

    def __init__(self, l1: int, l2: int, l_out: int, channels: int, method: Method = "fft") -> None:
        super().__init__()
        self.l_out, self.method = l_out, method
        self.first, self.second, self.out = (nn.Parameter(torch.ones(channels, one + 1)) for one in (l1, l2, l_out))
        self.register_buffer("scale", (1 / output_deviation(l1, l2, l_out)).float(), persistent=False)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Features (B, C, (L1 + 1)^2) and (B, C, (L2 + 1)^2) to (B, C, (L_out + 1)^2)."""
        product = gaunt_tensor_product(by_degree(self.first) * x1, by_degree(self.second) * x2, self.l_out, self.method)
        return by_degree(self.out * self.scale.to(x1)) * product


class GauntConv(nn.Module):
    """Channel by channel, the product of features and of the spherical harmonics of a direction.

    Args:
        l_in: largest degree of the features.
        l_filter: of the directions.
        l_out: of what comes out.
        channels: C.
        method: see `gaunt_tensor_product`.
    """

    scale: Tensor

    def __init__(self, l_in: int, l_filter: int, l_out: int, channels: int, method: Method = "grid") -> None:
        super().__init__()
        self.l_filter, self.l_out, self.method = l_filter, l_out, method
        self.weight = nn.Parameter(torch.ones(channels, l_in + 1))
        # Squares of spherical harmonics of a degree sum up to (2 l + 1) / 4 pi, so each has a variance of 1 / 4 pi.
        deviation = output_deviation(l_in, l_filter, l_out) / (4 * torch.pi) ** 0.5
        self.register_buffer("scale", (1 / deviation).float(), persistent=False)

    def forward(self, x: Tensor, way: Tensor, radial: Tensor | None = None) -> Tensor:
        """Features (E, C, (L_in + 1)^2) to (E, C, (L_out + 1)^2).

        Args:
            x: of the senders of E edges.
            way: (E, 3) from receiver to sender, of any length.
            radial: (E, C, l_filter + 1) weights of the filter's degrees; 1 if None.
        """
        filters = real_spherical_harmonics(self.l_filter, way)[:, None]
        if radial is not None:
            filters = by_degree(radial) * filters
        product = gaunt_tensor_product(by_degree(self.weight) * x, filters, self.l_out, self.method)
        return by_degree(self.scale.to(x)) * product


class GauntManyBody(nn.Module):
    """Channel by channel, the sum of the powers of a feature up to an order, with weights by power, kind and degree.

    Powers are taken of values on one grid that is fine enough for the highest, so nothing is cut off between them.

    Args:
        l_in: largest degree of the feature.
        l_out: of what comes out.
        channels: C.
        order: of the highest power.
        n_species: kinds of points, each with weights of its own.
    """

    def __init__(self, l_in: int, l_out: int, channels: int, order: int, n_species: int = 1) -> None:
        super().__init__()
        if order < 1 or l_out > order * l_in:
            raise ValueError(f"order, l_out: expected at least 1 and at most order * {l_in}, found {order}, {l_out}")
        self.l_out, self.band = l_out, order * l_in
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(n_species, channels, l_out + 1) / order) for _ in range(order)
        )

    def powers(self, x: Tensor) -> list[Tensor]:
        """Powers of features (B, C, (L_in + 1)^2) from 1 to the order, each (B, C, (L_out + 1)^2)."""
        values = to_torus(x, self.band)
        reached, found = values, [values]
        for _ in range(len(self.weights) - 1):
            reached = reached * values
            found.append(reached)
        return [from_torus(one, self.l_out, self.band) for one in found]

    def forward(self, x: Tensor, species: Tensor | None = None) -> Tensor:
        """Features (B, C, (L_in + 1)^2) to (B, C, (L_out + 1)^2).

        Args:
            x: of points.
            species: (B,) kinds of the points; all of the first kind if None.
        """
        species = torch.zeros(len(x), dtype=torch.long, device=x.device) if species is None else species
        terms = [by_degree(w[species]) * power for w, power in zip(self.weights, self.powers(x), strict=True)]
        return torch.stack(terms).sum(dim=0)


class DegreeLinear(nn.Module):
    """Mixes channels, for each degree by a matrix of its own.

    Args:
        inputs: channels that come in.
        outputs: channels that come out.
        l_max: largest degree.
    """

    def __init__(self, inputs: int, outputs: int, l_max: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(l_max + 1, outputs, inputs) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., inputs, (L + 1)^2) to (..., outputs, (L + 1)^2); degree 0 gets a bias."""
        parts = x.split([2 * degree + 1 for degree in range(len(self.weight))], dim=-1)
        mixed = [weight @ part for weight, part in zip(self.weight, parts, strict=True)]
        mixed[0] = mixed[0] + self.bias[:, None]
        return torch.cat(mixed, dim=-1)

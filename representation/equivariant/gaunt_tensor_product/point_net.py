"""`GauntPointNet`: clouds to features of any degree, by messages between points and products at them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from representation.equivariant.gaunt_tensor_product.layers import DegreeLinear, GauntConv, GauntTensorProduct
from representation.equivariant.gaunt_tensor_product.product import by_degree
from representation.equivariant.gaunt_tensor_product.spherical_harmonics import number_of, real_spherical_harmonics

BUMPS = 8  # functions of the distance


class Radial(nn.Module):
    """Weights (E, C, L + 1) of channels and degrees out of distances (E,) in [0, 2]; degree l begins like r^l."""

    bumps: Tensor

    def __init__(self, channels: int, l_max: int) -> None:
        super().__init__()
        self.shape = (channels, l_max + 1)
        self.register_buffer("bumps", torch.linspace(0.0, 2.0, BUMPS))
        self.network = nn.Sequential(nn.Linear(BUMPS, 32), nn.SiLU(), nn.Linear(32, channels * (l_max + 1)))

    def forward(self, distance: Tensor) -> Tensor:
        """The weights."""
        basis = (-(((distance[:, None] - self.bumps.to(distance)) * (BUMPS / 2)) ** 2)).exp()
        power = torch.arange(self.shape[1], device=distance.device)
        return self.network(basis).unflatten(1, self.shape) * distance[:, None, None] ** power


class GauntLayer(nn.Module):
    """Messages from neighbours and a product of each point's feature with itself, added to what was there."""

    def __init__(self, l_max: int, channels: int) -> None:
        super().__init__()
        self.radial = Radial(channels, l_max)
        self.conv = GauntConv(l_max, l_max, l_max, channels)
        self.product = GauntTensorProduct(l_max, l_max, l_max, channels, method="grid")
        self.told, self.one, self.other, self.mixed = (DegreeLinear(channels, channels, l_max) for _ in range(4))
        self.gate = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels))

    def forward(self, x: Tensor, way: Tensor, edges: Tensor) -> Tensor:
        """Features (N, C, (L + 1)^2) to features.

        Args:
            x: of points.
            way: (E, 3) from receiver to sender.
            edges: (2, E) senders and receivers.
        """
        messages = self.conv(x.index_select(0, edges[0]), way, self.radial(way.norm(dim=1)))
        degree = torch.bincount(edges[1], minlength=len(x)).clamp(min=1)
        told = torch.zeros_like(x).index_add(0, edges[1], messages) / degree[:, None, None]
        x = x + self.told(told)
        # Products of large values would explode: they are of features of about unit length, gated by scalars.
        unit = x / (1 + x.square().mean(dim=(1, 2), keepdim=True)).sqrt()
        product = self.product(self.one(unit), self.other(unit))
        return x + torch.tanh(self.gate(unit[:, :, 0]))[:, :, None] * self.mixed(product)


class GauntPointNet(nn.Module):
    """Features of points and, as their mean, of clouds.

    Args:
        l_max: largest degree L inside.
        channels: C.
        layers: of messages.
        out_l: degrees that come out.
        out_channels: channels that come out; C if None.
        in_channels: channels of features that points have besides their places; 0 for none.
        in_l: largest degree of these: 0 for scalars such as intensities, 1 for vectors such as normals beside them.

    Raises:
        ValueError: degrees above L.
    """

    def __init__(
        self,
        l_max: int = 3,
        channels: int = 16,
        layers: int = 2,
        out_l: Sequence[int] = (0, 1, 2),
        out_channels: int | None = None,
        in_channels: int = 0,
        in_l: int = 0,
    ) -> None:
        super().__init__()
        if not out_l or min(out_l) < 0 or max(out_l) > l_max:
            raise ValueError(f"out_l: expected degrees up to {l_max}, found {tuple(out_l)}")
        if not 0 <= in_l <= l_max:
            raise ValueError(f"in_l: expected 0 to {l_max}, found {in_l}")
        self.l_max, self.out_l = l_max, tuple(out_l)
        self.features = (in_channels, number_of(in_l))
        self.place = Radial(channels, l_max)
        self.given = DegreeLinear(in_channels, channels, in_l) if in_channels else None
        self.layers = nn.ModuleList(GauntLayer(l_max, channels) for _ in range(layers))
        self.read = DegreeLinear(channels, out_channels or channels, l_max)

    def at_points(self, pos: Tensor, edges: Tensor, features: Tensor | None = None) -> dict[int, Tensor]:
        """Features (N, C, 2 l + 1) of each degree that comes out, of points.

        Args:
            pos: (N, 3) places, counted from the middle of each point's cloud and of about unit size.
            edges: (2, E) senders and receivers, within clouds.
            features: (N, in_channels, (in_l + 1)^2) of points; None where it is made for none. A vector (x, y, z) is
                itself a feature of degree 1.

        Raises:
            ValueError: other features than those that it was made for.
        """
        found = None if features is None else tuple(features.shape)
        wanted = None if self.given is None else (len(pos), *self.features)
        if found != wanted:
            raise ValueError(f"features: expected {wanted}, found {found}")
        edges = edges[:, edges[0] != edges[1]]
        x = by_degree(self.place(pos.norm(dim=1))) * real_spherical_harmonics(self.l_max, pos)[:, None]
        if self.given is not None:
            x = x + nn.functional.pad(self.given(features), (0, x.shape[-1] - self.features[1]))
        way = pos[edges[0]] - pos[edges[1]]
        for layer in self.layers:
            x = layer(x, way, edges)
        read = self.read(x)
        return {degree: read[..., degree**2 : number_of(degree)] for degree in self.out_l}

    def forward(self, points: Tensor, edges: Tensor | None = None, features: Tensor | None = None) -> dict[int, Tensor]:
        """Features (B, C, 2 l + 1) of each degree that comes out, of clouds (B, N, 3) of about unit size.

        Args:
            points: of any number; where the clouds are does not matter.
            edges: (2, E) between points, numbered over the whole batch; if None all of a cloud.
            features: (B, N, in_channels, (in_l + 1)^2) of points, see `at_points`.
        """
        batch, count = points.shape[:2]
        if edges is None:
            every = torch.arange(count, device=points.device)
            pairs = torch.cartesian_prod(every, every).T
            edges = (pairs[:, None] + count * torch.arange(batch, device=points.device)[:, None]).flatten(1)
        pos = (points - points.mean(dim=1, keepdim=True)).flatten(0, 1)
        given = None if features is None else features.flatten(0, 1)
        return {
            degree: values.unflatten(0, (batch, count)).mean(dim=1)
            for degree, values in self.at_points(pos, edges, given).items()
        }

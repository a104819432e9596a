"""`ProGAE`: two encoders and one decoder of chains, its losses, and its transfer to chains of another length."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.generative.progae.geometry import (
    bond_lengths,
    bond_orientations,
    centred,
    checked_chains,
    contact_map,
    distances,
)

SYSTEM = "progae"
SLOPE, EPS = 0.2, 1e-8
INTRINSIC, EXTRINSIC = (2, 16, 32, 64, 64), (3, 32, 64, 64, 64)  # channels of the encoders
PARTS = 2  # of the chain, over each of which features are averaged
MIXED, DECODED, UPSAMPLED = 256, (64, 64, 64, 32), 8  # units and channels of the decoder; by how much it upsamples
R0, WIDTH = 3.0, 0.5  # of a contact, bond lengths
# Weights in the loss of a swap, beside that of distances in bonds: of contacts, which differ by hundredths where
# distances differ by bonds, and of the code of directions.
CROSS_CONTACTS, CROSS_POSE = 100.0, 0.02
BETA = 0.1  # of the smooth L1 loss, bond lengths


class ChainCode(NamedTuple):
    """The codes of chains.

    Attributes:
        intrinsic: (B, d_I), of the shape; the same however the chain is moved, turned or mirrored.
        extrinsic: (B, d_E), of the directions of the bonds; the same wherever the chain is and however large.
    """

    intrinsic: Tensor
    extrinsic: Tensor


@dataclass(frozen=True)
class ProGAEConfig:
    """Sizes, units and weights.

    Attributes:
        n_nodes: nodes n of a chain.
        d_intrinsic: numbers of the code of shape.
        d_extrinsic: numbers of the code of directions.
        bond: mean length of a bond, in the unit of the chains: what is decoded has this size.
        r0: distance of half a contact, in the same unit; 0 for 3 bonds. Proteins: 8 angstrom.
        contact_width: over which contacts fade; 0 for half a bond. Proteins: 1 angstrom.
        intrinsic_weight: of the error of contacts.
        extrinsic_weight: of the error of the bonds' directions.
        code_weight: of the squared codes.
        length_weight: of the error of the bonds' lengths, by the mean bond, which the earlier version of the paper
            takes as the intrinsic geometry; contacts hardly tell it.
        cross_weight: of how far the codes of a decoded swap are from those it was decoded from.
    """

    n_nodes: int
    d_intrinsic: int = 16
    d_extrinsic: int = 16
    bond: float = 1.0
    r0: float = 0.0
    contact_width: float = 0.0
    intrinsic_weight: float = 1.0
    extrinsic_weight: float = 1.0
    code_weight: float = 1e-4
    length_weight: float = 1.0
    cross_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.n_nodes < 3 or min(self.d_intrinsic, self.d_extrinsic) < 1:
            raise ValueError(
                "n_nodes, d_intrinsic, d_extrinsic: expected at least 3, 1 and 1, found "
                f"{self.n_nodes}, {self.d_intrinsic} and {self.d_extrinsic}"
            )
        if not (math.isfinite(self.bond) and self.bond > 0):
            raise ValueError(f"bond: expected a positive length, found {self.bond}")
        rest = {key: value for key, value in asdict(self).items() if key.endswith("_weight") or key in _LENGTHS}
        if not all(math.isfinite(value) and value >= 0 for value in rest.values()):
            raise ValueError(f"weights and lengths: expected none below 0, found {rest}")

    @property
    def contact(self) -> tuple[float, float]:
        """r0 and width that are used."""
        return self.r0 or R0 * self.bond, self.contact_width or WIDTH * self.bond

    @property
    def contour(self) -> float:
        """Length of a whole chain."""
        return self.bond * (self.n_nodes - 1)


_LENGTHS = ("r0", "contact_width")


class IntrinsicEncoder(nn.Module):
    """Maps (B, 2, n, n) of contacts and distances to codes (B, width), for any n."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(INTRINSIC):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU(SLOPE)]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(INTRINSIC[-1] * PARTS**2, width)

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        return self.head(F.adaptive_avg_pool2d(self.layers(maps), PARTS).flatten(1))


class ExtrinsicEncoder(nn.Module):
    """Directions (B, n - 1, 3) of bonds to codes (B, width), for any n."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(EXTRINSIC):
            layers += [nn.Conv1d(before, after, 5, 2, 2), nn.BatchNorm1d(after), nn.LeakyReLU(SLOPE)]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(EXTRINSIC[-1] * PARTS + 3, width)

    def forward(self, bonds: Tensor) -> Tensor:
        """See the class."""
        features = F.adaptive_avg_pool1d(self.layers(bonds.mT), PARTS).flatten(1)
        return self.head(torch.cat([features, bonds.mean(dim=1)], dim=1))


class ChainDecoder(nn.Module):
    """Codes (B, width) to nodes (B, n, 3) about their mean, in bonds; `dense` alone depends on n.

    Its last layer gives bonds, which are added up: they need to be right to a share of themselves, coordinates to the
    same share of a bond, however long the chain.
    """

    def __init__(self, width: int, n_nodes: int) -> None:
        super().__init__()
        self.n_nodes = n_nodes
        self.mix = nn.Sequential(
            nn.Linear(width, MIXED), nn.LeakyReLU(SLOPE), nn.Linear(MIXED, MIXED), nn.LeakyReLU(SLOPE)
        )
        self.dense = nn.Linear(MIXED, DECODED[0] * -(-n_nodes // UPSAMPLED))
        layers: list[nn.Module] = []
        for before, after in pairwise(DECODED):
            layers += [
                nn.Upsample(scale_factor=2, mode="linear"),
                nn.Conv1d(before, after, 5, padding=2),
                nn.BatchNorm1d(after),
                nn.LeakyReLU(SLOPE),
            ]
        self.layers, self.last = nn.Sequential(*layers), nn.Conv1d(DECODED[-1], 3, 5, padding=2)

    def forward(self, code: Tensor) -> Tensor:
        """See the class."""
        features = self.layers(self.dense(self.mix(code)).unflatten(1, (DECODED[0], -1)))
        bonds = self.last(features[..., : self.n_nodes - 1]).mT
        return centred(F.pad(bonds.cumsum(dim=1), (0, 0, 1, 0)))


class ProGAE(nn.Module):
    """An autoencoder of chains (B, n, 3) with a code of shape and one of directions.

    Args:
        n_nodes: n.
        d_intrinsic: numbers of the code of shape.
        d_extrinsic: numbers of the code of directions.
        config: all sizes, units and weights; replaces the others where it is given.
        seed: of the weights.
    """

    def __init__(
        self,
        n_nodes: int,
        d_intrinsic: int = 16,
        d_extrinsic: int = 16,
        *,
        config: ProGAEConfig | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = config or ProGAEConfig(n_nodes, d_intrinsic, d_extrinsic)
        if self.config.n_nodes != n_nodes:
            raise ValueError(f"n_nodes: expected that of the configuration, {self.config.n_nodes}, found {n_nodes}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.intrinsic = IntrinsicEncoder(self.config.d_intrinsic)
            self.extrinsic = ExtrinsicEncoder(self.config.d_extrinsic)
            self.decoder = ChainDecoder(self.config.d_intrinsic + self.config.d_extrinsic, n_nodes)

    def encode(self, x: Tensor) -> ChainCode:
        """Codes of chains (B, n, 3), of any number of nodes; where they are, `x.mean(dim=1)`, is in neither code.

        Raises:
            ValueError: other shapes, or positions that are not finite.
        """
        x = centred(checked_chains(x))
        return ChainCode(self.intrinsic(self.maps(x)), self.extrinsic(bond_orientations(x)))

    def maps(self, x: Tensor) -> Tensor:
        """Contacts and distances by the contour (B, 2, n, n) of chains (B, n, 3), which no rigid motion changes."""
        contour = bond_lengths(x).sum(dim=1)[:, None, None].clamp(min=EPS)
        apart = distances(x, EPS * self.config.contact[0] ** 2) / contour
        return torch.stack([contact_map(x, *self.config.contact), apart], dim=1)

    def decode(self, code: ChainCode) -> Tensor:
        """Nodes (B, n, 3) about their mean, in the unit of the configuration.

        Raises:
            ValueError: codes of other widths.
        """
        wanted, found = (self.config.d_intrinsic, self.config.d_extrinsic), tuple(part.shape[-1] for part in code)
        if found != wanted or len(code.intrinsic) != len(code.extrinsic):
            shapes = [tuple(part.shape) for part in code]
            raise ValueError(f"code: expected (B, {wanted[0]}) and (B, {wanted[1]}), found {shapes}")
        return self.config.bond * self.decoder(torch.cat(code, dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """Chains (B, n, 3) as they come back, about their mean."""
        return self.decode(self.encode(x))

    def loss(self, x: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Losses of a batch; `total` is minimised.

        Args:
            x: chains (B, n, 3).
            generator: pairs chains for the swaps, which `cross_weight` asks for; without it, each with the next.

        Returns:
            `coordinates` (smooth L1, in bonds), `intrinsic` (squared error of contacts), `extrinsic` (1 - cosine of the
            bonds), `lengths` (of the bonds, by the mean bond), `code`, with cross_weight `cross`, and `total`.
        """
        config, x = self.config, centred(checked_chains(x, self.config.n_nodes))
        maps, bonds = self.maps(x), bond_orientations(x)
        code = self.encode(x)
        decoded = self.decode(code)
        parts = {
            "coordinates": F.smooth_l1_loss(decoded / config.bond, x / config.bond, beta=BETA),
            "intrinsic": (contact_map(decoded, *config.contact) - maps[:, 0]).square().mean(),
            "extrinsic": 1 - (bond_orientations(decoded) * bonds).sum(dim=-1).mean(),
            "lengths": (bond_lengths(decoded) - bond_lengths(x)).abs().mean() / config.bond,
            "code": sum(part.square().sum(dim=1).mean() for part in code),
        }
        weights = {
            "coordinates": 1.0,
            "intrinsic": config.intrinsic_weight,
            "extrinsic": config.extrinsic_weight,
            "lengths": config.length_weight,
            "code": config.code_weight,
        }
        if config.cross_weight:
            parts["cross"], weights["cross"] = self._cross(code, maps, generator), config.cross_weight
        return {**parts, "total": sum(weights[name] * value for name, value in parts.items())}

    def _cross(self, code: ChainCode, maps: Tensor, generator: torch.Generator | None) -> Tensor:
        """How far swaps are from the maps of the one and the code of directions of the other chain."""
        count = len(maps)
        other = torch.arange(count).roll(1) if generator is None else torch.randperm(count, generator=generator)
        swap = self.decode(ChainCode(code.intrinsic, code.extrinsic[other]))
        contacts, apart = self.maps(swap).unbind(dim=1)
        bonds = self.config.n_nodes - 1  # distances are by the contour: in bonds they weigh as coordinates do
        far = F.smooth_l1_loss(bonds * apart, bonds * maps[:, 1], beta=BETA)
        near = F.mse_loss(contacts, maps[:, 0])
        found, wanted = self.extrinsic(bond_orientations(swap)), code.extrinsic[other].detach()
        pose = (found - wanted).square().mean(dim=0) / (wanted.var(dim=0) + EPS)
        return far + CROSS_CONTACTS * near + CROSS_POSE * pose.mean()

    def save(self, directory: Path) -> None:
        """Write what `load` reads."""
        save_encoder(self, SYSTEM, self.config, directory)


def transfer(model: ProGAE, n_nodes: int, bond: float | None = None, seed: int = 0) -> ProGAE:
    """A copy for chains of another number of nodes, in which only `decoder.dense` is new and trainable.

    All else is frozen, statistics of batches too: keep it in evaluation mode while it is trained.

    Args:
        model: a trained one.
        n_nodes: of the new chains.
        bond: mean length of theirs; None for the same contour.
        seed: of the new layer.
    """
    contour = model.config.contour
    scale = (bond or contour / (n_nodes - 1)) / model.config.bond
    config = replace(
        model.config,
        n_nodes=n_nodes,
        bond=model.config.bond * scale,
    )
    found = ProGAE(n_nodes, config=config, seed=seed)
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith("decoder.dense.")}
    found.load_state_dict(kept, strict=False)
    for name, parameter in found.named_parameters():
        parameter.requires_grad_(name.startswith("decoder.dense."))
    return found.to(next(model.parameters()).dtype).eval()


def load(directory: Path) -> ProGAE:
    """Read what was saved; in evaluation mode.

    Raises:
        FileNotFoundError: there is none.
        ValueError: damaged; names the file.
    """
    content = read_config(directory)["config"]
    try:
        config = ProGAEConfig(**content)
    except TypeError as error:
        raise ValueError(f"{directory}: expected the configuration of a {SYSTEM} model: {error}") from error
    model = ProGAE(config.n_nodes, config=config)
    load_weights(model, directory)
    return model.eval()

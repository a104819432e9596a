"""`HamiltonianNet`: an energy that is learned from rates alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from representation.checkpoint import load_weights, read_config, save_encoder

SYSTEM = "hamiltonian_meta"
Kind = Literal["mlp", "gnn"]
Parameters = Mapping[str, Tensor]


@dataclass(frozen=True)
class HamiltonianConfig:
    """Kind and sizes.

    Attributes:
        kind: "mlp" takes so many bodies as it was made for; "gnn" any number, in any order.
        bodies: of an mlp.
        coordinates: d of each body.
        hidden: width of the layers.
        layers: hidden layers of an mlp; rounds of messages of a gnn.
    """

    kind: Kind = "mlp"
    bodies: int = 1
    coordinates: int = 2
    hidden: int = 64
    layers: int = 2

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind: expected one of {', '.join(get_args(Kind))}, found {self.kind!r}")
        if min(self.bodies, self.coordinates, self.hidden, self.layers) < 1:
            raise ValueError(f"bodies, coordinates, hidden, layers: expected at least 1, found {self}")


class HamiltonianNet(nn.Module):
    """Energy of states (B, bodies, 2 d), q then p; smooth, so that it can be meta-trained on its field."""

    def __init__(self, config: HamiltonianConfig) -> None:
        super().__init__()
        self.config = config
        width, state = config.hidden, 2 * config.coordinates
        if config.kind == "mlp":
            self.read = _layers([state * config.bodies, *[width] * config.layers, 1])
            return
        self.embed = _layers([state, width, width])
        self.message = nn.ModuleList(_layers([2 * width, width, width]) for _ in range(config.layers))
        self.update = nn.ModuleList(_layers([2 * width, width, width]) for _ in range(config.layers))
        self.read = _layers([width, width, 1])

    def forward(self, states: Tensor) -> Tensor:
        """Energies (B,)."""
        if self.config.kind == "mlp":
            return self.read(states.flatten(1)).squeeze(-1)
        bodies = self.embed(states)  # (B, n, h)
        count = bodies.shape[1]
        others = ~torch.eye(count, dtype=torch.bool, device=states.device)
        for message, update in zip(self.message, self.update, strict=True):
            to = bodies[:, :, None].expand(-1, -1, count, -1)
            sent = message(torch.cat([to, to.transpose(1, 2)], dim=-1)) * others[..., None]
            bodies = bodies + update(torch.cat([bodies, sent.sum(dim=2)], dim=-1))
        return self.read(bodies).squeeze(-1).sum(dim=1)

    @property
    def parameters_by_name(self) -> dict[str, Tensor]:
        """Copies of the weights, for `field` and for `adaptation.adapt`."""
        return {name: value.detach().clone() for name, value in self.named_parameters()}

    def energy(self, parameters: Parameters, states: Tensor) -> Tensor:
        """Energies (B,) by other weights than its own."""
        return functional_call(self, dict(parameters), (states,))

    def field(self, parameters: Parameters, states: Tensor) -> Tensor:
        """Rates (B, bodies, 2 d): of q the slope of the energy over p, of p the negative slope over q."""
        over_q, over_p = grad(lambda x: self.energy(parameters, x).sum())(states).chunk(2, dim=-1)
        return torch.cat([over_p, -over_q], dim=-1)

    def save(self, directory: Path) -> None:
        """Write what `registry.load_model` reads."""
        save_encoder(self, SYSTEM, self.config, directory)


def load(directory: Path) -> HamiltonianNet:
    """Read what `HamiltonianNet.save` wrote.

    Raises:
        ValueError: damaged.
    """
    found = read_config(directory)["config"]
    try:
        net = HamiltonianNet(HamiltonianConfig(**found))
    except TypeError as error:
        raise ValueError(f"{directory}: expected the fields of HamiltonianConfig, found {found!r:.200}") from error
    load_weights(net, directory)
    return net.eval()


def _layers(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.Mish()]
    return nn.Sequential(*layers[:-1])

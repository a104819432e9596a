"""`CatEncoder`: vectors of several encoders, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import read_config, save_config
from representation.image_tower import TowerEncoder, load_tower
from representation.interface import Modality
from representation.registry import load_encoder
from representation.transfer.rich_representations.samples import Inputs, rows_of

SYSTEM = "rich_representations"
Normalize = Literal["l2"] | None


def encoded(encoder: Any, inputs: Inputs) -> Tensor:
    """Vectors of an encoder, which takes its own modality out of several."""
    several = encoder.modality == "several"
    return encoder.encode(inputs[encoder.modality] if isinstance(inputs, Mapping) and not several else inputs)


class CatEncoder(nn.Module):
    """An `Encoder` (section 4): the vectors of its members side by side; neither aligned nor selected.

    Args:
        encoders: modules with `modality`, `width` and `encode`; also of different kinds.
        normalize: "l2" brings each member's vectors to length 1 first, None leaves them.
        frozen: whether the members stay in evaluation mode and their weights without gradients.

    Attributes:
        width: sum of the members' widths.
        slices: where each member's numbers lie in a vector.
        modality: of all members, or "several"; it then takes inputs by modality.
        modalities: of the members.

    Raises:
        ValueError: no encoders, something that is none, or an unknown normalisation.
    """

    def __init__(self, encoders: Sequence[nn.Module], normalize: Normalize = None, frozen: bool = True) -> None:
        super().__init__()
        if not encoders:
            raise ValueError("encoders: expected at least one, found none")
        for encoder in encoders:
            missing = [name for name in ("modality", "width", "encode") if not hasattr(encoder, name)]
            if missing:
                raise ValueError(f"encoders: expected modality, width and encode, found {type(encoder)} w/o {missing}")
        if normalize not in (None, "l2"):
            raise ValueError(f"normalize: expected l2 or None, found {normalize!r}")
        self.encoders, self.normalize, self.frozen = nn.ModuleList(encoders), normalize, frozen
        ends = torch.tensor([0, *(encoder.width for encoder in encoders)]).cumsum(0).tolist()
        self.slices = tuple(slice(start, end) for start, end in pairwise(ends))
        self.width: int = ends[-1]
        inner = (getattr(encoder, "modalities", (encoder.modality,)) for encoder in encoders)
        self.modalities: tuple[Modality, ...] = tuple(dict.fromkeys(name for names in inner for name in names))
        self.modality: Modality = self.modalities[0] if len(self.modalities) == 1 else "several"
        if frozen:
            self.encoders.requires_grad_(False)
            self.encoders.eval()

    def train(self, mode: bool = True) -> CatEncoder:
        """Training mode, which frozen members do not take part in."""
        super().train(mode)
        if self.frozen:
            self.encoders.eval()
        return self

    def forward(self, inputs: Inputs) -> Tensor:
        """Vectors (B, width).

        Raises:
            ValueError: a modality is missing.
        """
        if self.modality == "several":
            found = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
            if not isinstance(inputs, Mapping) or set(self.modalities) - set(inputs):
                raise ValueError(f"inputs: expected {sorted(self.modalities)} by name, found {found}")
        parts = [encoded(encoder, inputs) for encoder in self.encoders]
        return torch.cat([F.normalize(part, dim=1) if self.normalize else part for part in parts], dim=1)

    def encode(self, inputs: Inputs) -> Tensor:
        """Vectors (B, width)."""
        return self(inputs)

    def save(self, directory: Path) -> None:
        """Write the encoder: each member as its own system does."""
        save_config(SYSTEM, {"members": len(self.encoders), "normalize": self.normalize}, directory)
        for number, encoder in enumerate(self.encoders):
            encoder.save(directory / "members" / str(number))


def load(directory: Path) -> CatEncoder | TowerEncoder:
    """Read what `CatEncoder.save` wrote, or a member of `load_released`; in evaluation mode, a concatenation frozen.

    Raises:
        ValueError: damaged; names the file.
    """
    config = read_config(directory)["config"]
    if "kind" in config:
        return load_tower(directory)
    if set(config) != {"members", "normalize"} or not isinstance(config["members"], int):
        raise ValueError(f"{directory}: expected the configuration of a concatenation, found {config!r:.200}")
    encoders = [load_encoder(directory / "members" / str(number)) for number in range(config["members"])]
    return CatEncoder(encoders, config["normalize"]).eval()


@torch.no_grad()
def all_vectors(encoder: nn.Module, inputs: Inputs, batch: int = 256) -> Tensor:
    """Vectors (N, D) of many inputs, in evaluation mode, without gradients."""
    was_training = encoder.training
    encoder.eval()
    count = len(next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs)
    parts = [encoded(encoder, rows_of(inputs, slice(start, start + batch))) for start in range(0, count, batch)]
    encoder.train(was_training)
    return torch.cat(parts)

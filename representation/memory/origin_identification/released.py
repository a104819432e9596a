"""The published system as an encoder of ours.

`python -m representation.memory.origin_identification.released --vae DIR --projection FILE --output DIR` joins an
AutoencoderKL of diffusers and a published projection; `trace`, `representation.embed` and others read the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from representation.data.frames import expect_empty
from representation.memory.origin_identification.encoder import Config, OriginEncoder
from representation.memory.origin_identification.identifier import OriginIdentifier, read_projection


@dataclass(frozen=True)
class ReleasedOptions:
    """What is joined.

    Attributes:
        vae: directory of an AutoencoderKL, as `save_pretrained` writes it; the published map is one of SD 2's.
        projection: file of the map, safetensors or as it was published.
        output: directory to write; must not hold files.
    """

    vae: Path
    projection: Path
    output: Path


def released(vae: Path, projection: Path) -> OriginEncoder:
    """The encoder of an autoencoder and a map.

    Raises:
        ValueError: one of them cannot be read, or they do not fit.
    """
    width = len(read_projection(projection))
    encoder = OriginEncoder(Config(vae=str(vae), width=width), torch.Generator()).eval()
    identifier = OriginIdentifier(encoder.autoencoder.vectors, width)
    identifier.load_projection(projection)
    if identifier.projection.in_features != encoder.autoencoder.numbers:
        raise ValueError(
            f"{projection}: expected a projection of {encoder.autoencoder.numbers} numbers, as {vae} gives them, found "
            f"one of {identifier.projection.in_features}"
        )
    encoder.projection = identifier.projection
    return encoder


def main(args: Sequence[str] | None = None) -> None:
    """Join and write."""
    options = tyro.cli(ReleasedOptions, args=args, description=__doc__)
    expect_empty(options.output)
    encoder = released(options.vae, options.projection)
    encoder.save(options.output)
    print(f"{options.output}: an encoder of {encoder.width} numbers")


if __name__ == "__main__":
    main()

"""New pictures out of nothing: `python -m representation.generative.addp.sample --encoder RUN --output samples.png`.

RUN is one of stage addp (docs/addp.md). The picture is a square of samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor

from representation.generative.addp.encoder import ADDPEncoder
from representation.generative.addp.model import Steps
from representation.generative.addp.surprise import write_picture
from representation.registry import load_encoder


@dataclass(frozen=True)
class SampleOptions:
    """What is drawn.

    Attributes:
        encoder: directory of an encoder of this system, or of a run that trained it.
        output: picture to write.
        count: samples.
        steps: of the diffusion; slow and best are as many as there are tokens, with the linear schedule.
        schedule: share of the tokens that stay masked after each step.
        temperature: of the noise by which the order of tokens varies.
        seed: of the samples.
    """

    encoder: Path
    output: Path
    count: int = 16
    steps: int = 20
    schedule: Steps = "cosine"
    temperature: float = 6.0
    seed: int = 0


def sheet(pictures: Tensor) -> NDArray[np.uint8]:
    """Pictures (N, 3, H, W) in [0, 1] in rows of about as many as there are rows: (H', W', 3) uint8 RGB."""
    tiles = (255 * pictures.clamp(0, 1)).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    across = math.ceil(math.sqrt(len(tiles)))
    blank = np.zeros((-len(tiles) % across, *tiles.shape[1:]), np.uint8)
    rows = np.concatenate([tiles, blank]).reshape(-1, across, *tiles.shape[1:])
    return np.vstack([np.hstack(list(row)) for row in rows])


def main(args: Sequence[str] | None = None) -> None:
    """Sample and write."""
    options = tyro.cli(SampleOptions, args=args, description=__doc__)
    encoder = load_encoder(options.encoder)
    if not isinstance(encoder, ADDPEncoder):
        raise ValueError(f"--encoder: expected one of addp, found {type(encoder).__name__}")
    generator = torch.Generator().manual_seed(options.seed)
    pictures = encoder.trained().sample(options.count, options.steps, options.schedule, options.temperature, generator)
    write_picture(options.output, sheet(pictures))
    print(f"{options.output}: {len(pictures)} samples of {options.steps} steps")


if __name__ == "__main__":
    main()

"""What an encoder tells of frames, beside raw pixels: `python -m representation.probe --encoder RUN --data DIR`.

Every column that numbers something (colour, shape, label) is read by neighbours and by a linear probe, every other one
of numbers or vectors by ridge regression, fitted on some episodes and scored on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from representation.data.batches import split_frames
from representation.data.frames import Frames, open_frames, square
from representation.embedding import embed
from representation.interface import ProbeResult
from representation.probes import knn_probe, linear_probe, ridge_probe
from representation.registry import load_encoder

RAW_SIZE = 16  # pixels


@dataclass(frozen=True)
class ProbeOptions:
    """What is probed.

    Attributes:
        encoder: directory of an encoder or of a pretraining run.
        data: directory of the frames.
        camera: of a LeRobot dataset or a bag; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        points: of the clouds that are made of the depth of a LeRobot dataset or a bag; 0 makes none.
        held_out: share of the episodes that is scored.
        seed: chooses them.
    """

    encoder: Path
    data: Path
    camera: str = ""
    image_size: int = 0
    points: int = 0
    held_out: float = 0.3
    seed: int = 0


def raw_pixels(frames: Frames) -> NDArray[np.float64]:
    """Pictures of `RAW_SIZE` pixels as vectors (N, D) in [0, 1]: what encoders are compared with."""
    return np.stack([square(image, RAW_SIZE) for image in frames.images]).reshape(len(frames), -1) / 255


def probe(vectors: NDArray, frames: Frames, held_out: float, seed: int) -> list[ProbeResult]:
    """Read every column of the frames that has a value or some numbers a frame from vectors (N, D)."""
    episodes = len(np.unique(frames.episode))
    count = min(max(1, round(held_out * episodes)), episodes - 1)
    train, test = split_frames(frames, count, np.random.default_rng(seed))
    results = []
    for name, values in frames.columns.items():
        fitted, scored = ((vectors[rows], values[rows]) for rows in (train, test))
        if name in frames.names and values.ndim == 1:
            results += [knn_probe(fitted, scored, name), linear_probe(fitted, scored, name)]
        elif np.issubdtype(values.dtype, np.floating) and values.ndim <= 2:
            results.append(ridge_probe(fitted, scored, name))
    return results


def main(args: Sequence[str] | None = None) -> None:
    """Print a table."""
    options = tyro.cli(ProbeOptions, args=args, description=__doc__)
    frames = open_frames(options.data, options.camera, options.image_size, options.points)
    tables = [
        probe(vectors, frames, options.held_out, options.seed)
        for vectors in (embed(load_encoder(options.encoder), frames), raw_pixels(frames))
    ]
    print(f"{'':<34}{'encoder':>8}  {'95 %':<14}{'raw pixels':>11}")
    for ours, pixels in zip(*tables, strict=True):
        print(f"{ours.name:<34}{ours.score:>8.3f}  {ours.low:.3f}..{ours.high:.3f}  {pixels.score:>11.3f}")


if __name__ == "__main__":
    main()

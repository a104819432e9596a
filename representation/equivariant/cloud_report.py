"""How well an encoder of clouds tells what it was trained for: `python -m representation.equivariant.cloud_report`.

`--encoder RUN --data DIR` prints, for each target that the frames know, the mean and the median over clouds of how far
the answer is off: normals, approach and rotation in degrees, the centre in millimetres, labels as the share that is
wrong. `--turn` turns the clouds at random before, with all that is known of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from representation.data.frames import POINTS, Frames, open_frames
from representation.equivariant.cloud_encoder import CloudEncoder
from representation.equivariant.cloud_heads import errors
from representation.equivariant.cloud_targets import CENTER, random_turns, targets_of, turned
from representation.registry import load_encoder

BATCH = 32


@dataclass(frozen=True)
class ReportOptions:
    """What is measured.

    Attributes:
        encoder: directory of an encoder of clouds with heads, or of a run.
        data: directory of frames with clouds and what is known of them.
        turn: whether the clouds are turned at random.
        seed: of the turns.
    """

    encoder: Path
    data: Path
    turn: bool = False
    seed: int = 0


@torch.inference_mode()
def errors_on(
    encoder: CloudEncoder, frames: Frames, rows: NDArray[np.int64], turn: bool = False, seed: int = 0
) -> dict[str, NDArray[np.float32]]:
    """How far each of some clouds is off (B,), by target; see `cloud_heads.errors`.

    Args:
        encoder: with heads.
        frames: with all targets that it tells.
        rows: clouds.
        turn: whether they are turned at random.
        seed: of the turns.

    Raises:
        ValueError: the frames lack a target.
    """
    generator, found = torch.Generator().manual_seed(seed), []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        targets = targets_of(frames, part)
        if turn:
            targets = turned(targets, random_turns(len(part), generator))
        told, points = encoder.tell(targets[POINTS])
        missing = sorted(set(told) - set(targets))
        if missing:
            raise ValueError(f"frames: expected {missing}, which the encoder tells, found {sorted(frames.columns)}")
        found.append(errors(told, targets, points))
    return {name: torch.cat([one[name] for one in found]).numpy() for name in found[0]}


def main(args: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = tyro.cli(ReportOptions, args=args, description=__doc__)
    encoder, frames = load_encoder(options.encoder), open_frames(options.data)
    if not isinstance(encoder, CloudEncoder):
        raise SystemExit(f"--encoder: expected one of clouds with heads, found a {type(encoder).__name__}")
    off = errors_on(encoder, frames, np.arange(len(frames)), options.turn, options.seed)
    print(f"{'target':10} {'mean':>8} {'median':>8}   of {len(frames)} clouds")
    for name, values in off.items():
        scale = 1000 if name == CENTER else 1
        print(f"{name:10} {scale * values.mean():8.3f} {scale * np.median(values):8.3f}")


if __name__ == "__main__":
    main()

"""Find a scene by what another sensor saw of it: `python -m representation.pretraining.madeleine.retrieve`.

`--encoder RUN --data DIR`: vectors of `--query`, the colour camera unless said otherwise, each look for their own frame
among those of `--gallery`, depth, over some held-out episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from representation import hypersphere
from representation.compatibility.retrieval import mean_reciprocal_rank
from representation.data.batches import split_frames
from representation.data.frames import DEPTH, Frames, open_frames
from representation.pretraining.madeleine.encoder import MadeleineEncoder
from representation.pretraining.madeleine.sensors import IMAGE, sensor_pictures
from representation.registry import load_encoder

BATCH = 128


@dataclass(frozen=True)
class RetrieveOptions:
    """What is looked for.

    Attributes:
        encoder: directory of an encoder of `madeleine`, or of a run that trained one.
        data: directory of the frames.
        query: sensor that looks.
        gallery: sensor that is looked among.
        held_out: how many episodes; 0 for all.
        seed: chooses them as a pretraining run with this seed and as many `--validation-episodes` does.
    """

    encoder: Path
    data: Path
    query: str = IMAGE
    gallery: str = DEPTH
    held_out: int = 200
    seed: int = 0


@torch.inference_mode()
def sensor_vectors(
    encoder: MadeleineEncoder, frames: Frames, rows: NDArray[np.int64], sensor: str
) -> tuple[Tensor, Tensor]:
    """Unit vectors (B, width) of some frames as a sensor saw them, and which of them have it (B,)."""
    parts, there = [], []
    device = encoder.bag.projector.weight.device
    for start in range(0, len(rows), BATCH):
        pictures, available = sensor_pictures(frames, rows[start : start + BATCH], sensor, encoder.config.near_far)
        parts.append(F.normalize(encoder.encode_sensor(pictures.to(device), sensor), dim=1).cpu())
        there.append(available)
    return torch.cat(parts), torch.cat(there)


def retrieval(
    encoder: MadeleineEncoder, frames: Frames, rows: NDArray[np.int64], query: str, gallery: str
) -> dict[str, float]:
    """`top1`, `top5` and `mrr` (mean reciprocal rank) of finding each frame again, and `frames`, which have both.

    Raises:
        ValueError: the encoder does not know a sensor, or no two frames have both.
    """
    (a, has_a), (b, has_b) = (sensor_vectors(encoder, frames, rows, name) for name in (query, gallery))
    both = has_a & has_b
    if int(both.sum()) < 2:
        raise ValueError(f"frames: expected some with {query} and {gallery}, found {int(both.sum())}")
    a, b = a[both], b[both]
    return {
        "top1": hypersphere.retrieval_recall(a, b),
        "top5": hypersphere.retrieval_recall(a, b, k=5),
        "mrr": mean_reciprocal_rank(a, b),
        "frames": float(len(a)),
    }


def main(args: Sequence[str] | None = None) -> None:
    """Print how often the own frame is found.

    Raises:
        ValueError: an encoder of another system.
    """
    options = tyro.cli(RetrieveOptions, args=args, description=__doc__)
    encoder, frames = load_encoder(options.encoder), open_frames(options.data)
    if not isinstance(encoder, MadeleineEncoder):
        raise ValueError(f"{options.encoder}: expected an encoder of madeleine, found {type(encoder).__name__}")
    rows = np.arange(len(frames))
    if options.held_out:
        rows = split_frames(frames, options.held_out, np.random.default_rng(options.seed))[1]
    found = retrieval(encoder, frames, rows, options.query, options.gallery)
    print(f"{options.query} -> {options.gallery}, {found['frames']:.0f} frames, chance {1 / found['frames']:.3f}")
    print("  ".join(f"{name} {found[name]:.3f}" for name in ("top1", "top5", "mrr")))


if __name__ == "__main__":
    main()

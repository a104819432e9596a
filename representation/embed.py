"""Vectors of frames into a file: `python -m representation.embed --encoder RUN --data DIR --output vectors.npz`.

The file has `vectors` (N, D) float32, `episode` (N,) and, where they are known, classes `label` (N,) with their
`label_names`, in the order of the frames. It is not pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from representation.compatibility.stored_vectors import VectorFile
from representation.data.frames import LABEL, open_frames
from representation.embedding import embed
from representation.registry import load_encoder


@dataclass(frozen=True)
class EmbedOptions:
    """What is embedded.

    Attributes:
        encoder: directory of an encoder or of a pretraining run.
        data: directory of the frames.
        output: file to write; it gets the ending `.npz`.
        camera: of a LeRobot dataset or a bag; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        points: of the clouds that are made of the depth of a LeRobot dataset or a bag; 0 makes none.
    """

    encoder: Path
    data: Path
    output: Path
    camera: str = ""
    image_size: int = 0
    points: int = 0


def main(args: Sequence[str] | None = None) -> None:
    """Write the vectors."""
    options = tyro.cli(EmbedOptions, args=args, description=__doc__)
    encoder = load_encoder(options.encoder)
    frames = open_frames(options.data, options.camera, options.image_size, options.points)
    vectors = embed(encoder, frames)
    file = options.output.with_suffix(".npz")
    VectorFile(vectors, frames.episode, frames.columns.get(LABEL), frames.names.get(LABEL, ())).write(file)
    print(f"{file}: {len(vectors)} vectors of {encoder.width} numbers")


if __name__ == "__main__":
    main()

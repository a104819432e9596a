"""What the numbers of a DiTi vector tell and do: `python -m representation.generative.edit_slices --encoder RUN ...`.

RUN is one of `representation.pretrain --system diti`. Every column of the frames of `--data` is read from each quarter
of the vector, from the first and finest to the last and coarsest; `slices.png` shows pictures, what comes back of them,
and each of them with one quarter of the numbers of the next. With `--column` and `--value`, `moved.png` shows pictures
moved along the normal of a classifier of that value. With `--take FIRST LAST`, OUT has `encoder/`, which gives these
numbers alone and is read as any encoder is: the last ones for a grasp planner, the first ones for an inspection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from representation.data.frames import Frames, expect_empty, open_frames
from representation.embedding import embed
from representation.generative.diti import DiTiEncoder
from representation.probe import probe
from representation.registry import load_encoder

PARTS = 4


@dataclass(frozen=True)
class EditOptions:
    """What is told and made.

    Attributes:
        encoder: directory of an encoder of diti, or of the run that trained it.
        data: directory of the frames.
        output: directory to write; must not hold files.
        take: first number, and the one that is not taken any more, of the encoder to write.
        column: numbered column to move along.
        value: its value, by name.
        numbers: of the vector that are moved.
        amounts: how far.
        shown: pictures.
        steps: of diffusion that are visited, each way.
        held_out: share of the episodes that is scored.
        camera: of a LeRobot dataset or a bag; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        threads: of torch.
        seed: chooses what is held out and shown.
    """

    encoder: Path
    data: Path
    output: Path
    take: tuple[int, int] | None = None
    column: str = ""
    value: str = ""
    numbers: int = 16
    amounts: tuple[float, ...] = (-4.0, -2.0, 2.0, 4.0)
    shown: int = 6
    steps: int = 50
    held_out: float = 0.3
    camera: str = ""
    image_size: int = 0
    threads: int = 2
    seed: int = 0


def quarters(count: int) -> list[slice]:
    """Parts of a vector, from fine to coarse."""
    edges = [count * part // PARTS for part in range(PARTS + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]


def bins_of(encoder: DiTiEncoder, part: slice) -> list[int]:
    """Bins whose numbers lie in a part of the vector."""
    ends = (0, *encoder.model.slicer.ends)
    return [i for i in range(encoder.model.slicer.k) if part.start <= ends[i] < ends[i + 1] <= part.stop]


def table(vectors: NDArray, frames: Frames, held_out: float, seed: int) -> list[str]:
    """What each part, and all, tell of every column."""
    parts = [vectors[:, part] for part in quarters(vectors.shape[1])]
    results = [probe(part, frames, held_out, seed) for part in (*parts, vectors)]
    head = f"{'':<34}" + "".join(f"{name:>9}" for name in ("finest", "fine", "coarse", "coarsest", "all"))
    return [
        head,
        *(f"{row[0].name:<34}" + "".join(f"{one.score:>9.3f}" for one in row) for row in zip(*results, strict=True)),
    ]


def normal_of(vectors: NDArray, frames: Frames, column: str, value: str) -> Tensor:
    """Direction (d,) in which a value of a column becomes likelier.

    Raises:
        ValueError: no such value.
    """
    frames.need([column])
    names = frames.names.get(column, ())
    if value not in names:
        raise ValueError(f"--value: expected one of {', '.join(names)} of {column}, found {value!r}")
    told = frames.columns[column] == names.index(value)
    spread = np.maximum(vectors.std(axis=0), 1e-6)
    model = LogisticRegression(max_iter=1000).fit(vectors / spread, told)
    return torch.from_numpy(model.coef_[0] / spread).float()


def draw(columns: Sequence[tuple[str, Tensor]], path: Path) -> None:
    """Pictures (B, 3, R, R) in [-1, 1], in a row for each and a column for each kind."""
    from matplotlib.figure import Figure

    count = len(columns[0][1])
    figure = Figure(figsize=(1.1 * len(columns), 1.1 * count + 0.4), layout="constrained")
    for places, number in zip(figure.subplots(count, len(columns), squeeze=False), range(count), strict=True):
        for place, (title, pictures) in zip(places, columns, strict=True):
            place.imshow(((pictures[number] + 1) / 2).clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
            place.axis("off")
            if number == 0:
                place.set_title(title, fontsize=8)
    figure.savefig(path, dpi=100)


def run(options: EditOptions) -> str:
    """Tell, make and write."""
    encoder = load_encoder(options.encoder)
    if not isinstance(encoder, DiTiEncoder):
        raise ValueError(f"{options.encoder}: expected an encoder of diti, found another")
    taken = None if options.take is None else encoder.taking(*options.take)
    frames = open_frames(options.data, options.camera, options.image_size)
    vectors = embed(encoder, frames)
    direction = normal_of(vectors, frames, options.column, options.value) if options.column else None
    options.output.mkdir(parents=True, exist_ok=True)
    rows = np.random.default_rng(options.seed).permutation(len(frames))[: options.shown]
    x = encoder.pictures(frames.pixels(rows))
    model, steps = encoder.model, options.steps
    z = model.encode(x).detach()
    start = model.invert(x, z, steps)
    back = model.decode(start, z, steps)
    columns = [("picture", x), ("back", back)]
    for name, part in zip(("finest", "fine", "coarse", "coarsest"), quarters(encoder.config.latent_dim), strict=True):
        bins = bins_of(encoder, part)
        if bins:
            columns.append((name, model.swap(x, x.roll(-1, dims=0), bins, steps, start)))
    draw(columns, options.output / "slices.png")
    if direction is not None:
        moved = [
            (f"{amount:+g}", model.move(x, direction, amount, options.numbers, steps, start))
            for amount in options.amounts
        ]
        draw([("picture", x), *moved], options.output / "moved.png")
    if taken is not None:
        taken.save(options.output / "encoder")
    signal = float(-10 * torch.log10(((back - x) / 2).square().mean()))
    lines = table(vectors, frames, options.held_out, options.seed)
    return "\n".join([*lines, f"{options.output}: what comes back has {signal:.1f} dB of signal over noise"])


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = tyro.cli(EditOptions, args=args, description=__doc__)
    expect_empty(options.output)
    torch.set_num_threads(options.threads)
    print(run(options))


if __name__ == "__main__":
    main()

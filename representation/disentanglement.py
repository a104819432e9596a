"""Does each number of a vector mean one thing? `python -m representation.disentanglement --encoders RUN --data DIR`.

InfoMEC (see `representation.generative.qlae.infomec`) of any encoders on frames with known factors, such as those of
`python -m sim.renders`: columns that number something, and every number of the others by its quantiles. With `--output`
DIR gets `infomec.json`, for each encoder a picture of which number tells which factor, and for a `qlae` encoder what
each value of each latent does to some frames.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from representation.checkpoint import read_config
from representation.data.frames import LABEL, POINTS, SEGMENTATION, Frames, expect_empty, open_frames
from representation.embedding import embed
from representation.generative.qlae import InfoMEC, QLAEEncoder, infomec
from representation.pretraining.small_encoder import resized
from representation.registry import load_encoder

RESULT_FILE = "infomec.json"
TRAVERSED = 6  # frames that are shown
FEWEST = 8  # values of a number that is taken by its quantiles


@dataclass(frozen=True)
class DisentanglementOptions:
    """What is measured.

    Attributes:
        encoders: directories of encoders, or of runs that trained them.
        data: directory of the frames.
        factors: columns; all but `label` if left out.
        bins: quantiles that a number of a column is told by.
        camera: of a LeRobot dataset or a bag; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        frames: at most so many, drawn at random.
        output: directory to write; must not hold files.
        seed: draws the frames.
    """

    encoders: tuple[Path, ...]
    data: Path
    factors: tuple[str, ...] = ()
    bins: int = 5
    camera: str = ""
    image_size: int = 0
    frames: int = 2000
    output: Path | None = None
    seed: int = 0


def sources_of(frames: Frames, factors: Sequence[str], bins: int) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names (S) and whole numbers (N, S) of what is known of frames.

    Args:
        frames: all of them.
        factors: columns; all but labels, clouds and segmentations if empty. One that never changes is left out.
        bins: quantiles of numbers that are no numbering.

    Raises:
        ValueError: no such column, fewer than two bins, or nothing that changes.
    """
    if bins < 2:
        raise ValueError(f"bins: expected at least 2, found {bins}")
    frames.need(factors)
    wanted = factors or [name for name in frames.columns if name not in (LABEL, POINTS, SEGMENTATION)]
    names, found = [], []
    for name in wanted:
        values = frames.columns[name].reshape(len(frames), -1)
        for place, column in enumerate(values.T):
            own = name if values.shape[1] == 1 else f"{name} {place}"
            told = _told(column, bins)
            if told.max() > 0:
                names.append(own)
                found.append(told)
    if not found:
        raise ValueError(f"factors: expected some that change, found none of {list(wanted)}")
    return tuple(names), np.stack(found, axis=1)


def _told(column: NDArray, bins: int) -> NDArray[np.int64]:
    """Numbers of the values, or of the quantiles of a column with many."""
    if column.dtype.kind in "iub" or len(np.unique(column)) < FEWEST:
        return np.unique(column, return_inverse=True)[1]
    edges = np.quantile(column, np.linspace(0, 1, bins + 1)[1:-1])
    return np.unique(np.searchsorted(edges, column, side="right"), return_inverse=True)[1]


def measure(directory: Path, frames: Frames, sources: NDArray[np.int64]) -> tuple[Any, InfoMEC]:
    """An encoder, and InfoMEC of its vectors of frames; those of `qlae` are told apart, others measured.

    Raises:
        ValueError: see `embed` and `infomec`; names the encoder.
    """
    encoder = load_encoder(directory)
    try:
        return encoder, infomec(sources, embed(encoder, frames), discrete=isinstance(encoder, QLAEEncoder))
    except ValueError as error:
        raise ValueError(f"{directory}: {error}") from error


def draw_information(found: InfoMEC, names: Sequence[str], title: str, path: Path) -> None:
    """A picture of which latent tells which factor."""
    from matplotlib.figure import Figure

    shown = found.nmi[:, found.active]
    figure = Figure(figsize=(2 + 0.3 * shown.shape[1], 1.5 + 0.3 * len(names)), layout="constrained")
    axes = figure.subplots()
    figure.colorbar(axes.imshow(shown, vmin=0, vmax=1, cmap="viridis", aspect="auto"))
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("numbers of the vector that vary")
    axes.set_title(f"{title}: M {found.infom:.2f}, E {found.infoe:.2f}, C {found.infoc:.2f}")
    figure.savefig(path, dpi=120)


def draw_traversals(encoder: QLAEEncoder, images: torch.Tensor, active: NDArray[np.bool_], path: Path) -> None:
    """Rows of pictures: an active latent of a picture takes each of its values in turn; pictures (B, 3, H, W)."""
    from matplotlib.figure import Figure

    x, latents = resized(images, encoder.config.resolution), np.flatnonzero(active)
    figure = Figure(figsize=(encoder.config.values * 0.8 + 1, 0.8 * len(latents) * len(x) + 0.5))
    axes = figure.subplots(len(latents) * len(x), encoder.config.values, squeeze=False)
    for number, row in enumerate(axes):
        latent, picture = latents[number // len(x)], number % len(x)
        for place, shown in zip(row, encoder.model.traverse(x[picture : picture + 1], int(latent))[0], strict=True):
            place.imshow(shown.permute(1, 2, 0).numpy())
            place.set_xticks([])
            place.set_yticks([])
        row[0].set_ylabel(str(latent))
    figure.savefig(path, dpi=80)


def main(args: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write it with pictures where asked to."""
    options = tyro.cli(DisentanglementOptions, args=args, description=__doc__)
    if options.output is not None:
        expect_empty(options.output)
        options.output.mkdir(parents=True, exist_ok=True)
    frames = open_frames(options.data, options.camera, options.image_size)
    if len(frames) > options.frames:
        rows = np.random.default_rng(options.seed).permutation(len(frames))[: options.frames]
        frames = frames.subset(np.sort(rows))
    names, sources = sources_of(frames, options.factors, options.bins)
    results: dict[str, Mapping[str, Any]] = {}
    print(f"{len(frames)} frames, factors {', '.join(names)}")
    print(f"{'':<40}{'modular':>9}{'explicit':>9}{'compact':>9}{'active':>9}")
    for number, directory in enumerate(options.encoders):
        encoder, found = measure(directory, frames, sources)
        active = f"{int(found.active.sum())}/{len(found.active)}"
        print(f"{directory!s:<40}{found.infom:>9.3f}{found.infoe:>9.3f}{found.infoc:>9.3f}{active:>9}")
        results[str(directory)] = {
            "infom": found.infom,
            "infoe": found.infoe,
            "infoc": found.infoc,
            "nmi": found.nmi.tolist(),
            "active": found.active.tolist(),
        }
        if options.output is not None:
            inner = directory / "encoder"
            system = read_config(inner if inner.is_dir() else directory)["system"]
            draw_information(found, names, system, options.output / f"{number}_{system}_information.png")
            if isinstance(encoder, QLAEEncoder):
                shown = frames.pixels(np.arange(min(TRAVERSED, len(frames))))
                draw_traversals(encoder, shown, found.active, options.output / f"{number}_{system}_traversals.png")
    if options.output is not None:
        content = {"data": str(options.data), "frames": len(frames), "factors": list(names), "encoders": results}
        (options.output / RESULT_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

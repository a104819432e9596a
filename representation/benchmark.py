"""Compare encoders under one recipe: `python -m representation.benchmark --encoders RUN ... --data DIR --output DIR`.

Each encoder is trained on in every task with every fraction of the labels and every seed: a linear head tells what a
scene has, UPerNet what each pixel shows, a generator writes the report of a scene. DIR holds scenes that
`python -m sim.reported_scenes` draws, other frames with labels, segmentations or texts, or grey pictures with
`labels.csv`, `masks/` or `annotation.json`. The output is a JSON file of each run and one ranked table: means and
deviations over seeds, and by fraction the paired sign of each encoder against the one that is ranked behind it.

The recipe is one for small encoders on a CPU; `python -c "from representation.selection.benchx import BenchmarkConfig;
print(BenchmarkConfig())"` shows the published one, and each value has an option here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro

from representation.data.frames import FRAMES_FILE, expect_empty, open_frames
from representation.registry import load_encoder
from representation.selection.benchx.backends import EncoderBackend
from representation.selection.benchx.cases import KINDS, Cases, Kind, cases_of_frames, read_radiographs
from representation.selection.benchx.runner import BenchmarkConfig, BenchmarkRunner, small_config


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is compared.

    Attributes:
        encoders: directories of encoders of pictures, or of pretraining runs.
        data: directory of the pictures.
        output: directory to write; must not hold files.
        tasks: that are tried.
        seeds: of the trainings.
        label: column of the classes of frames; `shown` if there, else `label`.
        threads: of torch.
        recipe: of the trainings, by task.
    """

    encoders: tuple[Path, ...]
    data: Path
    output: Path
    tasks: tuple[Kind, ...] = KINDS
    seeds: tuple[int, ...] = (42, 0, 1)
    label: str = ""
    threads: int = 2
    recipe: Annotated[BenchmarkConfig, tyro.conf.arg(name="")] = field(default_factory=small_config)


def cases_of(directory: Path, kind: Kind, label: str = "", size: int = 224) -> Cases:
    """Cases of frames or of a folder of radiographs; arguments as of `cases_of_frames` and `read_radiographs`."""
    if (directory / FRAMES_FILE).is_file():
        return cases_of_frames(open_frames(directory), kind, label)
    return read_radiographs(directory, kind, size)


def main(args: Sequence[str] | None = None) -> int:
    """Compare from the command line; returns its exit code."""
    options = tyro.cli(BenchmarkOptions, args=args, description=__doc__)
    expect_empty(options.output)
    torch.set_num_threads(options.threads)
    try:
        names = [path.name if path.name != "encoder" else path.parent.name for path in options.encoders]
        if len(set(names)) != len(names):
            raise ValueError(f"--encoders: expected directories with different names, found {names}")
        backends = {
            name: EncoderBackend(load_encoder(path)) for name, path in zip(names, options.encoders, strict=True)
        }
        size = options.recipe.classification.pictures.size
        tasks = {task: cases_of(options.data, task, options.label, size) for task in options.tasks}
        table = BenchmarkRunner(options.recipe, options.output).run(backends, tasks, options.seeds)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())

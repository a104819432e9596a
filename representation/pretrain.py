"""Pretrain an encoder: `python -m representation.pretrain --system NAME --data DIR --output RUN`.

DIR holds renders (`python -m sim.renders`), a LeRobot dataset, recorded bags (MCAP), pictures in a folder per class, or
views of objects in the folders of 3DIEBench.
RUN then holds `encoder/` (what `registry.load_encoder` reads, with averaged weights), `metrics.jsonl`, `loss.png` and
the state from which `--resume` continues exactly. `python -m representation.list --system NAME` shows what `--set` may
change.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import tyro

from representation.data.frames import Frames, open_frames
from representation.objective_learner import ObjectiveLearner
from representation.registry import module_of
from representation.training import LoopConfig, TrainingLoop, check_output, new_accelerator


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig(LoopConfig):
    """Arguments of a pretraining run, after those of `LoopConfig`.

    Attributes:
        system: what to train, see `python -m representation.list`.
        data: directory of the frames.
        camera: of a LeRobot dataset or a bag; the first one if left out.
        image_size: side that pictures are brought to, pixels; 0 keeps them.
        points: of the clouds that are made of the depth of a LeRobot dataset or a bag; 0 makes none.
        set: fields of the system's configuration, each as NAME=VALUE.
    """

    system: str
    data: Path
    camera: str = ""
    image_size: int = 0
    points: int = 0
    set: tuple[str, ...] = ()
    steps: int = 2000
    validation_episodes: int = 0


def configured(config_class: type, settings: Sequence[str]) -> Any:
    """A system's configuration with some fields set.

    Raises:
        ValueError: an unknown field, or a value of another kind; names it.
    """
    words = []
    known = {field.name for field in dataclasses.fields(config_class)}
    for setting in settings:
        name, found, value = setting.partition("=")
        if not found or name not in known:
            raise ValueError(f"--set: expected NAME=VALUE with a name of {sorted(known)}, found {setting!r}")
        words += [f"--{name.replace('_', '-')}", *value.split(",")]
    try:
        return tyro.cli(config_class, args=words, console_outputs=False)
    except SystemExit:
        raise ValueError(f"--set: expected values as in {config_class.__name__}, found {list(settings)}") from None


def new_run(config: PretrainConfig, frames: Frames) -> TrainingLoop:
    """Build a system for some frames, and the loop that trains it.

    Raises:
        ValueError: an unknown system or setting, or frames that lack what it needs.
    """
    module = module_of(config.system)
    objective = module.new(configured(module.Config, config.set), frames, config.seed)
    frames.need(objective.needs)
    return TrainingLoop(config, ObjectiveLearner(config, objective, frames), new_accelerator(config))


def main(args: Sequence[str] | None = None) -> int:
    """Pretrain from the command line.

    Returns:
        Exit code: 0 after the training, 2 where it could not begin.
    """
    config = tyro.cli(PretrainConfig, args=args, description=__doc__)
    try:
        check_output(config)
        config.output.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(config.threads)
        run = new_run(config, open_frames(config.data, config.camera, config.image_size, config.points))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    run.train()
    run.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())

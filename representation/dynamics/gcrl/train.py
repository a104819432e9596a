"""Train forecasts of two agents, or tune them for a new place: `python -m representation.dynamics.gcrl.train`.

Tracks are arrays (scenes, 20, 2, 2) in .npy files, metres at even times, a file for each environment. With `--model` a
model is tuned on the scenes of one file, and what holds everywhere is kept; without files, crossings are simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

from representation.data.frames import expect_empty
from representation.dynamics.gcrl.model import AGENTS, GCRL, GCRLConfig
from representation.dynamics.gcrl.scenes import simulate_crossing
from representation.dynamics.gcrl.training import adapt, fit
from representation.registry import load_encoder

MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class TrainOptions:
    """What is trained.

    Attributes:
        output: directory to write; must not hold files.
        tracks: a file for each environment; simulated ones of `distances` if left out.
        distances: that simulated agents keep, metres.
        scenes: simulated, of each.
        model: directory of a model that is tuned instead of a new one.
        epochs: passes.
        seed: of everything that is drawn.
    """

    output: Path
    tracks: tuple[Path, ...] = ()
    distances: tuple[float, ...] = (0.1, 0.3, 0.5)
    scenes: int = 1000
    model: Path | None = None
    epochs: int = 60
    seed: int = 0


def read_tracks(path: Path, steps: int) -> Tensor:
    """Tracks (scenes, steps, 2, 2) of a file.

    Raises:
        ValueError: too large, of another shape, or not finite; names the file.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_BYTES} bytes, found {path.stat().st_size}")
    found = np.load(path, allow_pickle=False)
    if found.ndim != 4 or found.shape[1:] != (steps, AGENTS, 2) or not np.isfinite(found).all():
        raise ValueError(f"{path}: expected finite tracks (scenes, {steps}, {AGENTS}, 2), found {found.shape}")
    return torch.from_numpy(found).float()


def main(args: Sequence[str] | None = None) -> None:
    """Train, and write the model."""
    options = tyro.cli(TrainOptions, args=args, description=__doc__)
    expect_empty(options.output)
    torch.manual_seed(options.seed)
    model = GCRL(GCRLConfig()) if options.model is None else load_encoder(options.model)
    if not isinstance(model, GCRL):
        raise SystemExit(f"--model: expected a model of gcrl, found {type(model).__name__}")
    steps = model.config.observed + model.config.future
    try:
        environments = [read_tracks(path, steps) for path in options.tracks]
    except (OSError, ValueError) as error:
        raise SystemExit(f"--tracks: {error}") from error
    environments = environments or [simulate_crossing(options.scenes, d, options.seed) for d in options.distances]
    generator = torch.Generator().manual_seed(options.seed)
    if options.model is None:
        fit(model, environments, options.epochs, generator)
    else:
        adapt(model, torch.cat(environments), generator, options.epochs)
    model.save(options.output)
    print(f"{options.output}: {'tuned' if options.model else 'trained'} on {sum(map(len, environments))} scenes")


if __name__ == "__main__":
    main()

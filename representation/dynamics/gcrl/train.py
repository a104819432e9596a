"""Train forecasts of agents, or tune them for a new place: `python -m representation.dynamics.gcrl.train`.

Tracks are files of `python -m sim.workspace_tracks` (.npz), arrays (scenes, 20, agents, 2) in metres (.npy), or text
files of ETH and UCY (.txt), one for each environment. With `--model` a model is tuned on the scenes of all files, and
what holds everywhere is kept; without files, crossings are simulated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from representation.data.frames import expect_empty
from representation.dynamics.gcrl.model import GCRL, GRAPH, GCRLConfig, Network
from representation.dynamics.gcrl.scenes import simulate_crossing
from representation.dynamics.gcrl.tracks import Tracks, read_tracks
from representation.dynamics.gcrl.training import adapt, fit
from representation.registry import load_model

CONFIGS: dict[Network, GCRLConfig] = {"pair": GCRLConfig(), "graph": GRAPH}


@dataclass(frozen=True)
class TrainOptions:
    """What is trained.

    Attributes:
        output: directory to write; must not hold files.
        tracks: a file for each environment; simulated ones of `distances` if left out.
        distances: that simulated agents keep, metres.
        scenes: of each environment, at most; the first ones of a file.
        held_out: share of the scenes of each environment, the last ones, by which a new model's best epoch is chosen.
        network: of a new model: for pairs of agents, or a graph for any number of them.
        model: directory of a model that is tuned instead of a new one.
        epochs: passes.
        seed: of everything that is drawn.
    """

    output: Path
    tracks: tuple[Path, ...] = ()
    distances: tuple[float, ...] = (0.1, 0.3, 0.5)
    scenes: int = 1000
    held_out: float = 0.1
    network: Network = "pair"
    model: Path | None = None
    epochs: int = 60
    seed: int = 0


def environments_of(tracks: Sequence[Tracks], config: GCRLConfig, scenes: int) -> list[Tensor]:
    """Scenes (scenes, observed + future, agents, 2) of each environment, all with as many agents.

    Raises:
        ValueError: scenes of another number of steps, or of another time between them.
    """
    steps, most = config.observed + config.future, max((len(one.agents) for one in tracks), default=0)
    for one in tracks:
        if one.scenes.shape[1] != steps or abs(one.period_s - config.period_s) > 1e-6:
            found = f"{one.scenes.shape[1]} steps of {one.period_s:g} s"
            raise ValueError(f"{one.environment}: expected {steps} steps of {config.period_s:g} s, found {found}")
    return [F.pad(one.scenes[:scenes], (0, 0, 0, most - len(one.agents)), value=torch.nan) for one in tracks]


def held_out(scenes: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Scenes to learn from, and the last ones to choose an epoch by; at least one of either.

    Raises:
        ValueError: fewer than two scenes, or a share that is none.
    """
    if len(scenes) < 2 or not 0 < share < 1:
        raise ValueError(f"scenes, held_out: expected two at least and a share in (0, 1), found {len(scenes)}, {share}")
    count = min(max(1, round(share * len(scenes))), len(scenes) - 1)
    return scenes[:-count], scenes[-count:]


def main(args: Sequence[str] | None = None) -> None:
    """Train, and write the model."""
    options = tyro.cli(TrainOptions, args=args, description=__doc__)
    expect_empty(options.output)
    torch.manual_seed(options.seed)
    try:
        tracks = [read_tracks(path) for path in options.tracks]
        config = CONFIGS[options.network]
        if tracks:
            config = dataclasses.replace(config, period_s=tracks[0].period_s)
        model = GCRL(config) if options.model is None else load_model(options.model)
        if not isinstance(model, GCRL):
            raise SystemExit(f"--model: expected a model of gcrl, found {type(model).__name__}")
        environments = environments_of(tracks, model.config, options.scenes)
        generator = torch.Generator().manual_seed(options.seed)
        simulated = [simulate_crossing(options.scenes, d, options.seed) for d in options.distances]
        environments = environments or simulated
        if options.model is None:
            learned, validation = zip(*(held_out(scenes, options.held_out) for scenes in environments), strict=True)
            fit(model, learned, options.epochs, generator, validation=torch.cat(validation))
        else:
            adapt(model, torch.cat(environments), generator, options.epochs)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}") from error
    model.save(options.output)
    print(f"{options.output}: {'tuned' if options.model else 'trained'} on {sum(map(len, environments))} scenes")


if __name__ == "__main__":
    main()

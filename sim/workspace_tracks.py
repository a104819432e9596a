"""Tracks of a second arm and of people around it: `python -m sim.workspace_tracks --output DIR`.

The right arm of the simulated `aloha` does one task after the other with the left one, led by the scripted expert, and
rests a little in between; the place of its tool is the track of the second arm. People cross the room about it as
`representation.dynamics.gcrl.scenes` lets them: they step aside for each other, and go round the arm. People do not see
the table, and the arm does not see people. Both are read with noise at 2.5 Hz.

Four environments differ in how far people keep from each other and in how fast the arm works; each is a file, whose
scenes follow each other in time. See `representation.benchmarks.workspace_forecast`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from policies.execution.chunk_scheduler import ChunkScheduler
from representation.data.frames import expect_empty
from representation.dynamics.gcrl.scenes import STEPS, simulate_people
from representation.dynamics.gcrl.tracks import Tracks
from sim.episode_id import EpisodeId
from sim.expert import Expert
from sim.simulation import SimulationConfig, TabletopSimulation

ROBOT, ARM = "aloha", 1
TASKS = ("transfer_cube", "sort", "lift_tray", "insertion")
PERIOD_S, SCENE_EVERY = 0.4, 5  # steps between the beginnings of two scenes
MAX_REST_S = 2.0


@dataclass(frozen=True)
class Environment:
    """What differs between places.

    Attributes:
        distance: radius that each person keeps, metres.
        step: longest way of the arm's tool in 0.1 s, metres.
    """

    distance: float
    step: float


ENVIRONMENTS = {
    "near": Environment(0.2, 0.03),
    "middle": Environment(0.35, 0.025),
    "wide": Environment(0.5, 0.02),
    "new": Environment(0.8, 0.015),
}


@dataclass(frozen=True)
class TracksOptions:
    """What is simulated.

    Attributes:
        output: directory to write, a file for each environment; must not hold files.
        scenes: of each environment.
        people: at most, beside the arm; each scene has one to so many.
        noise: standard deviation of each coordinate that is read, metres.
        seed: of everything that is drawn.
    """

    output: Path
    scenes: int = 300
    people: int = 3
    noise: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.scenes, self.people) < 1 or not self.noise >= 0:
            found = f"{self.scenes}, {self.people} and {self.noise}"
            raise ValueError(f"scenes, people, noise: expected at least 1, 1 and 0, found {found}")


def arm_track(samples: int, step: float, seed: int) -> NDArray[np.float64]:
    """Places (samples, 2) of the right arm's tool in the base frame, metres, every 0.4 s without a jump.

    Args:
        samples: how many.
        step: longest way of the tool in 0.1 s, metres.
        seed: of the tasks and of the rests between them.
    """
    simulation = TabletopSimulation(SimulationConfig.of(ROBOT, cameras=()))
    rng = np.random.default_rng(seed)
    every = round(PERIOD_S / simulation.control_period)
    places: list[NDArray[np.float64]] = []
    joints, steps = None, 0
    with tqdm(total=samples, desc="arm", unit="sample") as progress:
        for number in range(samples):
            task = TASKS[int(rng.integers(len(TASKS)))]
            simulation.reset(EpisodeId(task, "nominal", 1, number, seed), joints)
            expert, scheduler = Expert(simulation, step), ChunkScheduler(simulation.robot)
            rest = round(float(rng.uniform(0, MAX_REST_S)) / simulation.control_period)
            while rest:
                if steps % every == 0:
                    places.append(simulation.scene.tool_position(ARM)[:2].copy())
                    progress.update()
                    if len(places) == samples:
                        return np.array(places)
                measured = simulation.scene.joint_positions
                chunk = simulation.kinematics.to_joint_chunk(expert.act(), measured)
                simulation.accept(scheduler.plan(chunk, measured, simulation.time))
                rest -= simulation.advance(1).done
                steps += 1
            joints = simulation.scene.joint_positions
    raise RuntimeError(f"expected {samples} samples, found {len(places)}")


def simulate(environment: str, options: TracksOptions) -> Tracks:
    """Scenes of one environment."""
    settings = ENVIRONMENTS[environment]
    seeds = np.random.SeedSequence([options.seed, list(ENVIRONMENTS).index(environment)]).generate_state(2)
    track = arm_track(SCENE_EVERY * (options.scenes - 1) + STEPS, settings.step, int(seeds[0]))
    starts = SCENE_EVERY * np.arange(options.scenes)
    arm = torch.from_numpy(np.stack([track[start : start + STEPS] for start in starts])).float()
    generator = torch.Generator().manual_seed(int(seeds[1]))
    counts = torch.randint(1, options.people + 1, (options.scenes,), generator=generator)
    scenes = torch.full((options.scenes, STEPS, 1 + options.people, 2), torch.nan)
    scenes[:, :, 0] = arm
    for count in counts.unique().tolist():
        rows = counts == count
        scenes[rows, :, 1 : 1 + count] = simulate_people(arm[rows], count, settings.distance, generator)
    scenes += options.noise * torch.randn(scenes.shape, generator=generator)
    return Tracks(scenes, ("arm", *options.people * ("person",)), environment, PERIOD_S)


def main() -> None:
    """Write them."""
    options = tyro.cli(TracksOptions, description=__doc__)
    expect_empty(options.output)
    options.output.mkdir(parents=True, exist_ok=True)
    for environment in ENVIRONMENTS:
        path = options.output / f"{environment}.npz"
        simulate(environment, options).save(path)
        print(f"{path}: {options.scenes} scenes of an arm and up to {options.people} people")


if __name__ == "__main__":
    main()

"""Record demonstrations of the scripted experts as a LeRobot dataset: `python -m sim.collect --help`."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from policies.data.demonstration_frames import features as demonstration_features
from policies.robots import get_robot
from policies.robots.spec import RobotSpec
from representation.data.lerobot_dataset import LeRobotDataset
from representation.data.lerobot_format import INFO_PATH
from representation.data.lerobot_writer import LeRobotWriter
from sim.collection_settings import begin_collection, check_resumed_settings
from sim.demonstrations import NO_NOISE, NoiseConfig, demonstrate
from sim.episode_id import EpisodeId
from sim.expert import MAX_STEP
from sim.leader import Leader, LeaderConfig
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.tasks import TASKS, named_tasks, robot_of

Demonstration = tuple[int, str, list[dict[str, Any]] | None]


@dataclass(frozen=True, slots=True)
class CollectConfig:
    """Record scripted, optionally disturbed, demonstrations.

    A run that was interrupted goes on where it stopped when it is started again with the same arguments; only the
    numbers of episodes and of workers may be others.

    Attributes:
        task: tasks of one robot, separated by commas, or `all` those of the panda.
        output: directory of the dataset.
        episodes: successful demonstrations per task.
        seed: seed of the episodes; evaluations use other seeds.
        suite: variation suite that the scenes are drawn from.
        severity: its severity.
        noisy: disturb the expert, so that recoveries are recorded too.
        noise: how.
        leader: a policy that drives first; the expert goes on from where it came to.
        step_m: longest way of a tool in 0.1 s, metres.
        cameras: cameras to record; all that the robot has if left out.
        size: width and height of the images, pixels.
        workers: processes that simulate.
    """

    task: str
    output: Path
    episodes: int = 100
    seed: int = 1000
    suite: str = "nominal"
    severity: int = 1
    noisy: bool = True
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    leader: LeaderConfig = field(default_factory=LeaderConfig)
    step_m: float = MAX_STEP
    cameras: tuple[str, ...] | None = None
    size: int = 224
    workers: int = 1

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return named_tasks(self.task)

    def simulation(self) -> SimulationConfig:
        """What simulates them: the robot follows from the tasks.

        Raises:
            ValueError: an unknown task, or tasks of different robots.
        """
        settings: dict[str, Any] = {"width": self.size, "height": self.size}
        if self.cameras is not None:
            settings["cameras"] = self.cameras
        return SimulationConfig.of(robot_of(self.tasks), **settings)

    def recorded(self) -> dict[str, Any]:
        """What decides about the content of the dataset, beside the number of episodes, as JSON values."""
        chosen = asdict(self)
        for name in ("output", "episodes", "workers"):
            del chosen[name]
        return chosen | {"task": ",".join(self.tasks), "cameras": self.simulation().cameras}


def features(cameras: tuple[str, ...], size: int, robot: RobotSpec) -> dict[str, dict[str, Any]]:
    """LeRobot features of a demonstration, those of a frame and what only a simulation knows."""
    table = demonstration_features(dict.fromkeys(cameras, (size, size)), robot)
    return table | {
        "action.executed": table["action"],
        "collection.disturbed": {"dtype": "bool", "shape": (1,)},
        "collection.index": {"dtype": "int64", "shape": (1,)},
        "collection.task": {"dtype": "int64", "shape": (1,)},
    }


def collect(config: CollectConfig) -> dict[str, int]:
    """Record until every task has its number of demonstrations.

    Returns:
        How many attempts were not recorded, by task.

    Raises:
        ValueError: the dataset was begun with other arguments.
    """
    simulation = config.simulation()
    failures = {}
    with _Recorder(config.output, simulation, config.recorded()) as recorder:
        for task in config.tasks:
            done, first = recorder.progress(task)
            failures[task] = 0
            with tqdm(total=config.episodes, initial=done, desc=task, unit="episode") as bar:
                if done >= config.episodes:
                    continue
                for index, instruction, frames in _demonstrations(config, simulation, task, first):
                    if frames is None:
                        failures[task] += 1
                        continue
                    recorder.record(task, index, instruction, frames)
                    bar.update()
                    if bar.n >= config.episodes:
                        break
    return failures


class _Recorder:
    """Writes demonstrations and knows which ones a dataset holds already."""

    def __init__(self, root: Path, simulation: SimulationConfig, settings: dict[str, Any]) -> None:
        if (root / INFO_PATH).exists():
            check_resumed_settings(root, settings)
            self._writer = LeRobotWriter.resume(root)
        else:
            begin_collection(root, settings)
            columns = features(simulation.cameras, simulation.width, get_robot(simulation.robot))
            self._writer = LeRobotWriter(root, simulation.control_hz, columns, simulation.robot)
        self._root = root
        self._done: dict[str, tuple[int, int]] = {}
        if self._writer.num_episodes:
            self._writer.finalize()
            self._read_progress()
            self._writer = LeRobotWriter.resume(root)

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.finalize()

    def progress(self, task: str) -> tuple[int, int]:
        """Demonstrations of a task so far, and the first episode index that has not been tried."""
        return self._done.get(task, (0, 0))

    def record(self, task: str, index: int, instruction: str, frames: list[dict[str, Any]]) -> None:
        """Write one demonstration."""
        mark = {"collection.index": np.array([index]), "collection.task": np.array([list(TASKS).index(task)])}
        for frame in frames:
            self._writer.add_frame(frame | mark, task=instruction)
        self._writer.save_episode()

    def _read_progress(self) -> None:
        dataset = LeRobotDataset(self._root)
        for number in range(dataset.num_episodes):
            episode = dataset.episode(number, ["collection.index", "collection.task"])
            task = list(TASKS)[int(episode["collection.task"].ravel()[0])]
            done, first = self.progress(task)
            self._done[task] = (done + 1, max(first, int(episode["collection.index"].ravel()[0]) + 1))


def _demonstrations(
    config: CollectConfig, simulation: SimulationConfig, task: str, first: int
) -> Iterator[Demonstration]:
    """Demonstrations of episode `first` and on, in order, without end."""
    make = partial(_demonstrate, config, simulation, task)
    if config.workers <= 1:
        yield from map(make, count(first))
        return
    pool = multiprocessing.get_context("spawn").Pool(config.workers)
    try:
        batch = 4 * config.workers
        for start in count(first, batch):
            yield from pool.imap(make, range(start, start + batch))
    finally:
        pool.terminate()
        pool.join()


@cache
def _simulation(simulation: SimulationConfig, leader: LeaderConfig) -> tuple[TabletopSimulation, Leader | None]:
    """What a process makes its demonstrations with."""
    world = TabletopSimulation(simulation)
    return world, Leader(leader, world) if leader.policy else None


def _demonstrate(config: CollectConfig, simulation_config: SimulationConfig, task: str, index: int) -> Demonstration:
    simulation, leader = _simulation(simulation_config, config.leader)
    episode = EpisodeId(task, config.suite, config.severity, index, config.seed)
    noise = config.noise if config.noisy else NO_NOISE
    frames = demonstrate(simulation, episode, noise, config.step_m, leader)
    return index, simulation.instruction, frames


def main() -> None:
    """Record as the command line says and print what failed."""
    config = tyro.cli(CollectConfig, description=__doc__)
    failures = collect(config)
    print(f"{config.output}: {config.episodes} demonstrations of each of {', '.join(config.tasks)}")
    found = ", ".join(f"{task} {number}" for task, number in failures.items())
    print(f"attempts that failed or left nothing to do (not recorded): {found}")


if __name__ == "__main__":
    main()

"""LeRobot demonstrations at hand for RDT: numbers in memory, pictures of all cameras in mapped files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from policies.rdt.embodiment import Embodiment
from policies.rdt.images import square_picture
from policies.robots.spec import RobotSpec
from policies.training_data import TASK_KEY, decode_in_threads
from representation.data.lerobot_dataset import LeRobotDataset

MIN_HALF_RANGE = 1e-2  # rad (m); a joint that stands still must not be blown up


@dataclass(frozen=True)
class Steps:
    """Everything but the pictures of the steps of all datasets, one episode after the other.

    Attributes:
        states: (N, n) measured joints, rad (m).
        actions: (N, n) commanded joints; where a dataset records Cartesian actions, the joints of the step after, as
            RDT's pre-training takes the future state for the action.
        state_std: (N, n) standard deviation of the state over the step's episode.
        instructions: N sentences.
        first: (N,) number of the first step of the step's episode.
        last: (N,) number of the last.
        episode: (N,) number of the episode, counted over all datasets.
        dataset: (N,) number of the dataset.
        group: (N,) number of the group that the step's errors are reported under.
        group_names: directory of the dataset and, where it numbers its tasks, the task.
    """

    states: NDArray[np.float64]
    actions: NDArray[np.float64]
    state_std: NDArray[np.float64]
    instructions: list[str]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    episode: NDArray[np.int64]
    dataset: NDArray[np.int64]
    group: NDArray[np.int64]
    group_names: tuple[str, ...]

    def chunks(self, steps: NDArray[np.int64], rows: int) -> NDArray[np.float64]:
        """Actions (B, rows, n) from steps (B,) on; past the end the last one is repeated."""
        wanted = steps[:, None] + np.arange(rows)
        return self.actions[np.minimum(wanted, self.last[steps][:, None])]


def read_steps(datasets: Sequence[LeRobotDataset], spec: RobotSpec) -> Steps:
    """Read the numbers and sentences of every episode.

    Raises:
        ValueError: a dataset lacks a feature, is damaged, or records other joints than the robot's.
    """
    names = ("states", "actions", "state_std", "first", "last", "episode", "dataset", "group")
    parts: dict[str, list[NDArray]] = {name: [] for name in names}
    instructions: list[str] = []
    groups: dict[str, int] = {}
    episodes = 0
    for number, dataset in enumerate(datasets):
        marks = [TASK_KEY] if TASK_KEY in dataset.info.features else []
        for index in range(dataset.num_episodes):
            episode = dataset.episode(index, ["observation.state", "action", *marks])
            states = np.asarray(episode["observation.state"], dtype=np.float64)
            actions = np.asarray(episode["action"], dtype=np.float64)
            if states.shape[1:] != spec.lower.shape:
                raise ValueError(
                    f"{dataset.root}: observation.state: expected {len(spec.lower)} joints of {spec.name}, "
                    f"found {states.shape[1:]}"
                )
            length, begin = len(states), len(instructions)
            after = np.concatenate([states[1:], states[-1:]])
            parts["states"].append(states)
            parts["actions"].append(actions if actions.shape == states.shape else after)
            parts["state_std"].append(np.broadcast_to(states.std(axis=0), states.shape))
            parts["first"].append(np.full(length, begin))
            parts["last"].append(np.full(length, begin + length - 1))
            parts["episode"].append(np.full(length, episodes))
            parts["dataset"].append(np.full(length, number))
            name = "/".join([dataset.root.resolve().name, *(f"task{episode[mark][0]}" for mark in marks)])
            parts["group"].append(np.full(length, groups.setdefault(name, len(groups))))
            instructions += episode["task"]
            episodes += 1
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return Steps(**joined, instructions=instructions, group_names=tuple(groups))


def decode_pictures(
    datasets: Sequence[LeRobotDataset], cameras: Sequence[str], size: int, path: Path, progress: bool = False
) -> None:
    """Decode the videos of every episode into one array file (N, cameras, size, size, 3) uint8.

    Raises:
        ValueError: a dataset lacks a camera, or is damaged.
    """
    count = sum(entry.length for dataset in datasets for entry in dataset.entries)
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = np.lib.format.open_memmap(path, "w+", np.uint8, (count, len(cameras), size, size, 3))
    keys = [f"observation.images.{camera}" for camera in cameras]
    bar = tqdm(total=count, desc="decoding videos", unit="step", disable=not progress)

    def decode(root: Path, episodes: range, start: int) -> None:
        dataset = LeRobotDataset(root)
        for index in episodes:
            episode = dataset.episode(index, keys)
            length = len(episode[keys[0]])
            for place, key in enumerate(keys):
                for step in range(length):
                    pictures[start + step, place] = square_picture(episode[key][step], size)
            bar.update(length)
            start += length
        dataset.close()

    with bar:
        decode_in_threads(datasets, decode)


def fit_embodiment(
    spec: RobotSpec, steps: Steps, training: NDArray[np.int64], cameras: tuple[str, str, str], control_hz: float
) -> Embodiment:
    """The robot's joints in the unified space, scaled so that the training steps fill [-1, 1], and grippers [0, 1].

    A network of a few million weights needs such a scale; the released ones keep rad, so that a slot means the same on
    every robot.
    """
    names = []
    for arm in spec.arms:
        side = "" if len(spec.arms) == 1 else f"{arm.name.removesuffix('_arm')}_"
        names += [f"{side}arm_joint_{i}_pos" for i in range(len(arm.joints))] + [f"{side}gripper_open"]
    values = np.concatenate([steps.states[training], steps.actions[training]])
    low, high = values.min(axis=0), values.max(axis=0)
    offset, scale = (low + high) / 2, np.maximum((high - low) / 2, MIN_HALF_RANGE)
    grippers = spec.grippers
    offset[grippers], scale[grippers] = spec.lower[grippers], (spec.upper - spec.lower)[grippers]
    scaled = {"state_scale": tuple(scale.tolist()), "state_offset": tuple(offset.tolist())}
    return Embodiment(spec.name, tuple(names), control_hz, cameras=cameras, **scaled)

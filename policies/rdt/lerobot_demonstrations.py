"""`LeRobotDemonstrations`: a LeRobot dataset as RDT learns from it. Its videos are decoded once, into a mapped file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from policies.rdt.demonstrations import Cameras, Episode, Pictures, Steps, background, join
from policies.rdt.images import square_picture
from policies.rdt.instructions import InstructionVariants
from policies.robots import get_named_robot
from policies.training_data import DISTURBED_KEY, TASK_KEY, decode_in_threads
from representation.data.lerobot_dataset import LeRobotDataset


class LeRobotDemonstrations:
    """A LeRobot dataset (v3 or v2.1); one of `policies.rdt.demonstrations.Demonstrations`.

    Where it records Cartesian actions, the joints of the step after stand for them, as RDT's pre-training takes the
    future state for the action. Frames that `collection.disturbed` marks are no demonstration; see `Steps`.

    Args:
        path: directory of the dataset.

    Raises:
        ValueError: it lacks a feature, is damaged, or records other joints than the robot's.
    """

    variants: InstructionVariants | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._dataset = LeRobotDataset(path)
        self.robot: str = str(self._dataset.info.robot_type)
        self.control_hz: float | None = float(self._dataset.info.fps)
        self.steps: Steps = join([self._episode(index) for index in range(self._dataset.num_episodes)])

    def _episode(self, index: int) -> Episode:
        marks = [key for key in (TASK_KEY, DISTURBED_KEY) if key in self._dataset.info.features]
        episode = self._dataset.episode(index, ["observation.state", "action", *marks])
        states = np.asarray(episode["observation.state"], dtype=np.float64)
        actions = np.asarray(episode["action"], dtype=np.float64)
        joints = len(get_named_robot(self.robot).joint_names)
        if states.shape[1:] != (joints,):
            raise ValueError(
                f"{self.path}: observation.state: expected {joints} joints of {self.robot}, found {states.shape[1:]}"
            )
        disturbed = np.ravel(episode[DISTURBED_KEY]) if DISTURBED_KEY in marks else np.zeros(len(states), dtype=bool)
        after = np.concatenate([states[1:], states[-1:]])
        return Episode(
            states=states,
            actions=actions if actions.shape == states.shape else after,
            disturbed=disturbed,
            state_std=states.std(axis=0),
            instructions=episode["task"],
            group=self.path.resolve().name + (f"/task{episode[TASK_KEY][0]}" if TASK_KEY in marks else ""),
        )

    def decode(self, cameras: Cameras, size: int, file: Path, progress: bool) -> None:
        """Decode the videos of every episode into one array file (N, cameras, size, size, 3) uint8.

        Raises:
            ValueError: the dataset lacks a camera, or is damaged.
        """
        keys = [f"observation.images.{camera}" for camera in cameras if camera]
        file.parent.mkdir(parents=True, exist_ok=True)
        pictures = np.lib.format.open_memmap(file, "w+", np.uint8, (len(self.steps), len(keys), size, size, 3))
        bar = tqdm(
            total=len(self.steps), desc=f"decoding videos of {self.path.name}", unit="step", disable=not progress
        )

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
            decode_in_threads([self._dataset], decode)

    def pictures(self, cameras: Cameras, size: int, file: Path) -> Pictures:
        """Map the file of `decode`."""
        mapped = np.load(file, mmap_mode="r")
        roles = [role for role, camera in enumerate(cameras) if camera]

        def read(steps: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
            found, present = background(len(steps), size)
            found[:, roles] = mapped[steps]
            present[:, roles] = True
            return found, present

        return read

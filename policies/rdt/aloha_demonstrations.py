"""`AlohaDemonstrations`: a directory of ALOHA episodes in HDF5 as RDT-1B (arXiv 2410.07864) is fine-tuned on them."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from policies.rdt.demonstrations import Cameras, Episode, Pictures, Steps, background, join
from policies.rdt.hdf5_episodes import AlohaEpisode, ColorOrder
from policies.rdt.images import CAMERA_ROLES, square_picture
from policies.rdt.instructions import InstructionVariants
from policies.training_data import DECODING_THREADS

EPISODES = "*.hdf5"
MIN_STEPS = 128
ROBOT = "aloha"


class AlohaDemonstrations:
    """The episodes `*.hdf5` of a directory, and the texts of their task beside them; a `Demonstrations`.

    Episodes of less than 128 steps are dropped, with a warning. An episode begins with the step before its first
    motion; the deviation of its state is still that of all of it. The numbers are held in memory, the pictures are read
    from the files when a batch needs them.

    Args:
        path: of the episodes of one task; not searched deeper.
        unmarked: colour order of files that do not tell, see `hdf5_episodes`.
        progress: show a progress bar.

    Raises:
        ValueError: no episode of 128 steps, one that does not fit or in which nothing moves, or no instructions.
    """

    robot: str = ROBOT
    control_hz: float | None = None

    def __init__(self, path: Path, unmarked: ColorOrder = "bgr", progress: bool = False) -> None:
        self.path = path
        self.variants: InstructionVariants | None = InstructionVariants.read(path)
        self.episodes: list[AlohaEpisode] = []
        files = sorted(path.glob(EPISODES))
        short = []
        for file in tqdm(files, desc=f"reading episodes of {path.name}", unit="episode", disable=not progress):
            episode = AlohaEpisode.read(file, unmarked)
            if len(episode) < MIN_STEPS:
                short.append(file.name)
            else:
                self.episodes.append(episode)
        if not self.episodes:
            raise ValueError(
                f"{path}: expected episodes ({EPISODES}) of at least {MIN_STEPS} steps, "
                f"found {len(files)}, all of them shorter"
            )
        if short:
            warnings.warn(
                f"{path}: {len(short)} of {len(files)} episodes have less than {MIN_STEPS} steps and are dropped: "
                f"{short[:5]}",
                stacklevel=2,
            )
        self._begins = np.array([episode.first_motion() - 1 for episode in self.episodes])
        self.steps: Steps = join([self._episode(number) for number in range(len(self.episodes))])

    def _episode(self, number: int) -> Episode:
        episode, begin = self.episodes[number], self._begins[number]
        states = episode.qpos.astype(np.float64)
        return Episode(
            states=states[begin:],
            actions=episode.action[begin:].astype(np.float64),
            disturbed=np.zeros(len(states) - begin, dtype=bool),
            state_std=states.std(axis=0),
            instructions=[self.variants.original] * (len(states) - begin),
            group=self.path.resolve().name,
        )

    def decode(self, cameras: Cameras, size: int, file: Path, progress: bool) -> None:
        """Nothing: single pictures can be read from the episodes."""

    def pictures(self, cameras: Cameras, size: int, file: Path) -> Pictures:
        """Pictures of the steps, read from the episodes; those of a role without a name are left out."""
        wanted = [(place, role) for place, role in enumerate(CAMERA_ROLES) if cameras[place]]
        steps = self.steps

        def read(numbers: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
            found, present = background(len(numbers), size)
            rows = numbers - steps.first[numbers] + self._begins[steps.episode[numbers]]

            def fill(index: int) -> None:
                episode = self.episodes[steps.episode[numbers[index]]]
                for place, role in wanted:
                    if role in episode.cameras:
                        (picture,) = episode.pictures(role, [rows[index]])
                        found[index, place], present[index, place] = square_picture(picture, size), True

            with ThreadPoolExecutor(DECODING_THREADS) as pool:
                list(pool.map(fill, range(len(numbers))))
            return found, present

        return read

"""`AlohaDataset`: training samples of a directory of ALOHA episodes, as RDT-1B (arXiv 2410.07864) draws them."""

from __future__ import annotations

import warnings
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from policies.rdt.hdf5_episodes import CAMERAS, AlohaEpisode, ColorOrder
from policies.rdt.images import FRAMES, CameraRole, Picture
from policies.rdt.instructions import InstructionVariants

MIN_STEPS = 128
CHUNK_LENGTH = 64


class AlohaSample(NamedTuple):
    """One step of an episode, in the robot's own numbers.

    Attributes:
        state: (1, 14) float32 measured, rad.
        actions: (T, 14) float32 commanded from this step on; past the end the last one is repeated.
        state_std: (14,) float32 standard deviation of the state over the episode.
        state_mean: (14,) float32 likewise.
        state_rms: (14,) float32 root mean square, likewise.
        images: by role (2, H, W, 3) uint8 RGB of one step ago and of now; zeros where not valid, and (2, 0, 0, 3) for a
            camera that the episode has not.
        valid: by role (2,) bool.
        instruction: one of the texts of the task.
    """

    state: NDArray[np.float32]
    actions: NDArray[np.float32]
    state_std: NDArray[np.float32]
    state_mean: NDArray[np.float32]
    state_rms: NDArray[np.float32]
    images: dict[CameraRole, NDArray[np.uint8]]
    valid: dict[CameraRole, NDArray[np.bool_]]
    instruction: str

    def frames(self) -> dict[CameraRole, list[Picture | None]]:
        """Valid pictures by role, None for others, as `ordered_pictures` takes them."""
        return {
            role: [images[i] if self.valid[role][i] else None for i in range(FRAMES)]
            for role, images in self.images.items()
        }


class AlohaDataset:
    """The episodes `*.hdf5` of a directory, and the texts of their task beside them.

    Episodes of less than 128 steps are dropped, with a warning. The numbers of all others are held in memory, pictures
    are read when drawn. An instance may be handed to other processes.

    Args:
        directory: of the episodes of one task; not searched deeper.
        unmarked: colour order of files that do not tell, see `hdf5_episodes`.
        chunk_length: rows T of a sample's actions.
        progress: show a progress bar.

    Raises:
        ValueError: no episode of 128 steps, one that does not fit or in which nothing moves, or no instructions.
    """

    def __init__(
        self,
        directory: str | Path,
        unmarked: ColorOrder = "bgr",
        chunk_length: int = CHUNK_LENGTH,
        progress: bool = False,
    ) -> None:
        self.directory = Path(directory)
        self.chunk_length = chunk_length
        self.instructions: InstructionVariants = InstructionVariants.read(self.directory)
        self.episodes: list[AlohaEpisode] = []
        self.dropped: list[Path] = []
        paths = sorted(self.directory.glob("*.hdf5"))
        for path in tqdm(paths, desc="reading episodes", unit="episode", disable=not progress):
            episode = AlohaEpisode.read(path, unmarked)
            if len(episode) < MIN_STEPS:
                self.dropped.append(path)
            else:
                episode.first_motion()
                self.episodes.append(episode)
        if not self.episodes:
            raise ValueError(
                f"{self.directory}: expected episodes (*.hdf5) of at least {MIN_STEPS} steps, "
                f"found {len(paths)}, all of them shorter"
            )
        if self.dropped:
            names = [path.name for path in self.dropped[:5]]
            warnings.warn(
                f"{self.directory}: {len(self.dropped)} of {len(paths)} episodes have less than {MIN_STEPS} steps and "
                f"are dropped: {names}",
                stacklevel=2,
            )

    def __len__(self) -> int:
        """Number of steps of all episodes."""
        return sum(len(episode) for episode in self.episodes)

    @cached_property
    def state_mean(self) -> NDArray[np.float32]:
        """Mean state (14,) of all steps, which stands for a dropped state."""
        return np.concatenate([episode.qpos for episode in self.episodes]).mean(axis=0, dtype=np.float64).astype("f4")

    def draw(self, generator: np.random.Generator) -> AlohaSample:
        """A sample: an episode in proportion to its length, then a step, from just before its motion on, evenly."""
        lengths = np.array([len(episode) for episode in self.episodes], dtype=np.float64)
        index = int(generator.choice(len(self.episodes), p=lengths / lengths.sum()))
        episode = self.episodes[index]
        step = int(generator.integers(episode.first_motion() - 1, len(episode)))
        return self.sample(index, step, self.instructions.choose(generator))

    def sample(self, index: int, step: int, instruction: str) -> AlohaSample:
        """The sample of a step.

        Args:
            index: of the episode in `episodes`.
            step: from the one before the first motion to the last.
            instruction: text of the sample.

        Raises:
            ValueError: a step outside, or pictures that cannot be read.
        """
        episode = self.episodes[index]
        first = episode.first_motion() - 1
        if not first <= step < len(episode):
            raise ValueError(f"{episode.path}: step: expected {first} to {len(episode) - 1}, found {step}")
        images: dict[CameraRole, NDArray[np.uint8]] = {role: np.zeros((FRAMES, 0, 0, 3), np.uint8) for role in CAMERAS}
        valid = {role: np.zeros(FRAMES, dtype=bool) for role in CAMERAS}
        for role, pictures in episode.frames(step).items():
            now = pictures[-1]
            if now is not None:
                images[role] = np.stack([np.zeros_like(now) if picture is None else picture for picture in pictures])
                valid[role] = np.array([picture is not None for picture in pictures])
        rows = np.minimum(np.arange(step, step + self.chunk_length), len(episode) - 1)
        states = episode.qpos.astype(np.float64)
        return AlohaSample(
            state=episode.qpos[step : step + 1],
            actions=episode.action[rows],
            state_std=states.std(axis=0).astype(np.float32),
            state_mean=states.mean(axis=0).astype(np.float32),
            state_rms=np.sqrt((states**2).mean(axis=0)).astype(np.float32),
            images=images,
            valid=valid,
            instruction=instruction,
        )

"""What RDT learns from: `Demonstrations` of one directory, their numbers in memory and their pictures at hand.

`lerobot_demonstrations.py` and `aloha_demonstrations.py` have one class for each format; `mixture.py` joins several.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from policies.rdt.images import BACKGROUND_LEVEL, CAMERA_ROLES
from policies.rdt.instructions import InstructionVariants

Cameras = tuple[str, str, str]
"""Names of the exterior, the right wrist's and the left wrist's camera; "" for none."""


@dataclass(frozen=True)
class Steps:
    """Everything but the pictures of some steps, one episode after the other, in the robot's own numbers.

    Attributes:
        states: (N, n) measured joints, rad (m).
        actions: (N, n) commanded joints.
        disturbed: (N,) where the command was not what the one who demonstrates wanted.
        state_std: (N, n) standard deviation of the state over the step's episode.
        instructions: N sentences.
        first: (N,) number of the first step of the step's episode.
        last: (N,) number of the last.
        episode: (N,) number of the episode.
        group: N names that the steps' errors are reported under.
    """

    states: NDArray[np.float64]
    actions: NDArray[np.float64]
    disturbed: NDArray[np.bool_]
    state_std: NDArray[np.float64]
    instructions: list[str]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    episode: NDArray[np.int64]
    group: list[str]

    def __len__(self) -> int:
        return len(self.states)

    def chunks(self, steps: NDArray[np.int64], rows: int) -> NDArray[np.float64]:
        """Actions (B, rows, n) from steps (B,) on; past the end the last one is repeated."""
        return self.actions[self._rows(steps, rows)]

    def undisturbed(self, rows: int) -> NDArray[np.bool_]:
        """The steps (N,) from which on a chunk of some rows holds nothing but what was wanted."""
        inside: NDArray[np.bool_] = self.disturbed[self._rows(np.arange(len(self)), rows)]
        return np.logical_not(np.logical_or.reduce(inside, axis=1))

    def _rows(self, steps: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
        """Numbers (B, rows) of the steps that make up chunks."""
        return np.minimum(steps[:, None] + np.arange(rows), self.last[steps][:, None])


@dataclass(frozen=True)
class Episode:
    """What `join` makes `Steps` of.

    Attributes:
        states: (N, n) measured joints, rad (m).
        actions: (N, n) commanded joints.
        disturbed: (N,) where these were not wanted.
        state_std: (n,) standard deviation of the state.
        instructions: N sentences.
        group: name that its errors are reported under.
    """

    states: NDArray[np.float64]
    actions: NDArray[np.float64]
    disturbed: NDArray[np.bool_]
    state_std: NDArray[np.float64]
    instructions: list[str]
    group: str


def join(episodes: list[Episode]) -> Steps:
    """Put episodes one after the other."""
    lengths = np.array([len(episode.states) for episode in episodes])
    begins = np.cumsum(lengths) - lengths
    return Steps(
        states=np.concatenate([episode.states for episode in episodes]),
        actions=np.concatenate([episode.actions for episode in episodes]),
        disturbed=np.concatenate([episode.disturbed for episode in episodes]),
        state_std=np.repeat(np.stack([episode.state_std for episode in episodes]), lengths, axis=0),
        instructions=[text for episode in episodes for text in episode.instructions],
        first=np.repeat(begins, lengths),
        last=np.repeat(begins + lengths - 1, lengths),
        episode=np.repeat(np.arange(len(episodes)), lengths),
        group=[episode.group for episode in episodes for _ in episode.instructions],
    )


Pictures = Callable[[NDArray[np.int64]], tuple[NDArray, NDArray[np.bool_]]]
"""Square pictures (B, 3, S, S, 3) uint8 RGB of steps (B,) by role, and which are there (B, 3); see `background`.

Or their features, see `encoded_pictures`.
"""


def background(count: int, size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pictures (count, 3, size, size, 3) of steps without any: grey ones, none of which is there."""
    roles = len(CAMERA_ROLES)
    grey = np.full((count, roles, size, size, 3), BACKGROUND_LEVEL, dtype=np.uint8)
    return grey, np.zeros((count, roles), dtype=bool)


class Demonstrations(Protocol):
    """The demonstrations of one directory.

    Attributes:
        path: of the directory.
        robot: name of the `RobotSpec`.
        control_hz: rate of the steps; None where the files do not tell.
        variants: other texts for its instruction; None if there are none.
        steps: see `Steps`.
    """

    path: Path
    robot: str
    control_hz: float | None
    variants: InstructionVariants | None
    steps: Steps

    def decode(self, cameras: Cameras, size: int, file: Path, progress: bool) -> None:
        """Decode what cannot be read step by step into a file, once for all processes of a machine.

        Args:
            cameras: by role.
            size: side of the pictures, pixels.
            file: to write.
            progress: show a progress bar.

        Raises:
            ValueError: a camera is missing, or a file is damaged.
        """
        ...

    def pictures(self, cameras: Cameras, size: int, file: Path) -> Pictures:
        """Pictures of the steps; the arguments are those of `decode`, whose file may be deleted afterwards."""
        ...

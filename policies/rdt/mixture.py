"""`Mixture`: the steps of several datasets under one count, and batches of them in the unified space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policies.rdt.aloha_demonstrations import EPISODES, AlohaDemonstrations
from policies.rdt.demonstrations import Demonstrations, Pictures
from policies.rdt.embodiment import Embodiment
from policies.rdt.hdf5_episodes import ColorOrder
from policies.rdt.images import BACKGROUND_LEVEL, FRAMES
from policies.rdt.joint_history import joint_window
from policies.rdt.lerobot_demonstrations import LeRobotDemonstrations
from policies.rdt.unified_space import SIZE, fill

GREY = np.array(BACKGROUND_LEVEL, dtype=np.uint8)


def open_demonstrations(path: Path, unmarked: ColorOrder, progress: bool) -> Demonstrations:
    """The demonstrations of a directory: episodes of ALOHA if there are `*.hdf5`, otherwise a LeRobot dataset.

    Raises:
        ValueError: see `AlohaDemonstrations` and `LeRobotDemonstrations`.
    """
    if any(path.glob(EPISODES)):
        return AlohaDemonstrations(path, unmarked, progress)
    return LeRobotDemonstrations(path)


@dataclass(frozen=True)
class Part:
    """One dataset of a mixture.

    Attributes:
        data: its demonstrations.
        embodiment: their robot's numbers, and their rate.
        pictures: of its steps, or their features.
        missing: what stands for one that is missing.
        mean_state: (128,) of its training steps, in the unified space; stands for a dropped state.
    """

    data: Demonstrations
    embodiment: Embodiment
    pictures: Pictures
    missing: NDArray
    mean_state: Tensor

    @classmethod
    def of(
        cls,
        data: Demonstrations,
        embodiment: Embodiment,
        pictures: Pictures,
        training: NDArray[np.int64],
        missing: NDArray,
    ) -> Part:
        """A part whose numbers are checked.

        Raises:
            ValueError: a number is in other units; names the dataset and the slot.
        """
        steps = data.steps
        # Each joint's extremes, of the commands and of their ways from the state.
        ways = steps.actions - steps.states
        extreme = np.concatenate([end(axis=0) for x in (steps.actions, ways) for end in (x.argmin, x.argmax)])
        try:
            embodiment.action_to_unified(steps.actions[extreme, None], steps.states[extreme])
            embodiment.state_to_unified(np.stack([steps.states.min(axis=0), steps.states.max(axis=0)]))
        except ValueError as error:
            raise ValueError(f"{data.path}: {error}") from error
        mean, _ = embodiment.state_to_unified(steps.states[training].mean(axis=0))
        return cls(data, embodiment, pictures, missing, torch.from_numpy(mean))

    def numbers(self, steps: NDArray[np.int64], rows: int) -> dict[str, Tensor]:
        """What the network sees and predicts of some steps (B,), but for pictures and texts.

        Returns:
            `state` (B, 1, 128), `actions` (B, rows, 128), `slots` (B, 128), `frequency` (B,) Hz that the network is
            told, and of the state `state_std` (B, 128) over the episode and `mean_state` (B, 128) over the dataset.
        """
        body, count = self.embodiment, len(steps)
        measured = self.data.steps.states[steps]
        states, slots = body.state_to_unified(measured)
        spacing = body.spacing(rows)
        commands = spacing.to_rows(self.data.steps.chunks(steps, spacing.steps))
        actions, _ = body.action_to_unified(commands, measured)
        deviation, _ = fill(self.data.steps.state_std[steps] / np.abs(body.state_scale), body.names)
        return {
            "state": torch.from_numpy(states)[:, None],
            "actions": torch.from_numpy(actions),
            "slots": torch.from_numpy(slots).repeat(count, 1),
            "frequency": torch.full((count,), body.told_frequency),
            "state_std": torch.from_numpy(deviation),
            "mean_state": self.mean_state.repeat(count, 1),
        }

    def state_rms(self, steps: NDArray[np.int64]) -> NDArray[np.float32]:
        """Root mean square (B, 128) of the state over the episodes of some steps (B,)."""
        data = self.data.steps
        firsts, place = np.unique(data.first[steps], return_inverse=True)
        episodes = [self.embodiment.state_to_unified(data.states[first : data.last[first] + 1])[0] for first in firsts]
        return np.stack([np.sqrt(np.square(states).mean(axis=0)) for states in episodes])[place]

    def images(self, steps: NDArray[np.int64], history: bool) -> dict[str, Tensor]:
        """Pictures of some steps (B,) and, with `history`, of the steps before them, by time and role.

        Returns:
            `pictures` (B, n, S, S, 3) uint8, grey where missing, or their features, and `present` (B, n).
        """
        pictures, present = [], []
        for ago in reversed(range(FRAMES if history else 1)):
            wanted = steps - ago
            exists = wanted >= self.data.steps.first[steps]
            found, seen = self.pictures(np.where(exists, wanted, steps))
            found[~exists] = self.missing
            pictures.append(found)
            present.append(seen & exists[:, None])
        joined = np.concatenate(pictures, axis=1), np.concatenate(present, axis=1)
        return dict(zip(("pictures", "present"), map(torch.from_numpy, joined), strict=True))

    def joints(self, steps: NDArray[np.int64], count: int) -> dict[str, Tensor]:
        """Joints of the last control steps before and at some steps (B,), see `joint_window`.

        Returns:
            `history` (B, count, 128) and `history_present` (B, count).
        """
        data, hz, found = self.data.steps, self.embodiment.control_hz, []
        for step, first in zip(steps, data.first[steps], strict=True):
            rows = np.arange(max(first, step - count + 1), step + 1)
            stamps = (rows - first) / hz
            found.append(joint_window(self.embodiment, stamps, data.states[rows], stamps[-1], count))
        windows, present = (torch.from_numpy(np.stack(part)) for part in zip(*found, strict=True))
        return {"history": windows, "history_present": present}


class Mixture:
    """The steps of several datasets under one count, one dataset after the other.

    Args:
        datasets: see `Demonstrations`.
        with_variants: draw the texts of steps from the variants of their instruction, where there are any.

    Attributes:
        dataset: (N,) number of each step's dataset.
        episode: (N,) number of its episode, counted over all datasets.
        group: (N,) number of the group that its errors are reported under.
        group_names: of the groups.
        parts: the datasets in the unified space, see `embody`.
    """

    def __init__(self, datasets: Sequence[Demonstrations], with_variants: bool) -> None:
        self.datasets = datasets
        self._with_variants = with_variants
        lengths = np.array([len(data.steps) for data in datasets])
        episodes = np.array([data.steps.episode[-1] + 1 for data in datasets])
        self._starts = np.cumsum(lengths) - lengths
        self.dataset: NDArray[np.int64] = np.repeat(np.arange(len(datasets)), lengths)
        before = np.repeat(np.cumsum(episodes) - episodes, lengths)
        self.episode: NDArray[np.int64] = before + np.concatenate([data.steps.episode for data in datasets])
        names = [name for data in datasets for name in data.steps.group]
        self.group_names: tuple[str, ...] = tuple(dict.fromkeys(names))
        places = {name: place for place, name in enumerate(self.group_names)}
        self.group: NDArray[np.int64] = np.array([places[name] for name in names])
        self.parts: list[Part] = []

    def embody(
        self,
        embodiments: Sequence[Embodiment],
        pictures: Sequence[Pictures],
        training: NDArray[np.int64],
        missing: NDArray = GREY,
    ) -> None:
        """Put each dataset into the unified space.

        Args:
            embodiments: one for each dataset.
            pictures: likewise.
            training: numbers of the training steps.
            missing: what stands for a missing picture.

        Raises:
            ValueError: see `Part.of`.
        """
        all_of = zip(self.datasets, embodiments, pictures, self.split(training), strict=True)
        self.parts = [Part.of(*one, missing) for one in all_of]

    def undisturbed(self, lengths: Sequence[int]) -> NDArray[np.bool_]:
        """The steps (N,) whose chunks are demonstrations throughout; see `Steps.undisturbed`.

        Args:
            lengths: control steps of a chunk of each dataset.
        """
        return np.concatenate(
            [data.steps.undisturbed(length) for data, length in zip(self.datasets, lengths, strict=True)]
        )

    def split(self, steps: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Numbers within their dataset of some steps (B,), for each dataset."""
        own = self.dataset[steps]
        return [steps[own == number] - start for number, start in enumerate(self._starts)]

    def samples(self, steps: NDArray[np.int64], rows: int, history: bool, joints: int = 0) -> dict[str, Tensor]:
        """What `Part.numbers`, `Part.images` and, for a number of `joints`, `Part.joints` give of some steps (B,)."""
        found = [
            part.numbers(own, rows) | part.images(own, history) | (part.joints(own, joints) if joints else {})
            for part, own in zip(self.parts, self.split(steps), strict=True)
            if len(own)
        ]
        # Each dataset's samples lie together, and go to their places in the batch.
        order = torch.from_numpy(np.argsort(np.argsort(self.dataset[steps], kind="stable"), kind="stable"))
        return {name: torch.cat([one[name] for one in found])[order] for name in found[0]}

    def texts(self, steps: NDArray[np.int64], generator: np.random.Generator | None) -> list[str]:
        """Texts of some steps (B,): drawn from their variants, or the originals without a generator."""
        return [self._text(step, generator) for step in steps]

    def _text(self, step: np.int64, generator: np.random.Generator | None) -> str:
        number = self.dataset[step]
        data = self.datasets[number]
        if generator is not None and self._with_variants and data.variants is not None:
            return data.variants.choose(generator)
        return data.steps.instructions[step - self._starts[number]]

    def all_texts(self) -> list[str]:
        """Every text that `texts` may give, once."""
        texts: dict[str, None] = {}
        for data in self.datasets:
            texts |= dict.fromkeys(data.steps.instructions)
            if self._with_variants and data.variants is not None:
                texts |= dict.fromkeys(data.variants.texts)
        return list(texts)

    def errors(self, steps: NDArray[np.int64], vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Mean absolute errors (B,) of chunks (B, T, 128) at some steps (B,), in the robot's numbers: rad (m)."""
        result = np.empty(len(steps))
        for number, (part, own) in enumerate(zip(self.parts, self.split(steps), strict=True)):
            chosen = self.dataset[steps] == number
            spacing = part.embodiment.spacing(vectors.shape[1])
            rows = part.embodiment.action_from_unified(vectors[chosen], part.data.steps.states[own])
            found = spacing.to_steps(rows)
            result[chosen] = np.abs(found - part.data.steps.chunks(own, spacing.steps)).mean((1, 2))
        return result

    def state_rms(self, steps: NDArray[np.int64]) -> NDArray[np.float32]:
        """Root mean square (B, 128) of the state over the episodes of some steps (B,), in the unified space."""
        result = np.empty((len(steps), SIZE), dtype=np.float32)
        for number, (part, own) in enumerate(zip(self.parts, self.split(steps), strict=True)):
            if len(own):
                result[self.dataset[steps] == number] = part.state_rms(own)
        return result

    def weights(self, shares: Sequence[float], steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """Chances (B,) of being drawn of some steps (B,), so that each dataset has its share.

        Raises:
            ValueError: another number of shares than of datasets, or one that is not > 0.
        """
        if len(shares) != len(self.datasets) or not all(0 < share < np.inf for share in shares):
            raise ValueError(f"--rdt.weights: expected {len(self.datasets)} numbers > 0, found {list(shares)}")
        own = self.dataset[steps]
        each = np.asarray(shares) / np.bincount(own, minlength=len(shares))
        return each[own] / np.sum(shares)

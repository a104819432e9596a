"""Which frames a training run visits: whole episodes held out, and a reproducible order of batches."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Numbered(Protocol):
    """Frames that know where they come from.

    Attributes:
        episode: (N,) number of the episode, counted over all datasets.
        dataset: (N,) number of the dataset.
    """

    episode: NDArray[np.int64]
    dataset: NDArray[np.int64]


def split_frames(
    columns: Numbered, validation_episodes: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frame numbers of the training and of the held-out episodes.

    Args:
        columns: of all datasets.
        validation_episodes: how many episodes to hold out, drawn evenly from the datasets.
        generator: draws them.

    Raises:
        ValueError: a dataset would have no training episode left.
    """
    held_out: list[int] = []
    count = int(columns.dataset.max()) + 1
    for number in range(count):
        episodes = np.unique(columns.episode[columns.dataset == number])
        wanted = validation_episodes * (number + 1) // count - validation_episodes * number // count
        if wanted >= len(episodes):
            raise ValueError(
                f"validation_episodes: expected fewer than the {len(episodes)} of dataset {number}, found {wanted}"
            )
        held_out += generator.choice(episodes, wanted, replace=False).tolist()
    is_held_out = np.isin(columns.episode, held_out)
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def some_episodes(
    columns: Numbered, frames: NDArray[np.int64], share: float, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Those of some frames that belong to a share of their episodes, of each dataset at least one.

    Args:
        columns: of all datasets.
        frames: numbers of the frames.
        share: of the episodes, in (0, 1].
        generator: draws the episodes.
    """
    if share == 1:
        return frames
    chosen: list[int] = []
    for number in np.unique(columns.dataset[frames]):
        episodes = np.unique(columns.episode[frames[columns.dataset[frames] == number]])
        chosen += generator.permutation(episodes)[: max(1, round(share * len(episodes)))].tolist()
    return frames[np.isin(columns.episode[frames], chosen)]


class BatchOrder:
    """The order in which frames are visited, a function of the seed alone: every epoch a new permutation, or by weight.

    Batch `k` can be asked for without having gone through those before it, so that a training run resumes anywhere.

    Args:
        frames: frame numbers to visit.
        batch_size: frames per batch; the last, smaller batch of an epoch is left out.
        seed: of the permutations.
        weights: chance of each frame of being drawn, each time anew; None for permutations.

    Raises:
        ValueError: fewer frames than a batch.
    """

    def __init__(
        self, frames: NDArray[np.int64], batch_size: int, seed: int, weights: NDArray[np.float64] | None = None
    ) -> None:
        if len(frames) < batch_size:
            raise ValueError(f"batch_size: expected at most the {len(frames)} training frames, found {batch_size}")
        self._frames, self._batch_size, self._seed = frames, batch_size, seed
        self._per_epoch = len(frames) // batch_size
        self._epoch, self._permutation = -1, frames
        self._bounds = None if weights is None else np.cumsum(weights)

    def __getitem__(self, number: int) -> NDArray[np.int64]:
        """Frame numbers (batch_size,) of a batch, counted over all epochs."""
        if self._bounds is not None:
            draws = np.random.default_rng((self._seed, number)).random(self._batch_size)
            places = np.searchsorted(self._bounds, draws * self._bounds[-1], side="right")
            return self._frames[np.minimum(places, len(self._frames) - 1)]  # a product may be rounded up to the end
        epoch, position = divmod(number, self._per_epoch)
        if epoch != self._epoch:
            generator = np.random.default_rng((self._seed, epoch))
            self._epoch, self._permutation = epoch, generator.permutation(self._frames)
        return self._permutation[position * self._batch_size : (position + 1) * self._batch_size]

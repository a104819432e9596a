"""`PairSampler`: two different examples of each of some classes."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor


class PairSampler:
    """Draws pairs; the classes of a draw are all different, so that no other pair is right by chance.

    Args:
        labels: (N,) class of each example.
        classes_per_batch: pairs of a draw; at most so many as there are classes with two examples.

    Raises:
        ValueError: no class has two examples.
    """

    def __init__(self, labels: ArrayLike, classes_per_batch: int) -> None:
        numbers = torch.as_tensor(labels)
        rows = [torch.nonzero(numbers == label).flatten() for label in numbers.unique()]
        self._rows = [own for own in rows if len(own) > 1]
        self.count = min(classes_per_batch, len(self._rows))
        if self.count < 1:
            raise ValueError(
                f"labels: expected two examples of a class, found none in {len(numbers)}; take more at once"
            )

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows (count,) of the first and of the second example of each pair."""
        classes = torch.randperm(len(self._rows), generator=generator)[: self.count].tolist()
        pairs = [
            self._rows[number][torch.randperm(len(self._rows[number]), generator=generator)[:2]] for number in classes
        ]
        first, second = torch.stack(pairs).unbind(dim=1)
        return first, second

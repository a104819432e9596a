"""`EpisodeId`: the name of an episode, and the one source of everything random in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, order=True)
class EpisodeId:
    """Names one episode. Equal ids give equal episodes, on every machine and with any number of workers.

    Attributes:
        task: name of the task.
        suite: name of the variation suite.
        severity: grade of the variation.
        index: number of the episode within task, suite and severity.
        seed: seed of the whole run.
    """

    task: str
    suite: str
    severity: int
    index: int
    seed: int

    def __post_init__(self) -> None:
        for name in ("severity", "index", "seed"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{name}: expected an integer >= 0, found {value!r}")

    def __str__(self) -> str:
        return f"{self.task}/{self.suite}-{self.severity}/{self.seed}/{self.index}"

    def seed_sequence(self, purpose: str = "world") -> np.random.SeedSequence:
        """Entropy for one use of randomness in this episode.

        Args:
            purpose: what the random numbers are for; different purposes give independent streams, so that a policy
                that draws numbers never changes the world.
        """
        words = [_stable_word(text) for text in (self.task, self.suite, purpose)]
        return np.random.SeedSequence([*words, self.severity, self.index, self.seed])

    def integer_seed(self, purpose: str) -> int:
        """A 32-bit seed for things that take an integer, such as `Policy.reset`."""
        return int(self.seed_sequence(purpose).generate_state(1)[0])


def _stable_word(text: str) -> int:
    """64 bits of a SHA-256; Python's own hash changes from process to process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

"""Made-up episodes as texts: a sentence for each phase of a task, about one thing.

Phases come in their order. A sentence has two to four words of its phase and the word of the thing, shuffled.
"""

from __future__ import annotations

import numpy as np

from representation.structure.ponet import MARKS, Chunk

PHASES = ("reach", "grasp", "lift", "carry", "place", "retreat")
WORDS, THINGS = 4, 10  # words of a phase, and things that an episode may be about
VOCAB = MARKS + len(PHASES) * WORDS + THINGS


def drawn_episodes(count: int, seed: int) -> list[Chunk]:
    """So many episodes, each a list of sentences of tokens."""
    rng = np.random.default_rng(seed)
    episodes: list[Chunk] = []
    for _ in range(count):
        thing = VOCAB - 1 - int(rng.integers(THINGS))
        sentences = []
        for phase in range(len(PHASES)):
            words = MARKS + phase * WORDS + rng.integers(WORDS, size=rng.integers(2, 5))
            sentences.append(rng.permutation([*words, thing]).tolist())
        episodes.append(sentences)
    return episodes

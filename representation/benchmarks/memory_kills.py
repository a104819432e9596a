"""Does a memory keep what it committed? A process that writes is killed at any moment, and what it left is counted.

`python -m representation.benchmarks.memory_kills MEMORY FIRST` is the process that is killed: it adds batch after
batch and prints the number of each once it is committed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from representation.memory.episode_memory import EpisodeMemory
from representation.memory.schema import FRAMES, EncoderColumns, Row
from representation.memory.search import SearchOptions

ENCODER = EncoderColumns("killed", "image", 64, prefix=8, signs=True)
BATCH = 50  # rows
LONGEST_S = 0.6  # from a commit to the kill
PATIENCE_S = 120.0


class Survival(NamedTuple):
    """What kills left.

    Attributes:
        committed: rows whose commit was told before a kill.
        lost: of these, rows that are gone or changed.
        halves: batches of which only some rows are there.
    """

    committed: int
    lost: int
    halves: int


def survive(address: str | Path, kills: int, rng: np.random.Generator) -> Survival:
    """Kill a writer again and again, and count after each kill what the memory holds.

    Args:
        address: of a new memory.
        kills: number of them.
        rng: chooses their moments.

    Raises:
        ValueError: the memory cannot be read after a kill.
        RuntimeError: the writer ended by itself.
    """
    EpisodeMemory(address, create=True).register(ENCODER)
    committed: set[int] = set()
    lost = halves = 0
    for _ in range(kills):
        first = max(committed, default=-1) + 2  # the batch that was being written is never written again
        committed |= _killed(address, first, float(rng.uniform(0, LONGEST_S)))
        memory = EpisodeMemory(address)
        rows, vectors = memory.vectors(FRAMES, ENCODER.key)
        whole = dict(zip((row.frame for row in rows), vectors, strict=True))
        expected = np.concatenate([_vectors(batch) for batch in sorted(committed)])
        numbers = [batch * BATCH + place for batch in sorted(committed) for place in range(BATCH)]
        lost += sum(
            not np.array_equal(whole.get(number), vector) for number, vector in zip(numbers, expected, strict=True)
        )
        halves += sum(count != BATCH for count in Counter(row.episode for row in rows).values())
        nearest = memory.search(FRAMES, ENCODER.key, expected[0], SearchOptions(k=1))[0]
        lost += nearest.row.frame != numbers[0]
    return Survival(len(committed) * BATCH, lost, halves)


def _killed(address: str | Path, first: int, delay_s: float) -> set[int]:
    """Numbers of the batches that a writer told to be committed before it was killed."""
    command = [sys.executable, "-m", "representation.benchmarks.memory_kills", str(address), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            told = [int(writer.stdout.readline() or "-1")]
            time.sleep(delay_s)
            if writer.poll() is not None or told[0] < 0:
                raise RuntimeError(f"writer: expected it to write until it is killed, found it ended: {writer.poll()}")
        finally:
            writer.kill()
        told += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    return set(told)


def _vectors(batch: int) -> NDArray[np.float32]:
    return np.random.default_rng(batch).normal(size=(BATCH, ENCODER.width)).astype(np.float32)


def main() -> None:
    """Write until killed."""
    memory, first = EpisodeMemory(sys.argv[1]), int(sys.argv[2])
    for batch in range(first, sys.maxsize):
        rows = [Row("writer", "", batch, batch * BATCH + place, 0.0) for place in range(BATCH)]
        memory.add(FRAMES, rows, {ENCODER.key: _vectors(batch)})
        print(batch, flush=True)


if __name__ == "__main__":
    main()

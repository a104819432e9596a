"""The episode memory as it grows: how fast it is filled and searched, what it finds, and what kills leave of it.

Vectors of 512 numbers in clusters of about a hundred, most of what they tell in their first numbers, as those of
`matryoshka` have it. The funnel goes through an index of prefixes of 64. It is compared with exact search of the whole
vectors, in the same memory, and as one product of matrices in the machine's memory, the fastest that there is.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.memory_kills import survive
from representation.memory.episode_memory import FEWEST_INDEXED, EpisodeMemory
from representation.memory.schema import FRAMES, EncoderColumns, Row
from representation.memory.search import SearchOptions
from representation.pretraining.matryoshka import NestedIndex

COUNTS = (10_000, 100_000, 1_000_000)
WIDTH, PREFIX, CLUSTER, K, QUERIES = 512, 64, 100, 10, 20
BATCH = 20_000
DECAY, SPREAD = 0.5, 0.5  # of the numbers of a vector, and of a cluster
KILLS = 20
ENCODER = EncoderColumns("clustered", "image", WIDTH, prefix=PREFIX)
EXACT, FUNNEL = SearchOptions(k=K), SearchOptions(k=K, mode="funnel", cells=30)


def run(options: BenchOptions) -> list[Claim]:
    """All claims, by seed; of a smaller scale, with as much smaller counts."""
    claims: list[Claim] = []
    grown: dict[int, list[dict[str, float]]] = {}
    for count in COUNTS:
        grown[count] = [measure(max(options.steps(count), FEWEST_INDEXED), seed) for seed in range(options.seeds)]

    def claim(text: str, name: str, ours: list[float], baseline: list[float], least: float | None) -> None:
        claims.append(Claim(text, name, tuple(ours), tuple(baseline), least))

    def of(count: int, name: str) -> list[float]:
        return [one[name] for one in grown[count]]

    ones = [1.0] * options.seeds
    for count in COUNTS:
        claim(f"recall@{K} of the funnel, {count:,} vectors", "exact search", of(count, "recall"), ones, -0.05)
        # Speed is asked for where search takes long.
        least = 4.0 if count == COUNTS[-1] else None
        for name, what in (("memory", "exact search of the memory"), ("matrix", "product of matrices, one core")):
            text = f"speed of the funnel over exact search, {count:,} vectors"
            claim(text, f"{what} = 1", of(count, f"speed over {name}"), ones, least)
        claim(f"ms of a search, {count:,} vectors", "exact search", of(count, "funnel ms"), of(count, "exact ms"), None)
    small, large = COUNTS[0], COUNTS[-1]
    for name in ("seconds to add 10,000", "seconds to index 10,000", "bytes on disk of a vector", "MB of the process"):
        claim(f"{name}, {large:,} vectors", f"{small:,} vectors", of(large, name), of(small, name), None)
    with tempfile.TemporaryDirectory() as place:
        kills = options.steps(KILLS)
        found = [survive(Path(place) / str(s), kills, np.random.default_rng(s)) for s in range(options.seeds)]
    kept = [1 - one.lost / one.committed for one in found]
    claim(f"share of committed rows that {kills} kills left", "all", kept, ones, 0.0)
    whole = [1.0 - one.halves for one in found]
    claim(f"batches that {kills} kills left in half, 1 less them", "none", whole, ones, 0.0)
    return claims


def measure(count: int, seed: int) -> dict[str, float]:
    """Fill a memory with so many vectors, and search it.

    Returns:
        Recall of the funnel, its speed over both exact searches, and what filling and holding costs.
    """
    rng = np.random.default_rng(seed)
    draw = clustered(max(1, count // CLUSTER), rng)
    queries = draw(QUERIES)
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "memory"
        memory = EpisodeMemory(directory, create=True)
        memory.register(ENCODER)
        held = np.empty((count, WIDTH), np.float32)
        adding = 0.0
        for start in range(0, count, BATCH):
            stop = min(start + BATCH, count)
            held[start:stop] = draw(stop - start)
            rows = [Row("bench", "", row // CLUSTER, row, 0.0) for row in range(start, stop)]
            began = time.perf_counter()
            memory.add(FRAMES, rows, {ENCODER.key: held[start:stop]})
            adding += time.perf_counter() - began
        began = time.perf_counter()
        memory.compact()
        memory.index(FRAMES, ENCODER.key, "funnel")
        indexing = time.perf_counter() - began
        funnel_s, funnel = timed(lambda query: _found(memory, query, FUNNEL), queries)
        exact_s, exact = timed(lambda query: _found(memory, query, EXACT), queries)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    index = NestedIndex(torch.from_numpy(held), (WIDTH,))
    del held
    matrix_s, matrix = timed(lambda query: index.search(torch.from_numpy(query)[None], K, WIDTH)[0].tolist(), queries)
    if np.mean([set(a) == set(b) for a, b in zip(exact, matrix, strict=True)]) < 0.9:
        raise RuntimeError("exact search: expected what the product of matrices finds, found something else")
    return {
        "recall": float(np.mean([len(set(a) & set(b)) / K for a, b in zip(funnel, exact, strict=True)])),
        "speed over memory": exact_s / funnel_s,
        "speed over matrix": matrix_s / funnel_s,
        "funnel ms": 1e3 * funnel_s,
        "exact ms": 1e3 * exact_s,
        "seconds to add 10,000": adding * 1e4 / count,
        "seconds to index 10,000": indexing * 1e4 / count,
        "bytes on disk of a vector": size / count,
        "MB of the process": peak,
    }


def clustered(clusters: int, rng: np.random.Generator) -> Callable[[int], NDArray[np.float32]]:
    """A function that draws unit vectors (N, 512) around centres."""
    sizes = (np.arange(1, WIDTH + 1) ** -DECAY).astype(np.float32)
    centres = rng.standard_normal((clusters, WIDTH), np.float32) * sizes

    def draw(count: int) -> NDArray[np.float32]:
        noise = SPREAD * sizes * rng.standard_normal((count, WIDTH), np.float32)
        vectors = centres[rng.integers(clusters, size=count)] + noise
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return draw


def timed(find: Callable[[NDArray], list[int]], queries: NDArray[np.float32]) -> tuple[float, list[Any]]:
    """Median seconds of a query after a first one, and what was found for each."""
    find(queries[0])
    seconds, found = [], []
    for query in queries:
        began = time.perf_counter()
        found.append(find(query))
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds)), found


def _found(memory: EpisodeMemory, query: NDArray[np.float32], options: SearchOptions) -> list[int]:
    return [hit.row.frame for hit in memory.search(FRAMES, ENCODER.key, query, options)]

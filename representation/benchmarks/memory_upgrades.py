"""A memory of 20,000 frames of the six tasks whose encoder is replaced twice, by each path of `representation.upgrade`.

Episodes of the scripted experts, seen by the front camera; the class of a frame is its task. The first encoder learned
three of the tasks, the second one all of them, the third is wider and learned longer. Each memory is filled by the
first, and the command upgrades it twice. What the new encoders then find in it is compared with what the first found,
and with encoding everything anew; meanwhile another process searches by the old key all the time, and every answer is
compared with one product of matrices.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from representation import upgrade
from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.upgrade import trained
from representation.checkpoint import encoder_key
from representation.compatibility import d_simplex, oca
from representation.compatibility.retrieval import retrieval_cmc_map
from representation.compatibility.upgrade_paths import PATHS
from representation.data.frames import LABEL, Frames, open_frames, write_frames
from representation.embedding import embed
from representation.interface import Encoder
from representation.memory.episode_memory import EpisodeMemory
from representation.memory.schema import FRAMES, EncoderColumns
from representation.memory.search import SearchOptions
from representation.memory.sources import SourceOptions, remember
from representation.registry import load_encoder

DATA, TASK, TASKS = "task_frames", "collection.task", ("reach", "push", "pick", "place", "stack", "drawer")
SIDE, MEMORY, LABELLED, QUERIES, SEARCHES = 32, 20_000, 3000, 600, 30
DIM, VERTICES, ANCHORS, K = 32, 32, 300, 10
WIDTHS = (64, 64, 96)  # of the three encoders
STEPS = (200, 200, 400)
UPGRADE_STEPS = 200
REINDEX = "reindex"
TOLERANCE = 1e-4  # of a cosine


@dataclass(frozen=True)
class Parts:
    """Frames of other episodes each."""

    memory: Frames
    labelled: Frames
    queries: Frames


def run(options: BenchOptions) -> list[Claim]:
    """What each path finds after each upgrade, what it costs, and whether searches were right meanwhile.

    Raises:
        FileNotFoundError: the frames were not made; names the command.
        ValueError: too few frames.
    """
    path = options.data.with_name(DATA)
    if not path.is_dir():
        make = f"python -m sim.collect --task all --episodes 110 --cameras front --size 64 --seed 7000 --output {path}"
        raise FileNotFoundError(f"{path}: expected episodes of the six tasks, make them by {make}")
    opened = open_frames(path, size=SIDE)
    frames = Frames(opened.images, opened.episode, {LABEL: opened.columns[TASK]}, {LABEL: TASKS})
    found = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as place, Reader() as reader:
            found.append(measure(split(frames, seed), Path(place), seed, options, reader))

    def by_seed(name: str) -> tuple[float, ...]:
        return tuple(one[name] for one in found)

    claims = []
    for path_name in PATHS:
        for turn, nth in ((1, "first"), (2, "second")):
            what, where = f"{path_name}, {nth} upgrade", f"{path_name} {turn}"
            anew = by_seed(f"{REINDEX} {turn} mAP")
            claims.append(Claim(f"mAP, {what}", "before", by_seed(f"{where} mAP"), by_seed(f"{path_name} 0 mAP"), 0.0))
            if path_name != REINDEX:
                claims.append(Claim(f"mAP, {what}", "full re-indexing", by_seed(f"{where} mAP"), anew, None))
            for cost in ("pictures encoded for the memory", "seconds of the upgrade"):
                baseline = by_seed(f"{REINDEX} {turn} {cost}")
                claims.append(Claim(f"{cost}, {what}", "full re-indexing", by_seed(f"{where} {cost}"), baseline, None))
            ones = (1.0,) * options.seeds
            for when in ("meanwhile", "afterwards"):
                right = by_seed(f"{where} right {when}")
                claims.append(Claim(f"share of right searches {when}, {what}", "all", right, ones, 0.0))
    return claims


def split(frames: Frames, seed: int) -> Parts:
    """Whole episodes, drawn until each part has its frames; what is over is left out.

    Raises:
        ValueError: too few frames.
    """
    episodes = np.random.default_rng(seed).permutation(np.unique(frames.episode))
    counts = np.cumsum([np.count_nonzero(frames.episode == number) for number in episodes])
    parts, first = [], 0
    for wanted in (QUERIES, LABELLED, MEMORY):
        before = counts[first - 1] if first else 0
        last = int(np.searchsorted(counts, before + wanted)) + 1
        if last > len(episodes):
            total = QUERIES + LABELLED + MEMORY
            raise ValueError(f"{DATA}: expected more than {total} frames in whole episodes, found {len(frames)}")
        parts.append(frames.subset(np.flatnonzero(np.isin(frames.episode, episodes[first:last]))))
        first = last
    return Parts(parts[2], parts[1], parts[0])


def measure(parts: Parts, place: Path, seed: int, options: BenchOptions, reader: Reader) -> dict[str, float]:
    """All numbers of a seed, by path, number of upgrades and name.

    Args:
        parts: of the frames.
        place: an empty directory.
        seed: of the weights.
        options: how much is trained.
        reader: searches meanwhile.
    """
    write_frames(parts.memory, place / "stored")
    write_frames(parts.labelled, place / "labelled")
    save_encoders(parts.labelled, place, seed, options)
    found: dict[str, float] = {}
    for path in PATHS:
        old = place / ("planned" if path == "d_simplex" else "encoder0")
        memory = filled(place / f"memory of {path}", place / "stored", old)
        found[f"{path} 0 mAP"] = precision(memory, old, parts)
        for turn in (1, 2):
            output = place / f"{path}{turn}"
            needs = {
                "relative_representations": ["--anchors", str(place / "labelled"), "--anchor-count", str(ANCHORS)],
                REINDEX: ["--memory-data", str(place / "stored")],
            }
            with reader.searching(memory, old, parts.queries) as right:
                command(memory, old, place / f"encoder{turn}", place / "labelled", path, output, seed, options, needs)
            old = output
            found[f"{path} {turn} right meanwhile"] = right[0]
            found[f"{path} {turn} right afterwards"] = reader.look(memory, old, parts.queries)
            found[f"{path} {turn} mAP"] = precision(memory, old, parts)
            cost = json.loads((output / upgrade.REPORT_FILE).read_text())["cost"]
            found |= {f"{path} {turn} {name}": float(value) for name, value in cost.items()}
    return found


def save_encoders(labelled: Frames, place: Path, seed: int, options: BenchOptions) -> None:
    """Train `encoder0` and `planned`, which know half of the classes, and `encoder1` and `encoder2`, which know all."""
    labels = labelled.columns[LABEL]
    known = labelled.subset(np.flatnonzero(labels <= labels.max() // 2))
    for number, (width, steps) in enumerate(zip(WIDTHS, STEPS, strict=True)):
        seen = labelled if number else known
        config = oca.Config(width=width, dim=DIM)
        own = seed + 100 * number
        _save(trained(oca.new(config, seen, own), seen, own, options.steps(steps)), place / f"encoder{number}")
    simplex = d_simplex.Config(width=WIDTHS[0], num_classes=VERTICES)
    planned = trained(d_simplex.new(simplex, known, seed), known, seed, options.steps(STEPS[0]))
    _save(planned, place / "planned")


def _save(encoder: Any, directory: Path) -> None:
    directory.mkdir()
    encoder.save(directory)


def filled(directory: Path, stored: Path, encoder: Path) -> EpisodeMemory:
    """A memory of the stored frames by an encoder."""
    memory, loaded = EpisodeMemory(directory, create=True), _encoder(encoder)
    key = encoder_key(encoder)
    memory.register(EncoderColumns(key, loaded.modality, loaded.width))
    remember(memory, SourceOptions(stored), {key: loaded})
    return memory


def command(
    memory: EpisodeMemory,
    old: Path,
    new: Path,
    labelled: Path,
    path: str,
    output: Path,
    seed: int,
    options: BenchOptions,
    needs: dict[str, Sequence[str]],
) -> None:
    """Upgrade a memory as the command line does."""
    words = ["--memory", memory.address, "--old-encoder", str(old), "--new-encoder", str(new)]
    words += ["--data", str(labelled), "--path", path, "--output", str(output), "--seed", str(seed)]
    words += ["--steps", str(options.steps(UPGRADE_STEPS)), "--batch-size", "32", "--warmup-steps", "20"]
    words += ["--threads", str(torch.get_num_threads()), *needs.get(path, ())]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        upgrade.main(words)


def precision(memory: EpisodeMemory, encoder: Path, parts: Parts) -> float:
    """Mean average precision of the queries by an encoder among its vectors of the memory."""
    rows, vectors = memory.vectors(FRAMES, encoder_key(encoder))
    firsts = dict(zip(*np.unique(parts.memory.episode, return_index=True), strict=True))
    places = [firsts[row.episode] + row.frame for row in rows]
    stored = torch.from_numpy(parts.memory.columns[LABEL][places])
    asked = torch.from_numpy(embed(_encoder(encoder), parts.queries))
    labels = torch.from_numpy(parts.queries.columns[LABEL])
    return retrieval_cmc_map(asked, torch.from_numpy(vectors.copy()), labels, stored, exclude_self=False)["mAP"]


class Reader:
    """A process that searches memories, and compares each answer with all cosines."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, end = context.Pipe()
        self._process = context.Process(target=_read, args=(end,), daemon=True)
        self._process.start()
        end.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()

    @contextlib.contextmanager
    def searching(self, memory: EpisodeMemory, encoder: Path, queries: Frames) -> Iterator[list[float]]:
        """Search over and over; the list then holds the share of right answers.

        Args:
            memory: that is searched.
            encoder: whose vectors are searched, and that makes the queries.
            queries: frames to ask with.
        """
        right: list[float] = []
        self._pipe.send(Task.of(memory, encoder, queries, forever=True))
        yield right
        self._pipe.send(None)
        right.append(self._pipe.recv())

    def look(self, memory: EpisodeMemory, encoder: Path, queries: Frames) -> float:
        """Ask every query once; the share of right answers."""
        self._pipe.send(Task.of(memory, encoder, queries, forever=False))
        return float(self._pipe.recv())


@dataclass(frozen=True)
class Task:
    """What a reader searches.

    Attributes:
        address: of the memory.
        key: of the encoder whose vectors are searched.
        queries: vectors (Q, D).
        best: (Q, K), the largest cosines that each has with the stored vectors.
        forever: until it is told to end, or once.
    """

    address: str
    key: str
    queries: NDArray[np.float32]
    best: NDArray[np.float32]
    forever: bool

    @classmethod
    def of(cls, memory: EpisodeMemory, encoder: Path, queries: Frames, forever: bool) -> Task:
        """Some of the queries, and what they are to find in what the memory holds now."""
        key = encoder_key(encoder)
        _, stored = memory.vectors(FRAMES, key)
        rows = np.linspace(0, len(queries) - 1, SEARCHES).astype(int)
        asked = embed(_encoder(encoder), queries.subset(rows))
        best = -np.sort(-_unit(asked) @ _unit(stored).T, axis=1)[:, :K]
        return cls(memory.address, key, asked, best, forever)

    def is_right(self, memory: EpisodeMemory, number: int) -> bool:
        """Whether a search finds rows as near as the nearest ones."""
        try:
            hits = memory.search(FRAMES, self.key, self.queries[number], SearchOptions(k=K))
        except ValueError:
            return False
        similar = np.array([hit.similarity for hit in hits])
        return len(hits) == K and bool(np.abs(similar - self.best[number]).max() < TOLERANCE)


def _read(pipe: Connection) -> None:
    """Do what comes through a pipe, and answer with shares."""
    while True:
        task: Task = pipe.recv()
        memory, count = EpisodeMemory(task.address), len(task.queries)
        answers = [task.is_right(memory, number) for number in range(count)]
        while task.forever and not pipe.poll():
            answers.append(task.is_right(memory, len(answers) % count))
        if task.forever:
            pipe.recv()
        pipe.send(float(np.mean(answers)))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _encoder(directory: Path) -> Encoder:
    encoder = load_encoder(directory)
    assert isinstance(encoder, Encoder)
    return encoder

"""Clips of episodes, and episodes with the sentences that narrate their steps.

Frames are narrated by their texts: a step is a run of frames of one episode with the same text, or with the same number
in the column `step` where one sentence may follow itself. Seconds stand in the column `time`; without it a frame lasts
one second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.data.frames import STEP, TIME, Frames, as_pixels

SHORTEST_TEXT = 10  # characters
CLIP_LENGTH = 16  # frames
_SEGMENT_S, _GAP_S = (3.0, 4.0, 5.0), 1.0


@dataclass(frozen=True)
class Step:
    """A sentence, and from when to when it is true, seconds."""

    text: str
    start: float
    end: float

    def __post_init__(self) -> None:
        if len(self.text.strip()) < SHORTEST_TEXT:
            raise ValueError(f"step: expected a sentence of at least {SHORTEST_TEXT} characters, found {self.text!r}")
        if not self.end > self.start:
            raise ValueError(f"step: expected an end after its start, found {self.start} to {self.end} s")


@dataclass(frozen=True)
class ScriptEpisode:
    """An episode with its narrated steps.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        stamps: (T,) seconds, increasing.
        steps: in the order in which they happen.
    """

    frames: NDArray[np.uint8]
    stamps: NDArray[np.float64]
    steps: Sequence[Step]

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or len(self.frames) != len(self.stamps) or not len(self.stamps):
            raise ValueError(f"episode: expected (T, H, W, 3) and (T,), found {self.frames.shape}, {self.stamps.shape}")
        if (np.diff(self.stamps) <= 0).any():
            raise ValueError("stamps: expected increasing seconds, found others")
        if any(a.start > b.start for a, b in pairwise(self.steps)):
            raise ValueError("steps: expected the order in which they happen, found another")


@dataclass(frozen=True)
class Word:
    """A spoken word, and when, seconds."""

    text: str
    time: float


def script_of(frames: Frames, row: int) -> tuple[ScriptEpisode, int]:
    """The episode of a frame, and the number of the step that the frame belongs to.

    Raises:
        ValueError: the frames have no texts, or those of the episode do not follow each other.
    """
    frames.need(("texts",))
    rows = _rows_of(frames, row)
    texts = frames.texts[rows.start : rows.stop]
    stamps = np.asarray(frames.columns[TIME][rows] if TIME in frames.columns else np.arange(len(texts)), np.float64)
    if STEP in frames.columns:
        changes = np.diff(frames.columns[STEP][rows]) != 0
    else:
        changes = np.array([a != b for a, b in pairwise(texts)], bool)
    firsts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    period = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 1.0
    ends = [*stamps[firsts[1:]], stamps[-1] + period]
    steps = [Step(texts[first], stamps[first], end) for first, end in zip(firsts, ends, strict=True)]
    number = int(np.searchsorted(firsts, row - rows.start, side="right")) - 1
    return ScriptEpisode(frames.images[rows], stamps, steps), number


def sample_script_clip(
    episode: ScriptEpisode, first: int, count: int, length: int, generator: torch.Generator | None = None
) -> tuple[Tensor, list[str]]:
    """Frames and sentences of some steps that follow each other.

    Args:
        episode: where from.
        first: number of the first step.
        count: number K of steps.
        length: number M of frames: one of each of M equal parts of the time from the first step to the last.
        generator: draws the frame of each part; None takes the one in its middle.

    Returns:
        Video (M, 3, H, W) in [0, 1], and K sentences.

    Raises:
        ValueError: the episode has not so many steps.
    """
    steps = list(episode.steps[first : first + count])
    if len(steps) < count or first < 0:
        raise ValueError(f"episode: expected {count} steps from number {first}, found {len(episode.steps)} in all")
    edges = np.linspace(steps[0].start, steps[-1].end, length + 1)
    shares = np.full(length, 0.5) if generator is None else torch.rand(length, generator=generator).numpy()
    bounds = np.searchsorted(episode.stamps, edges)
    chosen = []
    for low, high, begin, end, share in zip(bounds[:-1], bounds[1:], edges[:-1], edges[1:], shares, strict=True):
        if high > low:
            chosen.append(low + min(int(share * (high - low)), high - low - 1))
        else:  # no frame in this part: what was last seen before its middle
            chosen.append(max(0, int(np.searchsorted(episode.stamps, (begin + end) / 2, side="right")) - 1))
    return as_pixels(episode.frames[np.array(chosen)]), [step.text for step in steps]


def history(frames: Frames, rows: NDArray[np.int64], length: int = CLIP_LENGTH) -> Tensor:
    """Clips (B, length, 3, H, W) in [0, 1], spread evenly from the beginning of each row's episode to the row."""
    clips = []
    for row in rows:
        first = _rows_of(frames, int(row)).start
        clips.append(as_pixels(frames.images[np.linspace(first, row, length).round().astype(int)]))
    return torch.stack(clips)


def spread(clips: Tensor, length: int) -> Tensor:
    """The middle frame (B, length, ...) of each of `length` equal parts of clips (B, T, ...)."""
    middles = (torch.arange(length) + 0.5) * clips.shape[1] / length
    return clips[:, middles.long()]


def segment_asr(words: Sequence[Word], count: int, duration: float, generator: torch.Generator) -> list[Step]:
    """Cut what a speech recogniser heard into segments of 3, 4 or 5 s with 1 s between them, from a random time on.

    Args:
        words: in the order of their times.
        count: number of segments.
        duration: of the video, seconds.
        generator: draws the length of the segments and the time.

    Raises:
        ValueError: the video is too short, or next to nothing is said in a segment.
    """
    length = _SEGMENT_S[int(torch.randint(len(_SEGMENT_S), (1,), generator=generator))]
    total = count * length + (count - 1) * _GAP_S
    if duration < total:
        raise ValueError(f"duration: expected at least {total} s for {count} segments of {length} s, found {duration}")
    begin = float(torch.rand(1, generator=generator)) * (duration - total)
    starts = [begin + k * (length + _GAP_S) for k in range(count)]
    return [
        Step(" ".join(word.text for word in words if start <= word.time < start + length), start, start + length)
        for start in starts
    ]


def align_words(texts: Sequence[str], heard: Sequence[Word]) -> list[Word]:
    """Give corrected words the times of the heard ones by dynamic time warping on how they are spelt.

    Args:
        texts: corrected words.
        heard: the same speech as it was recognised, with times.
    """
    if not texts or not heard:
        raise ValueError(f"words: expected some of both kinds, found {len(texts)} and {len(heard)}")
    cost = np.array([[1 - SequenceMatcher(None, a.lower(), b.text.lower()).ratio() for b in heard] for a in texts])
    total = np.full((len(texts) + 1, len(heard) + 1), np.inf)
    total[0, 0] = 0.0
    for i, j in np.ndindex(cost.shape):
        total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    times: list[list[tuple[float, float]]] = [[] for _ in texts]
    i, j = len(texts), len(heard)
    while i and j:
        times[i - 1].append((cost[i - 1, j - 1], heard[j - 1].time))
        i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda place: total[place])
    return [Word(text, min(found)[1]) for text, found in zip(texts, times, strict=True)]


def _rows_of(frames: Frames, row: int) -> slice:
    """The rows of the episode of a row."""
    rows = np.flatnonzero(frames.episode == frames.episode[row])
    if rows[-1] - rows[0] + 1 != len(rows):
        raise ValueError(f"episode {frames.episode[row]}: expected frames that follow each other, found gaps")
    return slice(int(rows[0]), int(rows[-1]) + 1)

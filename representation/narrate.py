"""Narrate recordings by what was said in them: `python -m representation.narrate --data DIR --words FILE --output DIR`.

FILE is JSON, what a speech recogniser heard in some of the episodes, with times in seconds from their first frames:

    {"episodes": [{"episode": 0, "words": [{"word": "push", "time": 0.4}, ...], "text": "Push the red cube ..."}]}

`text`, if given, is the speech in corrected words, which get the times of those that were heard. Each episode is cut
several times at random, as in TVTS (arXiv 2209.15280): segments of 3, 4 or 5 s with 1 s between them, each with the
words that fall into it. The output holds frames for `representation.pretrain --system tvts`, an episode for each cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from representation.data.clips import Step, Word, align_words, segment_asr
from representation.data.frames import STEP, TIME, Frames, expect_empty, open_frames, write_frames
from representation.data.untrusted_files import read_json

MAX_WORDS = 5000  # of an episode; aligning them takes their square


@dataclass(frozen=True)
class NarrateOptions:
    """What is narrated.

    Attributes:
        data: directory of the frames, which must know their times.
        words: JSON file of what was said.
        output: directory to write; must not hold files.
        camera: of a LeRobot dataset or a bag; the first one if left out.
        image_size: side that pictures are brought to, pixels; 0 keeps them.
        segments: sentences of a cut.
        cuts: of each episode.
        seed: of the cuts.
    """

    data: Path
    words: Path
    output: Path
    camera: str = ""
    image_size: int = 0
    segments: int = 4
    cuts: int = 4
    seed: int = 0


def read_words(path: Path) -> dict[int, list[Word]]:
    """What was said, by episode, in the order of the times.

    Raises:
        ValueError: the file is no such JSON; names the episode.
    """
    episodes = read_json(path.parent, path.name).get("episodes")
    if not isinstance(episodes, list):
        raise ValueError(f"{path}: expected a list of episodes, found {type(episodes).__name__}")
    found = {}
    for place, entry in enumerate(episodes):
        try:
            found[int(entry["episode"])] = _words_of(entry)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: entry {place}: expected an episode with words and times: {error!r}") from error
    return found


def _words_of(entry: Mapping[str, Any]) -> list[Word]:
    heard = [Word(str(one["word"]), float(one["time"])) for one in entry["words"]]
    texts = str(entry.get("text", "")).split()
    if max(len(heard), len(texts)) > MAX_WORDS:
        raise ValueError(f"expected at most {MAX_WORDS} words, found {max(len(heard), len(texts))}")
    if not all(math.isfinite(word.time) for word in heard):
        raise ValueError("expected finite times, found others")
    heard.sort(key=lambda word: word.time)
    return align_words(texts, heard) if texts else heard


def narrate(frames: Frames, words: Mapping[int, list[Word]], options: NarrateOptions) -> Frames:
    """Frames of the cuts, with the sentence and the number of the segment of each.

    Raises:
        ValueError: frames without times, an episode that is not there or too short, or next to no words in a segment.
    """
    frames.need((TIME,))
    generator = torch.Generator().manual_seed(options.seed)
    rows, texts, numbers, cuts = [], [], [], 0
    for episode, said in sorted(words.items()):
        own = np.flatnonzero(frames.episode == episode)
        if len(own) < 2:
            raise ValueError(f"episode {episode}: expected one of the frames, found {len(own)} of it")
        stamps = frames.columns[TIME][own] - frames.columns[TIME][own[0]]
        duration = float(stamps[-1] + np.median(np.diff(stamps)))
        for _ in range(options.cuts):
            try:
                steps = segment_asr(said, options.segments, duration, generator)
            except ValueError as error:
                raise ValueError(f"episode {episode}: {error}") from error
            for number, step in enumerate(steps):
                inside = own[_within(stamps, step)]
                rows.append(inside)
                texts += [step.text] * len(inside)
                numbers.append(np.stack([np.full(len(inside), cuts), np.full(len(inside), number)]))
            cuts += 1
    chosen = np.concatenate(rows)
    episodes, segments = np.concatenate(numbers, axis=1)
    columns = {TIME: frames.columns[TIME][chosen], STEP: segments}
    return Frames(frames.images[chosen], episodes, columns, {}, texts)


def _within(stamps: np.ndarray, step: Step) -> np.ndarray:
    return np.flatnonzero((stamps >= step.start) & (stamps < step.end))


def main(args: Sequence[str] | None = None) -> None:
    """Cut and write."""
    options = tyro.cli(NarrateOptions, args=args, description=__doc__)
    expect_empty(options.output)
    frames = open_frames(options.data, options.camera, options.image_size)
    narrated = narrate(frames, read_words(options.words), options)
    write_frames(narrated, options.output)
    print(f"{options.output}: {len(narrated)} frames of {narrated.episode[-1] + 1} cuts")


if __name__ == "__main__":
    main()

"""`EpisodeMarks`: where demonstrations begin and end in a recording, and how they went.

A mark is a std_msgs/String of JSON, `{"event": "start", "instruction": "..."}`, on the topic `episode_marks`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, get_args

Event = Literal["start", "success", "failure", "discard"]
MARKS_TOPIC = "episode_marks"
MAX_TEXT = 10_000


@dataclass(frozen=True, slots=True)
class EpisodeMark:
    """Something that happened to an episode.

    Attributes:
        event: it starts, has ended in success or failure, or is to be forgotten.
        instruction: what is to be done in it.
    """

    event: Event
    instruction: str

    def to_json(self) -> str:
        """The text that is recorded."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> EpisodeMark:
        """Read a recorded text.

        Raises:
            ValueError: it is not a mark.
        """
        try:
            value = json.loads(text[:MAX_TEXT])
        except (ValueError, RecursionError) as error:
            raise ValueError(f"episode mark: expected JSON, found {text!r:.100}") from error
        if not isinstance(value, dict) or value.get("event") not in get_args(Event):
            raise ValueError(f"episode mark: expected an event of {', '.join(get_args(Event))}, found {text!r:.100}")
        if not isinstance(value.get("instruction"), str):
            raise ValueError(f"episode mark: expected an instruction, found {text!r:.100}")
        return cls(value["event"], value["instruction"])


class EpisodeMarks:
    """Which marks may follow each other: one episode at a time.

    Attributes:
        running: whether an episode is being recorded.
        counts: marks so far, by event.
    """

    def __init__(self) -> None:
        self.running = False
        self.counts = dict.fromkeys(get_args(Event), 0)
        self._instruction = ""

    def mark(self, event: Event, instruction: str) -> EpisodeMark:
        """Make a mark; the instruction of an episode is the one at its start.

        Raises:
            ValueError: an episode without instruction, a second start, or an end without a start; says what to do.
        """
        if event == "start":
            if self.running:
                raise ValueError("start: an episode is running: mark success, failure or discard first")
            if not instruction:
                raise ValueError("start: expected an instruction, found none: publish it on the topic 'instruction'")
            self._instruction = instruction
        elif not self.running:
            raise ValueError(f"{event}: no episode is running: mark start first")
        self.running = event == "start"
        self.counts[event] += 1
        return EpisodeMark(event, self._instruction)

"""What is known of frames beside their pictures, as JSON documents."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from representation.data.frames import POINTS, TIME, Frames

TASK = "task"
MAX_NUMBERS = 256  # of a column; more are no state but a signal
_PLACE_IN_EPISODE = (TIME, "progress")
_OF_THE_RECORDING = "collection."  # what `sim.collect` calls columns that tell how an episode came about


def documents(frames: Frames, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """A document for each of some rows.

    A text stands under `task`, each column under its name, where dots lead inwards: `observation.state` becomes
    `{"observation": {"state": [...]}}`. Single numbered values are given by their names, arrays of them as numbers.
    Clouds, where in the episode the frame is, and how the episode came about are left out.
    """
    columns = {
        name: values
        for name, values in frames.columns.items()
        if name not in (POINTS, *_PLACE_IN_EPISODE)
        and not name.startswith(_OF_THE_RECORDING)
        and np.prod(values.shape[1:], dtype=int) <= MAX_NUMBERS
    }
    found = []
    for row in rows:
        document: dict[str, Any] = {TASK: frames.texts[row]} if frames.texts else {}
        for name, values in columns.items():
            value = values[row].tolist()
            _put(
                document,
                name.split("."),
                frames.names[name][value] if name in frames.names and values.ndim == 1 else value,
            )
        found.append(document)
    return found


def _put(document: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        document = document.setdefault(name, {})
    document[path[-1]] = value

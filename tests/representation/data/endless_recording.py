"""What a recorder does until it is killed, for the test that kills it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from representation.data.bag_messages import encode, make
from representation.data.bag_recorder import BagRecorder, RecorderConfig
from representation.data.bag_writer import BagTopic

STRING = "std_msgs/msg/String"
PICTURE_BYTES = 300_000


def record_without_end(folder: str) -> None:
    """Record small messages, numbered on `/text`, between large ones that do not shrink, on `/picture`."""
    recorder = BagRecorder(Path(folder), RecorderConfig(min_free_mb=1))
    recorder.add_topic(BagTopic("/text", STRING))
    recorder.add_topic(BagTopic("/picture", STRING))
    noise = np.random.default_rng(0).integers(32, 127, PICTURE_BYTES).astype(np.uint8).tobytes().decode()
    picture = encode(make(STRING, data=noise), STRING)
    number = 0
    while True:
        for _ in range(3):
            recorder.write("/text", encode(make(STRING, data=f"{number} small"), STRING), number, number)
            number += 1
        recorder.write("/picture", picture, number, number)
        time.sleep(0.001)

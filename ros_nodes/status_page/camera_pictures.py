"""`CameraPictures`: the newest picture of each camera, made a JPEG when somebody asks for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from representation.data.camera_messages import rgb_from_image

MAX_WIDTH = 640  # px
QUALITY = 80


@dataclass(slots=True)
class _Camera:
    frame: int = 0
    message: Any = None
    received_at: float = 0.0
    problem: str = ""
    encoded_frame: int = 0
    jpeg: bytes = b""
    encoding: threading.Lock = field(default_factory=threading.Lock)


class CameraPictures:
    """May be used from several threads.

    Args:
        names: of the cameras.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._cameras = {name: _Camera() for name in names}

    def add(self, name: str, message: Any, now: float) -> None:
        """Take a sensor_msgs/Image; it is not looked at before somebody asks for it."""
        camera = self._cameras[name]
        camera.message, camera.received_at = message, now
        camera.frame += 1

    def jpeg(self, name: str) -> bytes | None:
        """The newest picture; None where there is no such camera, or no picture that can be read."""
        camera = self._cameras.get(name)
        if camera is None:
            return None
        with camera.encoding:
            frame, message = camera.frame, camera.message
            if frame != camera.encoded_frame:
                camera.encoded_frame = frame
                try:
                    camera.jpeg, camera.problem = encode(rgb_from_image(message)), ""
                except ValueError as error:
                    camera.jpeg, camera.problem = b"", str(error)
            return camera.jpeg or None

    def as_json(self, now: float) -> list[dict[str, Any]]:
        """By camera its number of frames so far, the age of the newest in seconds, and what is wrong with it."""
        return [
            {
                "name": name,
                "frame": camera.frame,
                "age_s": round(now - camera.received_at, 2) if camera.frame else None,
                "problem": camera.problem,
            }
            for name, camera in self._cameras.items()
        ]


def encode(rgb: NDArray[np.uint8]) -> bytes:
    """JPEG of a (H, W, 3) picture, at most `MAX_WIDTH` wide."""
    height, width = rgb.shape[:2]
    if width > MAX_WIDTH:
        size = (MAX_WIDTH, max(1, round(height * MAX_WIDTH / width)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()

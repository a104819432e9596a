from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ros_nodes.status_page.camera_pictures import MAX_WIDTH, CameraPictures


@dataclass
class Picture:
    """What a sensor_msgs/Image holds."""

    pixels: np.ndarray
    encoding: str = "rgb8"
    is_bigendian: int = 0

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def step(self) -> int:
        return 3 * self.width

    @property
    def data(self) -> bytes:
        return self.pixels.tobytes()


def of_colour(colour: tuple[int, int, int], size: tuple[int, int] = (48, 64), **fields: str) -> Picture:
    return Picture(np.full((*size, 3), colour, np.uint8), **fields)


def decoded(jpeg: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_the_newest_picture_is_shown_in_its_colours():
    pictures = CameraPictures(["front"])
    pictures.add("front", of_colour((0, 0, 255)), 1.0)
    pictures.add("front", of_colour((255, 0, 0)), 1.5)
    image = decoded(pictures.jpeg("front"))
    assert image.shape == (48, 64, 3)
    assert abs(image.reshape(-1, 3).mean(0) - (255, 0, 0)).max() < 6
    assert pictures.as_json(2.0) == [{"name": "front", "frame": 2, "age_s": 0.5, "problem": ""}]


def test_a_large_picture_is_made_smaller_in_its_proportions():
    pictures = CameraPictures(["front"])
    pictures.add("front", of_colour((9, 9, 9), (720, 1280)), 0.0)
    assert decoded(pictures.jpeg("front")).shape == (360, MAX_WIDTH, 3)


def test_without_a_picture_there_is_none():
    pictures = CameraPictures(["front"])
    assert pictures.jpeg("front") is None
    assert pictures.jpeg("cellar") is None
    assert pictures.as_json(9.0) == [{"name": "front", "frame": 0, "age_s": None, "problem": ""}]


def test_a_picture_that_cannot_be_read_is_named_and_the_next_one_shown():
    pictures = CameraPictures(["front"])
    pictures.add("front", of_colour((1, 2, 3), encoding="yuv422"), 0.0)
    assert pictures.jpeg("front") is None
    assert "yuv422" in pictures.as_json(0.0)[0]["problem"]
    pictures.add("front", of_colour((1, 2, 3)), 1.0)
    assert pictures.jpeg("front")
    assert pictures.as_json(1.0)[0]["problem"] == ""

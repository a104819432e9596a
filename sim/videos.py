"""Videos of episodes: H.264 in MP4, as browsers play it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from sim.rendering import OffscreenRenderer
from sim.simulation import TabletopSimulation


def encode_mp4(frames: Sequence[NDArray[np.uint8]], frame_rate: float) -> bytes:
    """Encode pictures as H.264 (yuv420p) in an MP4 whose index comes first, so that playing starts at once.

    Args:
        frames: at least one (H, W, 3) uint8 RGB picture, all of one size; an odd last row or column is cut off.
        frame_rate: pictures per second.
    """
    if len(frames) == 0:
        raise ValueError("frames: expected at least one picture, found none")
    height, width = (size - size % 2 for size in frames[0].shape[:2])
    # A file, because moving the index to the front reads the file again.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
            stream = container.add_stream("libx264", rate=Fraction(frame_rate).limit_denominator(1000))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            # One thread: episodes already run in parallel, and then equal pictures give equal bytes.
            stream.codec_context.thread_count = 1
            stream.options = {"crf": "23", "preset": "veryfast"}
            for frame in frames:
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path.read_bytes()


def enlarge(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """Scale a picture (H, W, 3) smoothly to `height` rows, keeping its shape."""
    width = round(picture.shape[1] * height / picture.shape[0])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC))


class Film:
    """Takes a picture of a world at each control step.

    Args:
        take_picture: gives a picture (H, W, 3) of the present state.
        frame_rate: control steps per second.
    """

    def __init__(self, take_picture: Callable[[], NDArray[np.uint8]], frame_rate: float) -> None:
        self._take_picture = take_picture
        self._frame_rate = frame_rate
        self._frames: list[NDArray[np.uint8]] = []

    def begin(self) -> None:
        """Forget the pictures so far and take the first of an episode."""
        self._frames.clear()
        self.take()

    def take(self) -> None:
        """Take a picture of the present state."""
        self._frames.append(self._take_picture())

    def encode(self) -> bytes:
        """Return the episode so far as an MP4 in simulated time."""
        return encode_mp4(self._frames, self._frame_rate)


def film_of(simulation: TabletopSimulation, width: int = 384, height: int = 288) -> Film:
    """A film of a simulation by its fixed camera, in the `quality` profile, of `width` x `height` pixels."""
    renderer = OffscreenRenderer(simulation.scene.model, width, height, "quality")
    camera = simulation.scene.cameras.fixed
    return Film(lambda: renderer.render(simulation.scene.data, camera)[0], simulation.config.control_hz)

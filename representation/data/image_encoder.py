"""`ImageEncoder`: one image feature of an episode into its video, in a thread of its own, with statistics."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from representation.data import video
from representation.data.depth import CODES_PER_METRE, encode_depth
from representation.data.lerobot_format import Feature
from representation.data.statistics import Statistics, histogram_statistics

MAX_WAITING = 8  # frames; who records faster than a camera's frames are encoded has to wait
_LEVELS = {"video": np.arange(256) / 255.0, "depth": np.arange(65536) / CODES_PER_METRE}


class ImageEncoder:
    """Encodes frames as they come; several encoders share the processor's cores.

    Args:
        path: video file to create.
        feature: of dtype `video` or `depth`.
        codec: how its frames are stored.
        fps: frames per second.
    """

    def __init__(self, path: Path, feature: Feature, codec: video.VideoCodec, fps: float) -> None:
        self._dtype = feature.dtype
        self._channels = 1 if feature.dtype == "depth" else 3
        self._writer = video.VideoWriter(path, codec, fps, *feature.shape[:2])
        self._counts = np.zeros((self._channels, len(_LEVELS[feature.dtype])), np.int64)
        self._frames = 0
        self._waiting: deque[Future[None]] = deque()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"encode {feature.key}")

    def write(self, image: NDArray) -> None:
        """Append one frame: (H, W, 3) uint8, or (H, W) float32 metres of depth; not to be changed afterwards."""
        while len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._encode, image))
        self._frames += 1

    def close(self) -> None:
        """Encode what waits and close the file."""
        while self._waiting:
            self._waiting.popleft().result()
        self._pool.shutdown()
        self._writer.close()

    def abandon(self) -> None:
        """Close the file, which is not valid then."""
        self._pool.shutdown(cancel_futures=True)
        self._writer.abandon()

    def statistics(self) -> Statistics:
        """Statistics of all frames, after `close`."""
        counts = self._counts
        if self._dtype == "video":
            return histogram_statistics(counts, _LEVELS[self._dtype], self._frames)
        # Unknown depths are no depths; known ones are counted, because episodes weigh by them when they are merged.
        counts[:, 0] = 0
        return histogram_statistics(counts, _LEVELS[self._dtype], int(counts.sum()))

    def _encode(self, image: NDArray) -> None:
        if self._dtype == "depth":
            image = encode_depth(image)
        self._writer.write(image)
        levels = self._counts.shape[1]
        for channel in range(self._channels):
            # Unlike NumPy's, this lets other threads run meanwhile.
            counts = cv2.calcHist([image], [channel], None, [levels], [0, levels])
            self._counts[channel] += counts.ravel().astype(np.int64)

"""Write, join and read the videos of a dataset: H.264 colour, and FFV1 or FFVHUFF depth, both lossless.

Colour goes through `libx264` at full chroma resolution (yuv444p): small images of coloured objects lose their colours
at half resolution (mean error 2.6 of 255 on drawn 96 x 96 images instead of 0.7, at the same size). A key frame every
second frame makes random access cheap. No B-frames, so frames are stored in the order in which they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

MAX_DECODED_BYTES = 4 * 2**30


@dataclass(frozen=True, slots=True)
class VideoCodec:
    """How frames of one kind are stored.

    Attributes:
        container: container format, as FFmpeg calls it; files are opened as this format and no other, so that no
            playlist can make the demuxer open further files.
        suffix: of the names of its files.
        encoder: FFmpeg encoder.
        stored_format: pixel format in the file.
        array_format: pixel format of the arrays.
        dtype: NumPy dtype of the arrays.
        options: encoder options.
    """

    container: str
    suffix: str
    encoder: str
    stored_format: str
    array_format: str
    dtype: type
    options: Mapping[str, str]


COLOUR = VideoCodec(
    container="mp4",
    suffix=".mp4",
    encoder="libx264",
    stored_format="yuv444p",
    array_format="rgb24",
    dtype=np.uint8,
    options={"crf": "12", "g": "2", "bf": "0", "preset": "veryfast"},
)
# A third of the time for twice the size, at the same quality.
FAST_COLOUR = replace(COLOUR, options={**COLOUR.options, "preset": "ultrafast"})
DEPTH = VideoCodec(
    container="matroska",
    suffix=".mkv",
    encoder="ffv1",
    stored_format="gray16le",
    array_format="gray16le",
    dtype=np.uint16,
    options={"level": "3", "g": "1", "coder": "1", "context": "0", "slicecrc": "1"},
)
# Of 640 x 480 pixels with a sensor's noise: a ninth of the time to write, a seventh to read, half again the size.
FAST_DEPTH = replace(DEPTH, container="avi", suffix=".avi", encoder="ffvhuff", options={"pred": "left"})


def depth_codec(path: str) -> VideoCodec:
    """How the depth in a file, or in all files of a path template, is stored, by its suffix."""
    return FAST_DEPTH if path.endswith(FAST_DEPTH.suffix) else DEPTH


class VideoWriter:
    """Encode frames into one video file as they come.

    Args:
        path: file to create.
        codec: how frames are stored.
        fps: frames per second.
        height: rows.
        width: columns.
    """

    def __init__(self, path: Path, codec: VideoCodec, fps: float, height: int, width: int) -> None:
        self._codec = codec
        self._container = av.open(str(path), "w", format=codec.container)
        rate = Fraction(fps).limit_denominator(10_000)
        self._stream = self._container.add_stream(codec.encoder, rate=rate, options=dict(codec.options))
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = codec.stored_format
        # One thread: frame threads of small images cost more than they win, and FFV1 slices depend on their number.
        self._stream.codec_context.thread_count = 1
        self._reformatter = VideoReformatter()

    def write(self, frame: NDArray) -> None:
        """Append one frame: (H, W, 3) uint8 or (H, W) uint16."""
        image = av.VideoFrame.from_ndarray(frame, format=self._codec.array_format)
        if self._codec.stored_format != self._codec.array_format:
            image = self._reformatter.reformat(image, format=self._codec.stored_format)
        self._container.mux(self._stream.encode(image))

    def close(self) -> None:
        """Flush the encoder and close the file."""
        self._container.mux(self._stream.encode())
        self._container.close()

    def abandon(self) -> None:
        """Close the file without flushing; it is not valid afterwards."""
        self._container.close()


def join_videos(sources: Sequence[Path], lengths: Sequence[int], target: Path, codec: VideoCodec, fps: float) -> None:
    """Put videos of the same settings one after the other without re-encoding.

    Args:
        sources: files written by `VideoWriter` with `codec`.
        lengths: number of frames of each.
        target: file to create.
        codec: their codec.
        fps: their rate.
    """
    frame_time = 1 / Fraction(fps).limit_denominator(10_000)
    with av.open(str(target), "w", format=codec.container) as output:
        stream, start = None, 0
        for source, length in zip(sources, lengths, strict=True):
            with av.open(str(source), format=codec.container) as container:
                video = container.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(video)
                offset = round(start * frame_time / video.time_base)
                for packet in container.demux(video):
                    if packet.dts is None:
                        continue
                    packet.pts += offset
                    packet.dts += offset
                    packet.stream = stream
                    output.mux(packet)
            start += length


class VideoReader:
    """Read runs of frames from one video file; consecutive runs need no seek.

    Args:
        path: the file.
        codec: what it should hold; only container, array format and type matter for reading.
        fps: frames per second.
        height: expected rows.
        width: expected columns.
        name: what to call the file in errors.

    Raises:
        ValueError: not such a video, or of another size.
    """

    def __init__(self, path: Path, codec: VideoCodec, fps: float, height: int, width: int, name: str) -> None:
        self._codec, self._fps, self._size, self._name = codec, fps, (height, width), name
        try:
            self._container = av.open(
                str(path), format=codec.container, options={"protocol_whitelist": "file"}, metadata_errors="replace"
            )
            self._stream = self._container.streams.video[0]
        except (av.FFmpegError, IndexError) as error:
            raise ValueError(f"{name}: expected a {codec.container} video, found: {error}") from error
        context = self._stream.codec_context
        if context is None:
            self._container.close()
            raise ValueError(f"{name}: expected a video that can be decoded, found an unknown codec")
        found = (context.height, context.width)
        if found != (height, width):
            self._container.close()
            raise ValueError(f"{name}: expected frames of {height} x {width}, found {found[0]} x {found[1]}")
        context.thread_count = 1
        self._reformatter = VideoReformatter()
        self._frames = self._container.decode(self._stream)
        self._next_index = 0

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def read(self, start: float, count: int) -> NDArray:
        """Decode consecutive frames.

        Args:
            start: time of the first frame in seconds from the beginning of the file.
            count: number of frames.

        Returns:
            (count, H, W, 3) uint8, or (count, H, W) uint16 for depth.

        Raises:
            ValueError: a frame is missing, cannot be decoded or has another size.
        """
        shape = (count, *self._size, *((3,) if self._codec.array_format == "rgb24" else ()))
        size = math.prod(shape) * np.dtype(self._codec.dtype).itemsize
        if size > MAX_DECODED_BYTES:
            raise ValueError(f"{self._name}: expected at most {MAX_DECODED_BYTES} bytes of frames, found {size}")
        first = round(start * self._fps)
        try:
            if first != self._next_index:
                self._seek(start)
            return self._decode(first, shape)
        except av.FFmpegError as error:
            self._next_index = -1
            raise ValueError(f"{self._name}: expected {count} frames from {start:.3f} s, found: {error}") from error

    def _seek(self, start: float) -> None:
        # Aim half a frame early: a key frame's rounded time stamp may lie just after the wanted time.
        target = max(0.0, start - 0.5 / self._fps)
        self._container.seek(int(target / self._stream.time_base), stream=self._stream, backward=True)
        self._frames = self._container.decode(self._stream)

    def _decode(self, first: int, shape: tuple[int, ...]) -> NDArray:
        self._next_index = -1
        result = np.empty(shape, self._codec.dtype)
        done = 0
        while done < len(result):
            frame = next(self._frames, None)
            if frame is None or frame.pts is None:
                raise ValueError(f"{self._name}: expected frame {first + done}, found the end of the video")
            index = round(float(frame.pts * frame.time_base) * self._fps)
            if index < first:
                continue
            if index != first + done:
                raise ValueError(f"{self._name}: expected frame {first + done}, found frame {index}")
            if (frame.height, frame.width) != self._size:
                raise ValueError(f"{self._name}: expected frames of {self._size}, found {frame.height} x {frame.width}")
            result[done] = self._reformatter.reformat(frame, format=self._codec.array_format).to_ndarray()
            done += 1
        self._next_index = first + len(result)
        return result

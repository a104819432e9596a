from __future__ import annotations

import io

import av
import numpy as np
import pytest

from sim.episode_id import EpisodeId
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.videos import encode_mp4, enlarge, film_of


def test_a_video_is_h264_yuv420p_with_every_frame_and_the_index_first() -> None:
    frames = [np.full((48, 65, 3), (value, 128, 255 - value), np.uint8) for value in range(0, 250, 25)]
    data = encode_mp4(frames, 10.0)
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, float(stream.average_rate)) == (64, 48, 10.0)
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == 10
    assert np.abs(decoded[4].mean((0, 1)) - frames[4][0, 0]).max() < 6
    assert data.index(b"moov") < data.index(b"mdat")


def test_equal_frames_give_equal_bytes() -> None:
    frames = [np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8) for _ in range(4)]
    assert encode_mp4(frames, 10.0) == encode_mp4(frames, 10.0)


def test_no_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        encode_mp4([], 10.0)


def test_enlarging_keeps_the_shape() -> None:
    assert enlarge(np.zeros((32, 48, 3), np.uint8), 64).shape == (64, 96, 3)


def test_a_film_has_a_picture_per_control_step_and_one_of_the_start() -> None:
    simulation = TabletopSimulation(SimulationConfig(cameras=()))
    simulation.reset(EpisodeId("reach", "nominal", 1, 0, 0))
    film = film_of(simulation, width=64, height=48)
    for _ in range(2):
        film.begin()
        for _ in range(3):
            simulation.advance(1)
            film.take()
    with av.open(io.BytesIO(film.encode())) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4
        assert float(container.streams.video[0].average_rate) == 10.0

"""Small datasets for the tests of `representation.data`."""

from __future__ import annotations

import json

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from representation.data.depth import decode_depth
from representation.data.lerobot_writer import LeRobotWriter

HEIGHT, WIDTH, FPS = 24, 32, 10
FEATURES = {
    "observation.images.front": {"dtype": "video", "shape": (HEIGHT, WIDTH, 3)},
    "observation.depth.front": {"dtype": "depth", "shape": (HEIGHT, WIDTH)},
    "observation.state": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "z"]},
    "action": {"dtype": "float64", "shape": (2,)},
    "next.success": {"dtype": "bool", "shape": (1,)},
}


def make_frames(episode: int, length: int) -> list[dict]:
    """Frames of one episode; the same for the same arguments."""
    generator = np.random.default_rng((episode, length))
    frames = []
    for step in range(length):
        image = np.full((HEIGHT, WIDTH, 3), (30, 90, 160), np.uint8)
        image[4:12, 2 * step : 2 * step + 8] = (220, 40 + 20 * episode, 30)
        frames.append(
            {
                "observation.images.front": image,
                "observation.depth.front": decode_depth(generator.integers(0, 65536, (HEIGHT, WIDTH))),
                "observation.state": generator.normal(size=3).astype(np.float32),
                "action": generator.normal(size=2),
                "next.success": np.array([step == length - 1]),
            }
        )
    return frames


def record(writer: LeRobotWriter, episode: int, length: int = 5) -> None:
    """Record and save one episode."""
    for frame in make_frames(episode, length):
        writer.add_frame(frame, task=f"task {episode % 2}")
    writer.save_episode()


def write_v30(root, lengths=(5, 3, 7), **options) -> None:
    """A whole dataset with `LeRobotWriter`."""
    writer = LeRobotWriter(root, FPS, FEATURES, "arm", **options)
    for episode, length in enumerate(lengths):
        record(writer, episode, length)
    writer.finalize()


def write_v21(root, lengths=(4, 6)) -> None:
    """A whole dataset of format v2.1, written here from its description and not by the package."""
    features = {
        "observation.images.top": {
            "dtype": "video",
            "shape": [HEIGHT, WIDTH, 3],
            "names": ["height", "width", "channels"],
        },
        "observation.state": {"dtype": "float32", "shape": [3], "names": None},
    }
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    info = {
        "codebase_version": "v2.1",
        "robot_type": "arm",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": 1,
        "total_videos": len(lengths),
        "total_chunks": 1,
        "chunks_size": 1000,
        "fps": FPS,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": features,
    }
    videos = root / "videos/chunk-000/observation.images.top"
    for folder in (root / "meta", root / "data/chunk-000", videos):
        folder.mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    (root / "meta/tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": "stack the cups"}) + "\n")
    rows = [{"episode_index": i, "tasks": ["stack the cups"], "length": length} for i, length in enumerate(lengths)]
    (root / "meta/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    start = 0
    for episode, length in enumerate(lengths):
        state = np.arange(start * 3, (start + length) * 3, dtype=np.float32).reshape(length, 3)
        table = {
            "observation.state": pa.array(list(state), pa.list_(pa.float32())),
            "timestamp": pa.array(np.arange(length, dtype=np.float32) / FPS),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, episode),
            "index": np.arange(start, start + length),
            "task_index": np.zeros(length, np.int64),
        }
        pq.write_table(pa.table(table), root / f"data/chunk-000/episode_{episode:06d}.parquet")
        write_plain_video(videos / f"episode_{episode:06d}.mp4", length, 40 * (episode + 1))
        start += length


def write_plain_video(path, length: int, level: int, height: int = HEIGHT, width: int = WIDTH) -> None:
    """A grey H.264 video with B-frames, as other programs write them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(length):
            image = np.full((height, width, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())

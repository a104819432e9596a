"""Synthetic demonstrations for the tests of training."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from policies.robots import get_robot
from representation.data.lerobot_writer import LeRobotWriter
from tests.representation.data.lerobot_samples import write_plain_video

SIDE = 16
FEATURES = {
    "observation.images.front": {"dtype": "video", "shape": (SIDE, SIDE, 3)},
    "observation.depth.front": {"dtype": "depth", "shape": (SIDE, SIDE)},
    "observation.camera.front.intrinsics": {"dtype": "float32", "shape": (9,)},
    "observation.camera.front.base_from_camera": {"dtype": "float32", "shape": (16,)},
    "observation.state": {"dtype": "float32", "shape": (8,)},
    "action": {"dtype": "float32", "shape": (7,)},
}
PLAIN = ("observation.images.front", "observation.state", "action")
"""What datasets of others hold: no depth, and no calibration."""
COLORS = {"red": (220, 40, 40), "blue": (40, 60, 220)}


def write_demonstrations(
    root, episodes, generator, number_tasks=False, robot_type="panda", keys=tuple(FEATURES), scale=1.0
):
    """Episodes in which the colour of the image tells the direction of the motion, of a length that `scale` changes."""
    spec = get_robot("panda")
    features = {key: FEATURES[key] for key in keys} | (
        {"collection.task": {"dtype": "int64", "shape": (1,)}} if number_tasks else {}
    )
    writer = LeRobotWriter(root, 10, features, robot_type)
    for episode in range(episodes):
        name, color = list(COLORS.items())[episode % 2]
        direction = 1.0 if name == "red" else -1.0
        for _ in range(6):
            image = np.full((SIDE, SIDE, 3), color, np.uint8)
            motion = scale * np.r_[direction * 0.02, generator.normal(0, 0.003, 5)]
            action = np.r_[motion, float(name == "red")]
            mark = {"collection.task": np.array([episode % 2])} if number_tasks else {}
            frame = {
                "observation.images.front": image,
                "observation.depth.front": generator.uniform(0.5, 1.0, (SIDE, SIDE)).astype(np.float32),
                "observation.camera.front.intrinsics": np.array([20.0, 0, 8, 0, 20, 8, 0, 0, 1], np.float32),
                "observation.camera.front.base_from_camera": np.eye(4, dtype=np.float32).reshape(-1),
                "observation.state": spec.home.astype(np.float32),
                "action": action.astype(np.float32),
            }
            writer.add_frame(mark | {key: frame[key] for key in keys}, task=f"push the {name} cube")
        writer.save_episode()
    writer.finalize()


def write_plain_v21(root, episodes, generator, length=6):
    """The same of format v2.1 with the `PLAIN` features alone, written from the format's description."""
    home = get_robot("panda").home.astype(np.float32)
    numbers = {name: {"dtype": "int64", "shape": [1], "names": None} for name in ("frame_index", "episode_index")}
    numbers |= {name: {"dtype": "int64", "shape": [1], "names": None} for name in ("index", "task_index")}
    info = {
        "codebase_version": "v2.1",
        "robot_type": "panda",
        "total_episodes": episodes,
        "total_frames": episodes * length,
        "total_tasks": len(COLORS),
        "total_videos": episodes,
        "total_chunks": 1,
        "chunks_size": 1000,
        "fps": 10,
        "splits": {"train": f"0:{episodes}"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": {
            "observation.images.front": {
                "dtype": "video",
                "shape": [SIDE, SIDE, 3],
                "names": ["height", "width", "channels"],
                "info": {"video.fps": 10.0, "video.codec": "h264", "video.pix_fmt": "yuv420p", "has_audio": False},
            },
            "observation.state": {"dtype": "float32", "shape": [8], "names": {"motors": [f"m{i}" for i in range(8)]}},
            "action": {"dtype": "float32", "shape": [7], "names": None},
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
            **numbers,
        },
    }
    videos = root / "videos/chunk-000/observation.images.front"
    for folder in (root / "meta", root / "data/chunk-000", videos):
        folder.mkdir(parents=True)
    tasks = [f"push the {name} cube" for name in COLORS]

    def write_lines(name, rows):
        (root / "meta" / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    (root / "meta/info.json").write_text(json.dumps(info))
    write_lines("tasks.jsonl", [{"task_index": i, "task": task} for i, task in enumerate(tasks)])
    chosen = [episode % len(tasks) for episode in range(episodes)]
    write_lines(
        "episodes.jsonl",
        [{"episode_index": i, "tasks": [tasks[task]], "length": length} for i, task in enumerate(chosen)],
    )
    stats = []
    for episode, task in enumerate(chosen):
        motion = generator.normal([0.02 - 0.04 * task, 0, 0, 0, 0, 0], 0.003, (length, 6))
        actions = np.c_[motion, np.full(length, 1.0 - task)].astype(np.float32)
        table = {
            "observation.state": pa.array(list(np.tile(home, (length, 1))), pa.list_(pa.float32())),
            "action": pa.array(list(actions), pa.list_(pa.float32())),
            "timestamp": pa.array(np.arange(length, dtype=np.float32) / 10),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, episode),
            "index": np.arange(episode * length, (episode + 1) * length),
            "task_index": np.full(length, task),
        }
        pq.write_table(pa.table(table), root / f"data/chunk-000/episode_{episode:06d}.parquet")
        write_plain_video(videos / f"episode_{episode:06d}.mp4", length, 60 + 120 * task, SIDE, SIDE)
        values = {name: getattr(actions, name)(0).tolist() for name in ("min", "max", "mean", "std")}
        stats.append({"episode_index": episode, "stats": {"action": values | {"count": [length]}}})
    write_lines("episodes_stats.jsonl", stats)

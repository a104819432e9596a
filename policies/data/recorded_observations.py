"""Observations of recorded episodes, as the robot saw them: what a policy can be asked again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from policies.interface import CameraView, JointReadings, Observation
from representation.data.lerobot_dataset import LeRobotDataset


def recorded_observations(
    path: Path, cameras: Sequence[str], stride: int = 1, most: int | None = None, looks_back_s: float = 0.0
) -> list[list[Observation]]:
    """Observations of a LeRobot dataset, by episode.

    Args:
        path: of the dataset, with images and calibration of the cameras; where it has no depth, depth is unknown, and
            where it has no velocities, they are the differences of positions.
        cameras: names of the views.
        stride: frames between two observations.
        most: episodes that are read; None for all.
        looks_back_s: observations carry the pictures of so many seconds before as `Observation.earlier`, where there is
            a frame less than half as far from then; 0 for none.

    Raises:
        ValueError: the dataset is damaged, or lacks a feature; names it.
    """
    if stride < 1:
        raise ValueError(f"stride: expected at least 1, found {stride}")
    dataset = LeRobotDataset(path)
    keys, optional = ["observation.state"], ["observation.velocity"]
    for camera in cameras:
        optional.append(f"observation.depth.{camera}")
        keys.append(f"observation.images.{camera}")
        keys += [f"observation.camera.{camera}.{name}" for name in ("intrinsics", "base_from_camera")]
    missing = [key for key in keys if key not in dataset.info.features]
    if missing:
        raise ValueError(f"{path}: expected {', '.join(missing)}, found {', '.join(dataset.info.features)}")
    keys += [key for key in optional if key in dataset.info.features]
    back = round(looks_back_s * dataset.info.fps)
    if abs(back / dataset.info.fps - looks_back_s) >= looks_back_s / 2:
        back = 0
    found = []
    for index in range(min(dataset.num_episodes, most or dataset.num_episodes)):
        episode = dataset.episode(index, keys)
        rows = range(0, len(episode["task"]), stride)
        if "observation.velocity" not in episode:
            steps = np.gradient(np.asarray(episode["observation.state"], dtype=np.float64), axis=0)
            episode["observation.velocity"] = steps * dataset.info.fps
        found.append([_observation(episode, row, cameras, stride, dataset.info.fps, back) for row in rows])
    dataset.close()
    return found


def _observation(episode: dict, row: int, cameras: Sequence[str], stride: int, fps: float, back: int) -> Observation:
    views, earlier = {}, {}
    between = np.arange(max(0, row - stride + 1), row)
    for camera in cameras:
        rgb, depth = episode[f"observation.images.{camera}"][row], episode.get(f"observation.depth.{camera}")
        if 0 < back <= row:
            earlier[camera] = episode[f"observation.images.{camera}"][row - back]
        views[camera] = CameraView(
            rgb=rgb,
            depth=np.full(rgb.shape[:2], np.nan, np.float32) if depth is None else depth[row],
            intrinsics=np.reshape(episode[f"observation.camera.{camera}.intrinsics"][row], (3, 3)),
            base_from_camera=np.reshape(episode[f"observation.camera.{camera}.base_from_camera"][row], (4, 4)),
        )
    return Observation(
        row / fps,
        views,
        episode["observation.state"][row],
        episode["observation.velocity"][row],
        episode["task"][row],
        JointReadings(between / fps, np.asarray(episode["observation.state"])[between]) if len(between) else None,
        earlier,
    )

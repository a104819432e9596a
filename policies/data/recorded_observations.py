"""Observations of recorded episodes, as the robot saw them: what a policy can be asked again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from policies.interface import CameraView, Observation
from representation.data.lerobot_dataset import LeRobotDataset


def recorded_observations(
    path: Path, cameras: Sequence[str], stride: int = 1, most: int | None = None
) -> list[list[Observation]]:
    """Observations of a LeRobot dataset, by episode.

    Args:
        path: of the dataset, with images, depth and calibration of the cameras.
        cameras: names of the views.
        stride: frames between two observations.
        most: episodes that are read; None for all.

    Raises:
        ValueError: the dataset is damaged, or lacks a feature; names it.
    """
    if stride < 1:
        raise ValueError(f"stride: expected at least 1, found {stride}")
    dataset = LeRobotDataset(path)
    keys = ["observation.state", "observation.velocity"]
    for camera in cameras:
        keys += [f"observation.images.{camera}", f"observation.depth.{camera}"]
        keys += [f"observation.camera.{camera}.{name}" for name in ("intrinsics", "base_from_camera")]
    missing = [key for key in keys if key not in dataset.info.features]
    if missing:
        raise ValueError(f"{path}: expected {', '.join(missing)}, found {', '.join(dataset.info.features)}")
    found = []
    for index in range(min(dataset.num_episodes, most or dataset.num_episodes)):
        episode = dataset.episode(index, keys)
        rows = range(0, len(episode["task"]), stride)
        found.append([_observation(episode, row, cameras, row / dataset.info.fps) for row in rows])
    dataset.close()
    return found


def _observation(episode: dict, row: int, cameras: Sequence[str], stamp: float) -> Observation:
    views = {
        camera: CameraView(
            rgb=episode[f"observation.images.{camera}"][row],
            depth=episode[f"observation.depth.{camera}"][row],
            intrinsics=np.reshape(episode[f"observation.camera.{camera}.intrinsics"][row], (3, 3)),
            base_from_camera=np.reshape(episode[f"observation.camera.{camera}.base_from_camera"][row], (4, 4)),
        )
        for camera in cameras
    }
    return Observation(
        stamp,
        views,
        episode["observation.state"][row],
        episode["observation.velocity"][row],
        episode["task"][row],
    )

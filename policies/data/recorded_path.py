"""The joint path of a dataset's episode, for replay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.data.demonstration_frames import records_joints
from policies.robots.spec import RobotSpec
from representation.data.lerobot_dataset import LeRobotDataset


@dataclass(frozen=True, slots=True)
class RecordedPath:
    """Joint positions of an episode.

    Attributes:
        positions: (T, n) rad (m): arms where they were measured, grippers where they were commanded, because what a
            gripper holds keeps it from where it is led.
        period: seconds between rows.
        instruction: of the episode.
    """

    positions: NDArray[np.float64]
    period: float
    instruction: str


def recorded_path(dataset: LeRobotDataset, episode: int, robot: RobotSpec) -> RecordedPath:
    """Read the path of an episode.

    Raises:
        ValueError: the dataset is of another robot, has no such episode, or is damaged.
    """
    if dataset.info.robot_type != robot.name:
        raise ValueError(f"{dataset.root}: expected robot {robot.name!r}, found {dataset.info.robot_type!r}")
    recorded = dataset.episode(episode, ["observation.state", "action"])
    positions = recorded["observation.state"].astype(np.float64)
    actions = recorded["action"].astype(np.float64)
    joints = len(robot.joint_names)
    width = joints if records_joints(robot) else 7
    if positions.shape[1:] != (joints,) or actions.shape[1:] != (width,):
        raise ValueError(
            f"{dataset.root}: expected {joints} joints and actions of {width} values, found {positions.shape[1:]} "
            f"and {actions.shape[1:]}"
        )
    if records_joints(robot):
        positions[:, robot.grippers] = actions[:, robot.grippers]
    else:
        positions[:, robot.grippers[0]] = [robot.gripper_positions([row[6]])[0] for row in actions]
    return RecordedPath(positions, 1.0 / dataset.info.fps, recorded["task"][0])

"""What a frame of a demonstration holds, whether simulated or recorded: features, and their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.execution.kinematics import Kinematics, rpy_from_rotation
from policies.interface import Observation
from policies.robots.spec import RobotSpec

CARTESIAN_AXES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")


def records_joints(robot: RobotSpec) -> bool:
    """Whether the actions of demonstrations are joint targets: policies for several arms predict those."""
    return len(robot.arms) > 1


def features(sizes: Mapping[str, tuple[int, int]], robot: RobotSpec) -> dict[str, dict[str, Any]]:
    """LeRobot features of a frame. Units: rad (m), metres, pixels; poses in the robot's base frame.

    Args:
        sizes: (height, width) of the images, by camera.
        robot: actions are Cartesian steps of its only arm, or joint targets where there are several arms.
    """
    joints = list(robot.joint_names)
    axes = joints if records_joints(robot) else list(CARTESIAN_AXES)
    table: dict[str, dict[str, Any]] = {
        "observation.state": {"dtype": "float32", "shape": (len(joints),), "names": joints},
        "observation.velocity": {"dtype": "float32", "shape": (len(joints),), "names": joints},
        "action": {"dtype": "float32", "shape": (len(axes),), "names": axes},
        "next.success": {"dtype": "bool", "shape": (1,)},
    }
    for name, (height, width) in sizes.items():
        table[f"observation.images.{name}"] = {"dtype": "video", "shape": (height, width, 3)}
        table[f"observation.depth.{name}"] = {"dtype": "depth", "shape": (height, width)}
        table[f"observation.camera.{name}.intrinsics"] = {"dtype": "float64", "shape": (9,)}
        table[f"observation.camera.{name}.base_from_camera"] = {"dtype": "float64", "shape": (16,)}
    return table


def frame(observation: Observation, action: NDArray[np.float64], success: bool) -> dict[str, Any]:
    """Values of the features: an observation, the action that answers it, and whether the task is done after it."""
    values: dict[str, Any] = {
        "observation.state": observation.joint_positions.astype(np.float32),
        "observation.velocity": observation.joint_velocities.astype(np.float32),
        "action": action.astype(np.float32),
        "next.success": np.array([success]),
    }
    for name, view in observation.cameras.items():
        values[f"observation.images.{name}"] = view.rgb
        values[f"observation.depth.{name}"] = view.depth
        values[f"observation.camera.{name}.intrinsics"] = view.intrinsics.ravel()
        values[f"observation.camera.{name}.base_from_camera"] = view.base_from_camera.ravel()
    return values


def action_towards(
    target: NDArray[np.float64], observation: Observation, kinematics: Kinematics
) -> NDArray[np.float64]:
    """The action of a frame whose command leads to joint positions `target` (n,), rad (m), at the next frame.

    Returns:
        The targets themselves where the robot's demonstrations record joints; otherwise (7,) the step of the tool from
        its observed pose, and the opening of the gripper, as in `ActionChunk` of kind `cartesian_delta`.
    """
    robot = kinematics.spec
    if records_joints(robot):
        return target
    before, after = kinematics.forward(observation.joint_positions), kinematics.forward(target)
    turn = rpy_from_rotation(after[:3, :3] @ before[:3, :3].T)
    return np.concatenate([after[:3, 3] - before[:3, 3], turn, robot.gripper_openings(target)])

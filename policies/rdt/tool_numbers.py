"""Joints as the numbers of an embodiment of kind `eef`: x, y, z (m), 6-D rotation and opening (0 to 1) of the hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.execution.kinematics import Kinematics
from policies.rdt.demonstrations import Steps
from policies.rdt.unified_space import rotation_to_6d
from policies.robots.spec import RobotSpec


def tool_numbers(kinematics: Kinematics, spec: RobotSpec, joints: ArrayLike) -> NDArray[np.float64]:
    """Pose of the tool in the base frame, and opening (..., 10), at joint positions (..., n), rad (m), of one arm."""
    joints = np.asarray(joints, dtype=np.float64)
    poses = np.array([kinematics.forward(q) for q in joints.reshape(-1, joints.shape[-1])])
    poses = poses.reshape(*joints.shape[:-1], 4, 4)
    return np.concatenate(
        [poses[..., :3, 3], rotation_to_6d(poses[..., :3, :3]), spec.gripper_openings(joints)], axis=-1
    )


def as_tool_numbers(steps: Steps, spec: RobotSpec) -> Steps:
    """The same steps with the tool's numbers in place of the joints; commands are where commanded joints lead."""
    kinematics = Kinematics(spec)
    states, actions = (tool_numbers(kinematics, spec, joints) for joints in (steps.states, steps.actions))
    deviations = np.empty_like(states)
    for first in np.unique(steps.first):
        episode = slice(first, steps.last[first] + 1)
        deviations[episode] = states[episode].std(axis=0)
    return replace(steps, states=states, actions=actions, state_std=deviations)

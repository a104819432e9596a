"""Limits, home and workspace of ALOHA's two ViperX-300 6DOF arms.

Position, velocity and effort limits of the arm joints are those of Interbotix's description of the arm
(`interbotix_xsarm_descriptions`, `aloha_vx300s.urdf.xacro`). The stroke of the fingers is what MuJoCo Menagerie's
`aloha` tells of the real gripper. The manufacturer publishes no acceleration or jerk limits: those, the gripper's speed
and force, and home are our own. At Menagerie's home the wrist is nearly straight, and near that singularity small
turns of the tool take large ones of the joints.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from policies.robots.spec import Arm, RobotSpec

_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "left_finger")


def _arm(side: str, first: int, workspace_low: tuple[float, ...], workspace_high: tuple[float, ...]) -> Arm:
    return Arm(
        name=f"{side}_arm",
        joints=tuple(range(first, first + 6)),
        gripper=first + 6,
        tool_site=f"{side}/gripper",
        hand_bodies=tuple(f"{side}/{body}" for body in ("gripper_base", "left_finger_link", "right_finger_link")),
        second_finger=f"{side}/right_finger",
        workspace_low=np.array(workspace_low),
        workspace_high=np.array(workspace_high),
    )


def _both(*values: float) -> np.ndarray:
    return np.array(values * 2)


ALOHA = RobotSpec(
    name="aloha",
    joint_names=tuple(f"{side}/{joint}" for side in ("left", "right") for joint in _JOINTS),
    arms=(
        _arm("left", 0, (0.1, -0.25, 0.005), (0.9, 0.45, 0.7)),
        _arm("right", 7, (0.1, -0.45, 0.005), (0.9, 0.25, 0.7)),
    ),
    lower=_both(-3.14158, -1.85005, -1.76278, -3.14158, -1.8675, -3.14158, 0.002),
    upper=_both(3.14158, 1.25664, 1.6057, 3.14158, 2.23402, 3.14158, 0.037),
    max_velocity=_both(3.14159, 3.14159, 3.14159, 3.14159, 3.14159, 3.14159, 0.15),
    max_acceleration=_both(20.0, 20.0, 20.0, 40.0, 40.0, 40.0, 10.0),
    max_jerk=_both(10000.0, 10000.0, 10000.0, 20000.0, 20000.0, 20000.0, 5000.0),
    max_torque=_both(10.0, 20.0, 15.0, 2.0, 5.0, 1.0, 40.0),
    # Grippers open, pointing 45 degrees down and to each other, the tools at (0.5, +-0.2, 0.25).
    home=_both(0.0, -0.8496, 0.7978, 0.0, 0.8372, 0.0, 0.037),
    base_frame="base_link",
    control_hz=25.0,
    model_path=Path(__file__).with_name("aloha.xml"),
)

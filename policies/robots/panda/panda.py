"""Limits, home and workspace of the Franka Emika Panda with the Franka Hand.

Arm limits are the manufacturer's (Franka Control Interface documentation, "Robot and interface specifications").
The hand's position, velocity and force limits are those of `franka_description`; the manufacturer publishes no
acceleration or jerk limits of the hand, so those two are our own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from policies.robots.spec import Arm, RobotSpec

PANDA = RobotSpec(
    name="panda",
    joint_names=("joint1", "joint2", "joint3", "joint4", "joint5", "joint6", "joint7", "finger_joint1"),
    arms=(
        Arm(
            name="arm",
            joints=(0, 1, 2, 3, 4, 5, 6),
            gripper=7,
            tool_site="tcp",
            hand_bodies=("hand", "left_finger", "right_finger"),
            second_finger="finger_joint2",
            workspace_low=np.array([0.2, -0.5, 0.005]),
            workspace_high=np.array([0.8, 0.5, 0.9]),
        ),
    ),
    lower=np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973, 0.0]),
    upper=np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973, 0.04]),
    max_velocity=np.array([2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61, 0.2]),
    max_acceleration=np.array([15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0, 10.0]),
    max_jerk=np.array([7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0, 5000.0]),
    max_torque=np.array([87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0, 70.0]),
    # Gripper pointing down, the tool at (0.45, 0, 0.35), hand open.
    home=np.array([0.0, -0.311015, 0.0, -2.347423, 0.0, 2.036408, 0.785398, 0.04]),
    base_frame="link0",
    control_hz=10.0,
    model_path=Path(__file__).with_name("panda.xml"),
)

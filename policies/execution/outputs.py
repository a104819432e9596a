"""What controllers that do not take trajectories get: samples of the motion that the gateway allows.

- ros2_control's JointTrajectoryController takes the trajectory itself.
- ros2_control's ForwardCommandController takes joint positions, which it passes on as they are: `forward_commands`.
- MoveIt Servo takes a tool's velocity: `ToolTwists`. It stops by itself when no more come.

Each sample comes from the motion that was judged, so a stop is passed on like any other motion.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from policies.execution.kinematics import Kinematics
from policies.execution.trajectory import JointState
from policies.robots.spec import RobotSpec

Output = Literal["trajectory", "forward_command", "servo"]


def forward_commands(spec: RobotSpec, desired: JointState) -> list[NDArray[np.float64]]:
    """Positions, rad (m), for the controller of each arm: its joints from base to flange, then its gripper."""
    return [desired.positions[[*arm.joints, arm.gripper]] for arm in spec.arms]


class ToolTwists:
    """Tool velocities of a robot's arms.

    Args:
        spec: the robot.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self.spec = spec
        self._kinematics = Kinematics(spec)

    def sample(self, desired: JointState) -> list[NDArray[np.float64]]:
        """Twist (6,) of each arm's tool in the base frame: linear m/s, then angular rad/s."""
        return [
            self._kinematics.jacobian(desired.positions, arm) @ desired.velocities for arm in range(len(self.spec.arms))
        ]

    def grippers(self, desired: JointState) -> NDArray[np.float64]:
        """(arms,) positions (m) of the grippers, which Servo does not move."""
        return desired.positions[self.spec.grippers]

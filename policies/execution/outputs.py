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
from policies.robots.drivers import RobotDrivers
from policies.robots.spec import RobotSpec

Output = Literal["trajectory", "forward_command", "servo"]


def commands_topics(drivers: RobotDrivers) -> list[str]:
    """Topic of positions of each controller: `commands`, beside its topic of trajectories.

    Raises:
        ValueError: two controllers would share one.
    """
    topics = [_beside(controller.topic) for controller in drivers.controllers]
    if len(set(topics)) != len(topics):
        raise ValueError(f"controllers: expected a topic of commands for each, found {topics}")
    return topics


def twist_topics(spec: RobotSpec) -> list[str]:
    """Topic of each arm's tool velocities."""
    return [f"{arm.name}_servo/delta_twist_cmds" for arm in spec.arms]


def gripper_topics(spec: RobotSpec, drivers: RobotDrivers) -> list[str]:
    """Topic of each arm's gripper positions: its own controller's, else `<arm>_gripper_controller/commands`."""
    own = {controller.joints: _beside(controller.topic) for controller in drivers.controllers}
    return [own.get((arm.gripper,), f"{arm.name}_gripper_controller/commands") for arm in spec.arms]


def _beside(topic: str) -> str:
    head, slash, _ = topic.rpartition("/")
    return f"{head}{slash}commands"


def forward_commands(drivers: RobotDrivers, desired: JointState) -> list[NDArray[np.float64]]:
    """Positions for each controller, of its joints, in the driver's units."""
    positions, _ = drivers.to_driver(desired.positions, desired.velocities)
    return [positions[list(controller.joints)] for controller in drivers.controllers]


class ToolTwists:
    """Tool velocities of a robot's arms.

    Args:
        spec: the robot.
        drivers: of the robot.
    """

    def __init__(self, spec: RobotSpec, drivers: RobotDrivers) -> None:
        self.spec, self._drivers = spec, drivers
        self._kinematics = Kinematics(spec)

    def sample(self, desired: JointState) -> list[NDArray[np.float64]]:
        """Twist (6,) of each arm's tool in the base frame: linear m/s, then angular rad/s."""
        return [
            self._kinematics.jacobian(desired.positions, arm) @ desired.velocities for arm in range(len(self.spec.arms))
        ]

    def grippers(self, desired: JointState) -> NDArray[np.float64]:
        """(arms,) positions of the grippers, which Servo does not move, in the driver's units."""
        positions, _ = self._drivers.to_driver(desired.positions, desired.velocities)
        return positions[self.spec.grippers]

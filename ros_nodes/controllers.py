"""What goes to a robot's controllers and comes from its encoders, in the names and units of its drivers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.trajectory import JointTrajectory
from policies.robots.drivers import RobotDrivers
from ros_nodes.convert import joint_state_from_arrays, joints_from_joint_state, message_from_trajectory


def controller_messages(trajectory: JointTrajectory, drivers: RobotDrivers) -> list[JointTrajectoryMessage]:
    """A message for each controller, in their order; all have the same stamp and times."""
    positions, velocities = drivers.to_driver(trajectory.positions, trajectory.velocities)
    messages = []
    for controller in drivers.controllers:
        places = list(controller.joints)
        own = JointTrajectory(trajectory.stamp, trajectory.times, positions[:, places], velocities[:, places])
        messages.append(message_from_trajectory(own, [drivers.joint_names[place] for place in places]))
    return messages


def measured_joints(message: JointState, drivers: RobotDrivers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions and velocities (n,), rad (m), of a driver's joint state.

    Raises:
        ValueError: see `ros_nodes.convert.joints_from_joint_state`.
    """
    return drivers.from_driver(*joints_from_joint_state(message, drivers.joint_names))


def joint_state_message(
    positions: NDArray[np.float64], velocities: NDArray[np.float64], drivers: RobotDrivers, stamp: float
) -> JointState:
    """The joint state that a driver would publish of positions and velocities (n,), rad (m)."""
    return joint_state_from_arrays(*drivers.to_driver(positions, velocities), drivers.joint_names, stamp)

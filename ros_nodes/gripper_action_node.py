"""`gripper_action_node`: moves grippers whose drivers take only `control_msgs/action/GripperCommand` goals.

It stands where a JointTrajectoryController of the gripper would: it hears the trajectories that the gateway sends to
the gripper's own controller, and asks the action server for where each closing and opening ends, see
`policies.execution.gripper_goals`. Needs control_msgs, which comes with a ROS install.

It can follow nothing but goals: the gateway's limits of acceleration do not hold for the gripper, and an emergency
stop in the midst of a closing is a goal for where the gateway's brake ends. When the node ends, the last goal stays.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.gripper_goals import GripperGoals
from policies.robots import get_drivers, get_robot
from policies.robots.drivers import RobotDrivers
from policies.robots.spec import RobotSpec
from ros_nodes import optional
from ros_nodes.action_goals import ActionGoals
from ros_nodes.convert import trajectory_from_message
from ros_nodes.diagnostics import Diagnostics, Health, Level
from ros_nodes.node_process import run_node
from ros_nodes.params import declare
from ros_nodes.qos import COMMAND


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Whose grippers are moved, and how.

    Attributes:
        robot: name of the robot, or its YAML file; each gripper named in `action` has a controller of its own there.
        action: names of the action servers, separated by commas: one for each arm, empty for a gripper that has none.
        max_effort: force that a gripper may use, N; what 0 means is its driver's affair.
        min_interval_s: shortest time between two goals of one gripper.
        rate_hz: how often the trajectory is looked at.
    """

    robot: str = "panda"
    action: str = "gripper_action"
    max_effort: float = field(default=20.0, metadata={"range": (0.0, 1000.0)})
    min_interval_s: float = field(default=0.2, metadata={"range": (0.0, 5.0)})
    rate_hz: float = field(default=50.0, metadata={"range": (5.0, 500.0)})


def make_goal(position: float, max_effort: float) -> object:
    """A goal of GripperCommand: place in the driver's units, force in N."""
    goal = optional.GripperCommand.Goal()
    goal.command.position, goal.command.max_effort = position, max_effort
    return goal


def gripper_actions(spec: RobotSpec, drivers: RobotDrivers, action: str) -> dict[int, tuple[str, str]]:
    """Topic of trajectories and name of the action server by gripper joint, see `NodeConfig.action`.

    Raises:
        ValueError: another number of names than of arms, none at all, or a gripper without a controller of its own.
    """
    names = [name.strip() for name in action.split(",")]
    if len(names) != len(spec.arms) or not any(names):
        raise ValueError(f"action: expected {len(spec.arms)} names, some of them not empty, found {action!r}")
    own = {controller.joints: controller.topic for controller in drivers.controllers}
    found = {}
    for arm, name in zip(spec.arms, names, strict=True):
        if not name:
            continue
        if (arm.gripper,) not in own:
            joint = spec.joint_names[arm.gripper]
            raise ValueError(f"drivers.controllers: expected one with {joint} alone, found {sorted(own.values())}")
        found[arm.gripper] = own[arm.gripper,], name
    return found


class Gripper:
    """One gripper: a topic on one side, an action on the other.

    Args:
        node: who listens and asks.
        drivers: of the robot.
        bounds: least and greatest place of the joint in the units of its driver.
        joint: place of the joint among the robot's.
        topic: of its trajectories.
        goals: to its action server.
        config: of the node.
    """

    def __init__(
        self,
        node: Node,
        drivers: RobotDrivers,
        bounds: tuple[float, float],
        joint: int,
        topic: str,
        goals: ActionGoals,
        config: NodeConfig,
    ) -> None:
        self._node, self._goals, self._config = node, goals, config
        self._joint_names = [drivers.joint_names[joint]]
        self._decisions = GripperGoals(*bounds, config.min_interval_s)
        self._refusal, self._sent, self._position = "", 0, float("nan")
        self._subscription = node.create_subscription(JointTrajectoryMessage, topic, self._on_trajectory, COMMAND)

    def look(self, now: float, steady: float) -> None:
        """Send what is due."""
        if self._goals.just_failed() or not self._goals.ready():
            self._decisions.fail(steady)
            return
        position = self._decisions.due(now, steady)
        if position is not None:
            self._goals.send(make_goal(position, self._config.max_effort))
            self._position, self._sent = position, self._sent + 1

    def health(self) -> Health:
        """Whether the gripper follows."""
        if not self._goals.ready():
            return Health(Level.ERROR, f"nobody serves the action {self._goals.name}", self._values)
        if self._refusal:
            return Health(Level.ERROR, self._refusal, self._values)
        level = Level.WARN if self._goals.failed else Level.OK
        return Health(level, self._goals.text, self._values)

    def _values(self) -> Mapping[str, object]:
        return {"goals": self._sent, "goal": f"{self._position:.4f}"}

    def _on_trajectory(self, message: JointTrajectoryMessage) -> None:
        self._refusal = ""
        if not message.points:  # cancels, as it does for a JointTrajectoryController
            self._decisions.follow(None)
            return
        try:
            self._decisions.follow(trajectory_from_message(message, self._joint_names))
        except ValueError as error:
            self._refusal = str(error)  # the gripper stays where it is led
            self._node.get_logger().error(self._refusal, throttle_duration_sec=1.0)


class GripperActionNode(Node):
    """Topics, actions and a timer."""

    def __init__(self) -> None:
        super().__init__("gripper_action_node")
        if optional.GripperCommand is None:
            raise ValueError("control_msgs: expected it to be installed, for GripperCommand; it comes with ROS 2")
        self._config = declare(self, NodeConfig)
        spec, drivers = get_robot(self._config.robot), get_drivers(self._config.robot)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        ends, _ = drivers.to_driver(np.stack([spec.lower, spec.upper]), np.zeros((2, len(spec.joint_names))))
        self._grippers = {
            drivers.joint_names[joint]: Gripper(
                self,
                drivers,
                (float(ends[:, joint].min()), float(ends[:, joint].max())),
                joint,
                topic,
                ActionGoals(self, optional.GripperCommand, name),
                self._config,
            )
            for joint, (topic, name) in gripper_actions(spec, drivers, self._config.action).items()
        }
        concerns = {f"gripper {name}": gripper.health for name, gripper in self._grippers.items()}
        self._diagnostics = Diagnostics(self, spec.name, concerns)
        self._timer = self.create_timer(1 / self._config.rate_hz, self._on_tick, clock=self._steady)

    def _on_tick(self) -> None:
        now, steady = (clock.now().nanoseconds * 1e-9 for clock in (self.get_clock(), self._steady))
        for gripper in self._grippers.values():
            gripper.look(now, steady)
        self._diagnostics.publish_changes()


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(GripperActionNode, args)


if __name__ == "__main__":
    sys.exit(main())

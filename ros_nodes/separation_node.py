"""`separation_node`: slows the arm, down to a standstill, where somebody is near it or may come near soon.

It hears where others are (`tracked_agents`), where they may go (`forecast_node/forecast`) and the joint states, and
tells the arm gateway on `speed_scale` how fast the arm may go, see `policies.execution.separation`. Where places or
joint states do not come, or are refused, the arm stands still. Forecasts may be missing: then all others count as
people who walk towards the arm. Let the gateway hold where this node falls silent: `speed_scale_max_age_s`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float32MultiArray, Float64
from visualization_msgs.msg import MarkerArray

from policies.execution.joint_states import JointStates
from policies.execution.kinematics import Kinematics
from policies.execution.separation import Futures, SeparationConfig, allowed_speed, clearances
from policies.robots import get_drivers, get_robot
from ros_nodes.diagnostics import Diagnostics, Health, Level
from ros_nodes.forecast_messages import TOPIC, futures_from_message, places
from ros_nodes.node_process import run_node
from ros_nodes.params import declare
from ros_nodes.qos import LATCHED, STATUS, TRACKS_IN, joint_state_in

LOG_PERIOD_S = 2.0


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Whose arm is slowed.

    Attributes:
        robot: name, or YAML file, of the robot; places of others must be in the frame of its base.
        rate_hz: how often the speed is told.
        max_age_s: places and joint states that have not come for so long are missing (steady clock).
    """

    robot: str = "panda"
    rate_hz: float = field(default=20.0, metadata={"range": (2.0, 200.0)})
    max_age_s: float = field(default=0.5, metadata={"range": (0.01, 10.0)})


class SeparationNode(Node):
    """Topics and a timer around `clearances`."""

    def __init__(self) -> None:
        super().__init__("separation_node")
        self._config = declare(self, NodeConfig)
        self._separation = declare(self, SeparationConfig, "separation")
        self._spec, self._drivers = get_robot(self._config.robot), get_drivers(self._config.robot)
        self._joint_states = JointStates(self._drivers)
        self._kinematics = Kinematics(self._spec)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._joints: NDArray[np.float64] | None = None
        self._places: Mapping[str, tuple[float, float]] | None = None
        self._futures: Futures | None = None
        self._stamp = 0.0
        self._heard_at = {"joint states": 0.0, TOPIC: 0.0}
        self._refusal, self._refused_at = "", 0.0
        self._scale, self._level, self._reason, self._nearest = 0.0, Level.ERROR, "holds: nothing came yet", ""
        self._out = self.create_publisher(Float64, "speed_scale", LATCHED)
        self._subscriptions_made = [
            self.create_subscription(
                JointState, self._drivers.joint_states, self._on_joints, joint_state_in("realtime")
            ),
            self.create_subscription(MarkerArray, TOPIC, self._on_places, TRACKS_IN),
            self.create_subscription(Float32MultiArray, "forecast_node/forecast", self._on_forecast, STATUS),
        ]
        self._diagnostics = Diagnostics(self, self._spec.name, {"separation": self._health})
        self._timer = self.create_timer(1 / self._config.rate_hz, self._on_tick, clock=self._steady)

    def stop(self) -> None:
        """Let nobody go on at a speed that is watched no more."""
        self._tell(0.0, Level.ERROR, "holds: the node ends")

    def _on_joints(self, message: JointState) -> None:
        try:
            measured = self._joint_states.add(message)
        except ValueError as error:
            self._joints = None
            self._refuse(str(error))
            return
        if measured is None:  # some joints only
            return
        self._joints = measured.positions
        self._heard_at["joint states"] = self._steady_s()

    def _on_places(self, message: MarkerArray) -> None:
        try:
            tracked = places(message, self._spec.base_frame)
            if tracked is not None and not np.isfinite([*tracked[1].values()]).all():
                raise ValueError(f"{TOPIC}: expected finite places, found others")
        except ValueError as error:
            self._places = None
            self._refuse(str(error))
            return
        self._places = {} if tracked is None else tracked[1]
        if tracked is not None and tracked[0] == self._stamp:
            return  # a tracker that is stuck tells nothing new
        if tracked is not None:
            self._stamp = tracked[0]
        self._heard_at[TOPIC] = self._steady_s()

    def _on_forecast(self, message: Float32MultiArray) -> None:
        try:
            self._futures = futures_from_message(message, self._spec.base_frame)
        except ValueError as error:
            self._futures = None  # everybody then counts as somebody who walks towards the arm
            self.get_logger().error(str(error), throttle_duration_sec=LOG_PERIOD_S)

    def _refuse(self, reason: str) -> None:
        self._refusal, self._refused_at = reason, self._steady_s()
        self.get_logger().error(reason, throttle_duration_sec=LOG_PERIOD_S)

    def _on_tick(self) -> None:
        now, limit = self._steady_s(), self._config.max_age_s
        late = [name for name, at in self._heard_at.items() if now - at > limit]
        if self._joints is None or self._places is None or late:
            refused = now - self._refused_at <= limit
            missing = self._refusal if refused else f"no {' and no '.join(late)} within {limit:g} s"
            self._tell(0.0, Level.ERROR, f"holds: {missing}")
            return
        if not self._places:
            self._tell(1.0, Level.OK, "full speed: nobody is there")
            return
        arms = range(len(self._spec.arms))
        tools = np.stack([self._kinematics.forward(self._joints, arm)[:2, 3] for arm in arms])
        found = clearances(tools, self._places, self._futures, self._stamp, self._separation)
        who = min(found, key=lambda name: found[name])
        self._nearest = f"{who} may come as near as {found[who]:.2f} m"
        scale = allowed_speed(found[who], self._separation)
        if scale == 1.0:
            self._tell(scale, Level.OK, "full speed")
        else:
            self._tell(scale, Level.WARN, f"{'slows' if scale else 'holds'} for {who}")

    def _tell(self, scale: float, level: Level, reason: str) -> None:
        self._scale, self._level, self._reason = scale, level, reason
        self._out.publish(Float64(data=scale))
        self._diagnostics.publish_changes()

    def _health(self) -> Health:
        return Health(self._level, self._reason, self._values)

    def _values(self) -> Mapping[str, object]:
        foretold = [] if self._futures is None else self._futures.agents
        return {"speed_scale": f"{self._scale:.2f}", "nearest": self._nearest, "foretold": json.dumps(list(foretold))}

    def _steady_s(self) -> float:
        return self._steady.now().nanoseconds * 1e-9


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(SeparationNode, args)


if __name__ == "__main__":
    sys.exit(main())

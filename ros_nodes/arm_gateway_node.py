"""`arm_gateway_node`: the only one that talks to the arm's controller, in a process of its own.

Takes `planned_trajectory`, passes on what `ArmGateway` allows to the controllers of the robot's description (for one
arm `arm_controller/joint_trajectory`), or samples it for other kinds of controllers (see `output`). It holds the arm
when commands or joint states stay away, on `estop`, when somebody else publishes to its controllers, and when it is
told to end. `speed_scale` slows it, `~/home` brings it home, and in shadow mode it moves nothing and publishes on
`~/shadow/...` what it would send.

All controllers are held together. In realtime the watchdogs run on the steady clock. In lockstep simulated time waits
for the answer, and the policy is asked as seldom as one likes, so nothing is late: time is the stamp of the newest
joint state, and a trajectory waits for the joint state of its own stamp and until all controllers are connected.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.arm_gateway import ArmGateway, GatewayCommand, GatewayConfig
from policies.execution.gateway_states import GatewayState
from policies.execution.joint_states import JointStates
from policies.execution.outputs import Output
from policies.execution.running_time import RunningTime
from policies.execution.trajectory import JointTrajectory
from policies.robots import get_drivers, get_robot
from policies.robots.drivers import Controller
from ros_nodes.clock_watch import ClockWatch
from ros_nodes.controllers import ForwardCommandOutput, ServoOutput, TrajectoryOutput
from ros_nodes.convert import trajectory_from_message
from ros_nodes.diagnostics import Diagnostics, Health, Latencies, Level, Rate
from ros_nodes.node_process import run_node
from ros_nodes.params import declare
from ros_nodes.qos import ANYBODY, COMMAND, LATCHED, Mode, joint_state_in

LOG_PERIOD_S = 1.0
LEAD_S = 0.02
RIVAL_PERIOD_S = 0.05
FAREWELL_S = 1.0  # longest wait for the controllers to take the last hold


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What the node guards, and how often it looks.

    Attributes:
        robot: name of the robot, or its YAML file.
        mode: lockstep (time is the stamp of the joint states) or realtime.
        shadow_mode: publish on `~/shadow/<controller>` instead of to the controllers: nothing moves.
        watchdog_period_s: time between two looks of the watchdogs.
        lead_s: in realtime, for so long what is sent goes on with the running motion: judging it and its way to the
            controllers may take so much, or the arm jumps. Holds begin so much later, and it must be shorter than the
            time between two rows of the policy.
        pairing_limit_s: in lockstep, longest wait of a trajectory for the joint state of its stamp and for controllers.
        speed_scale_max_age_s: the arm holds where `speed_scale` has not come for so long, for who tells it all the time
            (`separation_node`); 0 where it is told only when it changes.
        output: what the arm's controllers take: trajectory (JointTrajectoryController), forward_command
            (ForwardCommandController of positions) or servo (MoveIt Servo, and a gripper controller).
        output_rate_hz: samples per second for forward_command and servo.
    """

    robot: str = "panda"
    mode: Mode = "realtime"
    shadow_mode: bool = False
    watchdog_period_s: float = field(default=0.01, metadata={"range": (0.001, 0.01)})
    lead_s: float = field(default=LEAD_S, metadata={"range": (0.0, 0.1)})
    pairing_limit_s: float = field(default=20.0, metadata={"range": (0.01, 60.0)})
    speed_scale_max_age_s: float = field(default=0.0, metadata={"range": (0.0, 60.0)})
    output: Output = "trajectory"
    output_rate_hz: float = field(default=100.0, metadata={"range": (20.0, 1000.0)})


class ArmGatewayNode(Node):
    """Topics, watchdog timer and diagnostics around an `ArmGateway`."""

    def __init__(self) -> None:
        super().__init__("arm_gateway_node")
        self._config = declare(self, NodeConfig)
        self._spec, self._drivers = get_robot(self._config.robot), get_drivers(self._config.robot)
        config = declare(self, GatewayConfig, "gateway")
        self._lockstep = self._config.mode == "lockstep"
        lead_s = 0.0 if self._lockstep else self._config.lead_s
        self._gateway = ArmGateway(self._spec, config, self._config.shadow_mode, lead_s)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._clock_watch, self._time = ClockWatch(), RunningTime()
        self._joint_states = JointStates(self._drivers)
        self._joint_stamp = 0.0
        self._waiting: tuple[JointTrajectory, float] | None = None
        self._violation = ""
        self._last_violation = "none"
        self._held_since = self._scale_heard_at = self._steady_s()
        self._heard = Counter(joint_states=0, trajectories=0)
        self._rates = {stream: Rate(self._steady_s()) for stream in self._heard}
        self._judging, self._stamp_latency = Latencies(), Latencies()
        self._sampler: Timer | None = None
        self._output = self._make_output()
        self._looked_for_rivals = 0.0
        self._subscriptions_made = [
            *(self.create_subscription(Bool, "estop", self._on_estop, heard) for heard in (LATCHED, ANYBODY)),
            self.create_subscription(
                JointState, self._drivers.joint_states, self._on_joints, joint_state_in(self._config.mode)
            ),
            self.create_subscription(JointTrajectoryMessage, "planned_trajectory", self._on_plan, COMMAND),
            *(
                self.create_subscription(Float64, "speed_scale", self._on_speed_scale, heard)
                for heard in (LATCHED, ANYBODY)
            ),
        ]
        self._services_made = [
            self.create_service(Trigger, "~/reset", self._on_reset),
            self.create_service(Trigger, "~/home", self._on_home),
        ]
        self._diagnostics = Diagnostics(self, self._spec.name, {"gateway": self._health, "clock": self._clock_health})
        self._watchdog = self.create_timer(self._config.watchdog_period_s, self._on_tick, clock=self._steady)

    def _make_output(self) -> TrajectoryOutput | ForwardCommandOutput | ServoOutput:
        if self._config.shadow_mode or self._config.output == "trajectory":
            return TrajectoryOutput(self, self._drivers, [self._command_topic(c) for c in self._drivers.controllers])
        if self._lockstep:
            raise ValueError(f"output: expected trajectory in lockstep, found {self._config.output}")
        output: ForwardCommandOutput | ServoOutput
        if self._config.output == "forward_command":
            output = ForwardCommandOutput(self, self._drivers)
        else:
            output = ServoOutput(self, self._spec, self._drivers)
        self._sampler = self.create_timer(1 / self._config.output_rate_hz, self._on_sample, clock=self._steady)
        return output

    def _command_topic(self, controller: Controller) -> str:
        return f"~/shadow/{controller.topic.lstrip('~/')}" if self._config.shadow_mode else controller.topic

    def stop(self) -> None:
        """Hold the arm: nobody guards it from now on."""
        self._send(self._gateway.on_estop(True, self._now()))
        # On the steady clock: the other may stand still.
        end = self._steady_s() + self._gateway.motion_end - self._now()
        while self._sampler is not None and self._steady_s() < end:
            self._on_sample()
            time.sleep(1 / self._config.output_rate_hz)
        self._on_sample()
        self._output.wait_until_heard(FAREWELL_S)
        self._diagnostics.publish()

    def _on_joints(self, message: JointState) -> None:
        self._heard["joint_states"] += 1
        try:
            measured = self._joint_states.add(message)
        except ValueError as error:
            self._violate(str(error))  # counts as no joint state; its watchdog holds the arm
            return
        if measured is None:  # some joints only: as old as the joint that came last
            return
        self._joint_stamp = measured.time
        self._time.hear(self._joint_stamp, self._steady_s())
        ahead, limit = self._joint_stamp - self._clock_s(), self._gateway.config.max_lead_s
        if not self._lockstep and ahead > limit:
            # Likewise: either the stamp is wrong, or the clock stands still.
            self._violate(f"joint state: expected a stamp at most {limit:g} s ahead of the clock, found {ahead:.3f} s")
            return
        held = self._gateway.on_joint_state(self._joint_stamp, measured.positions, measured.velocities, *self._times())
        if not self._lockstep:
            self._send(held)
        else:
            self._answer()

    def _on_plan(self, message: JointTrajectoryMessage) -> None:
        received_at = self._steady_s()
        self._heard["trajectories"] += 1
        try:
            trajectory = trajectory_from_message(message, self._spec.joint_names)
        except ValueError as error:
            self._violate(str(error))  # counts as no trajectory; its watchdog holds the arm
            return
        if self._lockstep:
            self._waiting = (trajectory, self._steady_s())
            self._answer()
            return
        command = self._gateway.on_trajectory(trajectory, *self._times())
        self._send(command)
        if command is not None and not command.rejected:
            self._judging.add(self._steady_s() - received_at)
            self._stamp_latency.add(self._now() - trajectory.stamp)

    def _answer(self) -> None:
        """In lockstep, judge the trajectory that waits, unless what it waits for is still missing."""
        if self._waiting is None or self._awaited(self._waiting[0]):
            return
        trajectory, self._waiting = self._waiting[0], None
        self._send(self._gateway.on_trajectory(trajectory, *self._times()))

    def _awaited(self, trajectory: JointTrajectory) -> str:
        """What a trajectory waits for in lockstep; empty for nothing. What no controller hears would be lost."""
        if trajectory.stamp != self._joint_stamp:
            return (
                f"a joint state with the trajectory's stamp {trajectory.stamp:.9f} s; "
                f"the newest has {self._joint_stamp:.9f} s"
            )
        unconnected = 0 if self._config.shadow_mode else self._output.not_connected()
        return f"{unconnected} controllers that are not connected" if unconnected else ""

    def _on_estop(self, message: Bool) -> None:
        self._send(self._gateway.on_estop(message.data, self._now()))

    def _on_sample(self) -> None:
        desired = self._gateway.desired(self._now())
        if self._sampler is not None and desired is not None:
            self._output.sample(desired)

    def _on_speed_scale(self, message: Float64) -> None:
        self._scale_heard_at = self._steady_s()
        try:
            self._send(self._gateway.set_speed_scale(message.data, self._now()))
        except ValueError as error:
            self._violate(str(error))  # the scale stays as it was

    def _on_home(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        command = self._gateway.home(*self._times())
        self._send(command)
        response.success = command is not None and not command.rejected
        standing = f"homing: expected an arm that stands still in HOLDING, found {self._gateway.state.name}"
        response.message = standing if command is None else self._gateway.reason
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._gateway.reset()
        response.message = self._gateway.reason
        if response.success:
            self._violation = ""
        self._diagnostics.publish_changes()
        return response

    def _on_tick(self) -> None:
        steady = self._steady_s()
        self._clock_watch.look(self._clock_s(), steady)
        if steady - self._looked_for_rivals > RIVAL_PERIOD_S:
            self._looked_for_rivals = steady
            self._look_for_rivals()
        self._send(self._gateway.tick(*self._times()))
        self._answer()
        if self._waiting is not None and steady - self._waiting[1] > self._config.pairing_limit_s:
            trajectory, self._waiting = self._waiting[0], None
            self._violate(f"waited {self._config.pairing_limit_s:g} s for {self._awaited(trajectory)}")
        self._watch_speed_scale(steady)
        self._diagnostics.publish_changes()

    def _watch_speed_scale(self, steady: float) -> None:
        limit = self._config.speed_scale_max_age_s
        if not limit or steady - self._scale_heard_at <= limit:
            return
        self._send(self._gateway.set_speed_scale(0.0, self._now()))
        # Again and again: the trajectories that are refused meanwhile do not tell why.
        self._violate(f"speed_scale has not come for {limit:g} s")

    def _look_for_rivals(self) -> None:
        for topic in self._output.topics:
            names = [found.node_name for found in self.get_publishers_info_by_topic(topic)]
            if len(names) > 1:
                rivals = [name for name in names if name != self.get_name()] or names[1:]
                self._send(self._gateway.on_rival(f"{', '.join(rivals)} on {topic}", self._now()))

    def _send(self, command: GatewayCommand | None) -> None:
        if command is None:
            return
        moving = self._gateway.state is GatewayState.MOVING
        self._output.send(command.trajectory)
        if moving:
            self._violation = ""
        elif command.reason:
            self._violate(command.reason)

    def _violate(self, reason: str) -> None:
        self._violation = self._last_violation = reason
        self.get_logger().warning(reason, throttle_duration_sec=LOG_PERIOD_S)

    def _now(self) -> float:
        return self._joint_stamp if self._lockstep else self._time.at(self._clock_s(), self._steady_s())

    def _times(self) -> tuple[float, float]:
        """Time of the stamps, and that of the watchdogs, which stands still in lockstep: there all wait for all."""
        return self._now(), 0.0 if self._lockstep else self._steady_s()

    def _clock_s(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    def _steady_s(self) -> float:
        return self._steady.now().nanoseconds * 1e-9

    def _health(self) -> Health:
        state = self._gateway.state
        if state is GatewayState.MOVING:
            self._held_since = self._steady_s()
        ready = state in (GatewayState.HOLDING, GatewayState.MOVING)
        if ready and not self._violation:
            return Health(Level.OK, state.name, self._values)
        unknown = state is GatewayState.WAITING_FOR_STATE
        level = Level.WARN if unknown and not self._violation else Level.ERROR
        why = [self._violation or self._gateway.reason, self._joint_states.lack() if unknown else ""]
        return Health(level, f"{state.name}: {'; '.join(filter(None, why))}", self._values)

    def _values(self) -> Mapping[str, object]:
        return {
            "state": self._gateway.state.name,
            "reason": self._gateway.reason,
            "last_violation": self._last_violation,
            "hold_s": f"{self._steady_s() - self._held_since:.2f}",
            "controllers_not_connected": self._output.not_connected(),
            "speed_scale": self._gateway.speed_scale,
            "estop_publishers": self._subscriptions_made[0].get_publisher_count(),
            **self._gateway.counters,
            **{f"limit_hits {limit}": count for limit, count in self._gateway.limit_hits.items()},
            **{f"{what} age_s": f"{age:.3f}" for what, age in self._gateway.ages(*self._times()).items()},
            **{f"{stream} rate_hz": f"{self._rate(stream):.1f}" for stream in self._rates},
            **self._judging.values("trajectory_to_command"),
            **self._stamp_latency.values("stamp_to_command"),
            **self._splice_jumps(),
        }

    def _rate(self, stream: str) -> float:
        return self._rates[stream].hz(self._heard[stream], self._steady_s())

    def _splice_jumps(self) -> dict[str, str]:
        jumps = self._gateway.splice_jumps.newest()
        if not jumps:
            return {}
        found = {"p50": np.percentile(jumps, 50), "p95": np.percentile(jumps, 95), "max": max(jumps)}
        return {f"splice_jump {rank}_rad": f"{jump:.4f}" for rank, jump in found.items()}

    def _clock_health(self) -> Health:
        return Health(Level.OK, "lockstep: time may stand still") if self._lockstep else self._clock_watch.health()


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(ArmGatewayNode, args)


if __name__ == "__main__":
    sys.exit(main())

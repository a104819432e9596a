"""The gateway alone, as a process: what it refuses, what it says, how it ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from policies.execution.trajectory import JointTrajectory
from ros_nodes.arm_gateway_node import ArmGatewayNode
from ros_nodes.convert import joint_state_from_arrays, message_from_trajectory, seconds
from ros_nodes.qos import COMMAND, JOINT_STATE_OUT
from tests.ros_nodes.fake_robot import PATIENCE_S, SPEC, SPEED, FakeRobot, gateway_process

OK, WARN, ERROR = 0, 1, 2
GRIPPER = (SPEC.joint_names[-1],)
GATEWAY = "arm_gateway_node: gateway"


@pytest.fixture(scope="module")
def gateway() -> Iterator[FakeRobot]:
    with FakeRobot("/targets") as robot, gateway_process(robot):
        robot.wait_until_heard()
        robot.wait_for_diagnostic(GATEWAY, OK, "HOLDING")
        yield robot
        robot.check_limits()


@pytest.fixture(scope="module")
def patient_gateway() -> Iterator[FakeRobot]:
    """A gateway that waits long for the next trajectory, so that a bad one surely finds the arm in motion."""
    with FakeRobot("/patient") as robot, gateway_process(robot, "gateway.command_timeout_s:=20.0"):
        robot.wait_until_heard()
        robot.wait_for_diagnostic(GATEWAY, OK, "HOLDING")
        yield robot


IMPOSSIBLE = pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p, v: p.__setitem__((3, 2), np.nan), ("joint3", "finite", "nan")),
        (lambda p, v: v.__setitem__((3, 2), np.inf), ("joint3", "finite", "inf")),
        (lambda p, v: p.__setitem__((3, 1), 1e6), ("joint2", "expected within", "1000000")),
        (lambda p, v: p.__setitem__((slice(None), 3), p[:, 3] + 0.6), ("jump of joint4", "0.600 rad")),
        (lambda p, v: v.__setitem__((-1, 0), 0.2), ("joint1", "expected 0 at the last knot")),
    ],
    ids=["nan", "infinite-velocity", "huge", "jump", "no-stop"],
)


@IMPOSSIBLE
def test_impossible_targets_are_rejected_and_named(gateway, spoil, words):
    robot = gateway
    robot.wait_for_rest()
    before = robot.trace[-1].positions
    trajectory = robot.ramp()
    spoil(trajectory.positions, trajectory.velocities)
    robot.plan(trajectory)
    robot.wait_for_diagnostic(GATEWAY, ERROR, *words)
    np.testing.assert_allclose(robot.trace[-1].positions, before, atol=1e-4)
    robot.plan(robot.ramp())
    robot.wait_for_diagnostic(GATEWAY, OK)
    robot.wait_for_diagnostic(GATEWAY, ERROR)


@IMPOSSIBLE
def test_impossible_targets_in_mid_motion_are_rejected_and_named_and_the_arm_braked_within_its_limits(
    patient_gateway, spoil, words
):
    robot = patient_gateway
    robot.wait_for_rest()
    running = robot.ramp(knots=60)
    robot.plan(running)
    robot.wait_for(lambda: abs(robot.trace[-1].velocities[0]) > 0.8 * SPEED, "motion at its full speed")
    count = len(robot.commands)
    bad = robot.ramp(knots=60)
    spoil(bad.positions, bad.velocities)
    robot.plan(bad)
    robot.wait_for(lambda: len(robot.commands) > count, "a stop")
    robot.wait_for_diagnostic(GATEWAY, ERROR, *words)
    robot.wait_for_rest()
    np.testing.assert_allclose(robot.trace[-1].positions[1:], running.positions[-1, 1:], atol=1e-4)
    assert abs(robot.trace[-1].positions[0] - running.positions[-1, 0]) > 0.1, "expected a stop before the end"
    robot.check_limits()


def test_diagnostics_tell_rates_ages_latencies_limit_hits_and_splice_jumps(gateway):
    robot = gateway
    robot.wait_for_rest()

    def values() -> dict[str, str]:
        return robot.health(GATEWAY)[2]

    robot.wait_for(lambda: 25.0 < float(values()["joint_states rate_hz"]) < 75.0, "joint states at 50 Hz")
    hits = int(values()["limit_hits velocity"])
    trajectory = robot.ramp(knots=30)
    robot.plan(trajectory)
    robot.wait_for_motion()
    faster = replace(trajectory, positions=trajectory.positions.copy())
    faster.positions[:, 0] += 0.01
    faster.positions[10:, 0] += 0.3
    robot.plan(faster)
    robot.wait_for(lambda: int(values()["limit_hits velocity"]) > hits, "a hit of the velocity limit")
    robot.wait_for(lambda: "splice_jump max_rad" in values(), "a splice jump")
    found = values()
    assert 0.0 < float(found["splice_jump p50_rad"]) <= float(found["splice_jump max_rad"]) < 0.35
    assert 0.0 < float(found["trajectory_to_command p50_ms"]) < float(found["stamp_to_command p99_ms"])
    assert 0.0 <= float(found["joint_state age_s"]) < 5.0
    robot.wait_for(lambda: float(values()["command age_s"]) > 1.0, "a command that grows old")
    robot.wait_for_rest()


def test_a_permuted_plan_moves_the_right_joint(gateway):
    robot = gateway
    robot.wait_for_rest()
    start = robot.trace[-1].positions
    message = message_from_trajectory(robot.ramp(), SPEC.joint_names)
    message.joint_names = list(reversed(message.joint_names))
    for point in message.points:
        point.positions, point.velocities = point.positions[::-1], point.velocities[::-1]
    robot.plan(message)
    robot.wait_for(lambda: abs(robot.trace[-1].positions[0] - start[0]) > 0.05, "motion of the base joint")
    robot.wait_for_diagnostic(GATEWAY, ERROR)
    np.testing.assert_allclose(robot.trace[-1].positions[1:], start[1:], atol=1e-4)


def test_a_plan_with_an_unknown_joint_is_rejected_and_named(gateway):
    message = message_from_trajectory(gateway.ramp(), SPEC.joint_names)
    message.joint_names[3] = "elbow"
    count = len(gateway.commands)
    gateway.plan(message)
    gateway.wait_for_diagnostic(GATEWAY, ERROR, "missing ['joint4']")
    assert len(gateway.commands) == count
    gateway.plan(gateway.ramp())
    gateway.wait_for_diagnostic(GATEWAY, OK)
    gateway.wait_for_diagnostic(GATEWAY, ERROR)


def test_a_gateway_that_is_told_to_end_stops_the_arm():
    # A long motion and a patient watchdog, so that the signals surely find the arm in motion.
    with FakeRobot("/ending") as robot, gateway_process(robot, "gateway.command_timeout_s:=10.0") as process:
        robot.wait_until_heard()
        robot.wait_for_diagnostic(GATEWAY, OK, "HOLDING")
        robot.plan(robot.ramp(knots=60))
        robot.wait_for_motion()
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        robot.wait_for_rest()
        assert process.wait(30) == 0
        assert robot.commands[-1].message.points[-1].time_from_start.sec < 6, "expected a stop at the end"
        robot.check_limits()


def test_joint_states_may_come_in_parts_without_velocities_and_a_part_that_stays_away_holds_the_arm():
    with FakeRobot("/parts") as robot, gateway_process(robot):
        robot.faults.joint_velocities = False
        robot.faults.silent_joints = GRIPPER
        robot.wait_until_heard()
        robot.wait_for_diagnostic(GATEWAY, WARN, "no joint state yet", f"joints {GRIPPER[0]} never came")
        robot.faults.joint_parts, robot.faults.silent_joints = 2, ()
        robot.wait_for_diagnostic(GATEWAY, OK, "HOLDING")
        robot.plan(robot.ramp())
        robot.wait_for_motion()
        robot.faults.silent_joints = GRIPPER

        def held() -> bool:
            robot.plan(robot.ramp())  # it is not for want of plans that the arm is held
            return "WAITING_FOR_STATE" in robot.health(GATEWAY)[1]

        robot.wait_for(held, "an arm that is held")
        robot.wait_for_rest()
        robot.wait_for_diagnostic(GATEWAY, ERROR, "WAITING_FOR_STATE", f"joints {GRIPPER[0]} came last")
        robot.faults.silent_joints = ()
        robot.wait_for_hold()
        robot.plan(robot.ramp())
        robot.wait_for_motion()


def test_what_is_sent_goes_on_with_the_running_motion_for_as_long_as_it_is_told_to():
    with FakeRobot("/leading") as robot, gateway_process(robot, "lead_s:=0.1"):
        robot.wait_until_heard()
        robot.wait_for_diagnostic(GATEWAY, OK, "HOLDING")
        start = robot.trace[-1].positions
        robot.plan(robot.ramp(knots=30))
        robot.wait_for(lambda: robot.commands, "a command")
        first = robot.commands[0].message.points[0]
        assert first.time_from_start.sec + first.time_from_start.nanosec / 1e9 >= 0.1
        np.testing.assert_allclose(first.positions, start, atol=1e-4)
        robot.wait_for_motion()
        robot.check_limits()


def test_in_shadow_mode_the_controller_gets_nothing():
    with FakeRobot("/shadow") as robot:
        shown: list[JointTrajectoryMessage] = []
        topic = "arm_gateway_node/shadow/arm_controller/joint_trajectory"
        robot.node.create_subscription(JointTrajectoryMessage, topic, shown.append, COMMAND)
        with gateway_process(robot, "shadow_mode:=true"):
            robot.wait_for_diagnostic(GATEWAY, OK, "HOLDING")
            robot.wait_for(lambda: robot.node.count_publishers(topic), "a publisher of the shadow")
            assert robot.node.count_publishers("arm_controller/joint_trajectory") == 0
            robot.plan(robot.ramp())
            robot.wait_for(lambda: shown, "the trajectory that would have been sent")
        assert not robot.commands
        assert robot.rests()


def test_in_lockstep_a_plan_waits_for_the_joint_state_of_its_stamp_and_a_pause_changes_nothing():
    def plan(stamp: float) -> JointTrajectory:
        rest = np.zeros((1, len(SPEC.home)))
        return JointTrajectory(stamp, np.array([1.5]), SPEC.home + rest, rest)

    with FakeRobot("/lockstep") as robot:
        robot.faults.joints = False
        with gateway_process(robot, "mode:=lockstep", "pairing_limit_s:=1.0"):
            robot.wait_until_heard()
            connected = "controllers_not_connected"
            robot.wait_for(lambda: robot.health(GATEWAY) and robot.health(GATEWAY)[2][connected] == "0", connected)
            robot.plan(plan(0.1))
            robot.report_joints(0.0)
            robot.report_joints(0.1)
            robot.wait_for(lambda: len(robot.commands) == 1, "the answer to the plan")
            robot.wait_for_diagnostic(GATEWAY, OK, "MOVING")
            # The policy is asked again after more simulated time than a trajectory may stay away in realtime.
            robot.report_joints(0.5)
            robot.report_joints(0.9)
            robot.plan(plan(1.0))
            robot.wait_for_diagnostic(GATEWAY, ERROR, "waited 1 s for a joint state with the trajectory's stamp 1.0")
            robot.report_joints(1.1)
            robot.plan(plan(1.1))
            robot.wait_for(lambda: len(robot.commands) == 2, "the answer to the last plan")
        stamps = [seconds(command.message.header.stamp) for command in robot.commands]
        assert stamps[:2] == [0.1, 1.1], "expected answers with the plans' stamps, and no stop between them"


def test_in_lockstep_a_plan_waits_until_a_controller_hears_its_answer():
    rclpy.init(args=["--ros-args", "-r", "__ns:=/unheard", "-p", "mode:=lockstep"])
    gateway, others = ArmGatewayNode(), Node("others")
    executor = SingleThreadedExecutor()
    executor.add_node(gateway)
    executor.add_node(others)
    heard: list[JointTrajectoryMessage] = []
    joints = others.create_publisher(JointState, "joint_states", JOINT_STATE_OUT)
    plans = others.create_publisher(JointTrajectoryMessage, "planned_trajectory", COMMAND)

    def spin_until(condition: Callable[[], object], what: str) -> None:
        limit = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < limit, f"expected {what}"
            executor.spin_once(timeout_sec=0.05)

    try:
        spin_until(lambda: joints.get_subscription_count() and plans.get_subscription_count(), "a gateway that listens")
        rest = np.zeros((1, len(SPEC.home)))
        joints.publish(joint_state_from_arrays(SPEC.home, rest[0], SPEC.joint_names, 0.0))
        plan = JointTrajectory(0.0, np.array([0.3]), SPEC.home + rest, rest)
        plans.publish(message_from_trajectory(plan, SPEC.joint_names))
        spin_until(lambda: gateway._waiting, "a plan that waits")
        others.create_subscription(JointTrajectoryMessage, "arm_controller/joint_trajectory", heard.append, COMMAND)
        spin_until(lambda: heard, "the answer")
        assert seconds(heard[0].header.stamp) == 0.0
        assert len(heard[0].points) >= 1
    finally:
        executor.shutdown()
        gateway.stop()
        gateway.destroy_node()
        others.destroy_node()
        rclpy.try_shutdown()


@pytest.mark.parametrize("reliability", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
def test_an_emergency_stop_is_heard_from_anybody_who_does_not_latch_it(reliability):
    with FakeRobot(f"/anybody/{reliability.name.lower()}") as robot, gateway_process(robot):
        robot.wait_for_diagnostic(GATEWAY, OK, "HOLDING")
        quality = QoSProfile(depth=1, reliability=reliability, durability=DurabilityPolicy.VOLATILE)
        button = robot.node.create_publisher(Bool, "estop", quality)
        robot.wait_for(button.get_subscription_count, "a gateway that hears the button")

        def stopped() -> bool:
            button.publish(Bool(data=True))
            return robot.health(GATEWAY)[1].startswith("ESTOPPED")

        robot.wait_for(stopped, "the stop")

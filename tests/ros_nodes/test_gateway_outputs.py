"""What leaves the gateway beside trajectories, and what the arm does when the gateway is killed."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from ros_nodes.arm_gateway_node import ArmGatewayNode
from ros_nodes.convert import seconds
from ros_nodes.enclaves import Setting, endpoints
from ros_nodes.qos import COMMAND
from tests.ros_nodes.fake_robot import PATIENCE_S, SPEC, FakeRobot, gateway_process
from tests.ros_nodes.test_enclaves import found_endpoints

OK, ERROR = 0, 2
GATEWAY = "arm_gateway_node: gateway"


def listen(robot, kind, topic):
    """Messages that come on a topic from now on."""
    heard = []
    robot.node.create_subscription(kind, topic, heard.append, COMMAND)
    return heard


def test_a_killed_gateway_leaves_the_arm_at_the_end_of_its_last_trajectory():
    patient = "gateway.command_timeout_s:=10.0"
    with FakeRobot("/killed") as robot, gateway_process(robot, patient, ends=-signal.SIGKILL) as process:
        robot.wait_until_heard()
        robot.wait_for_diagnostic(GATEWAY, OK, "HOLDING")
        robot.plan(robot.ramp(knots=60))
        robot.wait_for_motion()
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        last = robot.commands[-1].message.points[-1]
        assert not any(last.velocities)
        assert not any(last.accelerations)
        robot.wait_for_rest()
        np.testing.assert_allclose(robot.trace[-1].positions, last.positions, atol=1e-9)
        robot.check_limits()


def test_in_shadow_the_arm_gets_nothing_and_what_it_would_get_is_published():
    with FakeRobot("/shadow") as robot:
        shadow = listen(robot, JointTrajectoryMessage, "arm_gateway_node/shadow/arm_controller/joint_trajectory")
        with gateway_process(robot, "shadow_mode:=true"):
            robot.wait_for_diagnostic(GATEWAY, OK, "HOLDING")
            robot.plan(robot.ramp())
            robot.wait_for(lambda: shadow, "a shadow trajectory")
            assert list(shadow[0].joint_names) == list(SPEC.joint_names)
            assert shadow[0].points[0].accelerations
        # After the last message of a gateway that ends, which is a stop.
        assert robot.commands == []


def test_forward_commands_follow_the_motion_home():
    with FakeRobot("/forward") as robot:
        robot.faults.joint_scale = 0.95  # the arm reports that it is not at home
        commands = listen(robot, Float64MultiArray, "arm_controller/commands")
        with gateway_process(robot, "output:=forward_command"):
            robot.wait_for_diagnostic(GATEWAY, OK, "HOLDING")
            answer = robot.call(Trigger, "arm_gateway_node/home")
            assert answer.success, answer.message
            robot.wait_for(
                lambda: commands and np.allclose(commands[-1].data, SPEC.home, atol=1e-9), "commands that end at home"
            )
        path = np.array([message.data for message in commands])
        np.testing.assert_allclose(path[0], 0.95 * SPEC.home, atol=0.02)


def test_servo_gets_stamped_twists_of_the_tool_and_the_gripper_its_position():
    with FakeRobot("/servo") as robot:
        twists = listen(robot, TwistStamped, "arm_servo/delta_twist_cmds")
        grippers = listen(robot, Float64MultiArray, "arm_gripper_controller/commands")
        with gateway_process(robot, "output:=servo", "gateway.command_timeout_s:=10.0"):
            robot.wait_for_diagnostic(GATEWAY, OK, "HOLDING")
            robot.wait_for(lambda: robot.node.count_subscribers("planned_trajectory") > 0, "a gateway that listens")
            robot.plan(robot.ramp(knots=30))
            # The base joint turns the tool, 0.45 m in front of it, at 0.3 rad/s.
            robot.wait_for(lambda: any(abs(m.twist.angular.z) > 0.2 for m in twists), "a turn")
            fast = max(twists, key=lambda message: abs(message.twist.angular.z))
            assert abs(fast.twist.linear.y / fast.twist.angular.z) == pytest.approx(0.45, abs=0.02)
            assert fast.header.frame_id == SPEC.base_frame
            robot.wait_for(lambda: not any((twists[-1].twist.linear.y, twists[-1].twist.angular.z)), "an end")
        stamps = [seconds(message.header.stamp) for message in twists]
        assert (np.diff(stamps) > 0).all(), "expected stamps of the sending"
        assert grippers[-1].data[0] == pytest.approx(SPEC.home[7])


def test_another_publisher_to_the_controller_is_a_fault_that_names_it():
    with FakeRobot("/rival") as robot, gateway_process(robot):
        robot.wait_until_heard()
        robot.wait_for_diagnostic(GATEWAY, OK, "HOLDING")
        rival = robot.node.create_publisher(JointTrajectoryMessage, "arm_controller/joint_trajectory", COMMAND)
        robot.wait_for_diagnostic(GATEWAY, ERROR, "FAULT", "fake_robot on /rival/arm_controller/joint_trajectory")
        robot.destroy(rival)
        robot.wait_for(
            lambda: robot.node.count_publishers("arm_controller/joint_trajectory") == 1, "the end of the rival"
        )
        robot.wait_for(lambda: robot.reset_gateway().success, "a reset")
        robot.wait_for_diagnostic(GATEWAY, OK, "HOLDING")


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (["-p", "shadow_mode:=true"], Setting(shadow=True)),
        (["-p", "output:=forward_command"], Setting(output="forward_command")),
        (["-p", "output:=servo"], Setting(output="servo")),
    ],
    ids=["shadow", "forward_command", "servo"],
)
def test_a_gateway_for_other_controllers_has_their_endpoints_instead(words, setting):
    rclpy.init(args=["--ros-args", "-r", "__ns:=/other", *words])
    try:
        gateway, observer = ArmGatewayNode(), Node("observer")
        end = time.monotonic() + PATIENCE_S
        expected = endpoints("arm_gateway_node", setting, "/other")
        while (found := found_endpoints(observer, "arm_gateway_node", "/other")) != expected:
            if time.monotonic() > end:
                assert found == expected
            time.sleep(0.02)
        gateway.destroy_node()
        observer.destroy_node()
    finally:
        rclpy.try_shutdown()

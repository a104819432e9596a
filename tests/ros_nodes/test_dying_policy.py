"""A policy that dies in mid-motion, across processes: the arm comes to rest in time."""

from __future__ import annotations

import signal

from tests.ros_nodes.fake_robot import COMMAND_TIMEOUT_S, FakeRobot, gateway_process, policy_process

ERROR = 2
GATEWAY, LIFE_CYCLE = "arm_gateway_node: gateway", "policy_node: life cycle"
HOLD_LIMIT_S = 0.1


def test_a_killed_policy_leaves_an_arm_at_rest_within_the_limit():
    with (
        FakeRobot("/killed", cameras=("front",)) as robot,
        gateway_process(robot),
        policy_process(robot, "sweep", ends=-signal.SIGKILL) as policy,
    ):
        robot.wait_until_heard()
        robot.activate_policy()
        robot.wait_for_motion()
        policy.kill()
        policy.wait()
        robot.wait_for_diagnostic(GATEWAY, ERROR, "no trajectory for", f"limit {COMMAND_TIMEOUT_S}")
        robot.wait_for_rest()
        stop = robot.commands[-1]
        planned = [command.message.header.stamp for command in robot.planned]
        assert stop.message.header.stamp not in planned, "expected a stop, which answers no plan"
        assert stop.sent - robot.planned[-1].sent <= COMMAND_TIMEOUT_S + HOLD_LIMIT_S
        robot.check_limits()


def test_a_policy_that_raises_is_deactivated_and_named_and_the_arm_held():
    with (
        FakeRobot("/raising", cameras=("front",)) as robot,
        gateway_process(robot),
        policy_process(robot, "raising"),
    ):
        robot.wait_until_heard()
        robot.activate_policy()
        robot.wait_for_diagnostic(LIFE_CYCLE, ERROR, "inactive", "RuntimeError: the lens cap is on")
        assert robot.state_of("policy_node") == "inactive"
        robot.wait_for_diagnostic(GATEWAY, ERROR)
        robot.wait_for_rest()
        robot.check_limits()

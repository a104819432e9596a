"""A policy server that goes away in mid-motion: the node deactivates, names the reason, and the arm is held."""

from __future__ import annotations

from policies.remote.serving import PolicyServer
from policies.remote.session import PolicyPool
from tests.ros_nodes.fake_robot import FakeRobot, gateway_process, policy_process
from tests.ros_nodes.faulty_policies import Sweep

ERROR = 2
GATEWAY, LIFE_CYCLE = "arm_gateway_node: gateway", "policy_node: life cycle"


def test_a_lost_server_leaves_the_node_inactive_and_the_arm_at_rest():
    with (
        FakeRobot("/remote", cameras=("front",)) as robot,
        PolicyServer(PolicyPool([Sweep("panda")], "sweep", None)) as server,
        gateway_process(robot),
        policy_process(robot, server.url),
    ):
        robot.wait_until_heard()
        robot.activate_policy()
        robot.wait_for_motion()
        server.close()
        robot.wait_for_diagnostic(LIFE_CYCLE, ERROR, "inactive", f"policy server {server.url}")
        assert robot.state_of("policy_node") == "inactive"
        robot.wait_for_diagnostic(GATEWAY, ERROR)
        robot.wait_for_rest()
        robot.check_limits()

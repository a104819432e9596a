"""What breaks around RDT in a graph of processes: lost cameras, late chunks, chunks from before a reset."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.ros_nodes.fake_robot import SPEC, Command, FakeRobot, Faults, gateway_process, policy_process
from tests.ros_nodes.tiny_rdt import BASE, HAND

OK, WARN, ERROR = 0, 1, 2
INPUTS, POLICY, GATEWAY = "policy_node: inputs", "policy_node: policy", "arm_gateway_node: gateway"


@pytest.fixture(scope="module")
def graph() -> Iterator[FakeRobot]:
    """A gateway and an RDT with two cameras."""
    with (
        FakeRobot("/rdt_faults", cameras=("front", "wrist")) as robot,
        gateway_process(robot),
        policy_process(robot, "tiny_rdt", "execution.scheduler.mode:=receding_horizon"),
    ):
        robot.wait_until_heard()
        robot.activate_policy()
        yield robot


@pytest.fixture
def moving(graph) -> Iterator[FakeRobot]:
    """The graph in motion; afterwards everything is mended and all commands so far are checked."""
    graph.instruct("turn the base")
    graph.wait_for(lambda: graph.reset_gateway().success, "a reset of the gateway")
    graph.wait_for_motion()
    yield graph
    graph.faults = Faults()
    graph.check_limits()


def turned(command: Command) -> int:
    """The joint that a plan turns."""
    positions = np.array([point.positions for point in command.message.points])
    return int(np.argmax(np.ptp(positions, axis=0)))


def count(robot: FakeRobot, concern: str, counter: str) -> int:
    """A counter of the newest diagnostics; it comes with its first event."""
    return int((robot.health(concern) or (OK, "", {}))[2].get(counter, 0))


def test_a_lost_wrist_camera_is_seen_as_missing_and_reported_and_the_arm_goes_on(moving):
    moving.faults.lost_cameras = ("wrist",)
    moving.wait_for_diagnostic(INPUTS, WARN, "goes on without wrist")
    already = len(moving.planned)
    moving.wait_for_answers(5)
    assert {turned(plan) for plan in moving.planned[already + 1 :]} == {HAND}, "the network sees the camera as missing"
    moving.wait_for(lambda: abs(moving.trace[-1].velocities[HAND]) > 0.1, "motion of the hand")
    moving.faults.lost_cameras = ()
    moving.wait_for_diagnostic(INPUTS, OK, "every input comes")
    moving.wait_for(lambda: turned(moving.planned[-1]) == BASE, "an answer to both cameras")


def test_with_all_cameras_lost_the_arm_is_held(moving):
    moving.faults.lost_cameras = ("front", "wrist")
    moving.wait_for_diagnostic(INPUTS, ERROR, "missing", "front/color last came", "wrist/color last came")
    moving.wait_for_hold()
    moving.wait_for_rest()
    moving.faults.lost_cameras = ("wrist",)
    moving.wait_for_diagnostic(INPUTS, WARN, "goes on without wrist")
    moving.wait_for_answers(2)


def test_a_chunk_that_comes_after_its_rows_is_named_and_the_arm_held(moving):
    before = count(moving, GATEWAY, "rejected")
    moving.instruct("turn late")
    moving.wait_for_diagnostic(POLICY, ERROR, "after all their rows are past")
    moving.wait_for_diagnostic(GATEWAY, ERROR, "HOLDING")
    moving.wait_for(lambda: count(moving, GATEWAY, "rejected") > before, "a rejected chunk")
    moving.wait_for_rest()
    moving.instruct("turn the base")
    moving.wait_for_diagnostic(POLICY, OK)
    moving.wait_for_motion()


def test_a_chunk_from_before_a_reset_is_thrown_away(moving):
    moving.instruct("turn slowly")
    moving.wait_for_answers(2)  # from here on the policy is nearly always at work
    before = count(moving, POLICY, "outdated")
    moving.instruct("turn the hand slowly")
    moving.wait_for(lambda: turned(moving.planned[-1]) == HAND, "an answer to the new instruction")
    first = next(i for i in reversed(range(len(moving.planned))) if turned(moving.planned[i]) == BASE) + 1
    moving.wait_for_answers(3)
    assert {turned(plan) for plan in moving.planned[first:]} == {HAND}
    moving.wait_for(lambda: count(moving, POLICY, "outdated") > before, "the old answer among the outdated ones")
    assert np.allclose(moving.trace[-1].positions[[1, 2, 3, 4, 5]], SPEC.home[[1, 2, 3, 4, 5]], atol=1e-2)

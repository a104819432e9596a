"""What breaks around a working graph, across processes: the arm comes to rest, and a diagnostic names the cause."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.ros_nodes.fake_robot import SPEC, FakeRobot, Faults, gateway_process, policy_process

OK, ERROR = 0, 2
GATEWAY, INPUTS = "arm_gateway_node: gateway", "policy_node: inputs"


@pytest.fixture(scope="module")
def graph() -> Iterator[FakeRobot]:
    """A gateway and a working policy that turns the base joint to and fro."""
    with (
        FakeRobot("/faults", cameras=("front",), clock=True) as robot,
        gateway_process(robot, "use_sim_time:=true"),
        policy_process(robot, "sweep", "use_sim_time:=true"),
    ):
        robot.wait_until_heard()
        robot.activate_policy()
        yield robot


@pytest.fixture
def moving(graph) -> Iterator[FakeRobot]:
    """The graph in motion; afterwards everything is mended and all commands so far are checked."""
    graph.estop(False)
    reset(graph)
    graph.wait_for_motion()
    yield graph
    graph.faults = Faults()
    graph.check_limits()


def reset(robot: FakeRobot) -> None:
    robot.wait_for(lambda: robot.reset_gateway().success, "a reset of the gateway")


def test_a_camera_that_stops_is_named_and_the_arm_held(moving):
    moving.faults.camera = False
    moving.wait_for_diagnostic(INPUTS, ERROR, "missing", "front/color last came")
    moving.wait_for_hold()
    moving.wait_for_rest()
    moving.faults.camera = True
    moving.wait_for_diagnostic(INPUTS, OK, "every input comes")
    moving.wait_for_motion()


def test_camera_stamps_that_jump_back_are_named_and_counted(moving):
    moving.wait_for_diagnostic(INPUTS, OK)
    before = int(moving.health(INPUTS)[2]["stamps_jumped_back"])
    moving.faults.camera_offset = -30.0
    moving.wait_for_diagnostic(INPUTS, ERROR, "behind the joint states")
    assert int(moving.health(INPUTS)[2]["stamps_jumped_back"]) > before
    moving.wait_for_hold()
    moving.wait_for_rest()
    moving.faults.camera_offset = 0.0
    moving.wait_for_motion()


def test_permuted_joint_names_change_nothing(moving):
    moving.faults.joint_names = tuple(reversed(SPEC.joint_names))
    moving.wait_for_answers(5)
    moving.wait_for_motion()
    others = np.array([sample.positions[1:] for sample in moving.trace])
    np.testing.assert_allclose(others, np.tile(SPEC.home[1:], (len(others), 1)), atol=1e-3)


def test_a_missing_joint_is_named_and_the_arm_held(moving):
    moving.faults.joint_names = SPEC.joint_names[:-1]
    moving.wait_for_diagnostic(GATEWAY, ERROR, "no joint state for", "joints finger_joint1 came last")
    moving.wait_for_diagnostic(INPUTS, ERROR, "joint_states last came", "joints finger_joint1 came last")
    moving.wait_for_rest()


def test_a_wrong_image_encoding_is_named_and_the_arm_held(moving):
    moving.faults.encoding = "yuv422"
    moving.wait_for_diagnostic(INPUTS, ERROR, "camera/front/color/image_raw", "'yuv422'", "rgb8")
    moving.wait_for_hold()
    moving.wait_for_rest()


def test_a_paused_clock_is_named(moving):
    moving.faults.clock = False
    moving.wait_for_diagnostic("arm_gateway_node: clock", ERROR, "/clock stands still at")
    moving.faults.clock = True
    moving.wait_for_diagnostic("arm_gateway_node: clock", OK)
    moving.wait_for_motion()


def test_a_clock_that_stands_still_while_the_arm_moves_on_is_named_and_the_arm_braked_from_where_it_is(moving):
    moving.check_limits()
    moving.faults.clock_topic = False
    moving.wait_for_diagnostic(GATEWAY, ERROR, "ahead of the clock")
    moving.wait_for_rest()
    moving.check_limits_of_each()
    moving.faults.clock_topic = True
    moving.wait_for_motion()


def test_emergency_stop_latches_until_it_is_released_and_reset(moving):
    moving.estop(True)
    moving.wait_for_diagnostic(GATEWAY, ERROR, "ESTOPPED", "emergency stop")
    moving.wait_for_rest()
    assert not moving.reset_gateway().success
    moving.estop(False)
    count = len(moving.planned)
    moving.wait_for(lambda: len(moving.planned) > count + 3, "plans that the gateway refuses")
    assert moving.rests()
    reset(moving)
    moving.wait_for_motion()

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from visualization_msgs.msg import Marker, MarkerArray

from policies.execution.kinematics import Kinematics
from ros_nodes.convert import seconds
from ros_nodes.diagnostics import figures_by_name
from tests.ros_nodes.fake_robot import SPEC, FakeRobot, Faults
from tests.ros_nodes.started_node import node_process

POLICIES = str(Path(__file__).with_name("faulty_policies.py"))
OK, WARN, ERROR = 0, 1, 2
LIFE_CYCLE = "policy_node: life cycle"


@pytest.fixture(scope="module")
def robot() -> Iterator[FakeRobot]:
    """A robot with a policy that works, active."""
    with (
        FakeRobot("/policy_node_test", cameras=("front",)) as robot,
        node_process(POLICIES, robot.namespace, "policy.checkpoint:=sweep", "mode:=realtime"),
    ):
        assert robot.change_state("policy_node", Transition.TRANSITION_CONFIGURE)
        assert robot.change_state("policy_node", Transition.TRANSITION_ACTIVATE)
        robot.instruct("turn to and fro")
        robot.wait_for_answers()
        yield robot


def test_answers_carry_the_stamps_of_images_and_end_at_rest(robot):
    robot.wait_for_answers(3)
    messages = [command.message for command in robot.planned[-3:]]
    assert all(any(abs(seconds(m.header.stamp) - stamp) < 1e-6 for stamp in robot.image_stamps) for m in messages)
    assert all(earlier.header.stamp != later.header.stamp for earlier, later in pairwise(messages))
    assert all(set(message.points[-1].velocities) == {0.0} for message in messages)


def test_diagnostics_tell_inputs_latencies_and_weights(robot):
    robot.wait_for_diagnostic("policy_node: inputs", OK, "every input comes")
    robot.wait_for_diagnostic(LIFE_CYCLE, OK, "active")
    inputs = robot.health("policy_node: inputs")[2]
    robot.wait_for(
        lambda: (
            5.0 < float(robot.health("policy_node: inputs")[2]["front/color rate_hz"]) < 15.0
            and 25.0 < float(robot.health("policy_node: inputs")[2]["joint_states rate_hz"]) < 75.0
        ),
        "rates of 10 Hz and 50 Hz",
    )
    assert {"front/color age_s", "front/depth skew_s", "front/info lost", "joint_states skew_s"} <= set(inputs)
    robot.wait_for(lambda: "inference p99_ms" in robot.health("policy_node: policy")[2], "latencies")
    policy = robot.health("policy_node: policy")[2]
    assert {"checkpoint sha256", "device", "stamp_to_publish p95_ms", "input_to_publish p50_ms"} <= set(policy)


def test_an_inactive_node_answers_nothing_and_can_be_activated_again(robot):
    assert robot.change_state("policy_node", Transition.TRANSITION_DEACTIVATE)
    try:
        robot.wait_for_diagnostic(LIFE_CYCLE, WARN, "inactive")
        # The service answers after the transition, in the order of the executor: nothing is published after it.
        count = len(robot.planned)
        assert robot.state_of("policy_node") == "inactive"
        assert len(robot.planned) == count
    finally:
        assert robot.change_state("policy_node", Transition.TRANSITION_ACTIVATE)
    robot.wait_for_answers()


def test_cleanup_and_configuration_can_be_repeated(robot):
    for transition in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
    ):
        assert robot.change_state("policy_node", transition)
    robot.wait_for_answers()


def test_a_transition_that_does_not_begin_here_is_refused_and_changes_nothing(robot):
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE, 99):
        assert not robot.change_state("policy_node", transition)
        assert robot.state_of("policy_node") == "active"
    robot.wait_for_answers()


@pytest.mark.parametrize(
    ("checkpoint", "words"),
    [
        ("no_such_policy", ("FileNotFoundError", "'no_such_policy'", "shipped", "noop")),
        ("otherrobot", ("expected one for robot 'panda'", "found one for 'ur5'")),
        ("millimetres", ("statistics of policy 'millimetres'", "found 200.0 m/s", "check their units and rate")),
        ("slow", ("longer than 1.0 s",)),
    ],
)
def test_what_cannot_be_loaded_leaves_the_node_unconfigured_and_is_named(checkpoint, words):
    limit = "policy.load_limit_s:=1.0" if checkpoint == "slow" else "policy.load_limit_s:=60.0"
    parameters = (f"policy.checkpoint:={checkpoint}", limit)
    with FakeRobot(f"/policy_{checkpoint}") as robot, node_process(POLICIES, robot.namespace, *parameters):
        assert not robot.change_state("policy_node", Transition.TRANSITION_CONFIGURE)
        robot.wait_for_diagnostic(LIFE_CYCLE, ERROR, "unconfigured", *words)
        assert robot.state_of("policy_node") == "unconfigured"
        assert robot.planned == []


def test_a_policy_that_cannot_be_compiled_is_named():
    parameters = ("policy.checkpoint:=sweep", "policy.compile:=true")
    with FakeRobot("/compiled") as robot, node_process(POLICIES, robot.namespace, *parameters):
        assert not robot.change_state("policy_node", Transition.TRANSITION_CONFIGURE)
        robot.wait_for_diagnostic(
            LIFE_CYCLE, ERROR, "unconfigured", "compile: expected a policy with a network", "'sweep'"
        )


def test_a_policy_whose_camera_nobody_publishes_is_not_activated(robot):
    parameters = ("policy.checkpoint:=sweep", "discovery_limit_s:=1.0")
    with FakeRobot("/blind") as blind, node_process(POLICIES, blind.namespace, *parameters):
        assert blind.change_state("policy_node", Transition.TRANSITION_CONFIGURE)
        assert not blind.change_state("policy_node", Transition.TRANSITION_ACTIVATE)
        blind.wait_for_diagnostic(LIFE_CYCLE, ERROR, "not activated", "/blind/camera/front/color/image_raw")
        assert blind.state_of("policy_node") == "inactive"


def test_a_policy_that_no_gateway_hears_is_not_activated():
    parameters = ("policy.checkpoint:=sweep", "mode:=realtime", "discovery_limit_s:=3.0")
    remap = ["planned_trajectory:=elsewhere"]
    with (
        FakeRobot("/unheard", cameras=("front",)) as robot,
        node_process(POLICIES, robot.namespace, *parameters, remap=remap),
    ):
        assert robot.change_state("policy_node", Transition.TRANSITION_CONFIGURE)
        assert not robot.change_state("policy_node", Transition.TRANSITION_ACTIVATE)
        robot.wait_for_diagnostic(LIFE_CYCLE, ERROR, "not activated", "a subscriber of /unheard/elsewhere")


WRONG_UNITS = [
    ({"depth_scale": 1000.0}, ("camera 'front': depth", "found 1000", "16UC1")),
    ({"joint_scale": 180 / np.pi}, ("joint_states: joint2", "check the units")),
]


@pytest.mark.parametrize(
    ("fault", "words"), [*WRONG_UNITS, ({"encoding": "bayer_rggb8"}, ("color/image_raw", "bayer_rggb8"))]
)
def test_wrong_units_and_encodings_that_were_seen_are_not_activated(fault, words):
    parameters = ("policy.checkpoint:=sweep", "mode:=realtime", "sync.max_age_s:=60.0")
    name = next(iter(fault))
    topic = "joint_states" if name == "joint_scale" else "front/depth"
    with (
        FakeRobot(f"/seen_{name}", cameras=("front",)) as robot,
        node_process(POLICIES, robot.namespace, *parameters),
    ):
        robot.faults = Faults(**fault)
        assert robot.change_state("policy_node", Transition.TRANSITION_CONFIGURE)

        def were_seen() -> bool:
            told = robot.health("policy_node: inputs")
            return told is not None and int(told[2].get(f"{topic} received", "0")) > 2

        robot.wait_for(were_seen, "messages that came to the inactive node")
        assert not robot.change_state("policy_node", Transition.TRANSITION_ACTIVATE)
        robot.wait_for_diagnostic(LIFE_CYCLE, ERROR, "not activated", *words)
        assert robot.state_of("policy_node") == "inactive"


@pytest.mark.parametrize(("fault", "words"), WRONG_UNITS)
def test_wrong_units_end_the_activation_before_anything_is_planned(fault, words):
    parameters = ("policy.checkpoint:=sweep", "mode:=realtime")
    namespace = f"/units_{next(iter(fault))}"
    with (
        FakeRobot(namespace, cameras=("front",)) as robot,
        node_process(POLICIES, robot.namespace, *parameters),
    ):
        robot.faults = Faults(camera=False, joints=False)
        assert robot.change_state("policy_node", Transition.TRANSITION_CONFIGURE)
        assert robot.change_state("policy_node", Transition.TRANSITION_ACTIVATE)
        robot.faults = Faults(**fault)
        robot.instruct("turn to and fro")
        robot.wait_for_diagnostic(LIFE_CYCLE, ERROR, "inactive", *words)
        assert robot.planned == []


def test_the_predicted_path_is_published_for_those_who_look(robot):
    heard = []
    robot.node.create_subscription(MarkerArray, "policy_node/predicted_path", heard.append, 1)
    robot.wait_for(lambda: heard, "a predicted path")
    line, dots = heard[0].markers
    assert (line.type, dots.type) == (Marker.LINE_STRIP, Marker.SPHERE_LIST)
    assert line.header.frame_id == "link0"
    assert len(line.points) == len(line.colors) == 16
    start = Kinematics(SPEC).forward(SPEC.home)[:3, 3]
    radius = np.hypot(*start[:2])
    for point in line.points:
        assert np.hypot(point.x, point.y) == pytest.approx(radius, abs=0.02), "turning the base keeps the radius"


def test_a_camera_faster_than_the_policy_gets_answers_at_the_rate_of_the_policy():
    parameters = ("policy.checkpoint:=sweep", "mode:=realtime", "autostart:=true")
    with (
        FakeRobot("/fast_camera", cameras=("front",), camera_period_s=0.02) as robot,
        node_process(POLICIES, robot.namespace, *parameters),
    ):
        robot.instruct("turn to and fro")
        robot.wait_for_answers(10)
        stamps = [seconds(command.message.header.stamp) for command in robot.planned]
        assert min(later - earlier for earlier, later in pairwise(stamps)) >= 0.09 - 1e-6
        assert len(robot.image_stamps) > 3 * len(stamps)


@pytest.mark.parametrize(
    ("policy", "given", "least"),
    [
        ("sweep", ("execution.query_steps:=4",), 0.39),
        ("seldom", (), 0.49),
        ("seldom", ("execution.query_steps:=2",), 0.19),
        ("sweep", ("execution.queue_share:=0.5",), 0.8),
    ],
)
def test_a_policy_is_asked_as_seldom_as_the_parameters_or_it_itself_say(policy, given, least):
    parameters = (f"policy.checkpoint:={policy}", "mode:=realtime", "autostart:=true", *given)
    with (
        FakeRobot("/seldom", cameras=("front",), camera_period_s=0.02) as robot,
        node_process(POLICIES, robot.namespace, *parameters),
    ):
        robot.instruct("turn to and fro")
        robot.wait_for_answers(5)
        # The first observation may come from before the instruction, after which the policy begins anew.
        stamps = [seconds(command.message.header.stamp) for command in robot.planned[1:]]
        assert min(later - earlier for earlier, later in pairwise(stamps)) >= least - 1e-6


def test_a_policy_that_waits_begins_each_chunk_when_it_is_there_and_is_asked_when_it_has_ended():
    parameters = ("policy.checkpoint:=sweep", "mode:=realtime", "autostart:=true", "execution.queue_share:=0.0")
    with (
        FakeRobot("/waiting", cameras=("front",), camera_period_s=0.02) as robot,
        node_process(POLICIES, robot.namespace, *parameters),
    ):
        robot.instruct("turn to and fro")
        robot.wait_for_answers(4)
        messages = [command.message for command in robot.planned[1:]]
        stamps = np.array([seconds(message.header.stamp) for message in messages])
        assert all(np.abs(stamp - np.array(robot.image_stamps)).min() > 1e-6 for stamp in stamps)
        ends = stamps + [seconds(message.points[-1].time_from_start) for message in messages]
        assert all(len(message.points) == 17 for message in messages)  # 16 rows, of which none is past, and the stop
        assert (stamps[1:] >= ends[:-1]).all()


def test_an_observation_carries_the_joint_states_since_the_one_that_was_answered_before():
    parameters = ("policy.checkpoint:=watching", "mode:=realtime", "autostart:=true")
    with (
        FakeRobot("/watching", cameras=("front",)) as robot,
        node_process(POLICIES, robot.namespace, *parameters),
    ):
        robot.instruct("turn to and fro")

        def turns_the_hand() -> bool:
            return any(abs(plan.message.points[-1].positions[6] - SPEC.home[6]) > 0.1 for plan in robot.planned)

        robot.wait_for(turns_the_hand, "a plan that follows from what was read between observations")


def test_how_sure_a_policy_is_of_an_answer_is_told_with_the_stamp_of_its_observation():
    parameters = ("policy.checkpoint:=sure", "mode:=realtime", "autostart:=true")
    with FakeRobot("/sure", cameras=("front",)) as robot, node_process(POLICIES, robot.namespace, *parameters):
        heard = []
        robot.node.create_subscription(DiagnosticArray, "policy_node/timing", heard.append, 10)
        robot.instruct("turn to and fro")
        robot.wait_for(lambda: heard, "figures of an answer")
        assert any(abs(seconds(heard[0].header.stamp) - stamp) < 1e-6 for stamp in robot.image_stamps)
        found = figures_by_name(heard[0])
        assert found["confidence_min"] == pytest.approx(0.9 * 0.9 * 0.5)
        assert found["gripper_confidence_min"] == pytest.approx(0.5)
        assert found["gripper_confidence_mean"] == pytest.approx((15 * 0.9 + 0.5) / 16)
        assert found["translation_confidence_min"] == pytest.approx(0.9)
        assert {"inference_s", "waiting_s", "rotation_confidence_mean"} <= set(found)


def test_autostart_configures_and_activates():
    parameters = ("policy.checkpoint:=noop", "autostart:=true")
    with FakeRobot("/autostart") as robot, node_process("policy_node", robot.namespace, *parameters):
        robot.wait_for_diagnostic(LIFE_CYCLE, OK, "active")


def test_answers_that_took_longer_than_their_clean_rows_are_not_published_and_the_next_observation_is_answered():
    parameters = (
        "policy.checkpoint:=goeson",
        "mode:=realtime",
        "execution.scheduler.mode:=real_time_chunking",
        "execution.scheduler.method:=clean",
    )
    with FakeRobot("/clean", cameras=("front",)) as robot, node_process(POLICIES, robot.namespace, *parameters):
        assert robot.change_state("policy_node", Transition.TRANSITION_CONFIGURE)
        assert robot.change_state("policy_node", Transition.TRANSITION_ACTIVATE)
        robot.instruct("be late")

        def discarded() -> int:
            return int((robot.health("policy_node: policy") or (OK, "", {}))[2].get("discarded", 0))

        robot.wait_for(lambda: discarded() > 0, "a discarded answer")
        already, published = discarded(), len(robot.planned)
        robot.wait_for(lambda: discarded() > already + 2, "more of them")
        assert len(robot.planned) == published
        robot.instruct("turn to and fro")
        robot.wait_for_answers()

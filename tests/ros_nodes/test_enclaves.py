"""The table of the enclaves is what the nodes have: compared with real nodes and real graphs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import rclpy
import torch
import yaml
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Joy

from representation.dynamics.gcrl.tracks import Tracks
from representation.structure.commutative_monoids.object_evidence import EvidenceConfig, ObjectEvidence
from ros_nodes import optional
from ros_nodes.arm_gateway_node import ArmGatewayNode
from ros_nodes.dashboard import Dashboard
from ros_nodes.enclaves import NODES, Endpoints, Setting, endpoints, main, policy_xml
from ros_nodes.forecast_node import ForecastNode
from ros_nodes.graphs import GRAPHS, GraphNode, enclave_of
from ros_nodes.memory_node import MemoryNode
from ros_nodes.perception_node import PerceptionNode
from ros_nodes.policy_node import PolicyNode
from ros_nodes.recorder_node import RecorderNode
from ros_nodes.separation_node import SeparationNode
from ros_nodes.simulator_node import SimulatorNode
from ros_nodes.teleop_node import TeleopNode
from ros_nodes.tool_watch_node import ToolWatchNode
from ros_nodes.track_player_node import TrackPlayerNode
from tests.representation.test_perceiver import Extent
from tests.ros_nodes.faulty_policies import Sweep
from tests.ros_nodes.started_node import REPOSITORY
from tests.ros_nodes.test_replay import write_dataset

PATIENCE_S = 150.0  # more than a conductor waits for anything, so that it says what did not come
RUNS = 4
NAMESPACE = "/guarded"
CAMERAS = ("front", "wrist")
# Topics that the recorder asks for and nobody here publishes; the simulator fixes frames where tf2 is installed.
UNTOLD = {f"{NAMESPACE}/tf"} | ({f"{NAMESPACE}/tf_static"} if optional.TFMessage is None else set())


class Finder(Extent):
    """An encoder that finds nothing."""

    kinds = ("cube",)

    def find(self, images):
        return torch.zeros(len(images), 1, 7)


class TwoCameras(Sweep):
    """A policy that looks through all cameras."""

    cameras = CAMERAS


def found_endpoints(observer: Node, node: str, namespace: str) -> Endpoints:
    """What the graph tells of a node."""
    asked = (
        observer.get_publisher_names_and_types_by_node,
        observer.get_subscriber_names_and_types_by_node,
        observer.get_service_names_and_types_by_node,
        observer.get_client_names_and_types_by_node,
    )
    return Endpoints(*({name: kinds[0] for name, kinds in ask(node, namespace)} for ask in asked))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Node]]:
    """The nodes of `real_arm`, `twin` and `record`, made in this process; what they hear of each other is spun."""
    folder = tmp_path_factory.mktemp("nodes")
    settings = {
        "arm_gateway_node": {},
        "dashboard": {"port": 0},
        "perception_node": {"encoder.path": str(folder), "fusion.path": str(folder)},
        "policy_node": {"mode": "realtime", "policy.checkpoint": "noop"},
        "recorder_node": {"recording.folder": str(folder)},
        "simulator_node": {"mode": "realtime", "simulation.width": 32, "simulation.height": 32},
        "track_player_node": {"tracks": str(folder / "tracks.npz")},
    }
    Tracks(torch.zeros(1, 2, 1, 2), ("person",), "hall", 0.4).save(folder / "tracks.npz")
    file = folder / "parameters.yaml"
    file.write_text(yaml.safe_dump({f"/**/{name}": {"ros__parameters": values} for name, values in settings.items()}))
    rclpy.init(args=["--ros-args", "-r", f"__ns:={NAMESPACE}", "--params-file", str(file)])
    made = {}
    executor = SingleThreadedExecutor()
    try:
        makers = (
            SimulatorNode,
            ArmGatewayNode,
            PolicyNode,
            PerceptionNode,
            ForecastNode,
            MemoryNode,
            TeleopNode,
            Dashboard,
            RecorderNode,
            SeparationNode,
            ToolWatchNode,
            TrackPlayerNode,
        )
        for make in makers:
            node = make()
            made[node.get_name()] = node
            executor.add_node(node)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ros_nodes.policy_node.load_policy", lambda *_: TwoCameras("panda"))
            made["policy_node"].trigger_configure()
            patch.setattr("ros_nodes.perception_node.load_encoder", lambda _: Finder())
            fuser = ObjectEvidence(EvidenceConfig(dim=8))
            patch.setattr("ros_nodes.perception_node.load_object_evidence", lambda _: fuser)
            patch.setattr("ros_nodes.perception_node.encoder_key", lambda _: "extent_0")
            made["perception_node"].trigger_configure()
        joystick = made["teleop_node"].create_publisher(Joy, "joy", 1)
        # The recorder subscribes to what is published.
        end = time.monotonic() + PATIENCE_S
        while missing := set(made["recorder_node"]._topics.missing()) - UNTOLD:
            assert time.monotonic() < end, f"expected publishers of {missing}"
            executor.spin_once(timeout_sec=0.05)
        made["teleop_node"].destroy_publisher(joystick)
        yield made
    finally:
        executor.shutdown()
        for node in made.values():
            if hasattr(node, "stop"):
                node.stop()
            node.destroy_node()
        rclpy.try_shutdown()


@pytest.mark.parametrize(
    "name",
    [
        "arm_gateway_node",
        "dashboard",
        "forecast_node",
        "memory_node",
        "perception_node",
        "policy_node",
        "recorder_node",
        "separation_node",
        "simulator_node",
        "teleop_node",
        "tool_watch_node",
        "track_player_node",
    ],
)
def test_a_node_has_exactly_the_endpoints_of_the_table(nodes, name):
    expected = endpoints(name, Setting(cameras=CAMERAS), NAMESPACE)
    if name == "recorder_node":
        expected = replace(expected, subscribes={k: v for k, v in expected.subscribes.items() if k not in UNTOLD})
    assert found_endpoints(nodes[name], name, NAMESPACE) == expected


@pytest.fixture
def observe() -> Iterator[Callable[[str, str], Endpoints]]:
    context = Context()
    rclpy.init(context=context)
    observer = Node("observer", context=context)
    seen: dict[str, Endpoints] = {}

    def look(node: str, namespace: str) -> Endpoints:
        with suppress(Exception):  # the node is not there yet, or no more
            seen[node] = seen.get(node, Endpoints()) | found_endpoints(observer, node, namespace)
        return seen.get(node, Endpoints())

    yield look
    observer.destroy_node()
    context.try_shutdown()


@pytest.mark.parametrize("graph", ["sim_eval", "replay"])
def test_a_whole_graph_has_exactly_the_endpoints_of_the_table(graph, tmp_path, observe):
    """Conductors make their clients one after the other, so all that was seen until the end counts.

    A graph may be over before all of it was discovered: then it runs again, and what was seen before counts as well.
    """
    words = {
        "sim_eval": ["--policy", "noop", "--task", "reach", "--episodes", "1", "--videos", "0"],
        "replay": ["--dataset", str(write_dataset(tmp_path / "dataset")), "--mode", "lockstep"],
    }[graph]
    words += ["--graph", graph, "--namespace", f"/{graph}"]
    expected = {node.executable: expected_endpoints(node, graph) for node in GRAPHS[graph].nodes}
    for run in range(RUNS):
        found = seen_in_a_run([*words, "--output", str(tmp_path / f"result{run}")], list(expected), graph, observe)
        if found == expected:
            break
    assert found == expected


def expected_endpoints(node: GraphNode, graph: str) -> Endpoints:
    # The simulator makes the time and the runner counts on the wall clock: neither follows /clock.
    expected = endpoints(node.executable, Setting(sim_time="use_sim_time" in node.parameters), f"/{graph}")
    if node.executable == "simulator_node":
        # Beside what sensors tell there is a truth in realtime only, where these may fail; compared above.
        truth = {f"/{graph}/simulator_node/{name}" for name in ("joint_states", "executed")}
        return replace(expected, publishes={k: v for k, v in expected.publishes.items() if k not in truth})
    if node.executable != "policy_node":
        return expected
    # The policy of this test sees nothing; with cameras it was compared above.
    cameras = Setting().camera_topics(CAMERAS)
    blind = {k: v for k, v in expected.subscribes.items() if k.removeprefix(f"/{graph}/") not in cameras}
    return replace(expected, subscribes=blind)


def seen_in_a_run(words: list[str], names: list[str], graph: str, observe) -> dict[str, Endpoints]:
    log = Path(words[-1] + ".log")
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ros_nodes.bringup", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONFAULTHANDLER": "1"},
        )
        try:
            end = time.monotonic() + PATIENCE_S
            while process.poll() is None and time.monotonic() < end:
                found = {name: observe(name, f"/{graph}") for name in names}
                time.sleep(0.02)
            if process.poll() is None:  # what every node is doing goes to the log
                for node in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                    os.kill(int(node), signal.SIGABRT)
                process.wait(30)
                pytest.fail(f"expected the end of the graph, found {log.read_text()}")
        finally:
            process.terminate()
            process.wait(30)
    assert process.returncode == 0, log.read_text()
    return found


def rules(policy: ElementTree.Element, node: str) -> dict[str, set[str]]:
    profile = policy.find(f"enclaves/enclave/profiles/profile[@node='{node}']")
    return {next(iter(group.attrib)): {entry.text for entry in group} for group in profile}


def test_the_policy_allows_what_the_table_says_and_nothing_else():
    policy = ElementTree.fromstring(policy_xml(["arm_gateway_node", "dashboard"], Setting(), "/left").encode())
    assert policy.get("version") == "0.2.0"
    paths = [enclave.get("path") for enclave in policy.iter("enclave")]
    assert paths == ["/left/arm_gateway_node", "/left/dashboard"]
    assert {profile.get("ns") for profile in policy.iter("profile")} == {"/left"}
    assert rules(policy, "dashboard")["request"] == {"/left/arm_gateway_node/reset", "/left/policy_node/get_state"}
    publish = rules(policy, "dashboard")["publish"]
    assert publish == {"/left/estop", "/parameter_events", "/rosout"}
    assert {value for element in policy.iter() for value in element.attrib.values() if value == "DENY"} == set()


def test_only_the_gateway_may_command_the_arm_and_in_shadow_mode_not_even_that():
    command = "/arm_controller/joint_trajectory"
    for shadow, expected in ((False, {"arm_gateway_node"}), (True, set())):
        setting = Setting(shadow=shadow)
        assert {node for node in NODES if command in endpoints(node, setting).publishes} == expected
    assert f"/arm_gateway_node/shadow{command}" in endpoints("arm_gateway_node", Setting(shadow=True)).publishes


def test_the_names_of_the_robots_drivers_are_used(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(
        "based_on: panda\n"
        "drivers: {joint_states: encoders}\n"
        "cameras: {front: {color: eye/image_raw, mount: {parent_frame: hand, position: [0, 0, 0], "
        "quaternion_xyzw: [0, 0, 0, 1]}}}\n"
    )
    found = endpoints("dashboard", Setting(str(path)), "/left")
    assert {"/left/encoders", "/left/eye/image_raw"} <= set(found.subscribes)


def test_every_node_of_a_graph_is_in_the_table_and_gets_its_enclave():
    for graph in GRAPHS.values():
        values = graph.resolve({name: "x" for name, entry in graph.arguments.items() if entry.default is None})
        for node in graph.nodes:
            assert node.executable in NODES
            words = node.command(values | {"namespace": "/left"}, graph.arguments)
            assert words[words.index("--enclave") + 1] == enclave_of(node.executable, "/left")


@pytest.mark.parametrize("namespace", ["", "/", "left", "/left", "/left/"])
def test_an_enclave_lies_where_the_node_is(namespace):
    expected = "/left/policy_node" if "left" in namespace else "/policy_node"
    assert enclave_of("policy_node", namespace) == expected


def test_the_command_writes_a_policy_or_says_what_is_wrong(capsys):
    assert main(["real_arm", "--robot", "aloha"]) == 0
    policy = ElementTree.fromstring(capsys.readouterr().out.encode())
    assert len(policy.findall("enclaves/enclave")) == len(GRAPHS["real_arm"].nodes)
    assert "/right_arm_controller/joint_trajectory" in rules(policy, "arm_gateway_node")["publish"]
    assert main(["real_leg"]) == 1
    assert "expected one of forecast, gripper_action, memory, perception, real_arm" in capsys.readouterr().err
    assert main(["real_arm", "--robot", "nobody"]) == 1
    assert "nobody" in capsys.readouterr().err

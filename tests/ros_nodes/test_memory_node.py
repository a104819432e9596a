"""A memory beside an encoder behind the camera of a robot, each in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from std_msgs.msg import String

from representation.checkpoint import encoder_key
from representation.data.frames import Frames
from representation.memory.episode_memory import EpisodeMemory
from representation.memory.mbat_vsa import JSONEncoder
from representation.memory.schema import EPISODES, FRAMES, EncoderColumns
from representation.registry import module_of
from representation.vector_text import to_text
from ros_nodes.qos import STATUS
from tests.representation.memory.served import OBJECT_STORE, ROAD, free_port, make_bucket, started, to_object_store
from tests.ros_nodes.fake_robot import FakeRobot
from tests.ros_nodes.started_node import node_process

OK, ERROR = 0, 2
SIGHT, NODE = "perception_node", "memory_node"
MEMORY, LIFE_CYCLE = f"{NODE}: memory", f"{NODE}: life cycle"
numbers = count()


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two small untrained CLIPs, and an encoder of JSON."""
    module, folder = module_of("clip"), tmp_path_factory.mktemp("encoders")
    frames = Frames(np.zeros((2, 32, 32, 3), np.uint8), np.arange(2), texts=["a red cube", "a blue cube"])
    config = module.Config(embed_dim=16, vision_width=8, text_width=16, text_layers=1, text_heads=2)
    for seed, name in enumerate(("first", "second")):
        module.new(config, frames, seed).encoder.eval().save(folder / name)
    JSONEncoder().save(folder / "states")
    return {path.name: path for path in folder.iterdir()}


class Asking:
    """A robot whose camera is looked at, and questions to its memory."""

    def __init__(self, robot: FakeRobot) -> None:
        self.robot = robot
        self.answers: list[dict[str, Any]] = []
        robot.node.create_subscription(String, f"{NODE}/response", self._on_answer, STATUS)
        self.requests = robot.node.create_publisher(String, f"{NODE}/request", STATUS)
        self.percepts = robot.node.create_publisher(String, f"{SIGHT}/percept", STATUS)

    def ask(self, **request: Any) -> dict[str, Any]:
        name = f"question {next(numbers)}"
        self.requests.publish(String(data=json.dumps({"id": name, **request})))
        self.robot.wait_for(lambda: any(answer["id"] == name for answer in self.answers), f"an answer to {request}")
        return next(answer for answer in self.answers if answer["id"] == name)

    def _on_answer(self, message: String) -> None:
        self.answers.append(json.loads(message.data))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memories") / "memory"


@pytest.fixture(scope="module")
def asking(encoders: dict[str, Path], directory: Path) -> Iterator[Asking]:
    encoder = f"encoder.path:={encoders['first']}"
    memory = (f"memory.path:={directory}", "memory.create:=true", "memory.commit_period_s:=0.2", "memory.source:=bag_7")
    with (
        FakeRobot("/remembered", cameras=("front",)) as robot,
        node_process(SIGHT, robot.namespace, encoder, "rate_hz:=0.0"),
        node_process(NODE, robot.namespace, encoder, f"encoder.states:={encoders['states']}", *memory),
    ):
        for node in (SIGHT, NODE):
            assert robot.change_state(node, Transition.TRANSITION_CONFIGURE)
            assert robot.change_state(node, Transition.TRANSITION_ACTIVATE)
        asking = Asking(robot)
        for publisher in (asking.requests, asking.percepts):
            robot.wait_for(publisher.get_subscription_count, "the memory")
        yield asking


def test_what_was_seen_is_found_again_by_what_is_seen_now_by_text_and_by_row(asking, directory, encoders):
    memory = EpisodeMemory(directory)
    asking.robot.wait_for(lambda: memory.count(FRAMES) > 10, "rows")
    (best, *_) = asking.ask(now=True, k=3)["hits"]
    assert best["similarity"] == pytest.approx(1, abs=1e-4)
    assert (best["source"], best["camera"]) == ("bag_7", "front")
    assert best["frame"] == pytest.approx(best["time"] * 1e9, abs=1e4)
    same = asking.ask(like=best["id"], k=1)["hits"][0]
    assert same["similarity"] == pytest.approx(1, abs=1e-4)
    assert len(asking.ask(text="a red cube", k=4)["hits"]) == 4
    assert asking.ask(text="a red cube", where={"source": "elsewhere"})["hits"] == []
    assert asking.ask(state={"task": "push"}) == {"id": asking.answers[-1]["id"], "hits": []}
    assert list(memory.encoders(FRAMES)) == [encoder_key(encoders["first"]), encoder_key(encoders["states"])]


def test_bad_requests_are_answered_with_what_is_wrong(asking):
    for request, words in (
        ({}, "expected one of text"),
        ({"text": "x", "now": True}, "expected one of text"),
        ({"text": 7}, "expected a text"),
        ({"text": "x", "k": -1}, "k: expected"),
        ({"text": "x", "mode": "fast"}, "mode: expected"),
        ({"text": "x", "where": {"task": 3}}, "where: task"),
        ({"text": "x", "sql": "DROP"}, "found ['sql']"),
        ({"vector": "AAAA"}, "vector"),
        ({"like": "nobody"}, "expected the id of a row"),
    ):
        assert words in asking.ask(**request)["error"], request
    count = len(asking.answers)
    asking.requests.publish(String(data="no json"))
    asking.robot.wait_for(lambda: len(asking.answers) > count, "an answer")
    assert "expected JSON" in asking.answers[-1]["error"]


def test_percepts_of_another_version_of_the_encoder_are_refused_and_named(asking):
    asking.percepts.publish(String(data=json.dumps({"stamp": 1.0, "encoder": "clip_00000000", "vector": ""})))
    asking.robot.wait_for_diagnostic(MEMORY, ERROR, "expected percepts of clip_", "found 'clip_00000000'")
    asking.robot.wait_for_diagnostic(MEMORY, OK, "is open")


def test_a_new_instruction_ends_an_episode_and_so_does_the_end(asking, directory):
    memory = EpisodeMemory(directory)
    asking.robot.wait_for(lambda: memory.count(FRAMES) > 0, "frames of the first episode")
    asking.robot.instruct("push the red cube")
    asking.robot.wait_for(lambda: memory.count(EPISODES) == 1, "an episode")
    asking.robot.wait_for(lambda: asking.ask(now=True, where={"task": "push the red cube"})["hits"], "its frames")
    assert asking.robot.change_state(NODE, Transition.TRANSITION_DEACTIVATE)
    rows = {row.task: row for row in memory.rows(EPISODES)}
    assert len(rows) == 2
    seen = [row for row in memory.rows(FRAMES) if row.task == "push the red cube"]
    assert rows["push the red cube"].length == len(seen)
    assert asking.robot.change_state(NODE, Transition.TRANSITION_ACTIVATE)


@pytest.mark.parametrize(
    ("namespace", "place", "words"),
    [
        ("/no_memory", "nowhere", "expected a memory, found none"),
        ("/foreign", "foreign", "expected a memory, found something else"),
        ("/other_version", "other", "expected vectors of clip_"),
    ],
)
def test_what_cannot_be_opened_is_named(encoders, tmp_path, namespace, place, words):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    other = EpisodeMemory(tmp_path / "other", create=True)
    columns = module_of("clip").load(encoders["first"])
    other.register(EncoderColumns(encoder_key(encoders["first"]), columns.modality, columns.width))
    parameters = (f"memory.path:={tmp_path / place}", f"encoder.path:={encoders['second']}")
    with FakeRobot(namespace) as robot, node_process(NODE, robot.namespace, *parameters):
        assert not robot.change_state(NODE, Transition.TRANSITION_CONFIGURE)
        robot.wait_for_diagnostic(LIFE_CYCLE, ERROR, "not loaded", words)
    assert not (tmp_path / "nowhere").exists()


def test_percepts_of_an_outage_of_the_object_store_are_committed_when_it_is_back(encoders, monkeypatch):
    store_port, port, key = free_port(), free_port(), encoder_key(encoders["first"])
    for name, value in to_object_store(port).items():
        monkeypatch.setenv(name, value)
    encoder, address = f"encoder.path:={encoders['first']}", "s3://fleet/arm"
    parameters = (f"memory.path:={address}", "memory.create:=true", "memory.commit_period_s:=0.2", encoder)
    processes = [started(OBJECT_STORE, store_port), started(ROAD, port, str(store_port))]
    make_bucket(store_port, "fleet")
    vector = to_text(np.ones(16, np.float32))
    try:
        with FakeRobot("/far") as robot, node_process(NODE, robot.namespace, *parameters):
            for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
                assert robot.change_state(NODE, transition)
            percepts = robot.node.create_publisher(String, f"{SIGHT}/percept", STATUS)
            robot.wait_for(percepts.get_subscription_count, "the memory")
            memory = EpisodeMemory(address)

            def see(stamp: float) -> None:
                percepts.publish(String(data=json.dumps({"encoder": key, "stamp": stamp, "vector": vector})))

            see(1.0)
            robot.wait_for(lambda: memory.count(FRAMES) == 1, "the first row")
            processes[1].kill()
            processes[1].wait()
            see(2.0)
            robot.wait_for_diagnostic(MEMORY, ERROR, "1 percepts wait", "arm: expected frames of a memory")
            processes[1] = started(ROAD, port, str(store_port))
            robot.wait_for(lambda: memory.count(FRAMES) == 2, "the row of the outage")
            robot.wait_for_diagnostic(MEMORY, OK, "is open")
    finally:
        for process in processes:
            process.kill()
            process.wait()

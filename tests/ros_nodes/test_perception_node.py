"""An encoder behind the camera of a robot, in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from lifecycle_msgs.msg import Transition
from std_msgs.msg import Float32MultiArray, String

from representation.data.frames import Frames
from representation.registry import module_of
from representation.structure.commutative_monoids.object_evidence import EvidenceConfig, ObjectEvidence
from representation.vector_text import to_text
from ros_nodes.qos import STATUS
from tests.ros_nodes.fake_robot import FakeRobot, Faults
from tests.ros_nodes.started_node import node_process

OK, WARN, ERROR = 0, 1, 2
NODE = "perception_node"
INPUTS, LIFE_CYCLE = f"{NODE}: inputs", f"{NODE}: life cycle"
PHRASES = ["a red cube", "a blue cube"]
WIDTH = 16


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained CLIP."""
    module = module_of("clip")
    frames = Frames(np.zeros((2, 32, 32, 3), np.uint8), np.arange(2), texts=PHRASES)
    config = module.Config(embed_dim=WIDTH, vision_width=8, text_width=16, text_layers=1, text_heads=2)
    directory = tmp_path_factory.mktemp("encoder")
    module.new(config, frames, seed=0).encoder.eval().save(directory)
    return directory


def heard_on(robot: FakeRobot, topic: str) -> list[Float32MultiArray]:
    heard: list[Float32MultiArray] = []
    robot.node.create_subscription(Float32MultiArray, f"{NODE}/{topic}", heard.append, STATUS)
    return heard


@pytest.fixture(scope="module")
def robot(encoder: Path) -> Iterator[FakeRobot]:
    """A robot whose front camera is looked at."""
    phrases = f"encoder.phrases:={json.dumps(PHRASES)}"
    with (
        FakeRobot("/perceived", cameras=("front",)) as robot,
        node_process(NODE, robot.namespace, f"encoder.path:={encoder}", phrases, "rate_hz:=0.0"),
    ):
        assert robot.change_state(NODE, Transition.TRANSITION_CONFIGURE)
        assert robot.change_state(NODE, Transition.TRANSITION_ACTIVATE)
        yield robot


@pytest.fixture
def seen(robot: FakeRobot) -> Iterator[FakeRobot]:
    """The same, in order at the beginning, and mended at the end."""
    robot.wait_for_diagnostic(INPUTS, OK, "every input comes")
    yield robot
    robot.faults = Faults()


def test_embeddings_and_scores_come_with_labels(seen):
    vectors, scores = heard_on(seen, "embedding"), heard_on(seen, "scores")
    seen.wait_for(lambda: vectors and scores, "an embedding and scores")
    (layout,) = vectors[-1].layout.dim
    assert (layout.label, layout.size, len(vectors[-1].data)) == ("embedding", WIDTH, WIDTH)
    assert np.linalg.norm(vectors[-1].data) == pytest.approx(1.0, abs=1e-5)
    (layout,) = scores[-1].layout.dim
    assert json.loads(layout.label) == PHRASES
    assert sum(scores[-1].data) == pytest.approx(1.0, abs=1e-5)


def test_diagnostics_tell_latencies_and_losses(seen):
    seen.wait_for(lambda: "stamp_to_publish p99_ms" in seen.health(f"{NODE}: encoder")[2], "latencies")
    assert seen.health(f"{NODE}: encoder")[2]["modality"] == "image"
    assert {"color received", "color lost"} <= set(seen.health(INPUTS)[2])


def test_a_camera_that_stops_is_named_and_may_come_back(seen):
    seen.faults.camera = False
    seen.wait_for_diagnostic(INPUTS, ERROR, "camera/front/color/image_raw last came")
    seen.faults.camera = True
    seen.wait_for_diagnostic(INPUTS, OK)


def test_a_wrong_encoding_is_named(seen):
    seen.faults.encoding = "yuv422"
    seen.wait_for_diagnostic(INPUTS, ERROR, "camera/front/color/image_raw", "'yuv422'", "rgb8")


def test_stamps_that_jump_back_are_followed(seen):
    vectors = heard_on(seen, "embedding")
    seen.faults.camera_offset = -30.0
    seen.wait_for(lambda: len(vectors) > 3, "embeddings of pictures from the past")


def test_an_inactive_node_publishes_nothing_and_can_be_activated_again(seen):
    vectors = heard_on(seen, "embedding")
    assert seen.change_state(NODE, Transition.TRANSITION_DEACTIVATE)
    seen.wait_for_diagnostic(LIFE_CYCLE, WARN, "inactive")
    assert seen.state_of(NODE) == "inactive"
    count = len(vectors)
    assert seen.state_of(NODE) == "inactive"
    assert len(vectors) == count
    assert seen.change_state(NODE, Transition.TRANSITION_ACTIVATE)
    seen.wait_for(lambda: len(vectors) > count, "an embedding")


@pytest.mark.parametrize(
    ("namespace", "parameter", "words"),
    [
        ("/no_encoder", "encoder.path:=/nowhere", "/nowhere"),
        ("/no_progress", "encoder.script:=['reach for it', 'lift it up']", "script: expected none with CLIPEncoder"),
    ],
)
def test_what_cannot_be_loaded_is_named(encoder, namespace, parameter, words):
    with (
        FakeRobot(namespace, cameras=("front",)) as robot,
        node_process(NODE, robot.namespace, f"encoder.path:={encoder}", parameter),
    ):
        assert not robot.change_state(NODE, Transition.TRANSITION_CONFIGURE)
        robot.wait_for_diagnostic(LIFE_CYCLE, ERROR, "not loaded", words)


def test_things_are_fused_with_what_other_cameras_tell(tmp_path):
    module = module_of("segmentation")
    names, pictures = {"segmentation": ("rest", "cup")}, np.zeros((2, 32, 32, 3), np.uint8)
    frames = Frames(pictures, np.arange(2), {"segmentation": np.zeros((2, 32, 32), np.uint8)}, names)
    module.new(module.Config(resolution=32), frames, seed=0).encoder.eval().save(tmp_path / "encoder")
    fuser = ObjectEvidence(EvidenceConfig(dim=8))
    fuser.save(tmp_path / "fuser")
    settings = [f"encoder.path:={tmp_path / 'encoder'}", f"fusion.path:={tmp_path / 'fuser'}"]
    settings += ["fusion.others:=['side/evidence']", "fusion.max_age_s:=3600.0"]
    with FakeRobot("/fused", cameras=("front",)) as robot, node_process(NODE, robot.namespace, *settings):
        robot.faults.depth_scale = float("nan")  # this camera sees nothing
        told: list[dict] = []
        robot.node.create_subscription(String, f"{NODE}/things", lambda one: told.append(json.loads(one.data)), STATUS)
        side = robot.node.create_publisher(String, "side/evidence", STATUS)
        assert robot.change_state(NODE, Transition.TRANSITION_CONFIGURE)
        assert robot.change_state(NODE, Transition.TRANSITION_ACTIVATE)
        robot.wait_for(lambda: told, "nothing")
        assert told[-1]["things"] == []
        side.publish(String(data="{"))
        robot.wait_for(lambda: robot.health(f"{NODE}: encoder")[2].get("evidence refused") == "1", "refused evidence")
        state = np.linspace(-0.5, 0.5, 8, dtype=np.float32)
        states = {"cup": to_text(state), "hat": to_text(state)}
        side.publish(String(data=json.dumps({"stamp": told[-1]["stamp"], "states": states})))
        robot.wait_for(lambda: told[-1]["things"], "a cup")
        (thing,) = told[-1]["things"]
        assert thing["kind"] == "cup"
        expected = fuser.told(torch.from_numpy(state)).tolist()
        np.testing.assert_allclose([*thing["position"], thing["error"]], expected, atol=1e-5)
        robot.faults.depth_scale = 1.0
        robot.wait_for(lambda: {thing["kind"] for thing in told[-1]["things"]} == {"rest", "cup"}, "both kinds")

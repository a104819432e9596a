"""Things seen by the simulator's two cameras, one of which the arm carries, and fused by a node of each."""

from __future__ import annotations

import json
from contextlib import ExitStack

import numpy as np
import pytest
import rclpy
from std_msgs.msg import String

from representation.object_fusion import ObjectFusion
from representation.structure.commutative_monoids.object_evidence import EvidenceConfig
from representation.structure.commutative_monoids.train import trained_object_evidence
from representation.vector_text import from_text
from ros_nodes.graph_client import GraphClient
from ros_nodes.qos import STATUS
from sim.episode_id import EpisodeId
from sim.simulation import TabletopSimulation
from tests.red_finder import SIZE, red_finder
from tests.ros_nodes.started_node import node_process

NAMESPACE, PATIENCE_S = "/two_views", 120.0
EPISODE = EpisodeId("place", "nominal", 1, 0, 0)  # a red thing is in sight of both cameras
NODES = {"front": "front_eye", "wrist": "wrist_eye"}
MAX_AGE_S, REACH_M = 2.0, 0.1


@pytest.fixture
def client():
    rclpy.init(args=["--ros-args", "-r", f"__ns:={NAMESPACE}"])
    client = GraphClient("listener", lambda: False)
    yield client
    client.end()
    rclpy.shutdown()


def test_each_cameras_evidence_is_fused_once_and_only_while_it_is_new(client, tmp_path):
    red_finder().save(tmp_path / "encoder")
    fuser = trained_object_evidence(EvidenceConfig(dim=16), 150, 0)
    fuser.save(tmp_path / "fuser")
    simulation = TabletopSimulation()
    simulation.reset(EPISODE)
    slot = [item.colour for item in simulation.scene.layout.objects].index("red")
    truth = simulation.scene.object_position(slot)
    simulation.close()
    evidence, things = {name: {} for name in NODES}, {name: {} for name in NODES}

    def hear(kept: dict, part: str):
        def take(message: String) -> None:
            content = json.loads(message.data)
            kept[content["stamp"]] = content[part]

        return take

    for camera, node in NODES.items():
        client.create_subscription(String, f"{node}/evidence", hear(evidence[camera], "states"), STATUS)
        client.create_subscription(String, f"{node}/things", hear(things[camera], "things"), STATUS)

    def told(*states: str) -> np.ndarray:
        """Place and error of the red thing by states of cameras, each of which counts once."""
        fusion = ObjectFusion(fuser)
        for number, state in enumerate(states):
            fusion.hear(str(number), 0.0, {1: from_text(state)})
        (thing,) = fusion.things(0.0)
        return np.array([*thing.position, thing.error])

    def agrees(stamp: float, *others: str) -> bool:
        """Whether the front camera's node told at a stamp what its own state and some others fuse to."""
        red = [thing for thing in things["front"].get(stamp, ()) if thing["kind"] == "red"]
        if not red or "red" not in evidence["front"].get(stamp, {}):
            return False
        expected = told(evidence["front"][stamp]["red"], *others)
        return np.allclose([*red[0]["position"], red[0]["error"]], expected, atol=1e-5)

    def distance(camera: str) -> float:
        """From the red thing's true place to where the newest evidence of a camera has it."""
        newest = next(one["red"] for one in reversed(list(evidence[camera].values())) if "red" in one)
        return float(np.linalg.norm(told(newest)[:3] - truth))

    def wrist_states() -> list[str]:
        return [states["red"] for states in list(evidence["wrist"].values())[-20:] if "red" in states]

    settings = [f"encoder.path:={tmp_path / 'encoder'}", f"fusion.path:={tmp_path / 'fuser'}", "autostart:=true"]
    settings += [f"fusion.max_age_s:={MAX_AGE_S}", "rate_hz:=0.0", "max_skew_s:=0.05"]
    world = ["mode:=realtime", "camera_rate_hz:=3.0", "autostart:=true", f"episode.task:={EPISODE.task}"]
    world += [f"simulation.width:={SIZE}", f"simulation.height:={SIZE}"]
    with ExitStack() as running:
        running.enter_context(node_process("simulator_node", NAMESPACE, *world))
        front = [*settings, "camera:=front", f"fusion.others:=['{NODES['wrist']}/evidence']"]
        running.enter_context(node_process("perception_node", NAMESPACE, *front, remap=(f"__node:={NODES['front']}",)))
        client.wait_until(lambda: any(agrees(stamp) for stamp in things["front"]), PATIENCE_S, "one camera's things")
        with node_process(
            "perception_node", NAMESPACE, *settings, "camera:=wrist", remap=(f"__node:={NODES['wrist']}",)
        ):
            client.wait_until(lambda: bool(wrist_states()), PATIENCE_S, "evidence of the carried camera")
            began = max(things["front"])

            def fused() -> bool:
                new = [stamp for stamp in things["front"] if stamp > began]
                return any(agrees(stamp, state) for stamp in new for state in wrist_states())

            client.wait_until(fused, PATIENCE_S, "things by both cameras")
            for camera in NODES:
                # A single sight places a thing less well than a window of them.
                client.wait_until(
                    lambda camera=camera: distance(camera) < REACH_M, PATIENCE_S, f"the place by {camera}"
                )
        ended = max(evidence["wrist"])
        client.wait_until(
            lambda: any(agrees(stamp) for stamp in things["front"] if stamp > ended + MAX_AGE_S),
            PATIENCE_S,
            "things of one camera, once the other's are late",
        )

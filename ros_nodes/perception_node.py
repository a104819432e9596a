"""`perception_node`: what an encoder of `representation/` makes of a camera: vectors, scores of phrases, progress.

Publishes `~/embedding`; the same with stamp and version of the encoder as `~/percept`, for `memory_node`; and
`~/scores`, `~/progress` and `~/things` where the encoder can tell them and is asked to. The newest picture is looked at
in a worker, at most `rate_hz` times a second. Nothing that moves the arm depends on this node.
"""

from __future__ import annotations

import array
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from std_msgs.msg import Float32MultiArray, MultiArrayDimension, String
from torch import nn

from policies.execution.cadence import Cadence
from policies.execution.camera_frames import CameraFrames
from policies.robots import get_drivers, get_robot
from representation.checkpoint import encoder_key
from representation.object_fusion import ObjectFusion
from representation.perceiver import Perceiver, Percept, Sight
from representation.registry import load_encoder
from representation.structure.commutative_monoids.object_evidence import load_object_evidence
from representation.vector_text import to_text
from ros_nodes.camera_topics import CameraTopics
from ros_nodes.diagnostics import Health, Latencies, Level, figures_message
from ros_nodes.lifecycle_node import LoadingLifecycleNode
from ros_nodes.node_process import run_node
from ros_nodes.object_topics import ObjectTopics
from ros_nodes.params import declare
from ros_nodes.qos import LATCHED, STATUS, Mode

WARM_UP_RUNS, WARM_UP_SIZE, WARM_UP_DEPTH_M = 2, 224, 1.0


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What the node looks at.

    Attributes:
        robot: name, or YAML file, of the robot whose camera it is.
        camera: name of the camera.
        mode: realtime, or lockstep with a simulator that waits; decides the quality of service.
        autostart: configure and activate without being asked.
        rate_hz: pictures per second that are looked at, at most; 0 for all.
        max_skew_s: largest difference between the stamps of colour and depth.
        max_age_s: what has not come for this long counts as missing (steady clock).
        discovery_limit_s: how long to wait, when activated, for publishers of the camera.
    """

    robot: str = "panda"
    camera: str = "front"
    mode: Mode = "realtime"
    autostart: bool = False
    rate_hz: float = field(default=10.0, metadata={"range": (0.0, 1000.0)})
    max_skew_s: float = field(default=0.02, metadata={"range": (0.0, 1.0)})
    max_age_s: float = field(default=0.5, metadata={"range": (0.01, 60.0)})
    discovery_limit_s: float = field(default=10.0, metadata={"range": (0.0, 600.0)})


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Which encoder, and what it is asked.

    Attributes:
        path: directory of an encoder, or of the run that trained it.
        phrases: what pictures are scored against, such as "the red cube is lifted"; for encoders of pictures and texts.
        script: sentences of the task's steps in their order; for encoders that tell the progress of a clip.
        points: of a cloud, for encoders of points.
        device: torch device, such as cpu or cuda.
        threads: threads of torch on the CPU.
        load_limit_s: longest time to load and warm up.
    """

    path: str = ""
    phrases: tuple[str, ...] = ()
    script: tuple[str, ...] = ()
    points: int = field(default=1024, metadata={"range": (16, 1_000_000)})
    device: str = "cpu"
    threads: int = field(default=1, metadata={"range": (1, 256)})
    load_limit_s: float = field(default=300.0, metadata={"range": (1.0, 86400.0)})


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """How sights of things are fused, for encoders that find things, behind a camera with depth.

    Attributes:
        path: directory of what fuses, see `representation.structure.commutative_monoids.train`; nothing is if empty.
        window: sights of a thing that are kept.
        others: topics of the evidence of other cameras, such as side/perception_node/evidence.
        max_age_s: after which what another camera told counts no more, by the stamps of pictures, nor a thing that this
            one has lost for so long.
    """

    path: str = ""
    window: int = field(default=32, metadata={"range": (1, 1_000_000)})
    others: tuple[str, ...] = ()
    max_age_s: float = field(default=1.0, metadata={"range": (0.01, 3600.0)})


@dataclass(frozen=True, slots=True)
class Answer:
    """A percept, and the part of the run (`generation`) that it belongs to; seconds of the steady clock."""

    generation: int
    sight: Sight
    percept: Percept
    received_at: float
    begun_at: float
    encoding_s: float


class PerceptionNode(LoadingLifecycleNode):
    """Parameters, topics and the worker around a `Perceiver`."""

    def __init__(self) -> None:
        super().__init__("perception_node")
        self._config = declare(self, NodeConfig)
        self._encoder_config = declare(self, EncoderConfig, "encoder")
        self._fusion_config = declare(self, FusionConfig, "fusion")
        self._camera = get_drivers(self._config.robot).camera(self._config.camera)
        self._cadence = Cadence(self._config.rate_hz or None)
        self._perceiver: Perceiver | None = None
        self._encoder_key = ""
        self._topics: CameraTopics | None = None
        self._fusion: ObjectFusion | None = None
        self._objects: ObjectTopics | None = None
        self._generation = self._perceived_generation = 0
        self._counts = {"answered": 0, "replaced": 0, "outdated": 0}
        self._encoding, self._node_latency, self._stamp_latency = Latencies(), Latencies(), Latencies()
        self._timing = self.create_publisher(DiagnosticArray, "~/timing", STATUS)
        self._embedding = self.create_lifecycle_publisher(Float32MultiArray, "~/embedding", STATUS)
        self._percept = self.create_lifecycle_publisher(String, "~/percept", STATUS)
        self._scores = self.create_lifecycle_publisher(Float32MultiArray, "~/scores", STATUS)
        self._progress = self.create_lifecycle_publisher(String, "~/progress", STATUS)
        self._instruction = self.create_subscription(String, "instruction", self._on_instruction, LATCHED)
        self.start(self._config.robot, self._encoder_config.load_limit_s, self._config.autostart)

    def load(self) -> Perceiver:
        """Load the encoder and warm it up."""
        config = self._encoder_config
        torch.set_num_threads(config.threads)  # of this thread, the worker's
        if not config.path:
            raise ValueError("encoder.path: expected the directory of an encoder, found none")
        self._encoder_key = encoder_key(Path(config.path))
        encoder = load_encoder(Path(config.path))
        if isinstance(encoder, nn.Module):
            encoder.to(config.device)
        fusion = self._fusion_config
        if fusion.path:
            self._fusion = ObjectFusion(load_object_evidence(Path(fusion.path)), fusion.window, fusion.max_age_s)
        perceiver = Perceiver(encoder, config.phrases, config.script, config.points, bool(fusion.path))
        size = (WARM_UP_SIZE, WARM_UP_SIZE)
        intrinsics = np.array([[size[1], 0, size[1] / 2], [0, size[0], size[0] / 2], [0, 0, 1]], dtype=np.float64)
        for run in range(WARM_UP_RUNS):
            depth = np.full(size, WARM_UP_DEPTH_M, np.float32)
            perceiver.look(Sight(float(run), np.zeros((*size, 3), np.uint8), depth, intrinsics))
        return perceiver

    def loaded(self, result: Perceiver) -> None:
        """Subscribe to what the encoder takes."""
        self._perceiver = result
        config = self._config
        self._topics = CameraTopics(
            self,
            self._camera,
            result.needs_depth,
            config.mode,
            config.max_skew_s,
            config.max_age_s,
            self._steady_s,
            self._on_input,
        )
        if self._fusion is not None:
            drivers, others = get_drivers(config.robot), self._fusion_config.others
            frames = CameraFrames(get_robot(config.robot), drivers, (config.camera,), config.max_skew_s)
            self._objects = ObjectTopics(
                self, self._fusion, result.kinds, drivers, config.camera, frames, others, config.mode
            )

    def unloaded(self) -> None:
        """End the subscriptions and free the weights."""
        if self._topics is not None:
            self._topics.destroy()
        if self._objects is not None:
            self._objects.destroy()
        self._topics = self._perceiver = self._fusion = self._objects = None

    def refusal(self) -> str:
        """Name the topics of the camera that nobody publishes."""
        return self.wait_for_connections(self._config.discovery_limit_s, self._disconnected)

    def _disconnected(self) -> str:
        missing = self._topics.without_publisher()
        return f"publishers, found none of {missing}" if missing else ""

    def activated(self) -> None:
        """Forget what came before."""
        self._topics.clear()
        self._restart()

    def work_done(self, value: Answer) -> None:
        """Publish what was understood, unless another episode has begun."""
        if not self.active or value.generation != self._generation:
            self._counts["outdated"] += 1
            return
        percept = value.percept
        self._embedding.publish(labelled("embedding", percept.vector))
        described = {"stamp": percept.stamp, "encoder": self._encoder_key, "camera": self._config.camera}
        self._percept.publish(String(data=json.dumps({**described, "vector": to_text(percept.vector)})))
        if percept.scores is not None:
            self._scores.publish(labelled(json.dumps(self._encoder_config.phrases), percept.scores))
        if self._encoder_config.script:
            told = None if percept.progress is None else asdict(percept.progress)
            self._progress.publish(String(data=json.dumps({"stamp": percept.stamp, "progress": told})))
        if self._objects is not None:
            self._objects.add(value.sight, percept.found)
        self._counts["answered"] += 1
        self._encoding.add(value.encoding_s)
        self._node_latency.add(self._steady_s() - value.received_at)
        self._stamp_latency.add(self.get_clock().now().nanoseconds * 1e-9 - percept.stamp)
        figures = {"encoding_s": value.encoding_s, "waiting_s": value.begun_at - value.received_at}
        self._timing.publish(figures_message(percept.stamp, "perception_node: answer", figures))

    def concerns(self) -> Mapping[str, Callable[[], Health]]:
        """Inputs and encoder."""
        return {"inputs": self._inputs_health, "encoder": self._encoder_health}

    def _on_input(self) -> None:
        if not self.active:
            return
        sight = self._topics.take()
        if sight is not None and (self._cadence.due(sight.stamp) or self.worker.has_waiting):
            self._cadence.use(sight.stamp)
            work = partial(self._look, sight, self._generation, self._steady_s())
            self._counts["replaced"] += self.worker.submit(work)

    def _look(self, sight: Sight, generation: int, received_at: float) -> Answer:
        """Run in the worker, the only thread that touches the perceiver."""
        if generation != self._perceived_generation:
            self._perceiver.restart()
            self._perceived_generation = generation
        begun_at = self._steady_s()
        percept = self._perceiver.look(sight)
        return Answer(generation, sight, percept, received_at, begun_at, self._steady_s() - begun_at)

    def _on_instruction(self, message: String) -> None:
        self._restart()

    def _restart(self) -> None:
        self._generation += 1
        self._cadence.reset()
        if self._objects is not None:
            self._objects.restart()

    def _inputs_health(self) -> Health:
        if self._topics is None or not self.active:
            return Health(Level.OK, "not listening before the node is active")
        return self._topics.health()

    def _encoder_health(self) -> Health:
        return Health(Level.OK, "loaded" if self._perceiver is not None else "not loaded", self._encoder_values)

    def _encoder_values(self) -> Mapping[str, object]:
        encoder = None if self._perceiver is None else self._perceiver.encoder
        return {
            "path": self._encoder_config.path,
            "modality": "" if encoder is None else encoder.modality,
            "width": 0 if encoder is None else encoder.width,
            **self._counts,
            "evidence refused": 0 if self._objects is None else self._objects.refused,
            "sights of unknown place": 0 if self._objects is None else self._objects.unplaced,
            **self._encoding.values("encoding"),
            **self._node_latency.values("input_to_publish"),
            **self._stamp_latency.values("stamp_to_publish"),
        }

    def _steady_s(self) -> float:
        return self.steady_clock.now().nanoseconds * 1e-9


def labelled(label: str, values: NDArray[np.float32]) -> Float32MultiArray:
    """The message of numbers (N,), with a label."""
    message = Float32MultiArray(data=array.array("f", values.tolist()))
    message.layout.dim = [MultiArrayDimension(label=label, size=len(values), stride=len(values))]
    return message


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(PerceptionNode, args)


if __name__ == "__main__":
    sys.exit(main())

"""`memory_node`: writes what `perception_node` sees into an episode memory, and answers requests out of it.

Percepts come on `perception_node/percept`; a new `instruction` begins another episode. Requests and answers are JSON in
std_msgs/String, on `~/request` and `~/response`: no service type of the standard packages carries text both ways. An
answer has the `id` of its request. Nothing that moves the arm depends on this node.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from std_msgs.msg import String
from torch import nn

from representation.checkpoint import encoder_key
from representation.memory.episode_memory import EpisodeMemory
from representation.memory.live_memory import LiveMemory, Named
from representation.memory.schema import FRAMES, EncoderColumns
from representation.registry import load_encoder
from ros_nodes.diagnostics import Health, Level
from ros_nodes.lifecycle_node import LoadingLifecycleNode
from ros_nodes.node_process import run_node
from ros_nodes.params import declare
from ros_nodes.qos import LATCHED, STATUS

LOG_PERIOD_S = 2.0
REFUSED_FOR_S = 2.0  # that a refusal stays in the diagnostics


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """Which memory, and how it is written.

    Attributes:
        robot: name of the robot, told in the diagnostics.
        autostart: configure and activate without being asked.
        path: directory or address of the memory, see `representation.memory.store`.
        create: make the memory if there is none.
        source: path of the bag that is recorded beside it, or another name of where percepts come from.
        new_encoder: begin vectors of this encoder beside those of others that are there.
        prefix: numbers that a funnel begins with, if the encoder is new; 0 keeps none.
        signs: keep the signs of the numbers too, if the encoder is new.
        commit_period_s: time between commits.
        most_waiting: percepts, and requests, that may wait for the worker.
    """

    robot: str = "panda"
    autostart: bool = False
    path: str = ""
    create: bool = False
    source: str = "live"
    new_encoder: bool = False
    prefix: int = field(default=0, metadata={"range": (0, 65535)})
    signs: bool = False
    commit_period_s: float = field(default=2.0, metadata={"range": (0.05, 3600.0)})
    most_waiting: int = field(default=1000, metadata={"range": (1, 1_000_000)})


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Which encoders.

    Attributes:
        path: directory of the encoder that perception_node runs.
        states: directory of an encoder of JSON, for requests of states; empty for none.
        device: torch device, such as cpu or cuda.
        threads: threads of torch on the CPU.
        load_limit_s: longest time to load.
    """

    path: str = ""
    states: str = ""
    device: str = "cpu"
    threads: int = field(default=1, metadata={"range": (1, 256)})
    load_limit_s: float = field(default=300.0, metadata={"range": (1.0, 86400.0)})


class MemoryNode(LoadingLifecycleNode):
    """Parameters, topics and the worker around a `LiveMemory`."""

    def __init__(self) -> None:
        super().__init__("memory_node")
        self._config = declare(self, MemoryConfig, "memory")
        self._encoder_config = declare(self, EncoderConfig, "encoder")
        self._live: LiveMemory | None = None
        self._counts = {"committed": 0, "answered": 0, "refused": 0, "dropped": 0}
        self._refusal, self._refused_at = "", 0.0
        self._jobs: deque[tuple[str, str]] = deque()
        self._lock = threading.Lock()  # of the jobs: the executor adds, the worker takes
        self._writing = threading.Lock()  # of the memory: the end of the node must not meet a slow worker in it
        self._response = self.create_lifecycle_publisher(String, "~/response", STATUS)
        self._heard = [
            self.create_subscription(String, topic, self._listener(kind), qos)
            for kind, topic, qos in (
                ("percept", "perception_node/percept", STATUS),
                ("instruction", "instruction", LATCHED),
                ("request", "~/request", STATUS),
            )
        ]
        self._commits = self.create_timer(self._config.commit_period_s, self._commit, clock=self.steady_clock)
        self.start(self._config.robot, self._encoder_config.load_limit_s, self._config.autostart)

    def load(self) -> LiveMemory:
        """Open the memory and load the encoders."""
        config, encoders = self._config, self._encoder_config
        torch.set_num_threads(encoders.threads)  # of this thread, the worker's
        if not config.path or not encoders.path:
            raise ValueError("memory.path, encoder.path: expected a memory and an encoder, found none of one")
        seen = self._named(encoders.path)
        states = self._named(encoders.states) if encoders.states else None
        memory = EpisodeMemory(config.path, create=config.create)
        known = memory.encoders(FRAMES)
        alike = [key for key, columns in known.items() if columns.modality == seen.encoder.modality]
        if alike and seen.key not in known and not config.new_encoder:
            raise ValueError(
                f"{config.path}: expected vectors of {seen.key}, found those of {', '.join(alike)}; "
                "memory.new_encoder begins others beside them"
            )
        if seen.key not in known:
            encoder = seen.encoder
            memory.register(EncoderColumns(seen.key, encoder.modality, encoder.width, config.prefix, config.signs))
        if states is not None and states.key not in known:
            memory.register(EncoderColumns(states.key, states.encoder.modality, states.encoder.width))
        return LiveMemory(memory, seen, states, config.source)

    def loaded(self, result: LiveMemory) -> None:
        """Take the memory."""
        self._live = result

    def unloaded(self) -> None:
        """Let go of the memory."""
        self._live = None

    def activated(self) -> None:
        """Forget what waited."""
        with self._lock:
            self._jobs.clear()

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Commit what came before, once the worker rests."""
        result = super().on_deactivate(state)
        if self._live is not None and not self.fault:
            self._work()
            try:
                with self._writing:
                    self._live.end()
            except ConnectionError as error:
                self._refuse(f"{self._live.waiting} percepts are not committed yet: {error}")
        return result

    def work_done(self, value: list[str]) -> None:
        """Publish answers."""
        for answer in value if self.active else ():
            self._response.publish(String(data=answer))

    def concerns(self) -> Mapping[str, Callable[[], Health]]:
        """The memory."""
        return {"memory": self._memory_health}

    def _named(self, path: str) -> Named:
        encoder = load_encoder(Path(path))
        if isinstance(encoder, nn.Module):
            encoder.to(self._encoder_config.device)
        return Named(encoder_key(Path(path)), encoder)

    def _listener(self, kind: str) -> Callable[[String], None]:
        def heard(message: String) -> None:
            if not self.active:
                return
            with self._lock:
                if kind != "instruction" and len(self._jobs) >= self._config.most_waiting:
                    self._counts["dropped"] += 1
                    return
                self._jobs.append((kind, message.data))
            self.worker.submit(self._work)

        return heard

    def _commit(self) -> None:
        if self.active:
            with self._lock:
                self._jobs.append(("commit", ""))
            self.worker.submit(self._work)

    def _work(self) -> list[str]:
        """Do all that waits, in the worker; returns the answers.

        A job that replaces one that waits does the work of both.
        """
        answers = []
        while self._jobs:
            with self._lock:
                kind, text = self._jobs.popleft()
            try:
                with self._writing:
                    answers += self._do(kind, text)
            except ValueError as error:
                if kind != "percept":
                    raise
                self._refuse(str(error))
            except ConnectionError as error:  # what waits is committed with what comes
                self._refuse(f"{self._live.waiting} percepts wait: {error}")
        return answers

    def _do(self, kind: str, text: str) -> list[str]:
        if kind == "percept":
            self._live.take(text)
        elif kind == "instruction":
            self._live.begin(text)
        elif kind == "commit":
            self._counts["committed"] += self._live.flush()
        else:
            self._counts["answered"] += 1
            return [self._live.answer(text)]
        return []

    def _refuse(self, reason: str) -> None:
        self._counts["refused"] += 1
        self._refusal, self._refused_at = reason, self._steady_s()
        self.get_logger().error(reason, throttle_duration_sec=LOG_PERIOD_S)

    def _memory_health(self) -> Health:
        if self._live is None or not self.active:
            return Health(Level.OK, "nothing is remembered before the node is active")
        if self._refusal and self._steady_s() - self._refused_at < REFUSED_FOR_S:
            return Health(Level.ERROR, f"refused: {self._refusal}", self._values)
        if len(self._jobs) >= self._config.most_waiting:
            return Health(Level.ERROR, "percepts or requests are dropped: the memory is too slow", self._values)
        return Health(Level.OK, f"{self._config.path} is open", self._values)

    def _values(self) -> Mapping[str, object]:
        return {**self._counts, "waiting": len(self._jobs)}

    def _steady_s(self) -> float:
        return self.steady_clock.now().nanoseconds * 1e-9


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(MemoryNode, args)


if __name__ == "__main__":
    sys.exit(main())

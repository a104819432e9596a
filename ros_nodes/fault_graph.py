"""`FaultGraph`: twin, gateway, and a policy whose motion is known, as processes that can be replaced one by one."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TextIO

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import GetState
from std_srvs.srv import Trigger

from policies.execution.arm_gateway import GatewayConfig
from policies.execution.observation_sync import SyncConfig
from ros_nodes.fault_probe import FaultProbe
from ros_nodes.graph_client import GraphError
from ros_nodes.graph_processes import GraphProcesses
from sim.episode_id import EpisodeId
from sim.known_motions import carrying, going_round
from sim.simulation import SimulationConfig, TabletopSimulation

ROBOT = "panda"
CAMERAS = ("front", "wrist")
SIZE_PX = 64
CAMERA_RATE_HZ = 10.0
EPISODE = EpisodeId(task="pick", suite="nominal", severity=1, index=0, seed=0)
SIMULATOR, GATEWAY, POLICY = "simulator_node", "arm_gateway_node", "policy_node"
SERVER = "policy server"
GATEWAY_HEALTH, LIFE_CYCLE = f"{GATEWAY}: gateway", f"{POLICY}: life cycle"

START_LIMIT_S = 240.0
READY_LIMIT_S = 120.0
RESET_PERIOD_S = 0.5
RESET_LIMIT_S = 15.0
CALL_LIMIT_S = 60.0
SERVER_LIMIT_S = 1.0  # for an answer of the policy server
# Few others write there, so what is free changes little by itself.
MEMORY_DISK = "/dev/shm"
FOLDER_PREFIX = "fault_matrix_"


Motion = Literal["round", "carry"]


@dataclass(frozen=True, slots=True)
class Setup:
    """How the graph is started.

    Attributes:
        motion: what the policy does: `round` about the first pose, or `carry` the object.
        sim_time: gateway and policy follow /clock.
        served: the policy runs in a server of its own.
        shadow: the gateway moves nothing.
    """

    motion: Motion = "round"
    sim_time: bool = False
    served: bool = False
    shadow: bool = False


class FaultGraph:
    """Starts and replaces the processes of the graph. A context manager; leaving it ends them all.

    Args:
        output: where the processes' lines go; None discards them.
        patience: factor on the nodes' time limits; 1 is what they have, a machine that is busy otherwise needs more.

    Attributes:
        processes: of the graph.
        probe: hears the graph.
        held_m: position of the gripper that holds the object.
        small_folder: a directory for what may fill its disk.
    """

    def __init__(self, output: TextIO | None = None, patience: float = 1.0) -> None:
        self.processes = GraphProcesses(output)
        self.held_m = 0.0
        self._patience = patience
        self._stack = ExitStack()
        self._setup: Setup | None = None
        self._address = ""

    def __enter__(self) -> Self:
        with self._stack as stack:
            folders = [
                stack.enter_context(tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, dir=where))
                for where in (None, MEMORY_DISK if os.access(MEMORY_DISK, os.W_OK) else None)
            ]
            self._folder, self.small_folder = map(Path, folders)
            self._make_motions()
            self.probe = FaultProbe(ROBOT, lambda: False)
            stack.callback(self.probe.end)
            stack.callback(self.processes.stop_all)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def set_up(self, setup: Setup) -> None:
        """Start what does not run, or runs otherwise."""
        known, self._setup = self._setup, setup
        if SIMULATOR not in self.processes:
            self._start_simulator()
        other_gateway = known is None or (known.sim_time, known.shadow) != (setup.sim_time, setup.shadow)
        other_policy = known is None or replace(known, shadow=setup.shadow) != setup
        if other_policy:
            self.processes.stop(POLICY)
        elif other_gateway:
            self.deactivate()
        if other_gateway:
            self.start_gateway()
        if other_policy:
            self.start_policy()

    def start_gateway(self) -> None:
        """Start the gateway anew, and wait until it is ready."""
        names = ("command_timeout_s", "state_timeout_s", "state_max_age_s")
        limits: dict[str, Any] = self._limits("gateway", GatewayConfig(), *names)
        limits |= {"use_sim_time": self._sim_time(), "shadow_mode": self._shadow()}
        self.start_node(GATEWAY, GATEWAY, limits, GATEWAY_HEALTH)
        self.stand_ready()

    def start_policy(self) -> None:
        """Start the policy anew, and its server where it has one, and load it."""
        self.processes.stop(POLICY)
        self.processes.stop(SERVER)
        setup = self._setup or Setup()
        checkpoint = str(self._folder / setup.motion)
        if setup.served:
            checkpoint = self.start_server()
        parameters = {"mode": "realtime", "policy.checkpoint": checkpoint, "use_sim_time": self._sim_time()}
        parameters |= self._limits("sync", SyncConfig(), "max_age_s")
        self.start_node(POLICY, "faulty_policy_node", parameters, LIFE_CYCLE)
        self.change_policy(Transition.TRANSITION_CONFIGURE, "load its policy")

    def start_server(self) -> str:
        """Serve the policy, and return the address."""
        setup = self._setup or Setup()
        if not self._address:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self._address = f"127.0.0.1:{free.getsockname()[1]}"
        port = self._address.rpartition(":")[2]
        words = ["-m", "policies.server", "--policy", str(self._folder / setup.motion), "--port", port]
        self.processes.start(SERVER, words)
        self.probe.wait_until(self._server_listens, START_LIMIT_S, f"a policy server on {self._address}")
        return f"ws://{self._address}?limit_s={SERVER_LIMIT_S:g}"

    def stop_all(self) -> None:
        """End everything; the next `set_up` starts it anew."""
        self.processes.stop_all()
        self._setup = None

    def stand_ready(self) -> None:
        """Wait until the gateway takes trajectories, resetting it where it stays in a fault, as a person would.

        Raises:
            GraphError: it does not within the limit.
        """
        limit = time.monotonic() + READY_LIMIT_S
        while not (text := self._gateway_text()).startswith(("HOLDING", "MOVING")):
            if time.monotonic() > limit:
                raise GraphError(f"expected a gateway that is ready within {READY_LIMIT_S:g} s, found {text}")
            if text.startswith(("FAULT", "ESTOPPED")):
                self.reset_gateway()
            self.probe.listen(RESET_PERIOD_S)

    def reset_gateway(self) -> None:
        """Ask the gateway to leave a fault and to forget what it tells of it."""
        # Of a gateway that was just replaced the first answer may be lost on its way.
        for last in (False, True):
            try:
                self.probe.call(Trigger, f"{GATEWAY}/reset", Trigger.Request(), RESET_LIMIT_S)
                return
            except GraphError:
                if last:
                    raise

    def change_policy(self, transition: int, label: str) -> None:
        """Lead the policy's node through a transition."""
        self.probe.change_state_of(POLICY, transition, label, START_LIMIT_S)

    def deactivate(self) -> None:
        """Deactivate the policy, if it is active."""
        if self.policy_is_active():
            self.change_policy(Transition.TRANSITION_DEACTIVATE, "become inactive")

    def policy_is_active(self) -> bool:
        """Whether the policy's node is in that state of its life."""
        answer = self.probe.call(GetState, f"{POLICY}/get_state", GetState.Request(), CALL_LIMIT_S)
        return answer.current_state.label == "active"

    def _gateway_text(self) -> str:
        health = self.probe.newest(GATEWAY_HEALTH)
        return "nothing told yet" if health is None else health.text

    def _make_motions(self) -> None:
        simulation = TabletopSimulation(SimulationConfig.of(ROBOT))
        carry = carrying(simulation, EPISODE, CAMERAS)
        simulation.close()
        carry.save_pretrained(self._folder / "carry")
        going_round(carry.positions[0], replace(carry.config, loop_start=0)).save_pretrained(self._folder / "round")
        self.held_m = float(carry.positions[-1][simulation.robot.grippers[0]])

    def _start_simulator(self) -> None:
        parameters = {
            "mode": "realtime",
            "autostart": True,
            "camera_rate_hz": CAMERA_RATE_HZ,
            "simulation.width": SIZE_PX,
            "simulation.height": SIZE_PX,
            "episode.task": EPISODE.task,
            "episode.index": EPISODE.index,
            "episode.seed": EPISODE.seed,
        }
        self.start_node(SIMULATOR, SIMULATOR, parameters, f"{SIMULATOR}: simulation")

    def start_node(self, name: str, module: str, parameters: Mapping[str, Any], concern: str) -> None:
        """Start a node anew, and wait until it tells of its health."""
        begin = time.time()
        self.processes.start_node(name, module, parameters)

        def told() -> bool:
            if (end := self.processes.end_of(name)) is not None:
                raise GraphError(f"{end} instead of starting")
            return self.probe.newest(concern, begin) is not None

        self.probe.wait_until(told, START_LIMIT_S, f"diagnostics of {name}")

    def _limits(self, group: str, config: GatewayConfig | SyncConfig, *names: str) -> dict[str, float]:
        return {f"{group}.{name}": getattr(config, name) * self._patience for name in names}

    def _server_listens(self) -> bool:
        host, _, port = self._address.rpartition(":")
        with socket.socket() as client:
            client.settimeout(0.5)
            return client.connect_ex((host, int(port))) == 0

    def _sim_time(self) -> bool:
        return self._setup is not None and self._setup.sim_time

    def _shadow(self) -> bool:
        return self._setup is not None and self._setup.shadow

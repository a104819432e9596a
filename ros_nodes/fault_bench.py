"""`FaultBench`: a graph of twin, gateway and policy that is broken and mended, and brought into a phase of its work."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
from lifecycle_msgs.msg import Transition
from rclpy.publisher import Publisher
from std_msgs.msg import Bool

from representation.data.bag_reader import BagReader
from ros_nodes.fault_graph import (
    CALL_LIMIT_S,
    GATEWAY,
    GATEWAY_HEALTH,
    POLICY,
    ROBOT,
    SIMULATOR,
    START_LIMIT_S,
    FaultGraph,
)
from ros_nodes.full_disk import FullDisk
from ros_nodes.graph_client import GraphError
from ros_nodes.imperfections import Imperfections
from ros_nodes.qos import LATCHED
from ros_nodes.rival import Rival

Phase = Literal["idle", "moving", "grasping"]

RECORDER = "recorder_node"
RECORDING = f"{RECORDER}: recording"
DASHBOARD = "dashboard"
PHASE_LIMIT_S = 30.0
MOVING_RAD_S = 0.1  # the known motions are twice as fast
REST_RAD_S = 0.02
AGAIN_S = 0.5
RESTING_S = 0.3
HELD_TOLERANCE_M, GRASPED_S = 0.004, 0.5  # so long the gripper has stood there: it has closed, and holds
SOME_BYTES = 200_000  # of pictures


class FaultBench(FaultGraph):
    """Breaks and mends the graph, and brings it into a phase.

    Args:
        output: where the processes' lines go; None discards them.
        patience: factor on the nodes' time limits, see `FaultGraph`.

    Attributes:
        disk: what a recorder writes to, after `record`.
    """

    def __init__(self, output: TextIO | None = None, patience: float = 1.0) -> None:
        super().__init__(output, patience)
        self._rival: Rival | None = None
        self._estop: Publisher | None = None

    def restart(self) -> None:
        """End everything, whatever is broken; the next `set_up` starts it anew."""
        self.give_way()
        self.stop_all()
        self.press_estop(False)

    def replace_gateway(self) -> None:
        """Start the gateway anew, with a policy that does not move the arm as soon as it is there."""
        self.deactivate()
        self.start_gateway()

    def disturb(self, **imperfections: Any) -> None:
        """Set parameters `imperfections.*` of the simulator."""
        values = {f"imperfections.{name}": value for name, value in imperfections.items()}
        self.probe.set_parameters_of(SIMULATOR, values, CALL_LIMIT_S)

    def spoil(self, fault: str) -> None:
        """Set the fault of the policy."""
        self.probe.set_parameters_of(POLICY, {"fault": fault}, CALL_LIMIT_S)

    def press_estop(self, pressed: bool) -> None:
        """Press or release the emergency stop."""
        if self._estop is None:
            self._estop = self.probe.create_publisher(Bool, "estop", LATCHED)
        self._estop.publish(Bool(data=pressed))

    def ask_for_wrong_parameters(self) -> None:
        """Ask every node for a parameter that must be refused, and note the answers.

        Raises:
            GraphError: one was not refused, or has another value now.
        """
        for node, name, value in (
            (GATEWAY, "gateway.command_timeout_s", 1e6),
            (POLICY, "fault", "unheard of"),
            (SIMULATOR, "imperfections.image_loss", 1.5),
        ):
            before = self.probe.parameters_of(node, [name], CALL_LIMIT_S)
            try:
                self.probe.set_parameters_of(node, {name: value}, CALL_LIMIT_S)
            except GraphError as refusal:
                self.probe.note_answer(f"{node}/set_parameters_atomically", str(refusal))
            else:
                raise GraphError(f"{node}: expected {name} = {value} to be refused, found it accepted")
            if self.probe.parameters_of(node, [name], CALL_LIMIT_S) != before:
                raise GraphError(f"{node}: expected {name} = {value} to be refused, found it taken")

    def record(self) -> None:
        """Start a recorder that stops when little more of the disk is used, and wait until something is recorded."""
        self.disk = FullDisk(self.small_folder)
        self._bags = Path(tempfile.mkdtemp(dir=self.small_folder))
        parameters = {
            "recording.robot": ROBOT,
            "recording.folder": str(self._bags),
            "bag.min_free_mb": self.disk.min_free_mb,
        }
        self.start_node(RECORDER, RECORDER, parameters, RECORDING)
        self.probe.wait_until(lambda: self._recorded_bytes() > SOME_BYTES, START_LIMIT_S, "a bag that grows")

    def free_disk(self) -> None:
        """Free the disk, and end the recorder, see `end_recorder`."""
        self.disk.free()
        self.end_recorder()

    def end_recorder(self) -> None:
        """End the recorder, if it lives.

        Raises:
            GraphError: what was recorded cannot be read.
        """
        self.processes.stop(RECORDER)
        messages = sum(len(list(BagReader(bag).messages())) for bag in self._bags.iterdir())
        if not messages:
            raise GraphError("bag: expected messages that can be read, found none")

    def show(self) -> None:
        """Start a dashboard, and wait until it hears the arm."""
        self.processes.start_node(DASHBOARD, DASHBOARD, {"robot": ROBOT, "port": 0})
        topic = self.probe.drivers.joint_states
        self.probe.wait_until(
            lambda: DASHBOARD in [end.node_name for end in self.probe.get_subscriptions_info_by_topic(topic)],
            START_LIMIT_S,
            "a dashboard that hears the arm",
        )

    def end_dashboard(self) -> None:
        """End the dashboard, if it lives."""
        self.processes.stop(DASHBOARD)

    def disturb_no_more(self) -> None:
        """Set all imperfections of the simulator right."""
        perfect = asdict(Imperfections())
        self.disturb(**{name: list(value) if isinstance(value, tuple) else value for name, value in perfect.items()})

    def compete(self) -> None:
        """Lead the arm aside beside the gateway."""
        self._rival = Rival(self.probe)

    def give_way(self) -> None:
        """End `compete`."""
        if self._rival is not None:
            self._rival.end()
            self._rival = None

    def enter(self, phase: Phase) -> None:
        """Bring the graph into a phase; a lost object is put back first."""
        if phase == "idle":
            self.deactivate()
            self.wait_for_rest(time.time())
            # What it tells of the row before must not be taken for this one's.
            self.reset_gateway()
            self.resume(phase)
            return
        try:
            self.resume(phase)
        except GraphError:
            self.begin_episode()
            self.resume(phase)

    def resume(self, phase: Phase) -> None:
        """Make gateway and policy ready where they are not, and wait until the arm does what it does in the phase.

        Raises:
            GraphError: it does not within the limit.
        """
        self.stand_ready()
        if phase == "idle" and not self._shadow():
            return
        if not self.policy_is_active():
            self._activate()
        if phase == "idle":
            self.probe.wait_until(self._passes, self._patience * PHASE_LIMIT_S, "a gateway that passes what it judges")
            return
        holding = " with the object in its hand" if phase == "grasping" else ""
        self.probe.wait_until(lambda: self._moves(phase), self._patience * PHASE_LIMIT_S, f"an arm that moves{holding}")

    def _activate(self) -> None:
        """Activate the policy, again where it refuses: what it heard last may still be of the fault."""
        limit = time.monotonic() + self._patience * PHASE_LIMIT_S
        while True:
            try:
                self.change_policy(Transition.TRANSITION_ACTIVATE, "become active")
                return
            except GraphError:
                if time.monotonic() > limit:
                    raise
            self.probe.listen(AGAIN_S)

    def begin_episode(self) -> None:
        """Put arm and objects back."""
        self.deactivate()
        self.wait_for_rest(time.time())
        # First the gateway: what it knows of the arm's place is about to be wrong.
        self.reset_gateway()
        self.probe.trigger(f"{SIMULATOR}/reset", CALL_LIMIT_S)
        self.probe.commands.clear()  # the arm is held elsewhere now
        self.stand_ready()

    def rest_since(self, begin: float) -> float | None:
        """Seconds from `begin` (wall clock) to the arm's rest; None while it does not rest."""
        return self.probe.trace(begin).rest_after(begin, self.probe.spec.arm_joints, REST_RAD_S, RESTING_S)

    def wait_for_rest(self, begin: float) -> None:
        """Wait until the arm has come to rest after `begin`."""
        limit_s = self._patience * PHASE_LIMIT_S
        self.probe.wait_until(lambda: self.rest_since(begin) is not None, limit_s, "an arm at rest")

    def _passes(self) -> bool:
        health = self.probe.newest(GATEWAY_HEALTH)
        return health is not None and health.text == "MOVING"

    def _moves(self, phase: Phase) -> bool:
        if self.probe.speed() < MOVING_RAD_S:
            return False
        if phase != "grasping":
            return True
        stood = self.probe.trace(time.time() - GRASPED_S).positions[:, self.probe.spec.grippers[0]]
        return bool(len(stood)) and bool((np.abs(stood - self.held_m) < HELD_TOLERANCE_M).all())

    def _recorded_bytes(self) -> int:
        return sum(file.stat().st_size for file in self._bags.rglob("*.mcap"))

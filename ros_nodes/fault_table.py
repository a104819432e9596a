"""The faults of the matrix: how each is injected and mended, and what must follow.

The simulator stands for the arm, so it is never killed. A hold after lost inputs need not be a fault of the gateway:
the planned motion may end before the watchdog bites; then the diagnostic of the inputs names the cause.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ros_nodes.diagnostics import Level
from ros_nodes.fault_bench import DASHBOARD, RECORDER, RECORDING, FaultBench, Phase
from ros_nodes.fault_graph import GATEWAY, GATEWAY_HEALTH, LIFE_CYCLE, POLICY, SERVER
from ros_nodes.fault_probe import Naming

INPUTS = f"{POLICY}: inputs"
CLOCK = f"{GATEWAY}: clock"
REST_LIMIT_S = 3.0
LAST_TRAJECTORY_S = 9.0  # a chunk of 1.6 s that the gateway has slowed five times, the most that it does, and a stop

Action = Callable[[FaultBench], object]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        inject: breaks something.
        mend: repairs it, and does what a person must do before the arm may go on.
        outcome: what a moving arm must do: `holds`, or `goes on`; in the phase idle it stays where it is. Where another
            leads the arm, it is `told`, and no joint may be flung.
        named: diagnostics, or answers of services, of which one must come while the policy is active.
        named_idle: the same in the phase idle, where the policy is not.
        shadow: in the phase idle the policy is active, and the gateway in shadow mode: what is broken is the policy, or
            what only it needs, and `named` must come.
        never_idle: why the phase idle cannot tell the fault; it is not tried then.
        limit_s: longest time to the rest of a moving arm.
        sim_time: whether gateway and policy follow /clock.
        served: whether the policy runs in a server of its own.
        prepare: done before the graph is brought into the phase.
    """

    inject: Action
    mend: Action
    outcome: Literal["holds", "goes on", "told"] = "holds"
    named: tuple[Naming, ...] = ()
    named_idle: tuple[Naming, ...] = ()
    shadow: bool = False
    never_idle: str = ""
    limit_s: float = REST_LIMIT_S
    sim_time: bool = False
    served: bool = False
    prepare: Action = lambda bench: None

    def wanted(self, phase: Phase) -> tuple[Naming, ...]:
        """What must be named in a phase."""
        return self.named_idle if phase == "idle" and not self.shadow else self.named


def _error(concern: str, *words: str) -> Naming:
    return Naming(concern, Level.ERROR, words)


NO_COMMAND = _error(GATEWAY_HEALTH, "no trajectory for")
SKEWED = _error(INPUTS, "no inputs within", "compare the stamps")
LATE_PICTURES = _error(INPUTS, "camera 'wrist'", "behind the joint states")
# Holding anyhow, it only waits.
BLIND = (
    _error(GATEWAY_HEALTH, "WAITING_FOR_STATE", "joint state"),
    Naming(GATEWAY_HEALTH, Level.WARN, ("WAITING_FOR_STATE", "joint state")),
)
JUMPED_BACK = _error(GATEWAY_HEALTH, "stamps of joint states jumped back")
STILL_CLOCK = _error(CLOCK, "/clock stands still")
POLICY_SILENT = Naming(LIFE_CYCLE, Level.STALE, ("silent",))
GATEWAY_SILENT = Naming(GATEWAY_HEALTH, Level.STALE, ("silent",))
INACTIVE = Naming(LIFE_CYCLE, Level.WARN, ("inactive",))
ESTOPPED = _error(GATEWAY_HEALTH, "ESTOPPED", "emergency stop")
RECORDER_SILENT = Naming(RECORDING, Level.STALE, ("silent",))
REFUSED = Naming(f"{POLICY}/set_parameters_atomically", None, ("fault", "unheard of"))
RIVAL = _error(GATEWAY_HEALTH, "FAULT", "arm_controller/joint_trajectory")
SERVER_LOST = _error(LIFE_CYCLE, "policy server")


def _twin(
    *named: Naming,
    idle: tuple[Naming, ...] = (),
    sim_time: bool = False,
    never_idle: str = "",
    **imperfections: object,
) -> Fault:
    """Imperfections of the twin, set and taken back."""
    return Fault(
        lambda bench: bench.disturb(**imperfections),
        FaultBench.disturb_no_more,
        named=named,
        named_idle=idle,
        shadow=not idle,
        sim_time=sim_time,
        never_idle=never_idle,
    )


def _answer(fault: str, *named: Naming) -> Fault:
    """Answers of the policy that are spoiled, or do not come."""
    return Fault(lambda bench: bench.spoil(fault), lambda bench: bench.spoil("none"), named=named, shadow=True)


def _signal(process: str, number: signal.Signals) -> Action:
    return lambda bench: bench.processes.signal(process, number)


def _watcher(process: str, number: signal.Signals, start: Action, end: Action, *named: Naming) -> Fault:
    """A process that only watches, and dies or stands still."""
    return Fault(_signal(process, number), end, outcome="goes on", named=named, named_idle=named, prepare=start)


FAULTS: dict[str, Fault] = {
    "camera_freeze": _twin(
        _error(LIFE_CYCLE, "camera 'front'", "frozen"),
        frozen_cameras=["front"],
        never_idle="what an arm at rest sees may stay the same",
    ),
    "camera_death": _twin(_error(INPUTS, "missing", "wrist/color"), stopped_cameras=["wrist"]),
    "camera_stamps_back": _twin(LATE_PICTURES, camera_stamp_offset_s=-30.0),
    "camera_stamps_forward": _twin(SKEWED, camera_stamp_offset_s=30.0),
    "camera_late_300ms": _twin(LATE_PICTURES, late_camera="wrist", late_camera_s=0.3),
    "wrong_encoding": _twin(_error(INPUTS, "refused", "'yuv422'"), image_encoding="yuv422"),
    "wrong_step": _twin(_error(INPUTS, "refused", "step"), image_step=7),
    "wrong_endianness": _twin(_error(LIFE_CYCLE, "depth", "metres"), image_bigendian=True),
    "joint_states_stop": _twin(*BLIND, idle=BLIND, joints_stopped=True),
    "joint_stamps_back": _twin(*BLIND, JUMPED_BACK, idle=(*BLIND, JUMPED_BACK), joint_stamp_offset_s=-30.0),
    "joint_stamps_forward": _twin(LATE_PICTURES, joint_stamp_offset_s=30.0),
    "joint_names_permuted": Fault(
        lambda bench: bench.disturb(joints_reversed=True), FaultBench.disturb_no_more, outcome="goes on"
    ),
    "target_nan": _answer("nan", _error(GATEWAY_HEALTH, "finite")),
    "target_inf": _answer("inf", _error(GATEWAY_HEALTH, "finite")),
    "target_huge": _answer("huge", _error(GATEWAY_HEALTH, "joint1")),
    "chunk_jump": _answer("jump", _error(GATEWAY_HEALTH, "joint1")),
    "inference_slow": _answer("slow", NO_COMMAND, _error(f"{POLICY}: policy", "after all their rows are past")),
    "inference_raises": _answer("raises", _error(LIFE_CYCLE, "RuntimeError")),
    "out_of_memory": _answer("out_of_memory", _error(LIFE_CYCLE, "MemoryError")),
    "deactivation_mid_chunk": Fault(FaultBench.deactivate, lambda bench: None, named=(INACTIVE,), shadow=True),
    "policy_sigkill": Fault(
        _signal(POLICY, signal.SIGKILL),
        FaultBench.start_policy,
        named=(NO_COMMAND, POLICY_SILENT),
        named_idle=(POLICY_SILENT,),
    ),
    "policy_sigstop": Fault(
        _signal(POLICY, signal.SIGSTOP),
        _signal(POLICY, signal.SIGCONT),
        named=(NO_COMMAND, POLICY_SILENT),
        named_idle=(POLICY_SILENT,),
    ),
    # Nobody is left to stop the arm: its controller follows the last trajectory to the end, which is a stop.
    "gateway_sigkill": Fault(
        _signal(GATEWAY, signal.SIGKILL),
        FaultBench.replace_gateway,
        named=(GATEWAY_SILENT,),
        named_idle=(GATEWAY_SILENT,),
        limit_s=LAST_TRAJECTORY_S,
    ),
    "gateway_sigstop": Fault(
        _signal(GATEWAY, signal.SIGSTOP),
        _signal(GATEWAY, signal.SIGCONT),
        named=(GATEWAY_SILENT,),
        named_idle=(GATEWAY_SILENT,),
        limit_s=LAST_TRAJECTORY_S,
    ),
    "estop_and_reset": Fault(
        lambda bench: bench.press_estop(True),
        lambda bench: bench.press_estop(False),
        named=(ESTOPPED,),
        named_idle=(ESTOPPED,),
    ),
    "second_publisher": Fault(
        FaultBench.compete, FaultBench.give_way, outcome="told", named=(RIVAL,), named_idle=(RIVAL,)
    ),
    "parameter_out_of_range": Fault(
        FaultBench.ask_for_wrong_parameters,
        lambda bench: None,
        outcome="goes on",
        named=(REFUSED,),
        named_idle=(REFUSED,),
    ),
    "disk_full_while_recording": Fault(
        lambda bench: bench.disk.fill(),
        FaultBench.free_disk,
        outcome="goes on",
        named=(_error(RECORDING, "nothing is recorded any more"),),
        named_idle=(_error(RECORDING, "nothing is recorded any more"),),
        prepare=FaultBench.record,
    ),
    "recorder_sigkill": _watcher(RECORDER, signal.SIGKILL, FaultBench.record, FaultBench.end_recorder, RECORDER_SILENT),
    "recorder_sigstop": _watcher(RECORDER, signal.SIGSTOP, FaultBench.record, FaultBench.end_recorder, RECORDER_SILENT),
    "dashboard_sigkill": _watcher(DASHBOARD, signal.SIGKILL, FaultBench.show, FaultBench.end_dashboard),
    "dashboard_sigstop": _watcher(DASHBOARD, signal.SIGSTOP, FaultBench.show, FaultBench.end_dashboard),
    "server_sigkill": Fault(
        _signal(SERVER, signal.SIGKILL), FaultBench.start_server, named=(SERVER_LOST,), served=True, shadow=True
    ),
    "server_sigstop": Fault(
        _signal(SERVER, signal.SIGSTOP),
        _signal(SERVER, signal.SIGCONT),
        named=(SERVER_LOST,),
        served=True,
        shadow=True,
    ),
    "clock_paused": _twin(STILL_CLOCK, idle=(STILL_CLOCK,), sim_time=True, clock_paused=True),
}
"""By name, in the order in which they are tried: what needs another graph comes last."""

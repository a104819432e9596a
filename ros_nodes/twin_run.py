"""Start twin, gateway and policy in realtime, let the policy drive for minutes, and return what was executed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import numpy as np
import rclpy
from lifecycle_msgs.msg import Transition
from numpy.typing import NDArray
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import Trigger

from policies.interface import load_policy, query_steps
from policies.recorded_motion import MotionConfig
from policies.robots import get_drivers, get_robot
from policies.robots.spec import RobotSpec
from ros_nodes.arm_gateway_node import LEAD_S
from ros_nodes.domains import own_domain
from ros_nodes.executed_listener import ExecutedListener
from ros_nodes.fault_graph import CAMERAS, EPISODE, GATEWAY, GATEWAY_HEALTH, LIFE_CYCLE, POLICY, ROBOT, SIMULATOR
from ros_nodes.fault_probe import FaultProbe
from ros_nodes.graph_client import GraphError, StopRequestedError
from ros_nodes.graph_processes import GraphProcesses
from ros_nodes.imperfections import NONE, Imperfections
from ros_nodes.qos import LATCHED
from ros_nodes.simulator_status import SimulatorStatus
from ros_nodes.supervision import Exit
from sim.episode_id import EpisodeId
from sim.known_motions import going_round
from sim.motion_trace import REST_SPEED, MotionTrace
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.tasks import fits, get_task, tasks_for

START_LIMIT_S = 360.0
SERVICE_LIMIT_S = 60.0
EPISODE_LIMIT_S = 600.0
SETTLE_S = 0.3
WARM_UP_S = 5.0
TOLD_LIMIT_S = 30.0
WATCHDOG_WORDS = ("no trajectory for", "no joint state for", "by its stamp")
PICTURES_PER_ROW = 2.0


@dataclass(frozen=True, slots=True)
class TwinOptions:
    """What is run.

    Attributes:
        minutes: how long it is judged, without the time between episodes.
        policy: name of a shipped policy, a directory, a hub id or an address; empty for a known motion of the panda,
            which goes round about the arm's first pose. The policy names its robot and its cameras.
        tasks: of the episodes that the policy drives, one after the other; the first one that its robot may try if left
            out. When one is over the next begins, so that the arm has something to do.
        seed: of the episodes.
        control_hz: rows per second of the known motion.
        query_steps: rows after which the policy is asked again; 0 for as many as it says itself, or 1.
        lead_s: of the gateway, see its parameter.
        camera_hz: pictures per second of each camera; 0 for two per row of the policy.
        size: width and height of the images, pixels.
        imperfections: of the twin, as the simulator's parameters have them.
        log: file for what the nodes print; empty for none.
    """

    minutes: float = 10.0
    policy: str = ""
    tasks: tuple[str, ...] = ()
    seed: int = 0
    control_hz: float = 10.0
    query_steps: int = 0
    lead_s: float = LEAD_S
    camera_hz: float = 0.0
    size: int = 64
    imperfections: Imperfections = field(default_factory=Imperfections)
    log: str = ""

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise ValueError(f"minutes: expected > 0, found {self.minutes}")
        if self.query_steps < 0:
            raise ValueError(f"query_steps: expected at least 0, found {self.query_steps}")
        if self.tasks and not self.policy:
            raise ValueError(f"tasks: expected none for the known motion, found {list(self.tasks)}")
        for task in self.tasks:
            get_task(task)


@dataclass(frozen=True, slots=True)
class Stretch:
    """What happened while the policy drove without interruption.

    Attributes:
        begin: seconds of the wall clock.
        end: likewise.
        sent: (K,) times at which the gateway sent trajectories, seconds.
        trace: what the simulator's controllers followed.
        taken: (K,) times of the first sample after each command that they took, seconds.
        watchdog_trips: holds of the gateway because commands or joint states stayed away.
        success: whether the episode's task was achieved; None if it was not over.
    """

    begin: float
    end: float
    sent: NDArray[np.float64]
    trace: MotionTrace
    taken: NDArray[np.float64]
    watchdog_trips: int
    success: bool | None = None

    def delays(self) -> NDArray[np.float64]:
        """Seconds (J,) from the sending of a command until the controllers followed it, of those that they took.

        A command that is followed after the next one was sent counts from that one.
        """
        newest = np.searchsorted(self.sent, self.taken, side="right") - 1
        return (self.taken - self.sent[newest])[newest >= 0] if len(self.sent) else np.empty(0)


@dataclass(frozen=True, slots=True)
class TwinRun:
    """What a run gave.

    Attributes:
        robot: that was driven.
        row_s: time between two rows of the policy.
        query_steps: rows after which it was asked again.
        stretches: in order.
    """

    robot: RobotSpec
    row_s: float
    query_steps: int
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class _Driver:
    """The policy that drives."""

    checkpoint: str
    robot: str
    cameras: tuple[str, ...]
    control_hz: float
    query_steps: int = 1


def watchdog_trips(told: Sequence[str]) -> int:
    """How often a watchdog of the gateway bit, by what it told of itself, one after the other."""
    bitten = [any(words in text for words in WATCHDOG_WORDS) for text in told]
    return sum(now and not before for before, now in pairwise([False, *bitten]))


def run_twin(options: TwinOptions) -> TwinRun:
    """Start the graph, let the policy drive, and end the graph.

    Raises:
        GraphError: a node failed, or a limit passed.
        ValueError: no such policy or task, or a task for another robot.
        OSError: likewise; a file is missing, or a policy server cannot be reached.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        driver = _driver(options, folder)
        spec = get_robot(driver.robot)
        for task in options.tasks:
            if not fits(get_task(task), spec):
                raise ValueError(f"tasks: expected some of {list(tasks_for(spec))} for {spec.name}, found {task!r}")
        log = stack.enter_context(open(options.log, "w")) if options.log else None
        stack.enter_context(own_domain())
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        stack.callback(rclpy.try_shutdown)
        twin = _Twin(options, driver, log)
        stack.callback(twin.stop)
        try:
            stretches = twin.drive()
        except StopRequestedError:
            raise GraphError(f"{twin.ended} while the twin ran") from None
        return TwinRun(spec, 1 / driver.control_hz, driver.query_steps, tuple(stretches))


def _driver(options: TwinOptions, folder: Path) -> _Driver:
    if options.policy:
        policy = load_policy(options.policy)
        steps = options.query_steps or query_steps(policy)
        return _Driver(options.policy, policy.robot, tuple(policy.cameras), policy.control_hz, steps)
    simulation = TabletopSimulation(SimulationConfig.of(ROBOT))
    simulation.reset(EPISODE)
    start = simulation.scene.joint_positions
    simulation.close()
    going_round(start, MotionConfig(ROBOT, CAMERAS, options.control_hz, 0)).save_pretrained(folder)
    return _Driver(str(folder), ROBOT, CAMERAS, options.control_hz, options.query_steps or 1)


class _Twin:
    """The processes of the graph, and what is heard of them.

    Attributes:
        ended: how a process ended by itself; None while all run.
    """

    def __init__(self, options: TwinOptions, driver: _Driver, log: TextIO | None) -> None:
        self._options, self._driver = options, driver
        spec = get_robot(driver.robot)
        self._tasks = options.tasks or tasks_for(spec)[:1]
        self._processes = GraphProcesses(log)
        self.ended: Exit | None = None
        self._probe = FaultProbe(driver.robot, self._has_ended)
        self._executed = ExecutedListener(self._probe, get_drivers(driver.robot))
        self._status = SimulatorStatus()
        self._heard = self._probe.create_subscription(String, "simulator_node/status", self._on_status, LATCHED)

    def stop(self) -> None:
        """End the processes."""
        self._processes.stop_all()
        self._probe.end()

    def drive(self) -> list[Stretch]:
        """Start the nodes, and let the policy drive until so many minutes are judged."""
        self._start_nodes()
        left_s, stretches = 60.0 * self._options.minutes, []
        if not self._options.policy:
            self._activate()
            self._probe.listen(WARM_UP_S)
            begin = time.time()
            self._probe.listen(left_s)
            return [self._stretch(begin, None)]
        number = 0
        while left_s > 0:
            self._begin_episode(number)
            self._activate()
            begin = time.time()
            over = partial(self._over, begin + left_s)
            self._wait(over, EPISODE_LIMIT_S, "the end of the episode")
            stretches.append(self._stretch(begin, self._status.success if self._status.done else None))
            left_s -= stretches[-1].end - begin
            number += 1
            self._change_state(Transition.TRANSITION_DEACTIVATE, "become inactive")
        return stretches

    def _start_nodes(self) -> None:
        options, driver = self._options, self._driver
        first = EPISODE if not options.policy else self._episode(0)
        simulator = {
            "robot": driver.robot,
            "mode": "realtime",
            "autostart": True,
            "camera_rate_hz": options.camera_hz or PICTURES_PER_ROW * driver.control_hz,
            "simulation.width": options.size,
            "simulation.height": options.size,
        }
        if driver.cameras:  # rclpy takes no empty list
            simulator |= {"episode.cameras": driver.cameras}
        simulator |= {f"episode.{name}": getattr(first, name) for name in ("task", "index", "seed")}
        wrong = asdict(options.imperfections)
        simulator |= {f"imperfections.{name}": value for name, value in wrong.items() if value != getattr(NONE, name)}
        policy = {"robot": driver.robot, "mode": "realtime", "policy.checkpoint": driver.checkpoint}
        if driver.query_steps != 1:
            policy |= {"execution.query_steps": driver.query_steps}
        for name, parameters, concern in (
            (SIMULATOR, simulator, f"{SIMULATOR}: simulation"),
            (GATEWAY, {"robot": driver.robot, "lead_s": options.lead_s}, GATEWAY_HEALTH),
            (POLICY, policy, LIFE_CYCLE),
        ):
            self._processes.start_node(name, name, parameters)
            told = partial(self._is_told, concern)
            self._wait(told, START_LIMIT_S, f"diagnostics '{concern}'")
        self._change_state(Transition.TRANSITION_CONFIGURE, "load its policy")

    def _episode(self, number: int) -> EpisodeId:
        index, place = divmod(number, len(self._tasks))
        return EpisodeId(self._tasks[place], "nominal", 1, index, self._options.seed)

    def _begin_episode(self, number: int) -> None:
        """Put arm and objects where the episode begins, and let the gateway find the arm there."""
        self._settle()
        self._wait(self._rests, SERVICE_LIMIT_S, "an arm that is held")
        episode = self._episode(number)
        values = {f"episode.{name}": getattr(episode, name) for name in ("task", "index", "seed")}
        self._probe.set_parameters_of(SIMULATOR, values, SERVICE_LIMIT_S)
        self._probe.trigger(f"{SIMULATOR}/reset", SERVICE_LIMIT_S)
        begun = time.time()
        self._wait(lambda: self._status.episode == episode and not self._status.done, SERVICE_LIMIT_S, f"{episode}")
        self._settle()
        self._probe.call(Trigger, f"{GATEWAY}/reset", Trigger.Request(), SERVICE_LIMIT_S)
        self._wait(lambda: self._gateway_says("HOLDING", begun), SERVICE_LIMIT_S, "a gateway that is ready")

    def _settle(self) -> None:
        """Wait until whatever is on its way has come: a last command, or joint states of before the reset."""
        wrong = self._options.imperfections
        self._probe.listen(SETTLE_S + wrong.latency_s + wrong.jitter_s + wrong.command_latency_s)

    def _rests(self) -> bool:
        return self._gateway_says("HOLDING", 0.0) and self._probe.speed() < REST_SPEED

    def _is_told(self, concern: str) -> bool:
        return self._probe.newest(concern) is not None

    def _gateway_says(self, word: str, since: float) -> bool:
        health = self._probe.newest(GATEWAY_HEALTH, since)
        return health is not None and health.text.startswith(word)

    def _activate(self) -> None:
        self._change_state(Transition.TRANSITION_ACTIVATE, "become active")

    def _change_state(self, transition: int, label: str) -> None:
        self._probe.change_state_of(POLICY, transition, label, START_LIMIT_S)

    def _over(self, limit: float) -> bool:
        if self._status.error:
            raise GraphError(f"{SIMULATOR}: {self._status.error}")
        return self._status.done or time.time() >= limit

    def _stretch(self, begin: float, success: bool | None) -> Stretch:
        """What happened from `begin` until now."""
        end = time.time()
        self._wait(lambda: self._executed.heard_until > end, TOLD_LIMIT_S, "the executed motion")
        trace, taken = self._executed.between(begin, end)
        sent = np.array([command.at for command in self._probe.commands if begin <= command.at < end])
        told = [entry.text for entry in self._probe.told if entry.concern == GATEWAY_HEALTH and begin <= entry.at < end]
        return Stretch(begin, end, sent, trace, taken, watchdog_trips(told), success)

    def _has_ended(self) -> bool:
        for name in (SIMULATOR, GATEWAY, POLICY):
            if self.ended is None and name in self._processes:
                self.ended = self._processes.end_of(name)
        return self.ended is not None

    def _wait(self, condition: Callable[[], bool], limit_s: float, what: str) -> None:
        self._probe.wait_until(condition, limit_s, what)

    def _on_status(self, message: String) -> None:
        self._status = SimulatorStatus.from_json(message.data)

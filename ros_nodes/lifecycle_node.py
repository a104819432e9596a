"""`LoadingLifecycleNode`: a lifecycle node around something that loads slowly and computes slowly.

unconfigured --configure: load in the worker, within a limit--> inactive --activate--> active. Callbacks stay short: all
long work runs in one worker thread whose outcomes come back to the executor. A fault (loading failed, the work raised)
leads back to where nothing moves, and stays in the diagnostics until the next attempt.
"""

from __future__ import annotations

import time
import traceback
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from ros_nodes.diagnostics import Diagnostics, Health, Level
from ros_nodes.memory import exempt_from_garbage_collection
from ros_nodes.stop_signals import stop_requested
from ros_nodes.worker import Outcome, Worker

WATCHDOG_PERIOD_S = 0.05
STOP_LIMIT_S = 5.0
AUTOSTART_PERIOD_S = 0.5
DISCOVERY_POLL_S = 0.05
STOPPED = "the process was asked to end"


class LoadingLifecycleNode(LifecycleNode):
    """Base of nodes that own a model.

    A subclass implements `load`, `loaded`, `unloaded`, `activated`, `work_done` and `concerns`, and calls `start` when
    its constructor is done.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.fault = ""
        self.worker: Worker | None = None
        self._load_limit_s = 0.0
        self._work_guard = self.create_guard_condition(self._on_work_done)

    @abstractmethod
    def load(self) -> Any:
        """Load and warm up; runs in the worker thread."""

    @abstractmethod
    def loaded(self, result: Any) -> None:
        """Take what `load` returned and make publishers and subscriptions."""

    @abstractmethod
    def unloaded(self) -> None:
        """Destroy what `loaded` made."""

    def refusal(self) -> str:
        """Why the node must not be activated now, in words; empty if it may. May take a few seconds."""
        return ""

    @abstractmethod
    def activated(self) -> None:
        """Begin with fresh data only."""

    @abstractmethod
    def work_done(self, value: Any) -> None:
        """Use the value of a job that the worker ended; runs in the executor, in any state."""

    @abstractmethod
    def concerns(self) -> Mapping[str, Callable[[], Health]]:
        """What the diagnostics tell beside the life cycle."""

    def start(self, robot: str, load_limit_s: float, autostart: bool) -> None:
        """Start diagnostics and watchdog; with `autostart` also configure, and activate as soon as nothing refuses."""
        self._load_limit_s = load_limit_s
        self.diagnostics = Diagnostics(self, robot, {"life cycle": self.life_cycle, **self.concerns()})
        self._watchdog = self.create_timer(WATCHDOG_PERIOD_S, self.diagnostics.publish_changes, clock=self.steady_clock)
        if autostart:
            self._starter = self.create_timer(AUTOSTART_PERIOD_S, self._autostart, clock=self.steady_clock)

    @property
    def state(self) -> str:
        """Name of the present life-cycle state."""
        return self._state_machine.current_state[1]

    @property
    def active(self) -> bool:
        """Whether the node may cause motion."""
        return self.state == "active"

    def life_cycle(self) -> Health:
        """Health of the life cycle: an error names the fault."""
        if self.fault:
            return Health(Level.ERROR, f"{self.state}: {self.fault}")
        if self.active:
            return Health(Level.OK, "active")
        return Health(Level.WARN, f"{self.state}: nothing moves before the node is active")

    def fail(self, reason: str) -> None:
        """Stop causing motion, and say why."""
        self.get_logger().error(reason)
        self.fault = reason
        if self.active:
            self.trigger_deactivate()
        self.diagnostics.publish()

    def stop(self) -> None:
        """End in order: no more motion, then the worker."""
        if self.active:
            self.trigger_deactivate()
        self._stop_worker()
        self.diagnostics.publish()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load in the worker and wait for it within the limit; diagnostics keep coming meanwhile."""
        self.fault = ""
        self.worker = Worker(self.get_name(), self._work_guard.trigger)
        self.worker.submit(self.load)
        outcome = self._wait_for_load(self.worker)
        if outcome.error is None:
            try:
                self.loaded(outcome.value)
                exempt_from_garbage_collection()
                return super().on_configure(state)
            except Exception as error:
                outcome = Outcome(error=error)
        self._stop_worker(0.0)
        self.fail(f"not loaded: {_describe(outcome.error)}")
        return TransitionCallbackReturn.FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let fresh data cause motion, unless something does not fit."""
        self.fault = ""
        reason = self.refusal()
        if reason:
            self.fail(f"not activated: {reason}")
            return TransitionCallbackReturn.FAILURE
        self.activated()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Wait for the running work, whose result then comes too late to be used, and stop publishing."""
        if self.worker is not None and not self.worker.drain(STOP_LIMIT_S):
            self.get_logger().warning(f"the work still runs after {STOP_LIMIT_S} s; its result will be dropped")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free what was loaded."""
        self._stop_worker()
        result = super().on_cleanup(state)
        self.unloaded()
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the worker."""
        self._stop_worker()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured."""
        self._stop_worker()
        return TransitionCallbackReturn.SUCCESS

    def wait_for_connections(self, limit_s: float, missing: Callable[[], str]) -> str:
        """Wait until the topics have publishers and subscribers, or the process is asked to end; for `refusal`.

        Args:
            limit_s: longest wait.
            missing: names what the node needs and nobody offers yet; empty where all is there.

        Returns:
            Why the wait was in vain; empty where all is there.
        """
        limit = time.monotonic() + limit_s
        while reason := missing():
            if stop_requested():
                return STOPPED
            if time.monotonic() > limit:
                return f"expected within {limit_s:g} s {reason}"
            time.sleep(DISCOVERY_POLL_S)
        return ""

    def _wait_for_load(self, worker: Worker) -> Outcome:
        limit = time.monotonic() + self._load_limit_s
        while time.monotonic() < limit:
            outcome = worker.wait(min(1.0, max(0.0, limit - time.monotonic())))
            if outcome is not None:
                return outcome
            if stop_requested():
                return Outcome(error=InterruptedError(STOPPED))
            self.diagnostics.publish()
        return Outcome(error=TimeoutError(f"loading took longer than {self._load_limit_s} s"))

    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:  # noqa: N802
        # rclpy raises where a transition does not begin in the present state, as when it is asked for twice, and the
        # raise would end the node; rclcpp refuses it, and so does this.
        if transition_id not in {transition[0] for transition in self._state_machine.available_transitions}:
            self.get_logger().warning(f"transition {transition_id}: expected one from {self.state}, found none such")
            return TransitionCallbackReturn.FAILURE
        return super()._LifecycleNodeMixin__change_state(transition_id)

    def _stop_worker(self, timeout_s: float = STOP_LIMIT_S) -> None:
        if self.worker is not None:
            self.worker.stop(timeout_s)
            self.worker = None

    def _autostart(self) -> None:
        loaded = self.state != "unconfigured" or self.trigger_configure() == TransitionCallbackReturn.SUCCESS
        # What cannot be loaded stays so; what refuses to be activated may do so only for now.
        if not loaded or self.trigger_activate() == TransitionCallbackReturn.SUCCESS:
            self.destroy_timer(self._starter)

    def _on_work_done(self) -> None:
        for outcome in self.worker.collect() if self.worker is not None else ():
            if outcome.error is None:
                self.work_done(outcome.value)
            elif self.active:
                self.get_logger().error("".join(traceback.format_exception(outcome.error)))
                self.fail(_describe(outcome.error))


def _describe(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"

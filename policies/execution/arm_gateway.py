"""`ArmGateway`: the only one that talks to the arm's controller, and holds the arm on any doubt.

A state machine (`gateway_states.TRANSITIONS`) around the safety filter. Two clocks are passed in: `now`, on which
messages are stamped (simulated or wall time; it may stand still or jump), and `steady`, which only goes forward, for
the watchdogs. Where both are the same, as in lockstep, `steady` is left out.

To hold a moving arm is to brake it: from the state that the controller is following, each joint at the deceleration
allowed to it. The controller follows what it was told, unless the arm is found elsewhere after a reset, a rival's
command or a jump of the clock: then it follows what is measured. Where it is not, grippers stay told where they were
told to go, from which what they hold may keep them; where it is, those that hold something do. While a rival commands
too, nobody knows what the controller follows: it is told a rest some time ahead, and finds its own way there.

A gateway that was started anew does not know where that is. Where joint states are lost it sends nothing to an arm at
rest that it has never commanded; and a gripper that stands between its ends, and that its first trajectory leads
further shut, counts as one that holds something and was told so before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from policies.execution.collision import CollisionChecker, CollisionConfig
from policies.execution.gateway_states import TRANSITIONS, GatewayEvent, GatewayState
from policies.execution.homing import way_to
from policies.execution.safety_filter import LIMITS, SafetyFilter, SafetyLimits
from policies.execution.splice_jumps import SpliceJumps
from policies.execution.trajectory import JointState, JointTrajectory, Motion
from policies.interface import Observation
from policies.robots.spec import RobotSpec

STOPPED_BY_SCALE = "speed scale is 0"
STANDSTILL = 1e-3  # rad/s (m/s)
TRACKING = 0.05  # rad (m); an arm that is farther from what it was told does something else
GRIP = 0.02  # of a gripper's range; one that is led further shut than this holds something


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Watchdogs and limits of the gateway. Times are in seconds.

    Attributes:
        command_timeout_s: without a new trajectory for this long, a moving arm is held (steady clock).
        state_timeout_s: without a new joint state for this long, the arm is held (steady clock).
        state_max_age_s: joint states with an older stamp count as missing.
        max_lead_s: trajectories stamped further in the future are rejected.
        catch_up_s: for so long a trajectory that begins elsewhere than the arm is led into, so that the whole need not
            be slowed for its first knot; then it is followed as it came. 0 for not at all.
        limits: how much of the robot's limits a trajectory may use.
        collision: what counts as a collision; trajectories with one are rejected.
    """

    command_timeout_s: float = field(default=0.5, metadata={"range": (0.02, 60.0)})
    state_timeout_s: float = field(default=0.25, metadata={"range": (0.01, 60.0)})
    state_max_age_s: float = field(default=0.5, metadata={"range": (0.01, 60.0)})
    max_lead_s: float = field(default=0.1, metadata={"range": (0.0, 10.0)})
    catch_up_s: float = field(default=0.0, metadata={"range": (0.0, 5.0)})
    limits: SafetyLimits = field(default_factory=SafetyLimits)
    collision: CollisionConfig = field(default_factory=CollisionConfig)

    def __post_init__(self) -> None:
        for name in ("command_timeout_s", "state_timeout_s", "state_max_age_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected > 0 s, found {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class GatewayCommand:
    """What to send to the controller now.

    Attributes:
        trajectory: a motion that passed, or a stop that ends in a hold.
        rejected: whether it is a stop in place of a trajectory that was asked for.
        reason: why the arm is held, or why the trajectory was changed; empty when it passed as it came.
        time_scale: how many times slower the trajectory became.
    """

    trajectory: JointTrajectory
    rejected: bool = False
    reason: str = ""
    time_scale: float = 1.0


class ArmGateway:
    """Decides what the controller gets. Every method that returns a command expects it to be sent at once.

    Args:
        spec: the robot.
        config: watchdogs and limits.
        shadow: judge trajectories as if the arm followed them, but start each from the measured state: it does not.
        lead_s: for so long what is sent goes on with the running motion: a message is on its way meanwhile, and the
            controller, which starts from where it is, would otherwise have to catch up. 0 in lockstep.

    Attributes:
        state: what it is doing.
        reason: why it came into this state, for people.
        speed_scale: share of its speed at which all motion goes, see `set_speed_scale`.
        counters: transitions by event so far; `rejected` trajectories; `slowed` and `shortened` ones that passed.
        limit_hits: by limit (`LIMITS`), trajectories that were changed or rejected for it so far.
        splice_jumps: of the trajectories that took over a running motion; none in shadow mode, where nothing moves.
    """

    def __init__(
        self, spec: RobotSpec, config: GatewayConfig | None = None, shadow: bool = False, lead_s: float = 0.0
    ) -> None:
        self.spec = spec
        self._shadow, self._lead_s = shadow, lead_s
        self.config = config or GatewayConfig()
        self.filter = SafetyFilter(spec, self.config.limits)
        self._collisions = CollisionChecker(spec, self.config.collision) if self.config.collision.enabled else None
        self.speed_scale = 1.0
        self._homing = False
        self.state = GatewayState.WAITING_FOR_STATE
        self.reason = "no joint state yet"
        self.counters: Counter[str] = Counter()
        self.limit_hits = Counter(dict.fromkeys(LIMITS, 0))
        self.splice_jumps = SpliceJumps(spec)
        self._estop_pressed = False
        self._measured: JointState | None = None
        self._motion: Motion | None = None
        self._told_grippers: dict[int, float] = {}
        self._commanded = self._rival = self._left_by_rival = False
        self._forget()

    def command(self, trajectory: JointTrajectory, observation: Observation) -> GatewayCommand:
        """Answer a trajectory in lockstep, where it arrives at the time of the observation that it answers.

        Raises:
            ValueError: the observation is of a robot with another number of joints.
        """
        now = observation.stamp
        self.on_joint_state(now, observation.joint_positions, observation.joint_velocities, now)
        answer = self.on_trajectory(trajectory, now)
        if answer is None:
            raise ValueError(f"observation: {self.reason}")
        return answer

    def on_joint_state(
        self, stamp: float, positions: ArrayLike, velocities: ArrayLike, now: float, steady: float | None = None
    ) -> GatewayCommand | None:
        """Take measured joint positions and velocities, (n,) each, rad (m) and rad/s (m/s), of time `stamp`."""
        positions, velocities = np.asarray(positions, dtype=np.float64), np.asarray(velocities, dtype=np.float64)
        reason = self._invalid(positions, velocities)
        if reason:
            return self._hold_after(GatewayEvent.STATE_INVALID, reason, now)
        before = -np.inf if self._measured is None else self._measured.time
        self._measured = JointState(stamp, positions.copy(), velocities.copy())
        self._measured_at = now if steady is None else steady
        held = None
        if self._in_doubt or stamp < before:
            self._check_motion(now)
        if stamp < before:
            self._last_stamp = -np.inf
            reason = f"stamps of joint states jumped back from {before:.3f} s to {stamp:.3f} s"
            held = self._hold_after(GatewayEvent.CLOCK_JUMPED_BACK, reason, now)
        if not self._stale(now, self._measured_at):
            self._fire(GatewayEvent.STATE_ARRIVED, "joint states arrive")
        return held

    def on_trajectory(
        self, trajectory: JointTrajectory, now: float, steady: float | None = None
    ) -> GatewayCommand | None:
        """Judge a trajectory and return what to send: it, or a stop with its stamp.

        None when there is nothing to send: no joint state has ever arrived, so not even a hold is known; or a rival
        commands the arm too, who was stopped once and is not fought.
        """
        steady = now if steady is None else steady
        self._watch_state(now, steady)
        reason = self._unwanted(trajectory, now)
        if reason:
            return self._reject(trajectory, reason, now)
        answer = self._follow(trajectory, now, self.speed_scale)
        if answer is not None and not answer.rejected:
            self._last_stamp = trajectory.stamp
            self._commanded_at = steady
        return answer

    def set_speed_scale(self, scale: float, now: float) -> GatewayCommand | None:
        """Slow all motion, what is left of the running one too, to a share of its speed; 0 stops.

        Raises:
            ValueError: the scale is not within [0, 1].
        """
        if not 0.0 <= scale <= 1.0:
            raise ValueError(f"speed_scale: expected within [0, 1], found {scale}")
        before, self.speed_scale = self.speed_scale, scale
        if scale == before or self.state is not GatewayState.MOVING:
            return None
        remaining = self._motion.remaining(now)
        if scale == 0.0 or remaining is None:
            return self._hold_after(GatewayEvent.TRAJECTORY_REJECTED, STOPPED_BY_SCALE, now)
        if scale > before:
            return None  # to go faster is left to the next trajectory
        homing = self._homing
        answer = self._follow(remaining, now, scale / before)
        self._homing = homing and answer is not None and not answer.rejected
        return answer

    def home(self, now: float, steady: float | None = None) -> GatewayCommand | None:
        """Go from rest to the robot's home, see `way_to`.

        Returns:
            What to send, a hold where the way is refused; None when the arm does not stand still in `HOLDING`.
        """
        self._watch_state(now, now if steady is None else steady)
        if self.state is not GatewayState.HOLDING:
            return None
        start = self._desired(now)
        if np.abs(start.velocities).max() > STANDSTILL:
            return None
        answer = self._follow(way_to(self.spec.home, start, self.filter), now, self.speed_scale)
        if answer is not None and not answer.rejected:
            self._homing = True
            self._commanded_at = np.inf  # one trajectory is all
        return answer

    def _follow(self, trajectory: JointTrajectory, now: float, speed: float) -> GatewayCommand | None:
        """Judge a trajectory and take it, or a stop in its place."""
        if speed == 0.0:
            return self._reject(trajectory, STOPPED_BY_SCALE, now)
        measured, begin = self._measured, self._begin(now, trajectory.stamp)
        self._told_grippers = self._grip(trajectory, begin)
        start, catch_up = self._desired(begin), self.config.catch_up_s
        verdict = self.filter.apply(trajectory, measured.positions, measured.velocities, begin, start, speed, catch_up)
        self.limit_hits.update(verdict.limits)
        if verdict.trajectory is None:
            return self._reject(trajectory, verdict.reason, now)
        passed = self._led_in(verdict.trajectory, now, begin)
        motion = Motion(passed, self._desired(now))
        collision = None if self._collisions is None else self._collisions.first_collision(motion)
        if collision is not None:
            self.counters["collisions"] += 1
            return self._reject(trajectory, str(collision), now)
        if self._motion is not None and self.state is GatewayState.MOVING and not self._shadow:
            self.splice_jumps.add(self._motion, trajectory, begin)
        self._motion, self._homing, self._commanded = motion, False, True
        self.counters["slowed"] += verdict.time_scale > 1
        self.counters["shortened"] += verdict.reason.startswith("stopped early")
        self._fire(GatewayEvent.TRAJECTORY_PASSED, verdict.reason or "following a trajectory")
        return GatewayCommand(passed, False, verdict.reason, verdict.time_scale)

    def _begin(self, now: float, stamp: float) -> float:
        """When something new can begin: after `lead_s`, if it is known where the arm will be and the stamp is past."""
        begin = now + self._lead_s
        unknown = self._motion is None and np.abs(self._measured.velocities).max() > STANDSTILL
        return now if unknown or self._shadow or stamp >= begin else begin

    def _grip(self, trajectory: JointTrajectory, begin: float) -> dict[int, float]:
        """Where grippers were told to go that hold something, before this gateway was; in lockstep that is known."""
        coming = trajectory.stamp + trajectory.times > begin
        if self._motion is not None or self._shadow or self._lead_s == 0.0 or not coming.any():
            return {}
        holding = self._holding(trajectory.positions[int(np.argmax(coming))])
        rests = np.abs(self._measured.velocities) <= STANDSTILL
        return {joint: told for joint, told in holding.items() if rests[joint]}

    def _holding(self, told: np.ndarray) -> dict[int, float]:
        """Of positions (n,) told, those of grippers that stand between their ends and are led further shut."""
        found = {}
        for joint in self.spec.grippers:
            low, high, stands = self.spec.lower[joint], self.spec.upper[joint], self._measured.positions[joint]
            margin = GRIP * (high - low)
            if low <= told[joint] < stands - margin and stands < high - margin:
                found[int(joint)] = float(told[joint])
        return found

    def _led_in(self, trajectory: JointTrajectory, now: float, begin: float) -> JointTrajectory:
        """Put the running motion from `now` to `begin` before a trajectory that begins there."""
        if begin == now:
            return trajectory
        knots = () if self._motion is None else self._motion.knots_within(max(now, trajectory.stamp), begin)
        running = [self._desired(time) for time in (*knots, begin)]
        return JointTrajectory(
            trajectory.stamp,
            np.array([state.time for state in running]) - trajectory.stamp,
            np.array([state.positions for state in running]),
            np.array([state.velocities for state in running]),
            np.array([state.accelerations for state in running]),
        ).then(trajectory)

    def desired(self, now: float) -> JointState | None:
        """What the arm ought to do at `now`, for outputs that sample; None while that is unknown."""
        return None if self._motion is None else self._motion.at(max(now, self._motion.start.time))

    def on_estop(self, pressed: bool, now: float) -> GatewayCommand | None:
        """Stop when the emergency stop is pressed; releasing it changes nothing until `reset`."""
        self._estop_pressed = pressed
        return self._hold_after(GatewayEvent.ESTOP, "emergency stop", now) if pressed else None

    def on_rival(self, who: str, now: float) -> GatewayCommand | None:
        """Stop, until `reset`, because somebody else commands the arm's controller."""
        self._rival = True
        return self._hold_after(GatewayEvent.RIVAL_COMMANDS, f"another commands the arm: {who}", now)

    @property
    def motion_end(self) -> float:
        """Time in seconds from which the arm ought to stand; minus infinity before the first command."""
        return -np.inf if self._motion is None else self._motion.end

    def ages(self, now: float, steady: float | None = None) -> dict[str, float]:
        """How old the newest things are, seconds; without those that never came.

        `command` and `joint_state` count from when a trajectory that passed and a joint state came, on the steady
        clock, and `joint_state_stamp` from the stamp of that joint state.
        """
        steady = now if steady is None else steady
        found = {} if np.isinf(self._commanded_at) else {"command": steady - self._commanded_at}
        if self._measured is not None:
            found |= {"joint_state": steady - self._measured_at, "joint_state_stamp": now - self._measured.time}
        return found

    def reset(self) -> bool:
        """Leave `ESTOPPED` or `FAULT`, forget what was, and wait for a joint state.

        Returns:
            False, and nothing changes, while the emergency stop is still pressed.
        """
        if self._estop_pressed:
            self.reason = "emergency stop is still pressed: release it, then reset"
            return False
        self._forget()
        self._fire(GatewayEvent.RESET, "reset; no joint state since")
        return True

    def tick(self, now: float, steady: float | None = None) -> GatewayCommand | None:
        """Run the watchdogs; call it often. Returns a stop when one of them bites."""
        steady = now if steady is None else steady
        held = self._watch_state(now, steady)
        if held is not None or self.state is not GatewayState.MOVING:
            return held
        if now >= self._motion.end:
            self._fire(GatewayEvent.MOTION_ENDED, "the trajectory has ended")
            return None
        age = steady - self._commanded_at
        if age > self.config.command_timeout_s:
            reason = f"no trajectory for {age:.3f} s (limit {self.config.command_timeout_s:g} s)"
            return self._hold_after(GatewayEvent.COMMAND_LATE, reason, now)
        return None

    def _forget(self) -> None:
        self._measured = None
        self._measured_at = 0.0
        self._in_doubt = True
        self._left_by_rival, self._rival = self._left_by_rival or self._rival, False
        self._last_stamp = -np.inf
        self._commanded_at = -np.inf

    def _check_motion(self, now: float) -> None:
        """Go on believing that the controller follows what it was told only where the arm is found near that."""
        # Where a rival has left the arm, the least difference is a step of what the controller is told.
        near = 0.0 if self._left_by_rival else TRACKING
        self._in_doubt = self._left_by_rival = False
        if self._motion is None:
            return
        self._told_grippers = {}
        # A time before the motion began is that of another world, such as the next episode of a simulation.
        if self._measured is not None and now > self._motion.start.time:
            told = self._motion.at(now).positions
            if np.abs(told - self._measured.positions)[self.spec.arm_joints].max() <= near:
                return
            self._told_grippers = self._holding(told)
        self._motion = None

    def _fire(self, event: GatewayEvent, reason: str) -> bool:
        """Make the transition of an event; False when the present state has none."""
        following = TRANSITIONS.get((self.state, event))
        if following is None:
            return False
        self.counters[event.name.lower()] += 1
        self.state, self.reason = following, reason
        return True

    def _hold_after(self, event: GatewayEvent, reason: str, now: float) -> GatewayCommand | None:
        return self._stop(reason, now, now) if self._fire(event, reason) else None

    def _stop(self, reason: str, now: float, stamp: float, rejected: bool = False) -> GatewayCommand | None:
        """Brake from what the controller follows; None when that is unknown and no joint state tells."""
        if self._rival:
            self._check_motion(now)
        if self._motion is None and self._measured is None:
            return None
        stamp = min(stamp, now) if np.isfinite(stamp) else now
        if self._rival:
            trajectory = self.filter.come_to_rest(self._desired(now), stamp)
        else:
            begin = self._begin(now, stamp)
            trajectory = self._led_in(self.filter.brake(self._desired(begin), stamp), now, begin)
        self._motion, self._commanded = Motion(trajectory, self._desired(now)), True
        return GatewayCommand(trajectory, rejected, reason)

    def _reject(self, trajectory: JointTrajectory, reason: str, now: float) -> GatewayCommand | None:
        self.counters["rejected"] += 1
        self._fire(GatewayEvent.TRAJECTORY_REJECTED, reason)
        return None if self._rival else self._stop(reason, now, trajectory.stamp, rejected=True)

    def _desired(self, now: float) -> JointState:
        """What the controller follows at `now`, as far as that is known."""
        if self._motion is not None and not self._shadow:
            return self._motion.at(max(now, self._motion.start.time))
        positions, velocities = self._measured.positions.copy(), self._measured.velocities.copy()
        for joint, told in self._told_grippers.items():
            positions[joint], velocities[joint] = told, 0.0
        return JointState(now, positions, velocities)

    def _unwanted(self, trajectory: JointTrajectory, now: float) -> str:
        if self.state not in (GatewayState.HOLDING, GatewayState.MOVING):
            return f"not ready: {self.state.name} ({self.reason})"
        if self._homing and self.state is GatewayState.MOVING:
            return "homing: expected no trajectories until it has ended; deactivate the policy first"
        if not trajectory.stamp <= now + self.config.max_lead_s:
            latest = now + self.config.max_lead_s
            return f"stamp: expected at most {latest:.3f} s, found {trajectory.stamp:.3f} s"
        if trajectory.stamp < self._last_stamp:
            last = self._last_stamp
            return f"stamp: expected at least {last:.3f} s, the last trajectory's, found {trajectory.stamp:.3f} s"
        return ""

    def _invalid(self, positions: np.ndarray, velocities: np.ndarray) -> str:
        expected = (len(self.spec.joint_names),)
        if positions.shape != expected or velocities.shape != expected:
            return f"joint state: expected {expected[0]} joints, found {positions.shape}, {velocities.shape}"
        bad = np.flatnonzero(~(np.isfinite(positions) & np.isfinite(velocities)))
        if len(bad):
            joint = bad[0]
            return (
                f"joint state of {self.spec.joint_names[joint]}: expected finite values, "
                f"found {positions[joint]}, {velocities[joint]}"
            )
        return ""

    def _stale(self, now: float, steady: float) -> str:
        if self._measured is None:
            return "no joint state yet"
        received, stamped = steady - self._measured_at, now - self._measured.time
        if received > self.config.state_timeout_s:
            return f"no joint state for {received:.3f} s (limit {self.config.state_timeout_s:g} s)"
        if stamped > self.config.state_max_age_s:
            return f"joint state is {stamped:.3f} s old by its stamp (limit {self.config.state_max_age_s:g} s)"
        return ""

    def _watch_state(self, now: float, steady: float) -> GatewayCommand | None:
        reason = self._stale(now, steady)
        if not reason or not self._fire(GatewayEvent.STATE_LOST, reason):
            return None
        # Nobody has told this gateway what the controller holds, the grippers least of all.
        untouched = not self._commanded and self._lead_s > 0.0
        return None if untouched and self._stands() else self._stop(reason, now, now)

    def _stands(self) -> bool:
        return self._measured is not None and bool(np.abs(self._measured.velocities).max() <= STANDSTILL)

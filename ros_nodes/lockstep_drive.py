"""`LockstepDrive`: simulated time stands still until the trajectory that answers the observation has come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from policies.execution.trajectory import JointState, JointTrajectory
from policies.interface import Observation
from ros_nodes.sensor_topics import SensorTopics
from ros_nodes.simulator_status import SimulatorStatus
from sim.episode_id import EpisodeId
from sim.perturbation import Perturbation
from sim.simulation import TabletopSimulation, TaskStatus
from sim.videos import Film


class Phase(Enum):
    """What the drive waits for."""

    IDLE = "a reset"
    PARTNERS = "subscribers"
    ANSWER = "a trajectory"


class LockstepDrive:
    """Publishes an observation, takes its answer, advances, and so on until the episode is over.

    Every wait has a limit in wall-clock time; when it passes, the status carries an error that names what is missing.

    Args:
        simulation: what is driven.
        topics: where observations go.
        query_steps: control steps from one observation to the next.
        partner_limit_s: longest wait for subscribers after a reset.
        answer_limit_s: longest wait for the answer to an observation.
        clock: any monotonic time in seconds of wall clock.
        perturbation: what is taken from the policy.
    """

    def __init__(
        self,
        simulation: TabletopSimulation,
        topics: SensorTopics,
        query_steps: int,
        partner_limit_s: float,
        answer_limit_s: float,
        clock: Callable[[], float],
        perturbation: Perturbation | None = None,
    ) -> None:
        self._simulation = simulation
        self._topics = topics
        self._query_steps = query_steps
        self._limits = {Phase.PARTNERS: partner_limit_s, Phase.ANSWER: answer_limit_s}
        self._clock = clock
        self._perturbation = perturbation or Perturbation()
        self._phase = Phase.IDLE
        self._since = 0.0
        self._stamp = 0.0
        self._cameras: Sequence[str] = ()
        self._looks_back = False
        self._earlier: dict[str, NDArray[np.uint8]] = {}
        self._episode: EpisodeId | None = None
        self._film: Film | None = None
        self._error = ""
        self._answer_s: list[float] = []
        self._targets: list[tuple[float, ...]] = []
        self._passed: list[JointState] = []

    def begin(
        self, episode: EpisodeId, cameras: Sequence[str], film: Film | None = None, looks_back: bool = False
    ) -> None:
        """Reset the simulation; the first observation follows once somebody listens to everything in it.

        Args:
            episode: which episode.
            cameras: names of the cameras that the policy looks through.
            film: films the episode if given.
            looks_back: whether the policy also looks at the pictures of one control step before each observation.
        """
        self._perturbation.begin(self._simulation, episode)
        self._episode, self._cameras, self._error = episode, tuple(cameras), ""
        self._answer_s, self._targets, self._passed = [], [], []
        self._looks_back, self._earlier = looks_back, {}
        self._film = film
        if film is not None:
            film.begin()
        self._topics.publish_clock(self._simulation.time)
        self._topics.publish_mounts({name: self._simulation.camera_mount(name) for name in cameras}, 0.0)
        self._topics.publish_instruction(self._simulation.instruction)
        self._enter(Phase.PARTNERS)

    def poll(self) -> bool:
        """Go on where a wait is over; returns whether the status has changed."""
        if self._phase is Phase.IDLE:
            return False
        if self._phase is Phase.PARTNERS and not self._topics.without_subscriber(self._cameras):
            self._publish_observation()
            return True
        if self._clock() - self._since <= self._limits[self._phase]:
            return False
        limit = self._limits[self._phase]
        if self._phase is Phase.PARTNERS:
            missing = ", ".join(self._topics.without_subscriber(self._cameras))
            self._fail(f"nobody subscribed to or commands {missing} within {limit:g} s")
        else:
            self._fail(
                f"no trajectory with stamp {self._stamp:.3f} s, the answer to observation {len(self._answer_s)}, "
                f"came within {limit:g} s; the diagnostics of policy and gateway say why"
            )
        return True

    def take(self, trajectory: JointTrajectory) -> str:
        """Execute the answer to the present observation.

        Returns:
            Empty, or why the trajectory was not executed.

        Raises:
            ValueError: the controller refuses it.
        """
        if self._phase is not Phase.ANSWER:
            return f"no observation waits for an answer, but for {self._phase.value}"
        if trajectory.stamp != self._stamp:
            return f"expected the observation's stamp {self._stamp:.9f}, found {trajectory.stamp:.9f}"
        self._simulation.accept(trajectory)
        self._answer_s.append(self._clock() - self._since)
        self._targets += [tuple(row) for row in trajectory.positions.tolist()]
        if self._advance().done:
            self._topics.publish_clock(self._simulation.time)
            self._enter(Phase.IDLE)
        else:
            self._publish_observation()
        return ""

    def cancel(self) -> None:
        """Hold where the arm is, as after an empty trajectory."""
        self._simulation.accept(None)

    def refuse(self, reason: str) -> None:
        """End the episode because the controller cannot execute what it was sent."""
        if self._phase is Phase.ANSWER:
            self._fail(f"the controller rejected a trajectory: {reason}")

    def status(self) -> SimulatorStatus:
        """How the episode stands."""
        if self._episode is None:
            return SimulatorStatus()
        task = self._simulation.status()
        return SimulatorStatus(
            episode=self._episode,
            instruction=self._simulation.instruction,
            steps=task.steps,
            success=task.success,
            progress=task.progress,
            jerk=task.jerk,
            done=task.done,
            error=self._error,
            answer_s=tuple(self._answer_s) if task.done else (),
            joint_targets=tuple(self._targets) if task.done else (),
        )

    def _advance(self) -> TaskStatus:
        for left in reversed(range(self._query_steps)):
            # With an observation at each step these pictures are published already.
            if left == 0 and self._looks_back and self._passed:
                positions = self._simulation.scene.joint_positions
                self._earlier = {name: self._simulation.view(name, positions).rgb for name in self._cameras}
            status = self._simulation.advance(1)
            scene = self._simulation.scene
            self._passed.append(JointState(self._simulation.time, scene.joint_positions, scene.joint_velocities))
            if self._film is not None:
                self._film.take()
            if status.done:
                break
        return status

    def _publish_observation(self) -> None:
        observation = self._perturbation.apply(self._observe())
        self._stamp = observation.stamp
        self._enter(Phase.ANSWER)
        self._topics.publish_clock(observation.stamp)
        # Without cameras a joint state is an observation by itself.
        for passed in self._passed[:-1] if self._cameras else ():
            self._topics.publish_joints(passed.positions, passed.velocities, passed.time)
        # Without depth they are no observation by themselves.
        for name, rgb in observation.earlier.items():
            self._topics.publish_color(name, rgb, self._passed[-2].time)
        self._passed = []
        self._topics.publish_joints(observation.joint_positions, observation.joint_velocities, observation.stamp)
        for name, view in observation.cameras.items():
            self._topics.publish_camera(name, view.rgb, view.depth, view.intrinsics, observation.stamp)

    def _observe(self) -> Observation:
        simulation = self._simulation
        positions = simulation.scene.joint_positions
        return Observation(
            stamp=simulation.time,
            cameras={name: simulation.view(name, positions) for name in self._cameras},
            joint_positions=positions,
            joint_velocities=simulation.scene.joint_velocities,
            instruction=simulation.instruction,
            earlier=self._earlier,
        )

    def _enter(self, phase: Phase) -> None:
        self._phase, self._since = phase, self._clock()

    def _fail(self, reason: str) -> None:
        self._error = reason
        self._phase = Phase.IDLE

"""`RealtimeDrive`: the simulation runs on the wall clock, as an arm and its cameras do.

Physics and joint states have one thread, the cameras another that renders from a copy of the state, so that a slow
picture never delays a joint state.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import mujoco
import numpy as np
from numpy.typing import NDArray

from policies.execution.trajectory import JointTrajectory
from ros_nodes.imperfect_sensors import ImperfectSensors
from ros_nodes.simulator_status import SimulatorStatus
from sim.episode_id import EpisodeId
from sim.perturbation import Perturbation
from sim.rendering import OffscreenRenderer, intrinsics
from sim.simulation import TabletopSimulation

MAX_LAG_S = 0.1
STOP_LIMIT_S = 5.0
EXECUTED_S = 0.5  # the longest part of the executed motion that is told at once
# Time, positions (n,) and velocities (n,) of each step of physics.
_Followed = list[tuple[float, NDArray[np.float64], NDArray[np.float64]]]


class RealtimeDrive:
    """Runs physics and cameras at fixed rates.

    Args:
        simulation: what is driven.
        topics: where observations go.
        camera_rate_hz: pictures per second of each camera.
        joint_rate_hz: joint states per second.
        clock: seconds on the clock that stamps are given in.
        changed: called, from any thread, when the status has changed.
        executed: called, from any thread, with what the controller followed, a knot for each step of physics. A part
            begins where the controller takes another command; one that grows too long ends anyhow.
        perturbation: what is taken from the policy.

    Raises:
        ValueError: pictures are to be blank, which policies' nodes take for broken cameras.
    """

    def __init__(
        self,
        simulation: TabletopSimulation,
        topics: ImperfectSensors,
        camera_rate_hz: float,
        joint_rate_hz: float,
        clock: Callable[[], float],
        changed: Callable[[], None],
        executed: Callable[[JointTrajectory], None],
        perturbation: Perturbation | None = None,
    ) -> None:
        self._perturbation = perturbation or Perturbation()
        if self._perturbation.blank_images:
            raise ValueError("blank_images: expected false in realtime, where pictures that never change stop a policy")
        self._simulation = simulation
        self._topics = topics
        self._periods = {"camera": 1.0 / camera_rate_hz, "joints": 1.0 / joint_rate_hz}
        self._clock = clock
        self._changed = changed
        self._tell_executed = executed
        self._followed: _Followed = []
        self._judged = False
        self._told_ns = -1
        self._physics = threading.Lock()
        # Rendering reads the model, which a reset rewrites. Taken before `_physics` where both are.
        self._rendering = threading.Lock()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._origin = 0.0
        self._judged_ns = 0
        self._cameras: tuple[str, ...] = ()
        self._targets: list[tuple[float, ...]] = []
        self._status = SimulatorStatus()
        self._counts = {"camera": 0, "joints": 0}
        self._counted_from = clock()
        self.skipped_s = 0.0

    def begin(self, episode: EpisodeId, cameras: Sequence[str]) -> None:
        """Begin an episode; `cameras` are those that take pictures."""
        with self._rendering, self._physics:
            self._perturbation.begin(self._simulation, episode)
            self._origin = self._clock()
            self._judged_ns, self._told_ns = 0, -1
            self._targets = []
            self._followed = []
            self._cameras = tuple(cameras)
            self._topics.publish_mounts({name: self._simulation.camera_mount(name) for name in cameras}, self._origin)
            self._topics.publish_instruction(self._simulation.instruction)
            self._status = SimulatorStatus(episode=episode, instruction=self._simulation.instruction)
        if not self._threads:
            self._start("camera", self._take_pictures)
            self._start("joints", self._advance)

    def take(self, trajectory: JointTrajectory) -> str:
        """Replace the running trajectory; a stamp of 0 starts it now.

        Returns:
            Empty, or why the trajectory was not executed.

        Raises:
            ValueError: the controller refuses it.
        """
        with self._physics:
            if self._status.episode is None:
                return "no episode has begun"
            start = 0.0 if trajectory.stamp == 0 else trajectory.stamp - self._origin
            if start < 0:
                return f"its stamp {trajectory.stamp:.3f} lies before the start of the episode, {self._origin:.3f}"
            followed = self._replace(replace(trajectory, stamp=start))
            if not self._status.done:
                self._targets += [tuple(row) for row in trajectory.positions.tolist()]
        self._tell(followed)
        return ""

    def cancel(self) -> None:
        """Hold where the arm is, as after an empty trajectory."""
        with self._physics:
            followed = self._replace(None)
        self._tell(followed)

    def status(self) -> SimulatorStatus:
        """How the episode stands."""
        return self._status

    def rates(self) -> dict[str, float]:
        """Achieved pictures (of each camera) and joint states per second since the last call."""
        now = self._clock()
        elapsed = max(1e-9, now - self._counted_from)
        rates = {f"{name}_hz": count / elapsed for name, count in self._counts.items()}
        self._counts = dict.fromkeys(self._counts, 0)
        self._counted_from = now
        return rates

    def stop(self) -> None:
        """End the threads."""
        self._ended.set()
        for thread in self._threads:
            thread.join(STOP_LIMIT_S)

    def _start(self, name: str, once: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._repeat, args=(name, once), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _repeat(self, name: str, once: Callable[[], None]) -> None:
        due = self._clock()
        try:
            while not self._ended.wait(max(0.0, due - self._clock())):
                once()
                self._counts[name] += 1
                # After a delay the rhythm starts anew: late pictures are not caught up with.
                due = max(due + self._periods[name], self._clock() - self._periods[name])
        except Exception as error:
            self._status = replace(self._status, error=f"the {name} thread of the simulator ended: {error!r}")
            self._changed()
            raise

    def _replace(self, trajectory: JointTrajectory | None) -> _Followed:
        """Give the controller a command at the time at which it comes; returns what was followed until then."""
        self._catch_up()
        self._simulation.accept(trajectory)
        followed, self._followed = self._followed, []
        return followed

    def _tell(self, followed: _Followed) -> None:
        if not followed:
            return
        times, positions, velocities = (np.array(part) for part in zip(*followed, strict=True))
        stamp = times[0] - self._simulation.scene.model.opt.timestep
        self._tell_executed(JointTrajectory(stamp, times - stamp, positions, velocities))

    def _advance(self) -> None:
        followed: _Followed = []
        with self._physics:
            simulation = self._simulation
            self._catch_up()
            if simulation.time_ns == self._told_ns:
                return
            self._told_ns = simulation.time_ns
            judged, self._judged = self._judged, False
            time = self._origin + simulation.time
            positions, velocities = simulation.scene.joint_positions, simulation.scene.joint_velocities
            if self._followed and time - self._followed[0][0] > EXECUTED_S:
                followed, self._followed = self._followed, []
        self._topics.publish_clock(time)
        self._topics.publish_joints(positions, velocities, time)
        self._tell(followed)
        if judged:
            self._changed()

    def _catch_up(self) -> None:
        """Run physics until now."""
        simulation = self._simulation
        lag = self._clock() - self._origin - simulation.time
        if lag > MAX_LAG_S:
            self._origin += lag - MAX_LAG_S
            self.skipped_s += lag - MAX_LAG_S
        until = self._clock() - self._origin
        while simulation.time < until:
            time = self._origin + simulation.time
            self._followed.append((time, *simulation.tick()))
            self._judged |= self._judge_when_due()

    def _judge_when_due(self) -> bool:
        simulation = self._simulation
        if self._status.done or simulation.time_ns < self._judged_ns + round(simulation.control_period * 1e9):
            return False
        self._judged_ns = simulation.time_ns
        task = simulation.judge()
        self._status = replace(
            self._status,
            steps=task.steps,
            success=task.success,
            progress=task.progress,
            jerk=task.jerk,
            done=task.done,
            joint_targets=tuple(self._targets) if task.done else (),
        )
        return True

    def _take_pictures(self) -> None:
        simulation, config = self._simulation, self._simulation.config
        model = simulation.scene.model
        if not hasattr(self, "_renderer"):
            # Made here: an OpenGL context belongs to the thread that uses it.
            self._renderer = OffscreenRenderer(model, config.width, config.height, config.profile)
            self._snapshot = mujoco.MjData(model)
        with self._rendering:
            with self._physics:
                mujoco.mj_copyData(self._snapshot, model, simulation.scene.data)
                time = self._origin + simulation.time
            pictures = {name: self._renderer.render(self._snapshot, name) for name in self._cameras}
        for name, (rgb, depth) in pictures.items():
            matrix = intrinsics(float(model.camera(name).fovy[0]), config.width, config.height)
            self._topics.publish_camera(name, rgb, depth, matrix, time)

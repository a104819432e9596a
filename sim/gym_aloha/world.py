"""`GymAlohaWorld`: gym-aloha as a world of an evaluation, with the joints, units and camera names of our robot `aloha`.

gym-aloha's arms have the kinematics of ours and stand as far apart; its table top lies 2 cm higher against them. Its
grippers go from 0 (closed) to 1 (open), which are the limits of our finger joints: a gripper that is half open there is
half open here, with another distance between the fingers. The environment takes a joint target every 0.02 s.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policies.execution.joint_log import JointLog
from policies.execution.trajectory import JointTrajectory
from policies.interface import CameraView, Observation
from policies.robots import get_robot
from sim.episode_id import EpisodeId
from sim.gym_aloha.environment import find_python
from sim.gym_aloha.server import CAMERA, HEIGHT, SUCCESS, WIDTH, Message, read_message, write_message
from sim.instructions import instruct
from sim.rendering import choose_gl_backend, intrinsics
from sim.simulation import TaskStatus, rms_jerk
from sim.trajectory_controller import TrajectoryController

PREFIX = "gym_aloha/"
# The environment names no words: those of our tasks, with its colours.
WORDS = {
    f"{PREFIX}transfer_cube": {"object": "red cube"},
    f"{PREFIX}insertion": {"peg": "red", "socket": "blue"},
}
STEP_HZ = 50.0
MAX_S = 8.0
CAMERA_FOVY = 78.0  # degrees
STOP_LIMIT_S = 5.0
# From gym-aloha's world (x to the right arm, y away from the operator) to our base frame, by the bases of the arms.
BASE_FROM_WORLD = np.array([[0.0, 1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.02], [0.0, 0.0, 0.0, 1.0]])
# The camera's optical frame (REP 103): over the table, looking down, the top of the picture away from the operator.
WORLD_FROM_CAMERA = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.6], [0.0, 0.0, -1.0, 0.8], [0.0, 0.0, 0.0, 1.0]])


def is_task(name: str) -> bool:
    """Whether a task is one of gym-aloha's."""
    return name in WORDS


class GymAlohaWorld:
    """One of gym-aloha's tasks at a time; see `sim.world.World`.

    Args:
        cameras: names of the cameras to render; it has `top` alone, others are missing from the observations.
        control_hz: control steps per second, of which each is a whole number of the environment's.
        python: of an environment that holds gym-aloha; looked for if left out.

    Attributes:
        instruction: what to do, in words of our tasks of the same name.
        objects: (7,) or (14,) pose of cube, or of peg and socket, in gym-aloha's world: m, quaternion w, x, y, z.

    Raises:
        ModuleNotFoundError: gym-aloha is not installed; says how to.
        ValueError: a control rate that does not divide the environment's 50 Hz.
    """

    def __init__(self, cameras: Sequence[str] = (), control_hz: float = 25.0, python: Path | None = None) -> None:
        self._repeats = round(STEP_HZ / control_hz)
        if self._repeats < 1 or abs(self._repeats * control_hz - STEP_HZ) > 1e-9:
            raise ValueError(f"control_hz: expected {STEP_HZ:g} over a whole number, found {control_hz:g}")
        self.robot = get_robot("aloha")
        self.control_hz = control_hz
        self.instruction = ""
        self.objects: NDArray[np.float64] = np.zeros(0)
        self._looks = CAMERA in cameras
        self._controller = TrajectoryController(self.robot)
        self._joint_log = JointLog()
        self._grippers = self.robot.grippers
        self._span = (self.robot.upper - self.robot.lower)[self._grippers]
        self._server = subprocess.Popen(
            [str(python or find_python()), str(Path(__file__).with_name("server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "MUJOCO_GL": choose_gl_backend(), "PYTHONPATH": ""},
        )

    def reset(self, episode: EpisodeId) -> None:
        """Begin the episode that `episode` names.

        Raises:
            ValueError: not a task of gym-aloha, or a suite other than `nominal`: its scene cannot be varied.
            RuntimeError: gym-aloha failed.
        """
        if episode.task not in WORDS or episode.suite != "nominal":
            raise ValueError(f"episode: expected nominal conditions of one of {sorted(WORDS)}, found {episode}")
        name = episode.task.removeprefix(PREFIX)
        rng = np.random.default_rng(episode.seed_sequence("instruction"))
        self.instruction = instruct(name, rng, **WORDS[episode.task])
        self._steps, self._reward = 0, 0.0
        self._take(self._ask(Message("reset", {"task": name, "seed": episode.integer_seed("world")})))
        self._controller.reset(np.clip(self._positions, self.robot.lower, self.robot.upper), self.time)
        self._path = [self._commanded_arm()]
        self._joint_log.clear()

    @property
    def time(self) -> float:
        """Simulated seconds since `reset`."""
        return self._steps / STEP_HZ

    def observe(self) -> Observation:
        """Render the camera, if it is asked for, and read the joints."""
        cameras = {CAMERA: self._view(self._picture())} if self._looks else {}
        readings = self._joint_log.take(self.time)
        return Observation(self.time, cameras, self._positions, self._velocities, self.instruction, readings)

    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """Render the picture (480, 640, 3) of the camera, if it is asked for."""
        return {CAMERA: self._picture()} if self._looks else {}

    def accept(self, trajectory: JointTrajectory) -> None:
        """Replace the running trajectory, as a joint trajectory controller does."""
        self._controller.accept(trajectory, self.time)

    def advance(self, control_steps: int) -> TaskStatus:
        """Run the environment for some control steps; stops early when the episode is done."""
        for _ in range(control_steps):
            if self.status().done:
                break
            due = self.time + (1 + np.arange(self._repeats)) / STEP_HZ
            targets = np.array([self._controller.sample(time)[0] for time in due])
            targets[:, self._grippers] = (targets[:, self._grippers] - self.robot.lower[self._grippers]) / self._span
            self._take(self._ask(Message("step", {}, {"targets": targets})))
            self._steps += self._repeats
            self._path.append(self._commanded_arm())
            self._joint_log.add(self.time, self._positions)
        return self.status()

    def status(self) -> TaskStatus:
        """How the episode stands: the environment's largest reward is success, its share of that is progress."""
        success, steps = self._reward >= SUCCESS, self._steps // self._repeats
        done = success or self.time >= MAX_S - 1e-9
        return TaskStatus(success, self._reward / SUCCESS, steps, done, rms_jerk(self._path, 1 / self.control_hz))

    def picture(self) -> NDArray[np.uint8]:
        """What its camera sees (480, 640, 3)."""
        return self._picture()

    def close(self) -> None:
        """End gym-aloha's process."""
        for stream in (self._server.stdin, self._server.stdout):
            if stream is not None:
                stream.close()
        try:
            self._server.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()

    def _ask(self, request: Message) -> Message:
        try:
            write_message(self._server.stdin, request)
            answer = read_message(self._server.stdout)
        except (OSError, EOFError) as error:
            raise RuntimeError(f"gym-aloha: its process ended with exit status {self._server.poll()}") from error
        if answer.kind == "error":
            raise RuntimeError(f"gym-aloha: {answer.values['reason']}")
        return answer

    def _take(self, state: Message) -> None:
        self._reward = max(self._reward, float(state.values["reward"]))
        positions, velocities = (np.array(state.arrays[name]) for name in ("positions", "velocities"))
        self._positions, self._velocities, self.objects = positions, velocities, state.arrays["objects"]
        positions[self._grippers] = self.robot.lower[self._grippers] + positions[self._grippers] * self._span
        velocities[self._grippers] *= self._span

    def _picture(self) -> NDArray[np.uint8]:
        return self._ask(Message("look")).arrays["picture"]

    def _view(self, picture: NDArray[np.uint8]) -> CameraView:
        """The environment offers no depth: it is unknown everywhere."""
        depth = np.full(picture.shape[:2], np.nan, np.float32)
        return CameraView(picture, depth, intrinsics(CAMERA_FOVY, WIDTH, HEIGHT), BASE_FROM_WORLD @ WORLD_FROM_CAMERA)

    def _commanded_arm(self) -> NDArray[np.float64]:
        return self._controller.sample(self.time)[0][self.robot.arm_joints]

"""A `policy_node` whose policies are made for tests: run it as a script, choose one by `policy.checkpoint`."""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np

from policies import loading
from policies.interface import ActionChunk, Continuation, Observation
from policies.robots import get_robot

SPEC = get_robot("panda")
SPEED = 0.3  # rad/s
TURN = 0.4  # rad


class Sweep:
    """Turns the base joint to and fro, with a camera that it does not look at."""

    robot = "panda"
    cameras = ("front",)
    control_hz = 10.0
    chunk_length = 16

    def __init__(self, robot: str) -> None:
        self._direction = 1.0
        self._count = 0

    def reset(self, seed: int | None = None) -> None:
        self._direction = 1.0

    def act(self, observation: Observation) -> ActionChunk:
        self._count += 1
        if abs(observation.joint_positions[0]) > TURN:
            self._direction = -np.sign(observation.joint_positions[0])
        rows = np.tile(observation.joint_positions, (self.chunk_length, 1))
        rows[:, 0] += self._direction * SPEED * np.arange(1, self.chunk_length + 1) / self.control_hz
        return ActionChunk(observation.stamp, 1 / self.control_hz, "joint", self.spoil(rows), *self.measures())

    def act_batch(self, observations):
        return [self.act(observation) for observation in observations]

    def measures(self) -> tuple[np.ndarray, ...]:
        return ()

    def spoil(self, rows: np.ndarray) -> np.ndarray:
        return rows


class Raising(Sweep):
    """Works for a while, until the arm moves as it was told, then raises."""

    def act(self, observation: Observation) -> ActionChunk:
        answer = super().act(observation)
        if self._count > 30 and abs(observation.joint_positions[0]) > TURN / 2:
            raise RuntimeError("the lens cap is on")
        return answer


class OtherRobot(Sweep):
    """Belongs to another robot."""

    robot = "ur5"


class Millimetres(Sweep):
    """Has statistics of another unit."""

    max_step = np.r_[np.full(3, 20.0), np.full(3, 0.1)]


class Sure(Sweep):
    """Tells how sure it is: of its last row's gripper less than of the rest."""

    def measures(self) -> tuple[np.ndarray, ...]:
        tokens = np.full((self.chunk_length, 3), 0.9)
        tokens[-1, 2] = 0.5
        return tokens.prod(axis=1), np.log(tokens)


class Watching(Sweep):
    """Turns the hand instead once it hears how the joints moved between two observations."""

    _before = np.inf

    def act(self, observation: Observation) -> ActionChunk:
        answer, readings = super().act(observation), observation.readings
        if readings is not None and len(readings.stamps) > 2 and readings.stamps[0] > self._before:
            turned = np.roll(answer.rows - observation.joint_positions, 6, axis=1)
            answer = replace(answer, rows=observation.joint_positions + turned)
        self._before = observation.stamp
        return answer


class GoesOn(Sweep):
    """Goes on with its chunks; told to be late, it takes longer than the one row that it was given clean."""

    def act_on(self, observation: Observation, continuation: Continuation) -> ActionChunk:
        late = "late" in observation.instruction
        time.sleep(0.25 if late else 0.0)
        return replace(self.act(observation), committed=1 if late else continuation.committed)


class Seldom(Sweep):
    """Says that it is to be asked every fifth step."""

    query_steps = 5


class Slow(Sweep):
    """Takes longer to load than anybody waits."""

    def __init__(self, robot: str) -> None:
        super().__init__(robot)
        time.sleep(60)


loading.BASELINES |= {
    name.__name__.lower(): f"faulty_policies:{name.__name__}"
    for name in (Sweep, Raising, OtherRobot, Millimetres, GoesOn, Seldom, Slow, Sure, Watching)
} | {"tiny_rdt": "tiny_rdt:TinyRDT"}

if __name__ == "__main__":
    from ros_nodes.policy_node import main

    sys.exit(main())

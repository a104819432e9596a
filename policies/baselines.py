"""What any trained policy must beat: no motion, random motion, the mean of the demonstrations. Tests use them too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policies.interface import ActionChunk, Observation
from policies.json_file import read_json
from policies.robots import get_robot

CHUNK_LENGTH = 4
# Largest step of the random policy per row: as fast as a careful demonstration moves.
MAX_TRANSLATION_M = 0.02
MAX_ROTATION_RAD = 0.1
# Its statistics are those of the demonstrations that it was trained on.
SHIPPED_STATISTICS = Path(__file__).parent / "checkpoints" / "spatialvla_small" / "processor_config.json"


class NoopPolicy:
    """Stays where it is.

    Args:
        robot: name, or YAML file, of the robot that it does not move.
    """

    cameras: tuple[str, ...] = ()
    chunk_length = CHUNK_LENGTH

    def __init__(self, robot: str = "panda") -> None:
        self._spec = get_robot(robot)
        self.robot = self._spec.name
        self.control_hz = self._spec.control_hz

    def reset(self, seed: int | None = None) -> None:
        """Nothing is remembered."""

    def act(self, observation: Observation) -> ActionChunk:
        """Return zero deltas and the gripper's present opening."""
        openings = self._spec.gripper_openings(observation.joint_positions)
        rows = np.zeros((self.chunk_length, len(openings), 7))
        rows[:, :, 6] = openings
        return _chunk(observation, self.control_hz, rows)

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Answer each observation."""
        return [self.act(observation) for observation in observations]


class RandomPolicy:
    """Moves by uniformly drawn deltas and opens or closes the hand at random.

    Args:
        robot: name, or YAML file, of the robot that it moves.
        seed: seed of the draws until `reset` gives another.
    """

    cameras: tuple[str, ...] = ()
    chunk_length = CHUNK_LENGTH

    def __init__(self, robot: str = "panda", seed: int = 0) -> None:
        spec = get_robot(robot)
        self.robot = spec.name
        self.control_hz = spec.control_hz
        self._arms = len(spec.arms)
        self._rng = np.random.default_rng(seed)

    def reset(self, seed: int | None = None) -> None:
        """Begin the draws of `seed`; without one the present sequence goes on."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)

    def act(self, observation: Observation) -> ActionChunk:
        """Return drawn deltas within `MAX_TRANSLATION_M` and `MAX_ROTATION_RAD` per row."""
        scale = np.array([MAX_TRANSLATION_M] * 3 + [MAX_ROTATION_RAD] * 3)
        rows = np.empty((self.chunk_length, self._arms, 7))
        rows[:, :, :6] = self._rng.uniform(-scale, scale, (self.chunk_length, self._arms, 6))
        rows[:, :, 6] = self._rng.integers(0, 2, self._arms)
        return _chunk(observation, self.control_hz, rows)

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Answer the observations in their order."""
        return [self.act(observation) for observation in observations]


class MeanActionPolicy:
    """Gives the mean action of the demonstrations of the shipped SpatialVLA policy, whatever it sees.

    Args:
        robot: name of the robot that it moves; that of the demonstrations.

    Raises:
        ValueError: another robot.
    """

    cameras: tuple[str, ...] = ()
    chunk_length = CHUNK_LENGTH

    def __init__(self, robot: str = "panda") -> None:
        content = read_json(SHIPPED_STATISTICS)
        settings = content["polyarm"]
        if robot != settings["robot"]:
            raise ValueError(
                f"mean_action: expected robot {settings['robot']!r} of the demonstrations, found {robot!r}"
            )
        self.robot: str = robot
        self.control_hz: float = settings["control_hz"]
        self._mean = np.array(content["statistics"][settings["dataset_key"]]["action"]["mean"])

    def reset(self, seed: int | None = None) -> None:
        """Nothing is remembered."""

    def act(self, observation: Observation) -> ActionChunk:
        """Return the mean in every row."""
        return _chunk(observation, self.control_hz, np.tile(self._mean, (self.chunk_length, 1, 1)))

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Answer each observation."""
        return [self.act(observation) for observation in observations]


def _chunk(observation: Observation, control_hz: float, rows: NDArray[np.float64]) -> ActionChunk:
    """A chunk of rows (T, arms, 7)."""
    return ActionChunk(observation.stamp, 1 / control_hz, "cartesian_delta", rows.reshape(len(rows), -1))

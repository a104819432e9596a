"""`TransferCubeExpert`: a timed script that does `gym_aloha/transfer_cube`, to show that the whole road works.

The right hand takes the cube from above and holds it out; the left one takes it across the right fingers. The
environment calls it success when the left fingers touch the lifted cube, so the right ones need not let go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.execution.kinematics import Kinematics
from policies.interface import ActionChunk, Observation
from sim.bimanual_expert import pointing
from sim.gym_aloha.world import BASE_FROM_WORLD, GymAlohaWorld
from sim.tasks.sampling import LEFT, RIGHT

HANDOVER = np.array((0.50, 0.0, 0.28))
HALF_SIZE = 0.02  # m, of the cube
ABOVE, SHORT = 0.10, 0.10  # m, of the way that is left to the cube
OBLIQUE = np.pi / 4
OPEN, CLOSED = 1.0, 0.0


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a tool shall be at `at` seconds, and how far its gripper is open."""

    at: float
    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    opening: float


class TransferCubeExpert:
    """Answers from the state of the world at the start of the episode, so it cannot leave the world's process.

    Args:
        world: whose episodes it solves.
    """

    cameras: tuple[str, ...] = ()
    chunk_length = 8

    def __init__(self, world: GymAlohaWorld) -> None:
        self.robot = world.robot.name
        self.control_hz = world.control_hz
        self._world = world
        self._kinematics = Kinematics(world.robot)
        self._motion: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def reset(self, seed: int | None = None) -> None:
        """Another episode begins."""
        self._motion = None

    def act(self, observation: Observation) -> ActionChunk:
        """Return the next joint targets."""
        if self._motion is None:
            self._motion = self._planned(observation)
        times, joints = self._motion
        due = observation.stamp + np.arange(1, self.chunk_length + 1) / self.control_hz
        rows = np.stack([np.interp(due, times, joint) for joint in joints.T], axis=-1)
        return ActionChunk(observation.stamp, 1 / self.control_hz, "joint", rows)

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Answer a single observation: there is one world.

        Raises:
            ValueError: more than one observation.
        """
        if len(observations) != 1:
            raise ValueError(f"observations: expected 1 (the expert sees one world), found {len(observations)}")
        return [self.act(observations[0])]

    def _planned(self, observation: Observation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Times (T,) and joint positions (T, 14); in between the joints, not the tools, go straight."""
        if self._world.objects.shape != (7,):
            raise ValueError("expert: expected task gym_aloha/transfer_cube, the only one that it knows")
        cube = (BASE_FROM_WORLD @ [*self._world.objects[:3], 1.0])[:3]
        cube[2] = BASE_FROM_WORLD[2, 3] + HALF_SIZE  # it falls from a little above the table
        paths = [self._path(arm, poses, observation) for arm, poses in enumerate(_script(cube))]
        times = np.unique(np.concatenate([path[0] for path in paths]))
        columns = [np.interp(times, *column) for path in paths for column in ((path[0], joint) for joint in path[1].T)]
        return times, np.stack(columns, axis=-1)

    def _path(
        self, arm: int, poses: Sequence[Pose], observation: Observation
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Times (T,) and positions (T, 7) of one arm's joints and gripper."""
        robot = self._world.robot
        own = [*robot.arms[arm].joints, robot.arms[arm].gripper]
        times, rows, joints = [0.0], [observation.joint_positions[own]], robot.home
        for pose in poses:
            target = np.eye(4)
            target[:3, :3], target[:3, 3] = pose.rotation, pose.position
            joints = self._kinematics.inverse(target, joints, arm)
            row = joints[own]
            row[-1] = robot.gripper_positions([pose.opening] * len(robot.arms))[arm]
            times.append(pose.at)
            rows.append(row)
        return np.array(times), np.array(rows)


def _script(cube: NDArray[np.float64]) -> tuple[list[Pose], list[Pose]]:
    """What the left and the right tool do with a cube at that place in the base frame."""
    down, giving = pointing(RIGHT, 0.0), pointing(RIGHT, OBLIQUE)
    receiving = pointing(LEFT, OBLIQUE, roll=np.pi / 2)
    short, up = HANDOVER - SHORT * receiving[:, 2], np.array((0.0, 0.0, ABOVE))
    left = [
        Pose(3.5, short, receiving, OPEN),
        Pose(4.9, short, receiving, OPEN),
        Pose(5.9, HANDOVER, receiving, OPEN),
        Pose(6.5, HANDOVER, receiving, CLOSED),
    ]
    right = [
        Pose(2.0, cube + up, down, OPEN),
        Pose(2.6, cube, down, OPEN),
        Pose(3.0, cube, down, CLOSED),
        Pose(3.5, cube + up, down, CLOSED),
        Pose(4.7, HANDOVER, giving, CLOSED),
    ]
    return left, right

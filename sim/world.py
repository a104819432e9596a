"""`World`: what an evaluation needs of a simulation, ours or an outside one."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from policies.execution.trajectory import JointTrajectory
from policies.interface import Observation
from policies.robots.spec import RobotSpec
from sim.episode_id import EpisodeId
from sim.simulation import TaskStatus


class World(Protocol):
    """A robot with its cameras and a task, advanced in control steps.

    Attributes:
        robot: the robot.
        instruction: what to do, in the present episode.
    """

    robot: RobotSpec
    instruction: str

    def reset(self, episode: EpisodeId) -> None:
        """Begin an episode; everything random in it comes from its id."""
        ...

    def observe(self) -> Observation:
        """What cameras and joints tell now, and what the joints told at the control steps since the last time."""
        ...

    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """Colour pictures (H, W, 3) of the cameras now, by name; a policy that looks back sees them a step later."""
        ...

    def accept(self, trajectory: JointTrajectory) -> None:
        """Replace the running trajectory, as a joint trajectory controller does."""
        ...

    def advance(self, control_steps: int) -> TaskStatus:
        """Let time pass; stops early when the episode is done."""
        ...

    def status(self) -> TaskStatus:
        """How the episode stands."""
        ...

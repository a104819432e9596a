"""Robots that the stack knows: joints, limits, frames and models.

- `spec.py`: `RobotSpec`, the description that everything else reads.
- `panda/`: the Franka Emika Panda with its hand: `panda.py` (limits, home) and `panda.xml` (our own MJCF).
- `aloha/`: ALOHA's two ViperX-300 arms with their grippers, laid out in the same way.
- `model.py`: the robot as an `mujoco.MjSpec`, ours or MuJoCo Menagerie's, ready to be attached to a scene.

Begin with `get_robot("panda")`.
"""

from __future__ import annotations

from policies.robots.aloha.aloha import ALOHA
from policies.robots.panda.panda import PANDA
from policies.robots.spec import RobotSpec

ROBOTS: dict[str, RobotSpec] = {robot.name: robot for robot in (PANDA, ALOHA)}


def get_robot(name: str) -> RobotSpec:
    """Return the robot of that name.

    Raises:
        ValueError: nothing of that name; lists the known robots.
    """
    if name not in ROBOTS:
        raise ValueError(f"robot: expected one of {', '.join(sorted(ROBOTS))}, found {name!r}")
    return ROBOTS[name]

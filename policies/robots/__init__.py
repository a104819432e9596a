"""Robots that the stack knows: joints, limits, frames and models, and the names and units of their drivers.

- `spec.py`: `RobotSpec`, the description that everything else reads; `drivers.py`: what only the ROS nodes need.
- `description.py`: reads both from a YAML file (`yaml_tree.py`, `limits.py`).
- `panda/`, `aloha/`, ...: the presets, each a YAML file with our own MJCF model.
- `model.py`: the robot as an `mujoco.MjSpec`, ours or MuJoCo Menagerie's, ready to be attached to a scene.
- `camera_mount.py`: how a camera is fixed.

Begin with `get_robot("panda")`.
"""

from __future__ import annotations

from policies.robots.description import describe_named_robot, describe_robot
from policies.robots.drivers import RobotDrivers
from policies.robots.spec import RobotSpec


def get_robot(name_or_path: str) -> RobotSpec:
    """Return the robot of that name, or of a YAML file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: nothing of that name, or a file that is wrong; says where, what was expected and what was found.
    """
    return describe_robot(name_or_path).spec


def get_named_robot(name: str) -> RobotSpec:
    """Return the robot that a checkpoint or a dataset names; no file is read for it.

    Raises:
        ValueError: it is no preset, and no file of that robot was read before.
    """
    return describe_named_robot(name).spec


def get_drivers(name_or_path: str) -> RobotDrivers:
    """Return names, topics and units of a robot's drivers; see `get_robot`."""
    return describe_robot(name_or_path).drivers

"""The language-conditioned tabletop tasks.

`base.py` says what a task is; `sampling.py` draws objects; then one file per task. `reach`, `push`, `pick`, `place`,
`stack` and `drawer` are for one arm; `transfer_cube`, `sort`, `lift_tray` and `insertion` for two. `TASKS` finds a task
by its name.
"""

from __future__ import annotations

from collections.abc import Sequence

from policies.robots import get_robot
from policies.robots.spec import RobotSpec
from sim.tasks.base import Task
from sim.tasks.drawer import Drawer
from sim.tasks.insertion import Insertion
from sim.tasks.lift_tray import LiftTray
from sim.tasks.pick import Pick
from sim.tasks.place import Place
from sim.tasks.push import Push
from sim.tasks.reach import Reach
from sim.tasks.sort import Sort
from sim.tasks.stack import Stack
from sim.tasks.transfer_cube import TransferCube

TASKS: dict[str, type[Task]] = {
    "reach": Reach,
    "push": Push,
    "pick": Pick,
    "place": Place,
    "stack": Stack,
    "drawer": Drawer,
    "transfer_cube": TransferCube,
    "sort": Sort,
    "lift_tray": LiftTray,
    "insertion": Insertion,
}


def fits(task: type[Task], robot: RobotSpec) -> bool:
    """Whether a robot has as many arms as the one that the task was laid out for."""
    return len(get_robot(task.robot).arms) == len(robot.arms)


def tasks_for(robot: RobotSpec) -> tuple[str, ...]:
    """Names of the tasks that a robot may try."""
    return tuple(name for name, task in TASKS.items() if fits(task, robot))


def tasks_of(robot: str) -> tuple[str, ...]:
    """Names of the tasks that were laid out for the robot of that name."""
    return tuple(name for name, task in TASKS.items() if task.robot == robot)


def named_tasks(text: str) -> tuple[str, ...]:
    """Tasks separated by commas, or `all`: those of the panda."""
    return tasks_of("panda") if text == "all" else tuple(name.strip() for name in text.split(",") if name.strip())


def robot_of(tasks: Sequence[str]) -> str:
    """Name of the robot that does all of these tasks.

    Raises:
        ValueError: an unknown task, no task, or tasks of different robots.
    """
    robots = {name: get_task(name).robot for name in tasks}
    if len(set(robots.values())) != 1:
        raise ValueError(f"tasks: expected some of one robot, found {robots}")
    return robots[tasks[0]]


def get_task(name: str) -> type[Task]:
    """Return the task of that name.

    Raises:
        ValueError: there is none; lists those that there are.
    """
    if name not in TASKS:
        raise ValueError(f"task: expected one of {sorted(TASKS)}, found {name!r}")
    return TASKS[name]

"""The language-conditioned tabletop tasks.

`base.py` says what a task is; `sampling.py` draws objects; then one file per task: `reach`, `push`, `pick`, `place`,
`stack`, `drawer`. `TASKS` finds a task by its name.
"""

from __future__ import annotations

from sim.tasks.base import Task
from sim.tasks.drawer import Drawer
from sim.tasks.pick import Pick
from sim.tasks.place import Place
from sim.tasks.push import Push
from sim.tasks.reach import Reach
from sim.tasks.stack import Stack

TASKS: dict[str, type[Task]] = {
    "reach": Reach,
    "push": Push,
    "pick": Pick,
    "place": Place,
    "stack": Stack,
    "drawer": Drawer,
}


def get_task(name: str) -> type[Task]:
    """Return the task of that name.

    Raises:
        ValueError: there is none; lists those that there are.
    """
    if name not in TASKS:
        raise ValueError(f"task: expected one of {sorted(TASKS)}, found {name!r}")
    return TASKS[name]

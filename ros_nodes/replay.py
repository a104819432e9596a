"""`python -m ros_nodes.replay`: send an episode of a dataset through the arm gateway to the simulator, or to an arm."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from policies.data.recorded_path import recorded_path
from policies.robots import get_robot
from representation.data.lerobot_dataset import LeRobotDataset
from ros_nodes.bringup import run_graph
from ros_nodes.domains import own_domain
from ros_nodes.graphs import REPLAY
from ros_nodes.qos import Mode


@dataclass(frozen=True, slots=True)
class Arguments:
    """Replay an episode of a dataset.

    Attributes:
        dataset: directory of the dataset.
        episode: number of the episode.
        robot: name of the robot.
        twin: start the simulator in the place of the arm.
        shadow: tell what the arm would do, and move nothing; by default on a real arm.
        params_file: YAML file with the parameters of all nodes; by default another, more careful one on a real arm.
        task: task whose scene the simulator shows.
        seed: seed of that scene.
        mode: realtime or, on the simulator only, lockstep.
        output: JSON file for the result.
    """

    dataset: Annotated[Path, tyro.conf.Positional]
    episode: int = 0
    robot: str = "panda"
    twin: bool = True
    shadow: bool | None = None
    params_file: Path | None = None
    task: str = "reach"
    seed: int = 0
    mode: Mode = "realtime"
    output: Path | None = None


def graph_values(arguments: Arguments) -> dict[str, str]:
    """Arguments of the graph that replays the episode.

    Raises:
        ValueError: the episode cannot be read, or an argument is wrong.
    """
    recorded_path(LeRobotDataset(arguments.dataset), arguments.episode, get_robot(arguments.robot))
    if arguments.mode == "lockstep" and not arguments.twin:
        raise ValueError("mode: expected realtime on a real arm, whose time does not wait; found lockstep")
    output = "" if arguments.output is None else arguments.output.absolute()
    given = asdict(arguments) | {"dataset": arguments.dataset.absolute(), "output": output}
    given = {name: value for name, value in given.items() if value is not None}
    return REPLAY.resolve(
        {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = tyro.cli(Arguments, args=args, prog="python -m ros_nodes.replay")
    try:
        values = graph_values(arguments)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    # A simulator of its own needs a domain of its own; a real arm is in the user's.
    if arguments.twin:
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    with own_domain() if arguments.twin else nullcontext():
        return run_graph(REPLAY, values)


if __name__ == "__main__":
    sys.exit(main())

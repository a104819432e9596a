"""`python -m ros_nodes.evaluate`: measure a policy on the simulated tasks, over the ROS graph.

The same arguments and the same results as `python -m sim.evaluate`, which needs no ROS; in lockstep both send the arm
the same joint targets. In `--mode realtime` the policy has as much time as it would have on a real arm.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields

import tyro

from ros_nodes.bringup import run_graph
from ros_nodes.domains import own_domain
from ros_nodes.graphs import SIM_EVAL
from ros_nodes.qos import Mode
from sim.episode_worker import EXPERT
from sim.evaluate import Arguments, describe_policy
from sim.executors import THREAD_LIMITS
from sim.summary import read_run


@dataclass(frozen=True, slots=True)
class GraphArguments(Arguments):
    """Measure a policy over the ROS graph; write summary.json, episodes.parquet, videos/ and report.html.

    Attributes:
        mode: lockstep (simulated time waits for the policy) or realtime (the wall clock does not; nothing is filmed).
    """

    mode: Mode = "lockstep"


def graph_values(arguments: GraphArguments) -> dict[str, str]:
    """Arguments of the graph that runs an evaluation.

    Raises:
        ValueError: an argument is wrong, or has no meaning over the graph; says what to do instead.
        FileNotFoundError: no such policy; lists what is shipped.
    """
    if arguments.policy == EXPERT:
        raise ValueError("policy: the expert reads the simulator's state, which no topic carries; use sim.evaluate")
    if arguments.workers != 1 or arguments.executor != "process":
        raise ValueError(
            f"workers, executor: one graph runs one episode at a time, found {arguments.workers} workers on "
            f"{arguments.executor!r}; use sim.evaluate, which gives the same results"
        )
    if arguments.control_hz is not None:
        raise ValueError("control_hz: over the graph it is the robot's; use sim.evaluate for another")
    protocol = arguments.protocol()
    describe_policy(arguments.policy)
    names = set(SIM_EVAL.arguments) & {entry.name for entry in fields(arguments)}
    names -= set() if arguments.robot else {"robot"}
    given = {name: getattr(arguments, name) for name in names}
    given |= {"output": arguments.output.absolute(), "query_steps": protocol.query_steps}
    return SIM_EVAL.resolve(
        {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = tyro.cli(GraphArguments, args=args, prog="python -m ros_nodes.evaluate")
    try:
        values = graph_values(arguments)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    # How a sum is split over threads shows in its last bits.
    os.environ.update(THREAD_LIMITS)
    summary_path = arguments.output / "summary.json"
    summary_path.unlink(missing_ok=True)
    with own_domain() as domain:
        print(f"[evaluate] ROS_DOMAIN_ID={domain}", file=sys.stderr)
        code = run_graph(SIM_EVAL, values)
    if code != 0 or not summary_path.is_file():
        print("error: the evaluation did not complete; the lines above say why", file=sys.stderr)
        return code or 1
    if arguments.json:
        print(json.dumps(read_run(arguments.output).summary, indent=2))
    else:
        print(f"report: {arguments.output / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

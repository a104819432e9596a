"""Start a node graph without a ROS install: `python -m ros_nodes.bringup --graph sim_eval --policy NAME ...`.

`--graph real_arm` starts gateway and policy for an arm whose drivers run, `--graph twin` the simulator in their place.

The same processes, parameter files and transport as the launch file of that name. Ctrl-C stops the nodes in order; no
node outlives this process, and the gateway holds the arm before it ends, even where this process is killed. The exit
code is that of the graph's conductor, or 1 when another node ended first that the graph cannot do without.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

from ros_nodes.graphs import GRAPHS, Graph
from ros_nodes.supervision import Supervisor
from ros_nodes.transport import use_shared_memory_profile


def run_graph(graph: Graph, values: Mapping[str, str], output: TextIO = sys.stderr) -> int:
    """Start the nodes and wait until the conductor ends, a needed node dies, or SIGINT or SIGTERM comes.

    Must run in the main thread, which receives signals.

    Args:
        graph: what to start.
        values: all arguments of the graph, as `Graph.resolve` gives them.
        output: where the nodes' lines go.

    Returns:
        Exit code: the conductor's, 0 after a signal, 1 when another needed node ended first.
    """
    print(f"[bringup] {use_shared_memory_profile()}", file=output, flush=True)
    supervisor = Supervisor(output=output)
    # The handlers stay while the nodes stop: a second Ctrl-C must not cut the orderly end short.
    with _woken_by_signals(supervisor), supervisor:
        for node in graph.started(values):
            supervisor.start(node.executable, node.command(values, graph.arguments), node.last_words)
        end = supervisor.wait()
        while end is not None and end.name in graph.dispensable:
            print(f"[bringup] {end}; the graph goes on without it", file=output, flush=True)
            end = supervisor.wait()
        if end is None:
            print("[bringup] stopping on request", file=output, flush=True)
            return 0
        if end.name == graph.conductor:
            return end.code if end.code >= 0 else 1
        print(f"[bringup] {end} while the graph was running; stopping all nodes", file=output, flush=True)
        return 1


@contextmanager
def _woken_by_signals(supervisor: Supervisor) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: supervisor.wake()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def parse_arguments(arguments: Sequence[str] | None) -> tuple[Graph, dict[str, str]]:
    """Read the graph's name, then the arguments that this graph has."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--graph", choices=sorted(GRAPHS), default="sim_eval", help="which graph to start")
    chosen, _ = first.parse_known_args(arguments)
    graph = GRAPHS[chosen.graph]
    parser = argparse.ArgumentParser(
        prog="python -m ros_nodes.bringup",
        description=__doc__,
        parents=[first],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, argument in graph.arguments.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            choices=argument.choices or None,
            required=argument.default is None,
            default=argparse.SUPPRESS,
            help=argument.description
            + (f" (default: {argument.default})" if isinstance(argument.default, str) else ""),
        )
    given = vars(parser.parse_args(arguments))
    del given["graph"]
    return graph, graph.resolve(given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    graph, values = parse_arguments(arguments)
    return run_graph(graph, values)


if __name__ == "__main__":
    sys.exit(main())

"""`started_graph`: processes of a graph in a domain of its own, while a command measures them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import rclpy
from rclpy.signals import SignalHandlerOptions

from ros_nodes.domains import own_domain
from ros_nodes.graph_client import GraphError, StopRequestedError
from ros_nodes.supervision import Exit, Supervisor
from ros_nodes.transport import use_shared_memory_profile

Options = TypeVar("Options")
Report = TypeVar("Report")


@contextmanager
def started_graph(commands: Iterable[tuple[str, Sequence[str]]]) -> Iterator[Callable[[], bool]]:
    """Start processes and rclpy, and stop them at the end.

    Args:
        commands: names and command lines, in the order of their start.

    Yields:
        What tells a `GraphClient` that a process has ended, so that it stops waiting.

    Raises:
        GraphError: a process ended while the client waited.
    """
    with own_domain(), Supervisor() as supervisor:
        for name, words in commands:
            supervisor.start(name, words)
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        ends: list[Exit] = []

        def node_ended() -> bool:
            ends.extend(end for end in (supervisor.wait(0),) if end is not None)
            return bool(ends)

        try:
            yield node_ended
        except StopRequestedError:
            raise GraphError(f"{ends[0]} while the graph was measured") from None
        finally:
            rclpy.try_shutdown()


def measured(measure: Callable[[Options], Report], options: Options) -> Report | None:
    """What a command measures of a graph on this machine; None where that failed, after the reason was printed."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    print(use_shared_memory_profile(), file=sys.stderr)
    try:
        return measure(options)
    except GraphError as error:
        print(f"error: {error}", file=sys.stderr)
        return None

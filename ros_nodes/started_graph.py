"""`started_graph`: processes of a graph in a domain of its own, while a command measures them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import rclpy
from rclpy.signals import SignalHandlerOptions

from ros_nodes.domains import own_domain
from ros_nodes.graph_client import GraphError, StopRequestedError
from ros_nodes.supervision import Exit, Supervisor


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

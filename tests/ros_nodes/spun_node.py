"""A node that a thread spins in a context of its own, for tests of what asks it for things."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

Made = TypeVar("Made", bound=Node)


@contextmanager
def spun(make: Callable[[Context], Made]) -> Iterator[Made]:
    """Make a node, spin it until the end, and destroy it."""
    context = Context()
    rclpy.init(context=context)
    node = make(context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield node
    finally:
        executor.shutdown()
        thread.join()
        node.destroy_node()
        context.try_shutdown()

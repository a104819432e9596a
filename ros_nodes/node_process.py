"""`run_node`: the main function of every node process, from transport and signals to an ordered end."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from ros_nodes.memory import exempt_from_garbage_collection, keep_large_buffers
from ros_nodes.stop_signals import stop_on_signals
from ros_nodes.transport import use_shared_memory_profile

POLL_S = 0.05
# A callback must not wait longer than this for a thread that computes; Python's own 5 ms would add up along the graph.
THREAD_SWITCH_S = 0.0005
FAREWELL_S = 0.05


def run_node(make_node: Callable[[], Node], args: Sequence[str] | None = None) -> int:
    """Spin one node until SIGINT or SIGTERM, or until a callback raises.

    If the node has a method `stop()`, it is called while the graph still works, so that it can send last words. The
    default signal handlers of rclpy would invalidate the context first.

    Returns:
        Exit code: 0 after a signal, 1 after an exception in a callback, 2 when the node could not be made.
    """
    sys.setswitchinterval(THREAD_SWITCH_S)
    keep_large_buffers()
    transport = use_shared_memory_profile()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    stop = stop_on_signals()
    try:
        node = make_node()
    except (ValueError, TypeError, FileNotFoundError) as error:
        get_logger("polyarm").fatal(f"node not started: {error}")
        rclpy.try_shutdown()
        return 2
    exempt_from_garbage_collection()
    node.get_logger().info(transport)
    return _spin(node, stop)


def _spin(node: Node, stop: threading.Event) -> int:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    code = 0
    try:
        while not stop.is_set():
            executor.spin_once(timeout_sec=POLL_S)
    except Exception:
        node.get_logger().fatal(f"a callback raised; the node ends\n{traceback.format_exc()}")
        code = 1
    try:
        if hasattr(node, "stop"):
            node.stop()
            executor.spin_once(timeout_sec=FAREWELL_S)
    except Exception:
        node.get_logger().fatal(f"the ordered stop failed\n{traceback.format_exc()}")
        code = 1
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return code

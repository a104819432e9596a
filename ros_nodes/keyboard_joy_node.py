"""`keyboard_joy_node`: the keyboard of this terminal as a joystick on `joy`; its own help shows the keys."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Sequence
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import Joy

from policies.execution.joystick import JoyLayout
from policies.execution.keyboard_joystick import HELP, KeyboardJoystick
from ros_nodes.node_process import run_node
from ros_nodes.params import declare

PERIOD_S = 0.05
JOY_DEPTH = 1


class KeyboardJoyNode(Node):
    """Reads characters and publishes them as a joystick."""

    def __init__(self) -> None:
        super().__init__("keyboard_joy_node")
        if not sys.stdin.isatty():
            raise ValueError("keyboard: expected a terminal on the standard input, found none; start it by hand in one")
        self._keyboard = KeyboardJoystick(declare(self, JoyLayout, "joystick"))
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._out = self.create_publisher(Joy, "joy", JOY_DEPTH)
        self._settings: list[Any] = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        self._timer = self.create_timer(PERIOD_S, self._on_tick, clock=self._steady)
        self.get_logger().info(f"keys:\n{HELP}")

    def stop(self) -> None:
        """Give the terminal back as it was."""
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._settings)

    def _on_tick(self) -> None:
        now = self._steady.now().nanoseconds * 1e-9
        while select.select([sys.stdin], [], [], 0)[0]:
            characters = os.read(sys.stdin.fileno(), 64).decode(errors="ignore")
            if not characters:
                raise EOFError("the terminal was closed")
            for key in characters:
                self._keyboard.press(key, now)
        axes, buttons = self._keyboard.read(now)
        message = Joy(axes=axes, buttons=buttons)
        message.header.stamp = self.get_clock().now().to_msg()
        self._out.publish(message)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(KeyboardJoyNode, args)


if __name__ == "__main__":
    sys.exit(main())

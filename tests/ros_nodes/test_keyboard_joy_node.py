from __future__ import annotations

import os
import pty
import subprocess
import sys

import rclpy
from sensor_msgs.msg import Joy

from policies.execution.joystick import JoyLayout
from ros_nodes.graph_client import GraphClient
from tests.ros_nodes.started_node import REPOSITORY

LAYOUT = JoyLayout()
PATIENCE_S = 60.0


def test_the_keyboard_of_a_terminal_is_a_joystick():
    rclpy.init(args=["--ros-args", "-r", "__ns:=/keys"])
    listener = GraphClient("listener", lambda: False)
    heard: list[Joy] = []
    subscription = listener.create_subscription(Joy, "joy", heard.append, 10)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ros_nodes.keyboard_joy_node", "--ros-args", "-r", "__ns:=/keys"],
        stdin=follower,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        listener.wait_until(lambda: heard, PATIENCE_S, "messages of the keyboard")
        assert not any(heard[-1].buttons)
        os.write(leader, b"w")
        listener.wait_until(
            lambda: heard[-1].buttons[LAYOUT.deadman] and heard[-1].axes[LAYOUT.forward] == 1.0, PATIENCE_S, "a key"
        )
        listener.wait_until(lambda: not any(heard[-1].buttons), PATIENCE_S, "its release")
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        listener.destroy_subscription(subscription)
        listener.end()
        rclpy.try_shutdown()
        os.close(leader)
        os.close(follower)


def test_without_a_terminal_the_keyboard_says_what_is_wrong():
    result = subprocess.run(
        [sys.executable, "-m", "ros_nodes.keyboard_joy_node"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert result.returncode == 2
    assert "expected a terminal" in result.stderr + result.stdout

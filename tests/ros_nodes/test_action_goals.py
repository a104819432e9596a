"""Goals for an action server in another context, over DDS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from test_msgs.action import Fibonacci

from ros_nodes.action_goals import ActionGoals
from tests.ros_nodes.gripper_driver import GripperDriver, goal
from tests.ros_nodes.spun_node import spun

PATIENCE_S = 60.0
NAMESPACE = "/asked"


class Asker:
    """Whoever sends goals, spun while it waits."""

    def __init__(self, name: str) -> None:
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = Node("asker", context=self.context, namespace=NAMESPACE)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.goals = ActionGoals(self.node, Fibonacci, name)

    def until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"expected {what}; {self.goals.text}"
            self.executor.spin_once(timeout_sec=0.02)

    def end(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def asker(request: pytest.FixtureRequest) -> Iterator[Asker]:
    asker = Asker(request.node.name)
    yield asker
    asker.end()


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> Iterator[GripperDriver]:
    def make(context: Context) -> GripperDriver:
        return GripperDriver(request.node.name, context=context, namespace=NAMESPACE)

    with spun(make) as driver:
        yield driver


def test_a_goal_is_reached(asker, driver):
    asker.until(asker.goals.ready, "a server")
    asker.goals.send(goal(0.012))
    asker.until(lambda: "reached" in asker.goals.text, "the goal")
    assert driver.asked == [12]
    assert not asker.goals.failed


def test_a_refused_goal_has_failed_once(asker, driver):
    driver.accepts = False
    asker.until(asker.goals.ready, "a server")
    asker.goals.send(goal(0.012))
    asker.until(lambda: asker.goals.failed, "a refusal")
    assert asker.goals.text == "the goal was refused"
    assert asker.goals.just_failed()
    assert not asker.goals.just_failed()


def test_a_goal_that_is_given_up_has_failed_until_the_next_one(asker, driver):
    driver.ends = "aborted"
    asker.until(asker.goals.ready, "a server")
    asker.goals.send(goal(0.012))
    asker.until(lambda: asker.goals.failed, "a failure")
    assert asker.goals.text == "the goal was aborted"
    driver.ends = "reached"
    asker.goals.send(goal(0.013))
    assert not asker.goals.failed
    asker.until(lambda: "reached" in asker.goals.text, "the goal")
    assert not asker.goals.just_failed()


def test_a_new_goal_takes_the_one_before_back(asker, driver):
    driver.ends = "never"
    asker.until(asker.goals.ready, "a server")
    asker.goals.send(goal(0.012))
    asker.until(lambda: asker.goals.text == "on the way", "a goal on its way")
    driver.ends = "reached"
    asker.goals.send(goal(0.03))
    asker.until(lambda: driver.cancelled == [12] and "reached" in asker.goals.text, "the second goal alone")
    assert not asker.goals.failed


def test_of_goals_sent_at_once_the_last_one_counts(asker, driver):
    driver.ends = "never"
    asker.until(asker.goals.ready, "a server")
    asker.goals.send(goal(0.012))
    asker.goals.send(goal(0.03))
    asker.until(lambda: driver.cancelled == [12], "the first goal taken back")
    asker.until(lambda: asker.goals.text == "on the way", "the second goal on its way")
    assert driver.asked == [12, 30]


def test_a_server_that_is_not_there_is_not_ready(asker):
    assert not asker.goals.ready()

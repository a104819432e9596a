"""A driver of a gripper that takes goals, for tests: without control_msgs goals are numbers of Fibonacci."""

from __future__ import annotations

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future
from test_msgs.action import Fibonacci


def goal(position: float, max_effort: float = 0.0) -> Fibonacci.Goal:
    """A place in thousandths, in the place of a goal of GripperCommand."""
    return Fibonacci.Goal(order=round(1000 * position))


class GripperDriver(Node):
    """Serves one action.

    Args:
        name: of the action.
        **kwargs: of the node.

    Attributes:
        asked: goals so far, refused ones too.
        cancelled: goals that were taken back.
        accepts: whether it takes goals.
        ends: what becomes of a goal: `reached`, `aborted`, or `never`, until it is taken back.
    """

    def __init__(self, name: str, **kwargs: object) -> None:
        super().__init__("gripper_driver", **kwargs)
        self.asked: list[int] = []
        self.cancelled: list[int] = []
        self.accepts, self.ends = True, "reached"
        self._waiting: dict[int, Future] = {}
        self.server = ActionServer(
            self,
            Fibonacci,
            name,
            execute_callback=self._execute,
            goal_callback=self._judge,
            cancel_callback=self._take_back,
        )

    def _judge(self, request: Fibonacci.Goal) -> GoalResponse:
        self.asked.append(request.order)
        return GoalResponse.ACCEPT if self.accepts else GoalResponse.REJECT

    def _take_back(self, handle: ServerGoalHandle) -> CancelResponse:
        self.cancelled.append(handle.request.order)
        self._waiting[handle.request.order].set_result(None)
        return CancelResponse.ACCEPT

    async def _execute(self, handle: ServerGoalHandle) -> Fibonacci.Result:
        if self.ends == "never":
            self._waiting[handle.request.order] = Future()
            await self._waiting[handle.request.order]
            handle.canceled()
        elif self.ends == "aborted":
            handle.abort()
        else:
            handle.succeed()
        return Fibonacci.Result()

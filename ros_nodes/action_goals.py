"""`ActionGoals`: goals for one action server, each in the place of the one before."""

from __future__ import annotations

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.node import Node
from rclpy.task import Future

ENDS = {
    GoalStatus.STATUS_SUCCEEDED: "reached",
    GoalStatus.STATUS_CANCELED: "cancelled by its server",
    GoalStatus.STATUS_ABORTED: "aborted",
}


class ActionGoals:
    """Sends goals without waiting, and remembers how the newest one fares.

    Args:
        node: who asks, and whose executor hears the answers.
        action_type: of the action.
        name: of the server.

    Attributes:
        text: what became of the newest goal, for people.
        failed: whether it was refused, or ended otherwise than reached.
    """

    def __init__(self, node: Node, action_type: type, name: str) -> None:
        self._client = ActionClient(node, action_type, name)
        self.name = name
        self.text, self.failed = "no goal yet", False
        self._number, self._failures_told = 0, 0
        self._running: ClientGoalHandle | None = None

    def ready(self) -> bool:
        """Whether somebody serves the action."""
        return self._client.server_is_ready()

    def just_failed(self) -> bool:
        """Whether the newest goal failed since this was asked last."""
        told, self._failures_told = self._failures_told, self._number if self.failed else 0
        return self.failed and told != self._number

    def send(self, goal: object) -> None:
        """Ask for a goal, and no more for the one before."""
        self._number += 1
        self.failed, self.text = False, "asks for a goal"
        if self._running is not None:
            self._running.cancel_goal_async()
            self._running = None
        number = self._number
        self._client.send_goal_async(goal).add_done_callback(lambda answer: self._on_answer(answer, number))

    def _on_answer(self, answer: Future, number: int) -> None:
        handle = answer.result()
        if number != self._number:
            if handle.accepted:
                handle.cancel_goal_async()
        elif not handle.accepted:
            self.failed, self.text = True, "the goal was refused"
        else:
            self._running, self.text = handle, "on the way"
            handle.get_result_async().add_done_callback(lambda result: self._on_result(result, number))

    def _on_result(self, result: Future, number: int) -> None:
        if number != self._number:
            return
        self._running = None
        status = result.result().status
        self.failed = status != GoalStatus.STATUS_SUCCEEDED
        self.text = f"the goal was {ENDS.get(status, f'ended with status {status}')}"

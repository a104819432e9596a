"""`GraphClient`: a node that asks other nodes for things, one after the other, and never waits without a limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters, SetParametersAtomically
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.task import Future
from std_srvs.srv import Trigger

POLL_S = 0.05
ASK_AGAIN_S = 1.0


class StopRequestedError(Exception):
    """Somebody asked the process to end while it waited."""


class GraphError(Exception):
    """Another node did not do what was asked of it, or not in time."""


class GraphClient(Node):
    """Calls services and waits for conditions, spinning its own executor meanwhile.

    Args:
        name: node name.
        stop_requested: tells whether waiting should end early.
    """

    def __init__(self, name: str, stop_requested: Callable[[], bool]) -> None:
        super().__init__(name)
        self._stop_requested = stop_requested
        self._executor_of_waits = SingleThreadedExecutor()
        self._executor_of_waits.add_node(self)
        self._clients_by_name: dict[str, Client] = {}
        self._first_asked: list[Client] = []

    def wait_until(self, condition: Callable[[], bool], limit_s: float, what: str) -> None:
        """Handle callbacks until the condition holds.

        Raises:
            GraphError: it did not within `limit_s` seconds of wall clock; says `what` was expected.
            StopRequestedError: the process is to end.
        """
        limit = time.monotonic() + limit_s
        while not condition():
            if self._stop_requested():
                raise StopRequestedError
            if time.monotonic() > limit:
                raise GraphError(f"expected {what} within {limit_s:g} s")
            self._executor_of_waits.spin_once(timeout_sec=POLL_S)

    def listen(self, duration_s: float) -> None:
        """Handle callbacks for a while.

        Raises:
            StopRequestedError: the process is to end.
        """
        end = time.monotonic() + duration_s
        while time.monotonic() < end:
            if self._stop_requested():
                raise StopRequestedError
            self._executor_of_waits.spin_once(timeout_sec=POLL_S)

    def call(self, kind: type, service: str, request: Any, limit_s: float) -> Any:
        """Call a service of a node, `<node>/<service>`, once, and return its response.

        Raises:
            GraphError: nobody offers the service, or it did not answer in time.
        """
        if service not in self._clients_by_name:
            client = self.create_client(kind, service)
            self.wait_until(client.service_is_ready, limit_s, f"the service {service}")
            self._be_found_by(service.rpartition("/")[0], limit_s)
            self._clients_by_name[service] = client
        client = self._clients_by_name[service]
        self.wait_until(client.service_is_ready, limit_s, f"the service {service}")
        future = client.call_async(request)
        self.wait_until(future.done, limit_s, f"an answer of {service}")
        return future.result()

    def _be_found_by(self, node: str, limit_s: float) -> None:
        """Wait until the answers of a node reach all clients that this one has.

        A node that has not found a client yet answers it into nothing (rmw_fastrtps waits 0.1 s for it), and a request
        may do harm the second time. So the node is first asked for no parameters, as often as that takes, through a
        client that is the newest: clients are found in the order in which they were made.
        """
        service = f"{node}/get_parameters"
        client = self.create_client(GetParameters, service)
        self._first_asked.append(client)
        self.wait_until(client.service_is_ready, limit_s, f"the service {service}")
        answers: list[Future] = []
        begun = time.monotonic()

        def answered() -> bool:
            if time.monotonic() - begun >= ASK_AGAIN_S * len(answers):
                answers.append(client.call_async(GetParameters.Request()))
            return any(answer.done() for answer in answers)

        self.wait_until(answered, limit_s, f"an answer of {service}")

    def trigger(self, service: str, limit_s: float) -> str:
        """Call a Trigger service and return its message.

        Raises:
            GraphError: it reported failure, or see `call`.
        """
        response = self.call(Trigger, service, Trigger.Request(), limit_s)
        if not response.success:
            raise GraphError(f"{service} refused: {response.message}")
        return response.message

    def set_parameters_of(self, node: str, values: Mapping[str, Any], limit_s: float) -> None:
        """Set parameters of another node, all or none; lists are lists of text.

        Raises:
            GraphError: the node refused them, or see `call`.
        """
        request = SetParametersAtomically.Request(
            parameters=[_parameter(name, value).to_parameter_msg() for name, value in values.items()]
        )
        result = self.call(SetParametersAtomically, f"{node}/set_parameters_atomically", request, limit_s).result
        if not result.successful:
            raise GraphError(f"{node} refused the parameters {dict(values)}: {result.reason}")

    def parameters_of(self, node: str, names: Sequence[str], limit_s: float) -> dict[str, Any]:
        """Values of parameters of another node, by name.

        Raises:
            GraphError: the node lacks one of them, or see `call`.
        """
        request = GetParameters.Request(names=list(names))
        values = self.call(GetParameters, f"{node}/get_parameters", request, limit_s).values
        found = {name: parameter_value_to_python(value) for name, value in zip(names, values, strict=False)}
        missing = [name for name in names if found.get(name) is None]
        if missing:
            raise GraphError(f"{node} has no parameters {missing}")
        return found

    def change_state_of(self, node: str, transition: int, label: str, limit_s: float) -> None:
        """Lead a lifecycle node through a transition.

        Args:
            node: its name.
            transition: id, a constant of lifecycle_msgs/Transition.
            label: name of the transition, for messages.
            limit_s: seconds that it may take.

        Raises:
            GraphError: the transition failed, or see `call`.
        """
        request = ChangeState.Request()
        request.transition.id = transition
        if not self.call(ChangeState, f"{node}/change_state", request, limit_s).success:
            raise GraphError(f"{node} could not {label}; its log and diagnostics say why")

    def end(self) -> None:
        """Destroy the node and its executor."""
        self._executor_of_waits.shutdown()
        self.destroy_node()


def _parameter(name: str, value: Any) -> Parameter:
    # rclpy takes an empty list without a type for a byte array.
    return Parameter(name, Parameter.Type.STRING_ARRAY if isinstance(value, list) else None, value)

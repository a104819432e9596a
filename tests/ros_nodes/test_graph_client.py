from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import rclpy
from rcl_interfaces.srv import GetParameters
from rclpy.context import Context
from rclpy.node import Node
from std_srvs.srv import Trigger

from ros_nodes.graph_client import GraphClient, GraphError
from tests.ros_nodes.spun_node import spun

LIMIT_S = 20.0


class Server(Node):
    """Counts what it is asked, and answers into nothing at first, as a node does that has not found its client yet."""

    def __init__(self, context: Context) -> None:
        super().__init__("server", context=context, namespace="/asked", start_parameter_services=False)
        self.asked: Counter[str] = Counter()
        self.lost_answers = 0
        self.create_service(Trigger, "~/reset", self._on_reset)
        parameters = self.create_service(GetParameters, "~/get_parameters", self._on_parameters)
        self._send = parameters.send_response
        parameters.send_response = self._send_or_lose

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.asked["reset"] += 1
        response.success, response.message = True, "done"
        return response

    def _on_parameters(self, _: GetParameters.Request, response: GetParameters.Response) -> GetParameters.Response:
        self.asked["get_parameters"] += 1
        return response

    def _send_or_lose(self, response: GetParameters.Response, header: object) -> None:
        if self.asked["get_parameters"] > self.lost_answers:
            self._send(response, header)


@pytest.fixture
def server() -> Iterator[Server]:
    with spun(Server) as node:
        yield node


@pytest.fixture
def make_client() -> Iterator[Callable[[], GraphClient]]:
    rclpy.init()
    made: list[GraphClient] = []

    def make() -> GraphClient:
        made.append(GraphClient(f"client{len(made)}", lambda: False))
        return made[-1]

    yield make
    for client in made:
        client.end()
    rclpy.try_shutdown()


def test_a_server_that_does_not_know_its_client_yet_is_asked_once_when_it_does(server, make_client):
    server.lost_answers = 2
    client = make_client()
    assert client.trigger("/asked/server/reset", LIMIT_S) == "done"
    assert server.asked == {"get_parameters": 3, "reset": 1}
    assert client.trigger("/asked/server/reset", LIMIT_S) == "done"
    assert server.asked == {"get_parameters": 3, "reset": 2}, "expected a client that is known to ask at once"


def test_nothing_is_asked_of_a_server_whose_answers_do_not_come(server, make_client):
    server.lost_answers = 1000
    with pytest.raises(GraphError, match="an answer of /asked/server/get_parameters within"):
        make_client().trigger("/asked/server/reset", 1.5)
    assert server.asked["reset"] == 0

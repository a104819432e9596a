from __future__ import annotations

from collections.abc import Iterator

import pytest
from rclpy.context import Context
from rclpy.node import Node
from std_srvs.srv import Trigger

from ros_nodes.trigger import main
from tests.ros_nodes.spun_node import spun


def told(context: Context) -> Node:
    """A node with a parameter and a service that tells it."""
    node = Node("server", context=context, namespace="/triggered")
    node.declare_parameter("count", 1)

    def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        count = node.get_parameter("count").value
        response.success, response.message = count > 0, f"count is {count}"
        return response

    node.create_service(Trigger, "~/tell", answer)
    return node


@pytest.fixture
def server() -> Iterator[Node]:
    with spun(told) as node:
        yield node


def test_parameters_are_set_and_a_service_is_called_and_its_answer_told(server, capsys):
    assert main(["/triggered/server/tell"]) == 0
    assert "count is 1" in capsys.readouterr().out
    assert main(["/triggered/server/tell", "--set", "count=5"]) == 0
    assert "count is 5" in capsys.readouterr().out


def test_a_refusal_is_told_and_is_a_failure(server, capsys):
    assert main(["/triggered/server/tell", "--set", "count=0"]) == 1
    assert "refused: count is 0" in capsys.readouterr().err
    assert main(["/triggered/server/tell", "--set", "nothing=1"]) == 1
    assert "refused the parameters" in capsys.readouterr().err


def test_a_service_that_nobody_offers_is_named(capsys):
    assert main(["/nobody/reset", "--limit-s", "0.2"]) == 1
    assert "/nobody/reset" in capsys.readouterr().err

"""Call a std_srvs/Trigger service where there is no `ros2 service call`: `python -m ros_nodes.trigger NAME`.

For example `python -m ros_nodes.trigger simulator_node/reset --set episode.index=3`, or `recorder_node/start`. Settings
go to the node of the service first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import rclpy
import tyro
import yaml

from ros_nodes.graph_client import GraphClient, GraphError
from ros_nodes.transport import use_shared_memory_profile


@dataclass(frozen=True, slots=True)
class Arguments:
    """Call a Trigger service.

    Attributes:
        service: its name, `<node>/<service>`.
        set: parameters of the node to set before, as `name=value`.
        limit_s: how long to wait for an answer, seconds.
    """

    service: Annotated[str, tyro.conf.Positional]
    set: tuple[str, ...] = ()
    limit_s: float = 20.0


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = tyro.cli(Arguments, args=args, prog="python -m ros_nodes.trigger", description=__doc__)
    use_shared_memory_profile()
    rclpy.init()
    client = GraphClient("trigger", lambda: False)
    try:
        if arguments.set:
            pairs = (entry.partition("=")[::2] for entry in arguments.set)
            values = {name: yaml.safe_load(value) for name, value in pairs}
            client.set_parameters_of(arguments.service.rpartition("/")[0], values, arguments.limit_s)
        print(client.trigger(arguments.service, arguments.limit_s))
    except (GraphError, yaml.YAMLError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        client.end()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())

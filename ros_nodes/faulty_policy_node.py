"""`faulty_policy_node`: a `policy_node` whose policy fails on demand, by the parameter `fault`, while it runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from policies.execution.faulty_policy import FaultyPolicy, PolicyFault
from policies.execution.policy_runner import PolicyRunner
from ros_nodes.node_process import run_node
from ros_nodes.params import declare, follow
from ros_nodes.policy_node import PolicyNode


@dataclass(frozen=True, slots=True)
class FaultConfig:
    """What is wrong with the policy.

    Attributes:
        fault: see `policies.execution.faulty_policy.FaultyPolicy`.
    """

    fault: PolicyFault = "none"


class FaultyPolicyNode(PolicyNode):
    """The node of a policy that works, with a `FaultyPolicy` around it."""

    def __init__(self) -> None:
        self._fault = FaultConfig()
        super().__init__()
        self._set_fault(declare(self, FaultConfig, read_only=False))
        follow(self, self._fault, "", self._set_fault)

    def load(self) -> tuple[PolicyRunner, str | None]:
        """Load the policy, and let it fail from then on."""
        runner, sha256 = super().load()
        runner.policy = FaultyPolicy(runner.policy, lambda: self._fault.fault)
        return runner, sha256

    def _set_fault(self, config: FaultConfig) -> None:
        self._fault = config


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(FaultyPolicyNode, args)


if __name__ == "__main__":
    sys.exit(main())

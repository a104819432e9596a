"""`faulty_policy_node`: a `policy_node` whose policy fails on demand, by the parameter `fault`, while it runs.

By `least_inference_s` it is slow from the beginning, as on a lesser machine.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from policies.execution.faulty_policy import FaultyPolicy, PolicyFault
from policies.execution.policy_runner import PolicyRunner
from policies.execution.slow_policy import SlowPolicy
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


@dataclass(frozen=True, slots=True)
class SlownessConfig:
    """How slow the policy is made.

    Attributes:
        least_inference_s: seconds that an answer takes at least.
    """

    least_inference_s: float = field(default=0.0, metadata={"range": (0.0, 60.0)})


class FaultyPolicyNode(PolicyNode):
    """The node of a policy that works, made slow or with a `FaultyPolicy` around it."""

    def __init__(self) -> None:
        self._fault = FaultConfig()
        super().__init__()
        self._least_inference_s = declare(self, SlownessConfig).least_inference_s
        self._set_fault(declare(self, FaultConfig, read_only=False))
        follow(self, self._fault, "", self._set_fault)

    def load(self) -> tuple[PolicyRunner, str | None]:
        """Load the policy, and let it fail from then on."""
        runner, sha256 = super().load()
        if self._least_inference_s:
            runner = PolicyRunner(SlowPolicy(runner.policy, self._least_inference_s), self._spec, self._runner_config)
        runner.policy = FaultyPolicy(runner.policy, lambda: self._fault.fault)
        return runner, sha256

    def _set_fault(self, config: FaultConfig) -> None:
        self._fault = config


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(FaultyPolicyNode, args)


if __name__ == "__main__":
    sys.exit(main())

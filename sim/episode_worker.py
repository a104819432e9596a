"""`EpisodeWorker`: one policy and one world that run episode after episode."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from policies.execution.arm_gateway import ArmGateway, GatewayConfig
from policies.execution.chunk_scheduler import SchedulerConfig, SchedulerMode
from policies.execution.policy_runner import PolicyRunner, RunnerConfig
from policies.interface import Policy, load_policy
from policies.robots import get_robot
from sim.episode import EpisodeResult, run_episode
from sim.episode_id import EpisodeId
from sim.perturbation import Perturbation
from sim.protocol import EvaluationProtocol
from sim.videos import Film
from sim.worlds import expert_policy, make_film, make_world

EXPERT = "expert"
"""Name of the policy that knows the state of the simulation."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker builds.

    Attributes:
        policy: `expert`, the name of a shipped policy, a directory, or a hub id.
        protocol: what is asked of it.
        device: torch device of the policy.
    """

    policy: str
    protocol: EvaluationProtocol
    device: str = "cpu"


class EpisodeWorker:
    """Runs the episodes of one protocol with one policy, loaded once.

    Args:
        config: the policy and the protocol.

    Raises:
        FileNotFoundError: no such policy.
        ValueError: the policy cannot be loaded, or is for another robot or control rate than the protocol's.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self._protocol = protocol = config.protocol
        policy = None if config.policy == EXPERT else _load(config)
        cameras = () if policy is None else tuple(policy.cameras)
        self._world = make_world(protocol, cameras)
        robot = self._world.robot
        self._runner = PolicyRunner(
            policy or expert_policy(self._world),
            robot,
            RunnerConfig(SchedulerConfig(**protocol.execution.get("scheduler", {}))),
        )
        self._gateway = ArmGateway(robot, GatewayConfig())
        self._perturbation = Perturbation(protocol.blank_images, protocol.shuffle_instructions)
        self._film: Film | None = None

    def run(self, episode: EpisodeId, filmed: bool = False) -> EpisodeResult:
        """Run one episode; what ran before has no influence on it."""
        if filmed and self._film is None:
            self._film = make_film(self._world)
        return run_episode(
            self._runner,
            self._gateway,
            self._world,
            episode,
            self._perturbation,
            query_steps=self._protocol.query_steps,
            film=self._film if filmed else None,
        )


def execution_settings(scheduler: SchedulerMode = "receding_horizon") -> dict[str, Any]:
    """Settings of scheduling and safety as every worker uses them, for `EvaluationProtocol.execution`."""
    return {"scheduler": asdict(SchedulerConfig(scheduler)), "safety": asdict(GatewayConfig().limits)}


def _load(config: WorkerConfig) -> Policy:
    policy = load_policy(config.policy, config.device, config.protocol.robot)
    protocol = config.protocol
    for name, expected in (("robot", get_robot(protocol.robot).name), ("control_hz", protocol.control_hz)):
        found = getattr(policy, name)
        if found != expected:
            raise ValueError(f"policy {config.policy!r}: {name}: the protocol has {expected!r}, the policy {found!r}")
    return policy

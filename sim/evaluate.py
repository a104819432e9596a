"""`python -m sim.evaluate`: measure a policy on the simulated tasks and write a report.

Runs in process and in lockstep. The same evaluation over the ROS graph is `python -m ros_nodes.evaluate`; both end in
`sim.summary.write_results`.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from tqdm import tqdm

from policies.execution.chunk_scheduler import SchedulerMode
from policies.loading import policy_sha256, told_query_steps
from sim.episode import EpisodeResult
from sim.episode_worker import EXPERT, WorkerConfig, execution_settings
from sim.executors import Job, run_in_processes, run_on_ray
from sim.protocol import EvaluationProtocol
from sim.suites import SEVERITIES, get_suite
from sim.summary import PolicyDescription, RunDescription, write_results
from sim.tasks import named_tasks
from sim.worlds import world_settings


@dataclass(frozen=True, slots=True)
class Arguments:
    """Measure a policy on the simulated tasks; write summary.json, episodes.parquet, videos/ and report.html.

    Attributes:
        policy: expert, random, noop, mean_action, the name of a shipped policy, a directory, or a hub id.
        output: directory for the results; a run that is there is replaced.
        task: tasks of one robot, separated by commas, or "all" those of the panda; the robot follows from them.
            gym-aloha's are gym_aloha/transfer_cube and gym_aloha/insertion.
        suite: variation suites, separated by commas.
        severity: grades of the suites from 1 (mild) to 3 (strong), separated by commas.
        episodes: episodes per task, suite and severity.
        seed: seed of the run; demonstrations use other seeds.
        workers: episodes that run at the same time.
        executor: where they run: processes of this machine, or a Ray cluster.
        ray_address: host:port of the head of a running Ray cluster; without it Ray is started on this machine.
        query_steps: control steps between two queries of the policy; what its files tell if left out.
        control_hz: control steps per second; those of the robot if left out.
        blank_images: show the policy black images and a flat depth.
        shuffle_instructions: give the policy the instruction of an episode with another target.
        scheduler: how overlapping chunks of the policy become one motion.
        device: torch device of the policy.
        videos: film the first so many episodes of each task, suite and severity.
        joint_targets: store all joint targets in episodes.parquet, not only their hashes.
        robot: name or YAML file of another robot with as many arms that is to try the tasks.
        json: print summary.json instead of a table.
    """

    policy: str
    output: Path
    task: str = "all"
    suite: str = "nominal"
    severity: str = "1"
    episodes: int = 10
    seed: int = 0
    workers: int = 1
    executor: Literal["process", "ray"] = "process"
    ray_address: str | None = None
    query_steps: int | None = None
    control_hz: float | None = None
    blank_images: bool = False
    shuffle_instructions: bool = False
    scheduler: SchedulerMode = "receding_horizon"
    device: str = "cpu"
    videos: int = 1
    joint_targets: bool = False
    robot: str = ""
    json: bool = False

    def protocol(self) -> EvaluationProtocol:
        """What is asked of the policy.

        Raises:
            ValueError: unknown task or suite, tasks of different robots, or a number out of range.
        FileNotFoundError: no such policy; lists what is shipped.
        """
        tasks = named_tasks(self.task)
        settings = world_settings(tasks, self.robot)
        if self.control_hz is not None:
            if not self.control_hz > 0:
                raise ValueError(f"control_hz: expected > 0, found {self.control_hz}")
            settings["control_hz"] = self.control_hz
        protocol = EvaluationProtocol(
            tasks=tasks,
            suites=_names(self.suite),
            severities=tuple(int(grade) for grade in _names(self.severity)),
            episodes=self.episodes,
            seed=self.seed,
            query_steps=self._query_steps(),
            blank_images=self.blank_images,
            shuffle_instructions=self.shuffle_instructions,
            execution=execution_settings(self.scheduler),
            **settings,
        )
        for suite in protocol.suites:
            get_suite(suite)
        if not set(protocol.severities) <= set(SEVERITIES):
            raise ValueError(f"severity: expected one of {SEVERITIES}, found {self.severity!r}")
        return protocol

    def _query_steps(self) -> int:
        if self.query_steps is None:
            return 1 if self.policy == EXPERT else told_query_steps(self.policy)
        return self.query_steps


def evaluate(arguments: Arguments, command: str) -> dict[str, Any]:
    """Run an evaluation and write its results.

    Args:
        arguments: what to run.
        command: shell command to note in the report.

    Returns:
        The content of `summary.json`.
    """
    if arguments.workers < 1:
        raise ValueError(f"workers: expected >= 1, found {arguments.workers}")
    protocol = arguments.protocol()
    policy = describe_policy(arguments.policy)
    jobs = [(episode, episode.index < arguments.videos) for episode in protocol.episode_ids()]
    results = list(tqdm(_run(arguments, protocol, jobs), "episodes", len(jobs), unit="ep", disable=arguments.json))
    run = RunDescription(policy, protocol, command, workers=min(arguments.workers, len(jobs)))
    return write_results(arguments.output, results, run, arguments.joint_targets)


def describe_policy(name: str) -> PolicyDescription:
    """Name and hash of a policy.

    Raises:
        FileNotFoundError: no such policy; lists what is shipped.
    """
    return PolicyDescription(name, None if name == EXPERT else policy_sha256(name))


def format_table(summary: Mapping[str, Any]) -> str:
    """Lay a summary out as text: a line for each task, suite and severity, and one for all."""
    header = (
        f"{'task':<24}{'suite':<22}{'severity':>9}{'success':>10}{'rate':>8}{'wilson 95 %':>16}"
        f"{'progress':>10}{'steps':>8}"
    )
    lines = [header, "-" * len(header)]
    total = {"task": "all", "suite": "", "severity": "", **summary["overall"]}
    for cell in [*summary["conditions"], total]:
        low, high = cell["wilson_95"]
        count = f"{cell['successes']}/{cell['episodes']}"
        lines.append(
            f"{cell['task']:<24}{cell['suite']:<22}{cell['severity']:>9}{count:>10}{100 * cell['success_rate']:>6.1f} %"
            f"{f'{100 * low:.1f} .. {100 * high:.1f} %':>16}{100 * cell['mean_progress']:>8.0f} %"
            f"{cell['mean_steps']:>8.1f}"
        )
    if latency := summary["overall"]["latency_ms"]:
        lines.append("inference: " + ", ".join(f"{name} {value:.1f} ms" for name, value in latency.items()))
    return "\n".join(lines)


def _run(arguments: Arguments, protocol: EvaluationProtocol, jobs: Sequence[Job]) -> Iterator[EpisodeResult]:
    config = WorkerConfig(arguments.policy, protocol, arguments.device)
    if arguments.executor == "ray":
        return run_on_ray(config, jobs, arguments.workers, arguments.ray_address)
    return run_in_processes(config, jobs, arguments.workers)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    given = list(sys.argv[1:] if args is None else args)
    arguments = tyro.cli(Arguments, args=given, prog="python -m sim.evaluate")
    try:
        summary = evaluate(arguments, shlex.join(["python", "-m", "sim.evaluate", *given]))
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(summary, indent=2) if arguments.json else format_table(summary))
    if not arguments.json:
        print(f"report: {arguments.output / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

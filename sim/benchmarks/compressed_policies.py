"""What do fewer bits cost a policy in success, and what do they save?

    python -m sim.benchmarks.compressed_policies --policies whole=NAME int8=DIR int4=DIR --task NAMES --output DIR

All policies are tried on the same episodes, so the differences to the first are paired. Their answers to one
observation are timed in turns, in one process and with one thread, which makes the ratios comparable.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import nn

from policies.interface import Observation, Policy, load_policy
from policies.loading import find_policy
from policies.machine import describe_machine, library_versions
from representation.data.frames import expect_empty
from sim.compare import compare
from sim.evaluate import Arguments, evaluate
from sim.results_table import Row, format_rows, rows_of
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.summary import read_run

MEGABYTE = 1e6


@dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        policies: each as LABEL=NAME or LABEL=DIRECTORY; the others are compared with the first.
        task: tasks to try, separated by commas.
        output: directory to write; must not hold files.
        episodes: of each task.
        query_steps: control steps between two queries.
        workers: processes that simulate.
        answers: of each policy that are timed.
        seed: of the episodes.
    """

    policies: tuple[str, ...]
    task: str
    output: Path
    episodes: int = 25
    query_steps: int = 1
    workers: int = 2
    answers: int = 60
    seed: int = 0

    def named(self) -> dict[str, str]:
        """Places by label.

        Raises:
            ValueError: fewer than two, or one without a label.
        """
        parts = [policy.partition("=") for policy in self.policies]
        if len(parts) < 2 or not all(label and place for label, _, place in parts):
            raise ValueError(f"--policies: expected two or more as LABEL=NAME, found {' '.join(self.policies)}")
        return {label: place for label, _, place in parts}


def run(settings: Settings) -> dict[str, Any]:
    """Try, time and weigh all policies.

    Returns:
        `settings`, `machine`, `versions`; `table`, successes as Markdown; and by label in `policies` the
        `success_rate`, the `difference` to the first as `sim.compare` tells it (None for the first), megabytes of
        weights in memory (`memory_mb`) and on disk (`disk_mb`), and milliseconds of an answer (`answer_ms`: p50, p95).
    """
    named = settings.named()
    runs = {}
    for label, place in named.items():
        words = f"python -m sim.benchmarks.compressed_policies, {label}"
        evaluate(_trial(settings, place, settings.output / label), words)
        runs[label] = read_run(settings.output / label)
    torch.set_num_threads(1)
    loaded = {label: load_policy(place) for label, place in named.items()}
    answers = timed(loaded, settings)
    first = next(iter(named))
    rows: list[Row] = [row for label, found in runs.items() for row in rows_of(label, found)]
    return {
        "settings": {name: str(value) for name, value in asdict(settings).items()},
        "machine": describe_machine(),
        "versions": library_versions(),
        "table": format_rows(rows),
        "policies": {
            label: {
                "success_rate": runs[label].summary["overall"]["success_rate"],
                "difference": None if label == first else compare(runs[first], runs[label])["overall"],
                "memory_mb": memory_mb(policy),
                "disk_mb": disk_mb(find_policy(named[label])),
                "answer_ms": [float(np.percentile(answers[label], q)) for q in (50, 95)],
            }
            for label, policy in loaded.items()
        },
    }


def timed(policies: Mapping[str, Policy], settings: Settings) -> dict[str, list[float]]:
    """Milliseconds of answers to one observation, the policies in turns, after one answer of each to warm up."""
    found: dict[str, list[float]] = {label: [] for label in policies}
    observation = _observation(next(iter(policies.values())), settings)
    for number in range(settings.answers + 1):
        for label, policy in policies.items():
            policy.reset(settings.seed)
            began = time.perf_counter()
            policy.act(observation)
            if number:
                found[label].append(1000 * (time.perf_counter() - began))
    return found


def memory_mb(policy: Policy) -> float:
    """Megabytes of the network's tensors, and of those of an image tower."""
    parts = [getattr(policy, name, None) for name in ("model", "tower")]
    tensors = [t for part in parts if isinstance(part, nn.Module) for t in (*part.parameters(), *part.buffers())]
    return sum(t.numel() * t.element_size() for t in tensors) / MEGABYTE


def disk_mb(directory: Path) -> float:
    """Megabytes of a policy's weights files."""
    return sum(path.stat().st_size for path in directory.rglob("*.safetensors")) / MEGABYTE


def _observation(policy: Policy, settings: Settings) -> Observation:
    config = SimulationConfig.of(policy.robot, cameras=tuple(policy.cameras), control_hz=policy.control_hz)
    simulation = TabletopSimulation(config)
    protocol = _trial(settings, "noop", settings.output).protocol()
    simulation.reset(next(iter(protocol.episode_ids())))
    observation = simulation.observe()
    simulation.close()
    return observation


def _trial(settings: Settings, policy: str, place: Path) -> Arguments:
    return Arguments(
        policy=policy,
        output=place,
        task=settings.task,
        episodes=settings.episodes,
        seed=settings.seed,
        workers=settings.workers,
        query_steps=settings.query_steps,
        videos=0,
        json=True,
    )


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out as Markdown."""
    machine, policies = result["machine"], result["policies"]
    whole = next(iter(policies.values()))
    lines = [
        result["table"],
        "",
        "| policy | success | minus the first (95 %) | weights in memory, MB | on disk, MB | answer p50, ms | p95 "
        "| p50 over the first's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for label, one in policies.items():
        difference = "" if one["difference"] is None else _interval(one["difference"])
        p50, p95 = one["answer_ms"]
        lines.append(
            f"| {label} | {100 * one['success_rate']:.1f} % | {difference} | {one['memory_mb']:.2f} | "
            f"{one['disk_mb']:.2f} | {p50:.1f} | {p95:.1f} | {p50 / whole['answer_ms'][0]:.2f} |"
        )
    lines += ["", f"{machine['cpu']}, {machine['cores']} cores, {machine['accelerator'] or 'no GPU'}"]
    return "\n".join(lines)


def _interval(difference: Mapping[str, Any]) -> str:
    low, high = difference["success_difference_95"]
    return f"{100 * difference['success_difference']:+.1f} % ({100 * low:+.1f} to {100 * high:+.1f})"


def main(args: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line; writes `result.json` and `result.md` beside the runs."""
    settings = tyro.cli(Settings, args=args, description=__doc__)
    expect_empty(settings.output)
    result = run(settings)
    (settings.output / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    (settings.output / "result.md").write_text(format_text(result) + "\n")
    print(format_text(result))


if __name__ == "__main__":
    main()

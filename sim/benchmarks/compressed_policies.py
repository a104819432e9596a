"""What do fewer bits cost a policy in success, and what do they save?

    python -m sim.benchmarks.compressed_policies --policies whole=NAME int8=DIR int4=DIR --task NAMES --output DIR

All policies are tried on the same episodes, so the differences to the first are paired. Their answers to one
observation are timed in turns, in one process and with one thread, which makes the ratios comparable. With `--write`
the result joins those of other policies in docs/benchmarks/compressed_policies.json, and the page is made anew.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import nn

from policies.compress import BITS_OF_A_MEGABYTE, TABLE_FILE
from policies.interface import Observation, Policy, load_policy
from policies.json_file import write_json
from policies.loading import find_policy, policy_sha256
from policies.machine import describe_machine, library_versions
from representation.data.frames import expect_empty
from sim.benchmarks.low_rank_heads import pooled
from sim.compare import compare
from sim.evaluate import Arguments, evaluate
from sim.results_table import Row, format_rows, rows_of
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.summary import read_run

MEGABYTE = 1e6
RESULTS = Path("docs/benchmarks/compressed_policies.json")


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
        seeds: of the episodes, as many for each.
        tried: run of `policies.compress` whose table of formats is told beside; none if left out.
        write: also store the result in docs/benchmarks, under the first policy's name, and make the page anew.
    """

    policies: tuple[str, ...]
    task: str
    output: Path
    episodes: int = 25
    query_steps: int = 1
    workers: int = 2
    answers: int = 60
    seeds: tuple[int, ...] = (0,)
    tried: Path | None = None
    write: bool = False

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"--seeds: expected some that differ, found {self.seeds}")

    def named(self) -> dict[str, str]:
        """Places by label.

        Raises:
            ValueError: fewer than two, or one without a label.
        """
        parts = [policy.partition("=") for policy in self.policies]
        if len(parts) < 2 or not all(label and place for label, _, place in parts):
            raise ValueError(f"--policies: expected two or more as LABEL=NAME, found {' '.join(self.policies)}")
        return {label: place for label, _, place in parts}


def run(settings: Settings, command: str) -> dict[str, Any]:
    """Try, time and weigh all policies.

    Args:
        settings: what is compared.
        command: that asked for it.

    Returns:
        `command`, `settings`, `machine`, `versions`; `formats`, the content of the table of `policies.compress` or
        None; `table`, successes as Markdown; and by label in `policies` the `success_rate`, `successes` by seed, the
        `difference` to the first as `sim.compare` tells it (None for the first), the `sha256` of its files, megabytes
        of weights in memory (`memory_mb`) and on disk (`disk_mb`), and milliseconds of an answer (`answer_ms`: p50 and
        p95).

    Raises:
        FileNotFoundError: a policy or a table that is not there.
    """
    named = settings.named()
    formats = None if settings.tried is None else json.loads((settings.tried / TABLE_FILE).read_text(encoding="utf-8"))
    by_seed, runs = {}, {}
    for label, place in named.items():
        by_seed[label] = []
        for seed in settings.seeds:
            directory = settings.output / label / f"seed_{seed}"
            evaluate(_trial(settings, place, directory, seed), f"{command} # {label}")
            by_seed[label].append(read_run(directory))
        runs[label] = pooled(by_seed[label])
    torch.set_num_threads(1)
    loaded = {label: load_policy(place) for label, place in named.items()}
    answers = timed(loaded, settings)
    first = next(iter(named))
    rows: list[Row] = [row for label, found in runs.items() for row in rows_of(label, found)]
    return {
        "command": command,
        "formats": formats,
        "settings": {name: str(value) for name, value in asdict(settings).items()},
        "machine": describe_machine(),
        "versions": library_versions(),
        "table": format_rows(rows),
        "policies": {
            label: {
                "sha256": policy_sha256(named[label]),
                "success_rate": float(np.mean([one["success"] for one in runs[label].episodes.values()])),
                "successes": [sum(bool(one["success"]) for one in part.episodes.values()) for part in by_seed[label]],
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
            policy.reset(settings.seeds[0])
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
    protocol = _trial(settings, "noop", settings.output, settings.seeds[0]).protocol()
    simulation.reset(next(iter(protocol.episode_ids())))
    observation = simulation.observe()
    simulation.close()
    return observation


def _trial(settings: Settings, policy: str, place: Path, seed: int) -> Arguments:
    return Arguments(
        policy=policy,
        output=place,
        task=settings.task,
        episodes=settings.episodes,
        seed=seed,
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


def format_formats(formats: Mapping[str, Any]) -> str:
    """Lay out what `policies.compress` tried as Markdown."""
    config, trials = formats["config"], formats["trials"]
    whole = trials[0]
    lines = [
        f"Error on {config['validation_frames']} held-out frames of {config['validation_episodes']} episodes; MB are "
        "of network and scales, 16 bits for each number that is not packed.",
        "",
        "| format | rounding | MB | bits over the whole | error | minus the whole |",
        "|---|---|---|---|---|---|",
    ]
    for one in trials:
        share, error = one["bits"] / whole["bits"], one["error"] / whole["error"] - 1
        lines.append(
            f"| {one['format']} | {one['rounding']} | {one['bits'] / BITS_OF_A_MEGABYTE:.3f} | {share:.3f} | "
            f"{one['error']:.5f} | {error:+.2%} |"
        )
    return "\n".join(lines)


def format_page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of all stored results, by the name of the whole policy."""
    parts = [_HEAD]
    for name, result in results.items():
        commands = [*([_PREPARED[name]] if name in _PREPARED else []), result["command"]]
        parts += [f"## `{name}`", "\n".join(["```bash", *commands, "```"])]
        if result["formats"] is not None:
            parts.append(format_formats(result["formats"]))
        parts.append(format_text(result))
    return "\n\n".join(parts) + "\n"


def write(result: Mapping[str, Any], name: str) -> None:
    """Store a result, and make the page of all that are stored."""
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    stored[name] = result
    write_json(RESULTS, stored)
    RESULTS.with_suffix(".md").write_text(format_page(stored), encoding="utf-8")


def main(args: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line; writes `result.json` and `result.md` beside the runs."""
    settings = tyro.cli(Settings, args=args, description=__doc__)
    expect_empty(settings.output)
    result = run(settings, shlex.join(["python", "-m", "sim.benchmarks.compressed_policies", *(args or sys.argv[1:])]))
    if settings.write:
        write(result, next(iter(settings.named().values())))
    (settings.output / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    (settings.output / "result.md").write_text(format_text(result) + "\n")
    print(format_text(result))


_HEAD = """# Compressed policies

What fewer bits cost shipped policies, one of tokens and one of diffusion: the error on held-out demonstrations, and
success, memory and time on the same simulated episodes. How it is done: [compression](../compression.md). What noise in
their activations does: [activation_noise](activation_noise.md).

`whole` has all bits; differences to it are paired. Answers of all policies are timed in turns by one thread. The error
of a policy of tokens is their cross-entropy in nats, that of one of diffusion the mean squared one of sampled chunks in
the unified space."""

_PREPARED = {
    "spatialvla_small": """\
python -m sim.collect --task reach,push,pick,place --episodes 8 --workers 2 --output runs/demonstrations
python -m policies.compress --policy spatialvla_small --dataset runs/demonstrations --output runs/compressed \\
    --validation-frames 160 --calibration-frames 128 --distill-steps 60 --threads 1
python -m policies.compress --policy spatialvla_small --dataset runs/demonstrations --output runs/int8 \\
    --formats int8 --roundings nearest --validation-frames 64
python -m policies.compress --policy spatialvla_small --dataset runs/demonstrations --output runs/int4 \\
    --formats int4 --roundings gptq --validation-frames 64 --calibration-frames 128 --tolerance 1""",
    "rdt_small": """\
for TASK in lift_tray transfer_cube sort; do
    python -m sim.collect --task $TASK --episodes 8 --size 96 --workers 2 --noise.step-std-m 0 \\
        --noise.turn-std-rad 0 --noise.kick-rate 0.05 --noise.kick-step-m 0.015 --noise.kick-turn-rad 0.08 \\
        --noise.kick-steps 1 4 --output runs/$TASK
done
DATA="runs/lift_tray runs/transfer_cube runs/sort"
python -m policies.compress --policy rdt_small --dataset $DATA --output runs/rdt_compressed --validation-episodes 6 \\
    --validation-frames 96 --calibration-frames 96 --formats int8 int4 e2m1 int3 --threads 1
python -m policies.compress --policy rdt_small --dataset $DATA --output runs/rdt_int8 --validation-episodes 6 \\
    --validation-frames 32 --formats int8 --roundings nearest --tolerance 1 --threads 1
python -m policies.compress --policy rdt_small --dataset $DATA --output runs/rdt_int4 --validation-episodes 6 \\
    --validation-frames 32 --calibration-frames 96 --formats int4 --roundings gptq --tolerance 9 --threads 1""",
}


if __name__ == "__main__":
    main()

"""`python -m sim.compare A B`: compare two evaluations, episode by episode.

Both runs saw the same episodes, so the difference is tested within pairs: an exact McNemar test of success, and
bootstrap intervals of the differences in success rate and progress.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from sim.episode_id import EpisodeId
from sim.statistics import bootstrap_difference, mcnemar
from sim.summary import FinishedRun, read_run

_BOOTSTRAP_SEED = 0


@dataclass(frozen=True, slots=True)
class Arguments:
    """Compare two evaluations of the same episodes.

    Attributes:
        first: directory of the run to compare with.
        second: directory of the run to judge; differences are second minus first.
        allow_different: compare although the protocols differ, over the episodes that both have.
        json: print JSON instead of a table.
    """

    first: Annotated[Path, tyro.conf.Positional]
    second: Annotated[Path, tyro.conf.Positional]
    allow_different: bool = False
    json: bool = False


def compare(first: FinishedRun, second: FinishedRun, allow_different: bool = False) -> dict[str, Any]:
    """Compare two runs over the episodes that they share.

    Args:
        first: the run to compare with.
        second: the run to judge.
        allow_different: accept protocols that differ; the result names the differences.

    Returns:
        `policies`, `protocol_differences`, `overall`, and `tasks` by name; differences are second minus first.

    Raises:
        ValueError: the protocols differ and may not, or no episode is shared.
    """
    differences = first.protocol.differences(second.protocol)
    if differences and not allow_different:
        raise ValueError(
            "protocols: expected equal ones, found\n  "
            + "\n  ".join(differences)
            + "\nuse --allow-different to compare"
        )
    shared = [episode for episode in first.episodes if episode in second.episodes]
    if not shared:
        raise ValueError("episodes: expected some that both runs have, found none (task, suite, severity, index, seed)")
    tasks = list(dict.fromkeys(episode.task for episode in shared))
    return {
        "policies": [first.summary["policy"], second.summary["policy"]],
        "protocol_differences": differences,
        "overall": _paired(first.episodes, second.episodes, shared),
        "tasks": {
            task: _paired(first.episodes, second.episodes, [episode for episode in shared if episode.task == task])
            for task in tasks
        },
    }


def _paired(
    first: Mapping[EpisodeId, Mapping[str, Any]],
    second: Mapping[EpisodeId, Mapping[str, Any]],
    episodes: Sequence[EpisodeId],
) -> dict[str, Any]:
    success = [np.array([run[episode]["success"] for episode in episodes]) for run in (first, second)]
    progress = [np.array([run[episode]["progress"] for episode in episodes]) for run in (first, second)]
    rng = np.random.default_rng(_BOOTSTRAP_SEED)
    test = mcnemar(success[0], success[1])
    return {
        "episodes": len(episodes),
        "success_rates": [float(outcomes.mean()) for outcomes in success],
        "success_difference": float(success[1].mean() - success[0].mean()),
        "success_difference_95": list(asdict(bootstrap_difference(success[0], success[1], rng)).values()),
        "only_first": test.only_first,
        "only_second": test.only_second,
        "mcnemar_p": test.p_value,
        "progress_difference": float(progress[1].mean() - progress[0].mean()),
        "progress_difference_95": list(asdict(bootstrap_difference(progress[0], progress[1], rng)).values()),
    }


def format_table(comparison: Mapping[str, Any]) -> str:
    """Lay a comparison out as text."""
    names = [policy["name"] for policy in comparison["policies"]]
    lines = [f"first:  {names[0]}", f"second: {names[1]}", "differences are second minus first, 95 % intervals", ""]
    lines += [f"protocols differ in {line}" for line in comparison["protocol_differences"]]
    header = (
        f"{'task':<12}{'episodes':>9}{'first':>8}{'second':>8}{'difference':>12}{'interval':>18}"
        f"{'only 1st':>10}{'only 2nd':>10}{'McNemar p':>11}{'progress':>10}{'interval':>18}"
    )
    lines += [header, "-" * len(header)]
    for name, row in [*comparison["tasks"].items(), ("overall", comparison["overall"])]:
        rates = row["success_rates"]
        lines.append(
            f"{name:<12}{row['episodes']:>9}{_percent(rates[0]):>8}{_percent(rates[1]):>8}"
            f"{_signed(row['success_difference']):>12}{_interval(row['success_difference_95']):>18}"
            f"{row['only_first']:>10}{row['only_second']:>10}{row['mcnemar_p']:>11.2g}"
            f"{_signed(row['progress_difference']):>10}{_interval(row['progress_difference_95']):>18}"
        )
    return "\n".join(lines)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f} %"


def _interval(bounds: Sequence[float]) -> str:
    return f"{100 * bounds[0]:+.1f} .. {100 * bounds[1]:+.1f}"


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = tyro.cli(Arguments, args=args, prog="python -m sim.compare")
    try:
        comparison = compare(read_run(arguments.first), read_run(arguments.second), arguments.allow_different)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(comparison, indent=2) if arguments.json else format_table(comparison))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Does a shipped policy still do its task when its action head has a lower rank, and how much smaller is the head then?

For each seed and policy, demonstrations are recorded anew, `policies.explain` finds the low-rank head on them for each
tolerance, and the whole policy and those with low-rank heads try the same episodes. Differences in success are paired,
over the episodes of all seeds. The last tolerance is too coarse on purpose: if its loss is not seen, the others' would
not be either.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from policies.explain import ExplainOptions, explain
from policies.interface import load_policy
from policies.machine import describe_machine, library_versions
from policies.train_config import POLICY_DIRECTORY
from sim.collect import CollectConfig, collect
from sim.compare import compare
from sim.evaluate import Arguments, evaluate
from sim.summary import FinishedRun, read_run

FIRST_RECORDED_SEED = 9000  # none of the shipped policies was trained on its episodes, and none is evaluated on them


@dataclass(frozen=True, slots=True)
class Trial:
    """What a policy is tried on.

    Attributes:
        task: that it was trained for.
        query_steps: control steps between two queries.
        size: side of the recorded pictures, pixels.
        stride: frames between two recorded observations.
    """

    task: str
    query_steps: int
    size: int
    stride: int


TRIALS = {"spatialvla_small": Trial("pick", 1, 224, 2), "rdt_small": Trial("transfer_cube", 8, 96, 8)}


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """How much is recorded and tried.

    Attributes:
        policies: of `TRIALS`; an episode of rdt_small takes about four times as long as one of spatialvla_small.
        tolerances: of `policies.explain`, the control at the end.
        seeds: each with demonstrations and episodes of its own.
        demonstrations: of each seed, a quarter of them held out.
        episodes: of each seed, that every policy tries.
        threads: of torch while heads are examined.
    """

    policies: tuple[str, ...] = ("spatialvla_small",)
    tolerances: tuple[float, ...] = (0.05, 0.2, 0.5)
    seeds: int = 3
    demonstrations: int = 16
    episodes: int = 34
    threads: int = 1


def run(settings: HeadSettings) -> dict[str, Any]:
    """Find the heads of all policies and try them.

    Returns:
        `settings`, `seconds`, `machine`, `libraries`; and by policy in `policies` its `task`, the `successes` of the
        whole one by seed, and for each of `tolerances` the `heads` by seed (ranks `kept` by map, None for one that
        stays whole, `numbers` before and after, `network_numbers`, `difference` of the answers by their variance,
        `successes`), and the `paired` difference to the whole policy, as `sim.compare` tells it.

    Raises:
        ValueError: a policy that is not in `TRIALS`.
    """
    unknown = [name for name in settings.policies if name not in TRIALS]
    if unknown:
        raise ValueError(f"policies: expected some of {', '.join(TRIALS)}, found {', '.join(unknown)}")
    began = time.monotonic()
    torch.set_num_threads(settings.threads)
    return {
        "settings": asdict(settings),
        "policies": {name: tried(name, TRIALS[name], settings) for name in settings.policies},
        "seconds": round(time.monotonic() - began, 1),
        "machine": describe_machine(),
        "libraries": library_versions(),
    }


def tried(policy: str, trial: Trial, settings: HeadSettings) -> dict[str, Any]:
    """Try one policy, whole and with low-rank heads."""
    whole: list[FinishedRun] = []
    heads: list[list[dict[str, Any]]] = [[] for _ in settings.tolerances]
    runs: list[list[FinishedRun]] = [[] for _ in settings.tolerances]
    for seed in range(settings.seeds):
        with TemporaryDirectory() as name:
            place = Path(name)
            recorded = record(policy, trial, settings.demonstrations, FIRST_RECORDED_SEED + seed, place / "recorded")
            whole.append(evaluated(policy, trial, settings.episodes, seed, place / "whole"))
            for number, tolerance in enumerate(settings.tolerances):
                explained = place / f"{number}"
                options = ExplainOptions(policy, recorded, explained, tolerance, stride=trial.stride)
                head = told(explain(options))
                low_rank = str(explained / POLICY_DIRECTORY)
                found = evaluated(low_rank, trial, settings.episodes, seed, place / f"{number} episodes")
                heads[number].append(head | {"successes": successes(found)})
                runs[number].append(found)
    return {
        "task": trial.task,
        "successes": [successes(found) for found in whole],
        "tolerances": [
            {"tolerance": tolerance, "heads": rows, "paired": compare(pooled(whole), pooled(found))["overall"]}
            for tolerance, rows, found in zip(settings.tolerances, heads, runs, strict=True)
        ],
    }


def record(policy: str, trial: Trial, count: int, seed: int, output: Path) -> Path:
    """Record demonstrations of a trial's task by the cameras of a policy; where they are."""
    cameras = tuple(load_policy(policy).cameras)
    collect(CollectConfig(trial.task, output, count, seed, cameras=cameras, size=trial.size))
    return output


def evaluated(policy: str, trial: Trial, episodes: int, seed: int, output: Path) -> FinishedRun:
    """Let a policy try episodes."""
    arguments = Arguments(
        policy, output, trial.task, episodes=episodes, seed=seed, query_steps=trial.query_steps, videos=0
    )
    evaluate(arguments, "python -m sim.bench low_rank_heads")
    return read_run(output)


def told(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What is reported of an explanation."""
    return {
        "kept": {
            f"{head['name']} ({layer['weights'].rpartition('.')[2]})": layer["kept"]
            for head in summary["heads"]
            for layer in head["layers"]
        },
        "numbers": summary["head_numbers"],
        "network_numbers": summary["network_numbers"],
        "difference": summary["difference"]["share_of_variance"],
    }


def successes(found: FinishedRun) -> int:
    """Of a run."""
    return sum(bool(row["success"]) for row in found.episodes.values())


def pooled(runs: Sequence[FinishedRun]) -> FinishedRun:
    """Runs that differ in the seed only, as one."""
    return replace(runs[0], episodes={episode: row for run in runs for episode, row in run.episodes.items()})


def claims(result: Mapping[str, Any]) -> dict[str, bool]:
    """Each tolerance's claim with what was found, and whether it holds.

    The control's interval must lie below 0; those of the others must reach 0, with a smaller head.
    """
    found = {}
    for policy, one in result["policies"].items():
        control = one["tolerances"][-1]
        for row in one["tolerances"]:
            low, high = row["paired"]["success_difference_95"]
            asked = "below 0 (control)" if row is control else "reaches 0, smaller head"
            holds = high < 0 if row is control else high >= 0 and share(row) < 1
            interval = f"{100 * low:+.1f} to {100 * high:+.1f} %"
            found[
                f"{policy}, tolerance {row['tolerance']:g}, {share(row):.1%} of the head: {interval}, asked: {asked}"
            ] = holds
    return found


def share(row: Mapping[str, Any]) -> float:
    """Numbers of the low-rank heads by those of the whole ones, mean over seeds."""
    return float(np.mean([head["numbers"][1] / head["numbers"][0] for head in row["heads"]]))


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for a terminal."""
    return "\n".join([*_table(result), "", *_told(result)])


def _table(result: Mapping[str, Any]) -> list[str]:
    lines = [
        "| policy, task | tolerance | ranks kept, by seed | numbers of the head | of the whole head | answers differ "
        "| successes | lost, gained | minus the whole (95 %) |",
        "|---|---|---|---:|---:|---:|---:|---:|---|",
    ]
    episodes = result["settings"]["episodes"] * result["settings"]["seeds"]
    for policy, one in result["policies"].items():
        before = one["tolerances"][0]["heads"][0]["numbers"][0]
        total = f"{sum(one['successes'])} of {episodes}"
        lines.append(f"| {policy}, {one['task']} | whole |  | {before} | 100.0 % |  | {total} |  |  |")
        lines += [_row(f"{policy}, {one['task']}", row, episodes) for row in one["tolerances"]]
    return lines


def _row(name: str, row: Mapping[str, Any], episodes: int) -> str:
    heads, paired = row["heads"], row["paired"]
    ranks = "; ".join(
        f"{part} {', '.join('whole' if head['kept'][part] is None else str(head['kept'][part]) for head in heads)}"
        for part in heads[0]["kept"]
    )
    numbers = np.mean([head["numbers"][1] for head in heads])
    differ = np.mean([head["difference"] for head in heads])
    low, high = paired["success_difference_95"]
    cells = [
        name,
        f"{row['tolerance']:g}",
        ranks,
        f"{numbers:.0f}",
        f"{100 * share(row):.1f} %",
        f"{100 * differ:.1f} %",
        f"{sum(head['successes'] for head in heads)} of {episodes}",
        f"{paired['only_first']}, {paired['only_second']}",
        f"{100 * paired['success_difference']:+.1f} % ({100 * low:+.1f} to {100 * high:+.1f})",
    ]
    return f"| {' | '.join(cells)} |"


def _told(result: Mapping[str, Any]) -> list[str]:
    return [f"{claim}: {'yes' if holds else 'NO'}" for claim, holds in claims(result).items()]


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as a page."""
    machine, settings = result["machine"], result["settings"]
    pairs = settings["seeds"] * settings["episodes"]
    parts = [one["tolerances"][0]["heads"][0] for one in result["policies"].values()]
    sizes = ", ".join(
        f"{part['numbers'][0] / part['network_numbers']:.0%} of the {part['network_numbers']} numbers of {name}"
        for name, part in zip(result["policies"], parts, strict=True)
    )
    return _PAGE.format(
        table="\n".join(_table(result)),
        told="\n".join(f"- {line}" for line in _told(result)),
        sizes=sizes,
        pairs=pairs,
        unseen=f"{1 - 0.05 ** (1 / pairs):.1%}".replace("%", " %"),
        control=f"{settings['tolerances'][-1]:g}",
        policies=" ".join(settings["policies"]),
        conditions=f"{result['seconds']:.0f} s; {machine['cpu']}, {machine['cores']} cores",
        **{name: settings[name] for name in ("seeds", "demonstrations", "episodes")},
    )


_PAGE = """# Action heads of low rank

What does a shipped policy lose if its action head is replaced by maps of low rank, and how much smaller is the head?
`policies.explain` ([what drives a policy](../explain.md)) finds the head on {demonstrations} demonstrations,
recorded anew for each of {seeds} seeds, for each tolerance. Both policies then try the same {episodes} episodes of each
seed.

{table}

Asked of it, in points of success:

{told}

How to read it:

- A tolerance is what each map may lose on held-out demonstrations: share of the tokens that are chosen (SpatialVLA), or
  of the actions' variance (RDT). The share of answers' variance by which the whole policy and its replacement differ is
  measured on these demonstrations too. Ranks are those of the seeds in turn; `whole` is a map whose factors would not
  be smaller, and which stays.
- Numbers of the head are those of its factors, means over seeds. The heads are {sizes}; nothing
  else becomes smaller. The policy that is written out and tried holds each map as one matrix, so that it takes as long
  as the whole one.
- Differences are paired, low rank minus whole, with 95 % bootstrap intervals over the {pairs} episodes of all seeds
  (`sim.compare`). Lost are episodes in which only the whole policy succeeds, gained the others that differ. An interval
  that reaches 0 says that no loss was shown; its lower end, how large one may still be. Where all pairs agree it has no
  width, and a loss in up to {unseen} of episodes may still go unseen (95 %).
- Tolerance {control} is a control, too coarse on purpose: its loss must be seen.

{conditions}. Run it again with `python -m sim.bench low_rank_heads --write --heads.policies {policies}`.
"""

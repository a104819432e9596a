"""Tell skills and alarms along recorded episodes: `python -m representation.generative.dts.watch --help`.

`--model` is what `representation.generative.dts.train` wrote, `--data` recordings of one of the robots that it knows.
Each step is told the likeliest skill, over all windows that hold it, and a score of how unusual it is for that robot.
`--output` gets `episodes.json` with segments, alarms and scores, and a picture of the first episode. `--truth` names
columns, such as `collection.disturbed`, whose values tell unusual steps, to compare the scores with.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from representation.data.frames import expect_empty
from representation.generative.dts.monitor import Segment, SkillMonitor, load, segments
from representation.generative.dts.windows import read_recordings

EPISODES_FILE, PICTURE_FILE = "episodes.json", "first_episode.png"


@dataclass(frozen=True)
class WatchOptions:
    """What is watched.

    Attributes:
        model: directory of a monitor.
        data: recordings.
        robot: whose; the first one that the monitor knows if left out.
        output: directory to write; must not hold files.
        channels: columns; those that the monitor knows of the robot if left out.
        truth: column, or NAME:INDEX, above 0 where a step is unusual.
        shortest: steps of a segment.
        threads: of torch.
    """

    model: Path
    data: Path
    output: Path
    robot: str = ""
    channels: tuple[str, ...] = ()
    truth: str = ""
    shortest: int = 3
    threads: int = 2


def alarms(scores: NDArray[np.float64], limit: float) -> list[tuple[int, int, float]]:
    """First step, step after the last, and highest score of each stretch above a limit."""
    over = np.concatenate([[False], scores > limit, [False]])
    edges = np.flatnonzero(np.diff(over.astype(int)))
    return [
        (int(first), int(last), float(scores[first:last].max()))
        for first, last in zip(edges[::2], edges[1::2], strict=True)
    ]


def watch(monitor: SkillMonitor, options: WatchOptions) -> dict[str, Any]:
    """What is told of all episodes that are as long as a window.

    Raises:
        ValueError: an unknown robot, no columns, or no episode that is long enough.
    """
    config = monitor.config
    robot = options.robot or config.robots[0]
    number = monitor.robot(robot)
    truth = (options.truth,) if options.truth else ()
    found = read_recordings(options.data, options.channels or config.channels[number], (), config.rate, factors=truth)
    kept = {place: one for place, one in enumerate(found) if len(one.values) >= config.length}
    if not kept:
        raise ValueError(f"{options.data}: expected an episode of {config.length} steps, found none in {len(found)}")
    limit, episodes, unusual, scored = float(monitor.limits[number]), [], [], []
    for place, one in kept.items():
        probabilities, scores = monitor.follow(one, robot)
        told = segments(probabilities, config.skills, options.shortest)
        episodes.append(
            {
                "episode": place,
                "segments": [part._asdict() for part in told],
                "alarms": alarms(scores, limit),
                "scores": scores.tolist(),
            }
        )
        scored.append(scores)
        unusual.append(one.factors[:, 0] > 0 if truth else np.zeros(len(scores), bool))
    every, wrong = np.concatenate(scored), np.concatenate(unusual)
    content = {
        "robot": robot,
        "rate": config.rate,
        "limit": limit,
        "skipped": len(found) - len(kept),
        "over_limit": float((every > limit).mean()),
        "episodes": episodes,
    }
    if truth and 0 < wrong.sum() < len(wrong):
        content["area_under_curve"] = float(roc_auc_score(wrong, every))
        content["unusual"] = float(wrong.mean())
        content["over_limit_where_unusual"] = float((every[wrong] > limit).mean())
    return content


def draw_episode(content: dict[str, Any], skills: Sequence[str], path: Path) -> None:
    """A picture of the scores of the first episode, above its segments."""
    from matplotlib.figure import Figure

    one, rate = content["episodes"][0], content["rate"]
    figure = Figure(figsize=(9, 4), layout="constrained")
    score, skill = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    score.plot(np.arange(len(one["scores"])) / rate, one["scores"], linewidth=1)
    score.axhline(content["limit"], color="tab:red", linewidth=0.8, label="alarm above")
    score.set_ylabel("score, nats")
    score.legend()
    for part in (Segment(**own) for own in one["segments"]):
        place = list(skills).index(part.skill)
        skill.barh(place, (part.last - part.first) / rate, left=part.first / rate, color=f"C{place % 10}")
    skill.set_yticks(range(len(skills)), skills, fontsize=6)
    skill.set_xlabel("s")
    figure.savefig(path, dpi=80)


def main(args: Sequence[str] | None = None) -> int:
    """Watch from the command line, and tell what was seen; returns the exit code."""
    options = tyro.cli(WatchOptions, args=args, description=__doc__)
    torch.set_num_threads(options.threads)
    expect_empty(options.output)
    try:
        monitor = load(options.model)
        content = watch(monitor, options)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / EPISODES_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draw_episode(content, monitor.config.skills, options.output / PICTURE_FILE)
    rate = content["rate"]
    for one in content["episodes"]:
        told = ", ".join(
            f"{part['first'] / rate:.1f}-{part['last'] / rate:.1f} s {part['skill']} ({part['confidence']:.2f})"
            for part in one["segments"]
        )
        print(f"episode {one['episode']}: {told}; {len(one['alarms'])} alarms")
    print(f"{content['over_limit']:.3f} of the steps above {content['limit']:.2f} nats; {content['skipped']} too short")
    if "area_under_curve" in content:
        print(
            f"{options.truth}: area under the ROC curve {content['area_under_curve']:.3f}, "
            f"{content['over_limit_where_unusual']:.3f} of the unusual steps above the limit"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

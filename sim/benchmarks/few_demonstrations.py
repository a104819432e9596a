"""What does a pretrained image tower do for a policy that learns from few demonstrations?

    python -m sim.benchmarks.few_demonstrations --encoder RUN --dataset DIR [DIR ...] --task NAME --output DIR

For each seed the same small share of the demonstrations trains three RDT policies for the same steps: with the encoder
frozen, with the encoder trained on, and with the same network from random weights. All are evaluated on the same
episodes, so the differences are paired.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from torch import nn

from policies.machine import describe_machine, library_versions
from policies.rdt.training_options import RDTTraining
from policies.train import new_run
from policies.train_config import POLICY_DIRECTORY, TrainConfig
from representation.data.frames import expect_empty
from representation.registry import load_encoder
from sim.compare import compare
from sim.evaluate import Arguments, evaluate
from sim.summary import read_run

ARMS = {"frozen": True, "trained on": False, "random": False}
"""Whether the tower stays as it is."""

BASELINE = "random"


@dataclass(frozen=True)
class Settings:
    """How much is learned and tried.

    Attributes:
        encoder: directory of an encoder of pictures, or of the run that trained it.
        dataset: LeRobot datasets of the demonstrations.
        task: tasks to try, separated by commas.
        output: directory to write; must not hold files.
        share: of the demonstrations that are learned from.
        steps: of each training.
        seeds: trainings of each kind; the demonstrations are drawn anew for each.
        episodes: of each task that each policy is tried on.
        query_steps: control steps between two queries of the policy.
        cameras: names of the exterior, the right (or only) wrist's and the left wrist's; "" for none.
        chunk: rows of a chunk.
        image_size: side of the pictures, pixels.
        batch_size: frames per step.
        threads: of a training.
        mixed_precision: likewise, see `LoopConfig`.
        workers: processes that simulate.
    """

    encoder: Path
    dataset: tuple[Path, ...]
    task: str
    output: Path
    share: float = 0.1
    steps: int = 3000
    seeds: int = 3
    episodes: int = 20
    query_steps: int = 8
    cameras: tuple[str, str, str] = ("top", "right_wrist", "left_wrist")
    chunk: int = 16
    image_size: int = 96
    batch_size: int = 64
    threads: int = 2
    mixed_precision: Literal["auto", "no", "bf16"] = "bf16"
    workers: int = 2


def write_random(encoder: Path, directory: Path, seed: int) -> None:
    """Write an encoder with the network of another one and random weights.

    Args:
        encoder: directory of the other one.
        directory: to write.
        seed: of the weights.
    """
    fresh = load_encoder(encoder)
    assert isinstance(fresh, nn.Module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in fresh.modules():
            if callable(reset := getattr(part, "reset_parameters", None)):
                reset()
    fresh.save(directory)


def run(settings: Settings) -> dict[str, Any]:
    """Train and try all policies.

    Returns:
        `settings`, `machine`, `versions`; `successes` of `episodes` by kind of tower and seed; and of each kind but the
        last its `difference` to that, by seed, as `sim.compare` tells it.
    """
    counts: dict[str, list[int]] = {arm: [] for arm in ARMS}
    differences: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS if arm != BASELINE}
    tried = 0
    for seed in range(settings.seeds):
        untrained = settings.output / "random" / str(seed)
        write_random(settings.encoder, untrained, seed)
        runs = {}
        for arm, frozen in ARMS.items():
            place = settings.output / arm.replace(" ", "_") / str(seed)
            _train(settings, untrained if arm == BASELINE else settings.encoder, frozen, place / "run", seed)
            summary = evaluate(_trial(settings, place), f"python -m sim.benchmarks.few_demonstrations, {arm}, {seed}")
            counts[arm].append(summary["overall"]["successes"])
            tried = summary["overall"]["episodes"]
            runs[arm] = read_run(place / "evaluation")
        for arm, found in differences.items():
            found.append(compare(runs[BASELINE], runs[arm])["overall"])
    return {
        "settings": {name: str(value) for name, value in asdict(settings).items()},
        "machine": describe_machine(),
        "versions": library_versions(),
        "episodes": tried,
        "successes": counts,
        "difference": differences,
    }


def _train(settings: Settings, encoder: Path, frozen: bool, output: Path, seed: int) -> None:
    exterior, right_wrist, left_wrist = settings.cameras
    config = TrainConfig(
        dataset=settings.dataset,
        output=output,
        policy="rdt",
        share=settings.share,
        steps=settings.steps,
        batch_size=settings.batch_size,
        warmup_steps=min(100, settings.steps),
        jitter=0.1,
        validate_every=settings.steps,
        validation_episodes=len(settings.dataset),
        threads=settings.threads,
        seed=seed,
        mixed_precision=settings.mixed_precision,
        rdt=RDTTraining(
            exterior=exterior,
            right_wrist=right_wrist,
            left_wrist=left_wrist,
            history=False,
            relative=True,
            chunk=settings.chunk,
            image_size=settings.image_size,
            vision_encoder=encoder,
            freeze=frozen,
            drop=0.03,
        ),
    )
    output.mkdir(parents=True)
    torch.set_num_threads(settings.threads)
    training = new_run(config)
    training.train()
    training.end()


def _trial(settings: Settings, place: Path) -> Arguments:
    return Arguments(
        policy=str(place / "run" / POLICY_DIRECTORY),
        output=place / "evaluation",
        task=settings.task,
        episodes=settings.episodes,
        workers=settings.workers,
        query_steps=settings.query_steps,
        videos=0,
        json=True,
    )


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for people."""
    settings, machine = result["settings"], result["machine"]
    lines = [
        f"{settings['share']} of the demonstrations, {settings['steps']} steps of training, "
        f"{result['episodes']} episodes of {settings['task']}",
        f"{'tower':<12}{'successes by seed':>24}{'minus random, in %, with 95 % interval, by seed':>60}",
    ]
    for arm, counts in result["successes"].items():
        text = ", ".join(str(count) for count in counts)
        told = [
            "{:+.0f} ({:+.0f} to {:+.0f})".format(
                *(100 * x for x in (one["success_difference"], *one["success_difference_95"]))
            )
            for one in result["difference"].get(arm, ())
        ]
        lines.append(f"{arm:<12}{text:>24}{', '.join(told):>60}")
    lines.append(f"{machine['cpu']}, {machine['cores']} cores, {machine['accelerator'] or 'no GPU'}")
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line; writes `result.json` beside the runs."""
    settings = tyro.cli(Settings, args=args, description=__doc__)
    expect_empty(settings.output)
    result = run(settings)
    (settings.output / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    print(format_text(result))


if __name__ == "__main__":
    main()

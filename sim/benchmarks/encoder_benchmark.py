"""Encoders of this repository under BenchX: what classes, masks and reports of rendered tables are made of them.

Some small encoders learn for a short time from tables of `sim.reported_scenes`; beside them stand one that learned
nothing and the image tower of the shipped policy for two arms, which has seen other tasks. All are then trained on
under one recipe with other tables, by `representation.selection.benchx`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from policies.loading import find_policy
from policies.machine import describe_machine, library_versions
from representation.benchmarks.upgrade import trained
from representation.data.frames import Frames
from representation.interface import Encoder
from representation.registry import load_encoder, module_of
from representation.selection.benchx.backends import EncoderBackend
from representation.selection.benchx.cases import KINDS, cases_of_frames
from representation.selection.benchx.runner import BenchmarkConfig, BenchmarkRunner, small_config
from sim.rendering import choose_gl_backend
from sim.reported_scenes import ReportedOptions, reported_scenes

SYSTEMS = ("mochi", "mixed_barlow_twins", "clip")
UNTRAINED, TOWER = "untrained", "tower of rdt_small"
SHIPPED, TOWER_DIRECTORY = "rdt_small", "image_tower"


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """How much is drawn and trained.

    Attributes:
        tables: that encoders are compared on, two pictures each.
        pretraining_tables: others, that encoders learn from before.
        pretraining_steps: of each.
        epochs: of a classification, at most.
        segmentation_steps: of a segmenter.
        report_epochs: of a report generator, at most.
        fractions: of the training cases.
        size: side of the pictures, pixels.
        seeds: of the trainings.
        threads: of torch.
    """

    tables: int = 200
    pretraining_tables: int = 400
    pretraining_steps: int = 100
    epochs: int = 20
    segmentation_steps: int = 100
    report_epochs: int = 8
    fractions: tuple[float, ...] = (0.25, 1.0)
    size: int = 64
    seeds: tuple[int, ...] = (42, 0, 1)
    threads: int = 1


def encoders(frames: Frames, steps: int) -> dict[str, Encoder]:
    """Encoders by name: one that learned nothing, those that learned from frames, and the shipped one."""
    mochi = module_of(SYSTEMS[0])
    found = {UNTRAINED: mochi.new(mochi.Config(), frames, 0).encoder.eval()}
    for number, name in enumerate(SYSTEMS, 1):
        module = module_of(name)
        found[name] = trained(module.new(module.Config(), frames, number), frames, number, steps)
    found[TOWER] = load_encoder(find_policy(SHIPPED) / TOWER_DIRECTORY)
    return found


def recipe(settings: EncoderSettings) -> BenchmarkConfig:
    """The protocol for small encoders, cut to the steps that are asked for."""
    config, evaluations = small_config(settings.size), 3
    return replace(
        config,
        classification=replace(config.classification, epochs=settings.epochs, first_evaluation=5),
        segmentation=replace(
            config.segmentation,
            steps=settings.segmentation_steps,
            warmup_steps=min(config.segmentation.warmup_steps, settings.segmentation_steps // evaluations),
            evaluate_every=max(1, settings.segmentation_steps // evaluations),
        ),
        report=replace(config.report, epochs=settings.report_epochs),
        fractions=settings.fractions,
    )


def run(settings: EncoderSettings) -> dict[str, Any]:
    """Draw, pretrain and compare; the result as plain data.

    Raises:
        RuntimeError: OpenGL is missing.
    """
    began = time.monotonic()
    choose_gl_backend()
    torch.set_num_threads(settings.threads)

    def tables(count: int, seed: int) -> Frames:
        return reported_scenes(ReportedOptions(Path(), count=count, size=settings.size, seed=seed))

    found = encoders(tables(settings.pretraining_tables, 1), settings.pretraining_steps)
    drawn = tables(settings.tables, 0)
    backends = {name: EncoderBackend(encoder) for name, encoder in found.items()}
    table = BenchmarkRunner(recipe(settings)).run(
        backends, {kind: cases_of_frames(drawn, kind) for kind in KINDS}, settings.seeds
    )
    seconds = {
        name: {
            kind: round(sum(run.seconds for run in table.runs if (run.backend, run.task) == (name, kind)), 1)
            for kind in KINDS
        }
        for name in backends
    }
    return {
        "benchmark": "encoder_benchmark",
        "settings": asdict(settings),
        "parameters": {name: sum(part.numel() for part in one.parameters()) for name, one in backends.items()},
        "table": table.content(),
        "text": table.text(),
        "runs": [
            {name: getattr(one, name) for name in ("backend", "task", "fraction", "seed", "seconds")}
            | {"metrics": one.outcome.metrics}
            for one in table.runs
        ],
        "task_seconds": seconds,
        "seconds": round(time.monotonic() - began, 1),
        "machine": describe_machine(),
        "libraries": library_versions(),
    }


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for a terminal."""
    machine = result["machine"]
    return f"{result['text']}\n{result['seconds']:.0f} s; {machine['cpu']}, {machine['cores']} cores"


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as a page."""
    machine = result["machine"]
    sizes = []
    for name, count in result["parameters"].items():
        cells = [f"{count / 1e3:.0f}", *(f"{part:.0f}" for part in result["task_seconds"][name].values())]
        sizes.append(f"| {name} | {' | '.join(cells)} |")
    return _PAGE.format(
        text=result["text"],
        sizes="\n".join(sizes),
        conditions=f"{result['seconds']:.0f} s; {machine['cpu']}, {machine['cores']} cores",
        count=len(result["settings"]["seeds"]),
        systems=", ".join(f"`{name}`" for name in SYSTEMS),
        **result["settings"],
    )


_PAGE = """# Encoders of this repository under BenchX

[One recipe for all](../encoder_benchmark.md): which colours and shapes a table has (macro AUROC), what each pixel shows
(mean Dice), and its report from two cameras (BLEU-4), with shares of the labels of the training cases; means and
deviations over {count} seeds. Below each encoder stands the sign of its difference to the next one, paired by seed.

```
{text}
```

| encoder | thousand parameters | seconds, classification | segmentation | report |
|---|---|---|---|---|
{sizes}

How to read it:

- {tables} tables of `sim.reported_scenes` of {size} pixels are split 70/15/15. The encoders {systems}
  learned before from {pretraining_tables} other tables for {pretraining_steps} steps, without labels (`clip` from the
  reports); `untrained` is that of `mochi` before its first step. `tower of rdt_small` is the image tower of the shipped
  policy for two arms, which was trained with it on other tasks and pictures.
- The recipe is that of `representation.benchmark`, with at most {epochs} epochs of classification,
  {segmentation_steps} steps of segmentation and at most {report_epochs} epochs of reports. Encoders are trained on in
  the first two and stay as they are in the third.
- Seconds are of all trainings with all seeds.

{conditions}. Run it again with `python -m sim.bench encoder_benchmark --write`. The same for encoders of your own:

```
python -m sim.reported_scenes --output runs/reported
python -m representation.benchmark --encoders runs/A runs/B --data runs/reported --output runs/benchx --fractions 0.25 1
```
"""

"""Make one rich encoder of several: `python -m representation.transfer.concatenate --data DIR --output OUT`.

Trains the encoder of a system from several seeds, or takes finished runs (`--runs A B ...`, also of different kinds).
OUT then holds `cat/` and `distilled/`, which `representation.probe`, `.embed` and everything else read as they read any
encoder, `finetuned/` with its `head.safetensors`, and `report.csv`: what single members, all together and the distilled
one tell of the source classes, and of target classes from a few pictures each.

The target is another directory (`--target`), or half of the classes, which members that are trained here do not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from safetensors.torch import save_file
from torch import nn

from representation.checkpoint import read_config
from representation.data.frames import LABEL, Frames, expect_empty, open_frames
from representation.embedding import inputs_by
from representation.pretrain import PretrainConfig, configured, new_run
from representation.registry import load_encoder, module_of
from representation.transfer.rich_representations import (
    CatEncoder,
    DistillConfig,
    FinetuneConfig,
    LinearProbe,
    Member,
    MultiHeadDistiller,
    Samples,
    TrainConfig,
    all_vectors,
    few_shots,
    finetune_jointly,
    richness_report,
    train_members,
    train_parallel,
    two_stage_finetune,
)
from representation.transfer.rich_representations.cat_encoder import Normalize
from representation.transfer.rich_representations.richness import cosine_score, probe_score, source_split
from representation.transfer.rich_representations.samples import rows_of

BATCH, HELD_OUT = 64, 0.3


@dataclass(frozen=True)
class ConcatenateOptions:
    """What is put together.

    Attributes:
        data: directory of source frames, with classes.
        output: directory to write; must not hold files.
        system: whose encoder is trained, and that the distilled one is of; of the first run if left out.
        set: fields of that system's configuration, each as NAME=VALUE.
        runs: finished encoders to take instead of training members.
        members: how many are trained.
        loss: "labels" trains encoders by cross-entropy of the source classes; "own" by the system's own loss.
        snapshots: whether members are states along one training instead of several trainings.
        epochs: of "labels".
        distill_epochs: of the distillation.
        steps: of "own".
        column: numbered column that has the classes.
        target: directory of target frames; half of the classes if left out.
        shots: pictures of a target class that are learned from.
        draws: of these, that the report is a mean over.
        head: of the probe on shots: linear behind a normalisation, or cosines.
        normalize: "l2" brings each member's vectors to length 1.
        temperature: of the distillation.
        finetune: how the members are tuned to the target.
        camera: of a LeRobot dataset or a bag; the first one if left out.
        image_size: side that pictures are brought to, pixels; 0 keeps them.
        points: of the clouds that are made of depth; 0 makes none.
        threads: of torch.
        seed: of everything that is drawn.
    """

    data: Path
    output: Path
    system: str = ""
    set: tuple[str, ...] = ()
    runs: tuple[Path, ...] = ()
    members: int = 5
    loss: Literal["labels", "own"] = "labels"
    snapshots: bool = False
    epochs: int = 30
    distill_epochs: int = 60
    steps: int = 1000
    column: str = LABEL
    target: Path | None = None
    shots: int = 5
    draws: int = 5
    head: Literal["linear", "cosine"] = "linear"
    normalize: Normalize = None
    temperature: float = 10.0
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    camera: str = ""
    image_size: int = 0
    points: int = 0
    threads: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.runs) == 1 or (not self.runs and self.members < 2):
            raise ValueError(f"members: expected at least two, found {len(self.runs) or self.members}")
        if not self.runs and not self.system:
            raise ValueError("--system: expected one to train, or --runs, found neither")


def samples_of(frames: Frames, rows: np.ndarray, encoders: Sequence[Any], column: str) -> Samples:
    """Inputs of all modalities that some encoders take, and classes numbered from 0 in the order of the column.

    Raises:
        ValueError: the frames lack the column or a modality.
    """
    frames.need([column])
    names = dict.fromkeys(name for one in encoders for name in getattr(one, "modalities", (one.modality,)))
    labels = np.unique(frames.columns[column][rows], return_inverse=True)[1]
    return Samples({name: inputs_by(name, frames, rows) for name in names}, torch.from_numpy(labels))


def split_classes(frames: Frames, column: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a random half of the classes, and of the others.

    Raises:
        ValueError: fewer than four classes.
    """
    frames.need([column])
    classes = rng.permutation(np.unique(frames.columns[column]))
    if len(classes) < 4:
        raise ValueError(f"{column}: expected at least 4 classes to split, found {len(classes)}")
    is_source = np.isin(frames.columns[column], classes[: (len(classes) + 1) // 2])
    return np.flatnonzero(is_source), np.flatnonzero(~is_source)


def untrained(options: ConcatenateOptions, frames: Frames, seed: int) -> nn.Module:
    """A new encoder of the system, or of that of the first run, in the sizes of the run."""
    if options.system:
        module = module_of(options.system)
        return module.new(configured(module.Config, options.set), frames, seed).encoder
    run = options.runs[0]
    content = read_config(run / "encoder" if (run / "encoder").is_dir() else run)
    module = module_of(content["system"])
    try:
        return module.new(module.Config(**content["config"]), frames, seed).encoder
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"{run}: expected an encoder that can be made anew; name one to distil into by --system"
        ) from error


def pretrained(options: ConcatenateOptions, frames: Frames) -> list[nn.Module]:
    """Encoders that the system's own loss trained: of several seeds, or along one run with a constant step size."""
    encoders = []
    for number in range(options.members):
        place = options.output / "runs" / ("0" if options.snapshots else str(number))
        place.mkdir(parents=True, exist_ok=True)
        config = PretrainConfig(
            system=options.system,
            data=options.data,
            output=place,
            set=options.set,
            steps=options.steps * (number + 1) // options.members if options.snapshots else options.steps,
            final_lr=1.0 if options.snapshots else PretrainConfig.final_lr,
            batch_size=min(BATCH, len(frames)),
            seed=options.seed if options.snapshots else options.seed + number,
            threads=options.threads,
            resume=options.snapshots and number > 0,
        )
        run = new_run(config, frames)
        run.train()
        run.end()
        encoders.append(load_encoder(place))
    return encoders


def with_head(encoder: nn.Module, source: Samples) -> Member:
    """A finished encoder under a linear probe of the source classes."""
    probe = LinearProbe(source.classes).fit(all_vectors(encoder, source.inputs), source.labels)
    return Member(encoder, probe.head())


def run(options: ConcatenateOptions) -> str:
    """Do it all; what is printed."""
    frames = open_frames(options.data, options.camera, options.image_size, options.points)
    rng = np.random.default_rng(options.seed)
    target_frames = frames
    if options.target is None:
        source_rows, target_rows = split_classes(frames, options.column, rng)
    else:
        target_frames = open_frames(options.target, options.camera, options.image_size, options.points)
        source_rows, target_rows = np.arange(len(frames)), np.arange(len(target_frames))
    seen = frames.subset(source_rows)
    student = untrained(options, seen, options.seed + 1000)
    encoders: list[nn.Module] = [load_encoder(path) for path in options.runs]
    taken = [student, *encoders]
    source = source_split(samples_of(frames, source_rows, taken, options.column), HELD_OUT, options.seed)
    target = samples_of(target_frames, target_rows, taken, options.column)
    config = TrainConfig(options.epochs, BATCH)
    controls: dict[str, nn.Module] = {}
    if options.runs:
        members = [with_head(encoder, source[0]) for encoder in encoders]
    elif options.loss == "own":
        members = [with_head(encoder, source[0]) for encoder in pretrained(options, seen)]
    else:

        def make(seed: int) -> nn.Module:
            return untrained(options, seen, seed)

        seeds = [options.seed] if options.snapshots else [options.seed + number for number in range(options.members)]
        members = train_members(make, source[0], options.members, seeds, config, options.snapshots)
        together = train_parallel(make, source[0], options.members, options.seed, config)
        controls["as large, trained as one"] = together.encoder
    cat = CatEncoder([member.encoder for member in members], options.normalize)
    cat.save(options.output / "cat")
    distiller = MultiHeadDistiller(
        student, [member.encoder for member in members], [member.head for member in members], options.temperature
    )
    order = torch.Generator().manual_seed(options.seed)
    distiller.fit(_Batches(source[0], order), DistillConfig(options.distill_epochs, progress=True))
    student.save(options.output / "distilled")
    report = richness_report(
        members,
        source,
        target,
        options.shots,
        {"distilled": student, **controls},
        options.draws,
        probe_score if options.head == "linear" else cosine_score,
        options.seed,
        options.normalize,
    )
    report.to_csv(options.output / "report.csv")
    return f"{report.to_string(float_format='{:.3f}'.format)}\n{tuned(options, members, target)}"


def tuned(options: ConcatenateOptions, members: Sequence[Member], target: Samples) -> str:
    """Tune to some shots of the target, keep the result, and tell how it does on the others, beside other ways."""
    shots, others = few_shots(target.labels, options.shots, torch.Generator().manual_seed(options.seed))
    few, rest = target.subset(shots), target.subset(others)
    whole = two_stage_finetune(members, few, options.finetune)
    whole.encoder.save(options.output / "finetuned")
    save_file(whole.head.state_dict(), options.output / "finetuned" / "head.safetensors")
    models = {
        "two stages": whole,
        "one member": two_stage_finetune(members[:1], few, options.finetune),
        "all as one": finetune_jointly(members, few, options.finetune.each, options.seed),
    }
    told = {}
    for name, model in models.items():
        with torch.no_grad():
            logits = model.head(all_vectors(model.encoder, rest.inputs))
        told[name] = float((logits.argmax(dim=1) == rest.labels).float().mean())
    words = ", ".join(f"{name} {value:.3f}" for name, value in told.items())
    return f"fine-tuned to {options.shots} shots: {words}"


class _Batches:
    """Batches of inputs in a new order each time."""

    def __init__(self, samples: Samples, generator: torch.Generator) -> None:
        self._samples, self._generator = samples, generator

    def __iter__(self) -> Any:
        order = torch.randperm(len(self._samples), generator=self._generator)
        return (rows_of(self._samples.inputs, rows) for rows in order.split(BATCH) if len(rows) > 1)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = tyro.cli(ConcatenateOptions, args=args, description=__doc__)
    expect_empty(options.output)
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    print(run(options))


if __name__ == "__main__":
    main()

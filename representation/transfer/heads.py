"""Heads for new classes at once: `python -m representation.transfer.heads train ...`, then `... heads emit ...`.

`train --encoder RUN --data DIR --output OUT` trains a zoo of k-way heads over the classes of DIR on the frozen
encoder's vectors, and a generator of such heads. Some combinations of classes, and some classes (`--new-classes`), are
left out; generated heads for these stand beside trained heads, the zoo's nearest one, and heads for another task.

`emit --generator OUT --support DIR --output HEADS` writes heads, best first, for the classes of a few pictures (folder
per class) as safetensors with `weight` (C, d) and `bias` (C,) over vectors of the encoder, and `heads.json`. With
`--test DIR`, of the same classes, it tells how well they do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from safetensors.torch import save_file
from torch import Tensor

from representation.checkpoint import encoder_key
from representation.data.frames import LABEL, Frames, expect_empty, open_frames
from representation.data.untrusted_files import read_json
from representation.embedding import embed
from representation.registry import load_encoder
from representation.transfer.d2nwg import (
    GeneratorConfig,
    GeneratorTraining,
    WeightGenerator,
    build_zoo,
    draw_support,
    draw_tasks,
    generate_weights,
    head_logits,
    load,
    task_rows,
    train_generator,
    trained_head,
    tune_head,
)

HEADS_FILE, ENCODER_FILE = "heads.json", "heads_encoder.json"
TESTED = 0.3  # of the pictures of each class


@dataclass(frozen=True)
class Train:
    """Train a zoo and its generator.

    Attributes:
        encoder: directory of an encoder or of a pretraining run.
        data: directory of frames with classes.
        output: directory to write; must not hold files.
        column: numbered column that has the classes.
        ways: classes of a head.
        heads: of the zoo.
        new_classes: that the zoo does not see.
        tasks: that are held out, of unseen combinations of seen classes; and of new classes.
        cached: support samples of a class that a zoo's head keeps.
        shots: pictures of a class to generate from.
        strength: of the heads, see scikit-learn's C.
        draws: heads that are generated for a task.
        generator: its parts.
        training: of its stages.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        threads: of torch.
        seed: of everything that is drawn.
    """

    encoder: Path
    data: Path
    output: Path
    column: str = LABEL
    ways: int = 3
    heads: int = 800
    new_classes: int = 6
    tasks: int = 20
    cached: int = 20
    shots: int = 5
    strength: float = 0.1
    draws: int = 20
    generator: GeneratorConfig = field(default_factory=lambda: GeneratorConfig(latent=48))
    training: GeneratorTraining = field(default_factory=lambda: GeneratorTraining(progress=True))
    image_size: int = 0
    threads: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Emit:
    """Generate heads for new classes.

    Attributes:
        generator: directory that `train` wrote.
        encoder: the one that it was trained on.
        support: directory of a few pictures of each class.
        output: directory to write; must not hold files.
        test: directory of other pictures of the same classes, to score on.
        column: numbered column that has the classes.
        draws: heads that are generated.
        keep: heads that are written.
        rounds: after the first, draws vary the best so far.
        tune: steps of gradient descent on the support that every written head gets.
        strength: of the trained head that is compared with.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        threads: of torch.
        seed: of the noise.
    """

    generator: Path
    encoder: Path
    support: Path
    output: Path
    test: Path | None = None
    column: str = LABEL
    draws: int = 50
    keep: int = 5
    rounds: int = 1
    tune: int = 0
    strength: float = 0.1
    image_size: int = 0
    threads: int = 2
    seed: int = 0


def vectors_and_classes(encoder: Path, frames: Frames, column: str) -> tuple[Tensor, Tensor, list[str]]:
    """Vectors (N, d) of frames, classes (N,) numbered from 0, and their names.

    Raises:
        ValueError: the column is missing, or the encoder gives numbers that are not finite.
    """
    frames.need([column])
    found, labels = np.unique(frames.columns[column], return_inverse=True)
    known = frames.names.get(column)
    names = [known[number] if known else str(number) for number in found]
    vectors = torch.from_numpy(embed(load_encoder(encoder), frames))
    if not torch.isfinite(vectors).all():
        raise ValueError(f"{encoder}: expected finite vectors, found others")
    return vectors, torch.from_numpy(labels), names


def head_accuracy(head: dict[str, Tensor], features: Tensor, labels: Tensor) -> float:
    """Share of features (N, d) whose class (N,) a head tells."""
    return float((head_logits(head, features).argmax(dim=1) == labels).float().mean())


def task_scores(
    model: WeightGenerator,
    tasks: Sequence[Sequence[int]],
    training: tuple[Tensor, Tensor],
    testing: tuple[Tensor, Tensor],
    shots: int,
    draws: int,
    strength: float,
    seed: int,
) -> dict[str, float]:
    """Mean accuracies over tasks, of heads that see some shots of the training samples, by how they were made.

    "trained on all" sees all training samples of its classes, "trained on shots" the support alone; "for another task"
    is generated for the next task's support.
    """
    rng = np.random.default_rng(seed)
    supports = [draw_support(*training, classes, shots, rng) for classes in tasks]
    found: dict[str, list[float]] = {}
    for place, (classes, support) in enumerate(zip(tasks, supports, strict=True)):
        rows, numbers = task_rows(training[1], classes)
        scored, wanted = task_rows(testing[1], classes)
        drawn = generate_weights(model, support, draws, draws, seed=seed + place)
        heads = {
            "generated": drawn[0],
            "the zoo's nearest": model.nearest(support),
            "trained on all": trained_head(training[0][rows], numbers, strength),
            "trained on shots": trained_head(
                support.flatten(0, 1), torch.arange(len(classes)).repeat_interleave(shots), strength
            ),
            "generated for another task": generate_weights(
                model, supports[(place + 1) % len(supports)], 1, 1, seed=seed + place
            )[0],
        }
        for name, head in heads.items():
            found.setdefault(name, []).append(head_accuracy(head, testing[0][scored], wanted))
    return {name: float(np.mean(values)) for name, values in found.items()}


def split_samples(labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Rows to train on, and a share of each class to test with."""
    tested = torch.zeros(len(labels), dtype=torch.bool)
    for one in labels.unique():
        rows = rng.permutation(np.flatnonzero(labels.numpy() == int(one)))
        tested[rows[: max(1, round(TESTED * len(rows)))]] = True
    return torch.nonzero(~tested)[:, 0], torch.nonzero(tested)[:, 0]


def train(options: Train) -> str:
    """Train, write, and tell accuracies on what was left out."""
    frames = open_frames(options.data, size=options.image_size)
    vectors, labels, names = vectors_and_classes(options.encoder, frames, options.column)
    rng = np.random.default_rng(options.seed)
    classes = rng.permutation(len(names))
    if len(names) - options.new_classes < options.ways:
        raise ValueError(
            f"new_classes: expected at most {len(names) - options.ways} of {len(names)}, found {options.new_classes}"
        )
    new, seen = classes[: options.new_classes], classes[options.new_classes :]
    fitted, scored = split_samples(labels, rng)
    training, testing = ((vectors[rows], labels[rows]) for rows in (fitted, scored))
    tasks, others = draw_tasks(seen, options.ways, options.heads, options.tasks, rng)
    mean, std = training[0].mean(dim=0), training[0].std(dim=0).clamp(min=1e-6)
    plain = ((training[0] - mean) / std, training[1])
    zoo = build_zoo(*plain, tasks, options.cached, options.strength, rng)
    model = train_generator(zoo, options.generator, options.training, options.seed)
    model.save(options.output)
    statistics = {"encoder": encoder_key(options.encoder), "mean": mean.tolist(), "std": std.tolist()}
    (options.output / ENCODER_FILE).write_text(json.dumps(statistics) + "\n", encoding="utf-8")
    lines = [f"{len(zoo)} heads of {options.ways} of {len(seen)} classes; chance is {1 / options.ways:.3f}"]
    tests = {"unseen combinations": others}
    if options.new_classes >= options.ways:
        tests["new classes"] = [rng.choice(new, options.ways, replace=False) for _ in range(options.tasks)]
    tested = ((testing[0] - mean) / std, testing[1])
    for kind, held_out in tests.items():
        told = task_scores(model, held_out, plain, tested, options.shots, options.draws, options.strength, options.seed)
        lines += [f"{kind}:", *(f"  {name:<30}{value:.3f}" for name, value in told.items())]
    return "\n".join(lines)


def emit(options: Emit) -> str:
    """Generate, write, and tell accuracies if there is something to score on."""
    model = load(options.generator)
    statistics = read_json(options.generator, ENCODER_FILE)
    if statistics["encoder"] != encoder_key(options.encoder):
        raise ValueError(f"--encoder: expected {statistics['encoder']}, found {encoder_key(options.encoder)}")
    mean, std = torch.tensor(statistics["mean"]), torch.tensor(statistics["std"])
    frames = open_frames(options.support, size=options.image_size)
    vectors, labels, names = vectors_and_classes(options.encoder, frames, options.column)
    shots = int(torch.bincount(labels).min())
    rng = np.random.default_rng(options.seed)
    support = draw_support((vectors - mean) / std, labels, range(len(names)), shots, rng)
    heads = generate_weights(model, support, options.draws, options.keep, rounds=options.rounds, seed=options.seed)
    heads = [tune_head(head, support, options.tune) for head in heads]
    options.output.mkdir(parents=True, exist_ok=True)
    for number, head in enumerate(heads):
        save_file(on_plain_vectors(head, mean, std), options.output / f"{number}.safetensors")
    content = {"classes": names, "encoder": statistics["encoder"], "heads": len(heads)}
    (options.output / HEADS_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    lines = [f"{options.output}: {len(heads)} heads for {', '.join(names)}, from {shots} pictures of each"]
    if options.test is not None:
        others = open_frames(options.test, size=options.image_size)
        scored, wanted, found = vectors_and_classes(options.encoder, others, options.column)
        if found != names:
            raise ValueError(f"--test: expected the classes {names}, found {found}")
        places = torch.arange(len(names)).repeat_interleave(shots)
        shown = {
            "generated": on_plain_vectors(heads[0], mean, std),
            "the zoo's nearest": on_plain_vectors(model.nearest(support), mean, std),
            "trained on the support": on_plain_vectors(
                trained_head(support.flatten(0, 1), places, options.strength), mean, std
            ),
        }
        lines += [f"  {name:<30}{head_accuracy(head, scored, wanted):.3f}" for name, head in shown.items()]
    return "\n".join(lines)


def on_plain_vectors(head: dict[str, Tensor], mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    """A linear head on standardised vectors as one on the encoder's."""
    weight = head["weight"] / std
    return {"weight": weight.contiguous(), "bias": (head["bias"] - weight @ mean).contiguous()}


def main(args: Sequence[str] | None = None) -> None:
    """Run one of the commands."""
    options = tyro.cli(
        Annotated[Train, tyro.conf.subcommand("train")] | Annotated[Emit, tyro.conf.subcommand("emit")],
        args=args,
        description=__doc__,
    )
    expect_empty(options.output)
    torch.set_num_threads(options.threads)
    print(train(options) if isinstance(options, Train) else emit(options))


if __name__ == "__main__":
    main()

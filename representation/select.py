"""Which encoder to take for a task: `python -m representation.select --encoders A B C --data DIR --output OUT`.

A, B and C are encoders or runs that trained one; without them all are ranked that are found below `--pool`, which is
everything that was trained here. DIR holds frames, labelled by a numbered `--column` (of a LeRobot dataset any of yes
and no or of whole numbers, such as `next.success`) or, as `--column texts`, by their tasks. Raw pixels and an untrained
network are ranked too. OUT/ranking.json holds what is printed: all scores (see `representation/selection/`) with
standard errors, what they cost, and the scale of the vectors, on which TMI depends. With `--truth-steps N` some
episodes are held out, each encoder is fine-tuned for N steps on the others, and it is told how well each score foretold
the accuracy on the held-out ones.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from representation.data.batches import split_frames
from representation.data.frames import LABEL, Frames, expect_empty, open_frames
from representation.embedding import embed
from representation.selection.baselines import baselines
from representation.selection.candidates import Candidate, find_candidates, load_candidate
from representation.selection.fine_tuning import FineTuning, Truth, fine_tune
from representation.selection.rank_agreement import chance_agreement, rank_agreement
from representation.selection.ranking import ALL_SCORES, Score, outputs_of, scaled_tmi, score_features

TEXTS = "texts"
RESULT_FILE = "ranking.json"


@dataclass(frozen=True, kw_only=True)
class SelectOptions:
    """What is ranked.

    Attributes:
        data: directory of the labelled frames.
        output: directory to write; must not hold files.
        encoders: directories of encoders or of runs; all below the pool if left out.
        pool: directories of runs.
        column: that numbers the classes, or `texts` for the tasks of the frames.
        camera: of a LeRobot dataset or a bag; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        points: of the clouds that are made of the depth of a LeRobot dataset or a bag; 0 makes none.
        frames: at most so many labelled frames are used, drawn at random.
        general: directory of frames of any kind by which PED rescales vectors; the labelled ones if left out.
        layers: names of modules inside the encoders, whose outputs are ranked too where an encoder has them.
        scores: which are computed.
        by: score that the table is sorted by.
        truth_steps: of fine-tuning, for each learning rate; 0 for none.
        held_out: share of the episodes that tells the truth; the scores do not see them.
        threads: threads of torch.
        seed: of all that is drawn.
    """

    data: Path
    output: Path
    encoders: tuple[Path, ...] = ()
    pool: tuple[Path, ...] = (Path("runs"), Path("policies/checkpoints"))
    column: str = LABEL
    camera: str = ""
    image_size: int = 0
    points: int = 0
    frames: int = 1000
    general: Path | None = None
    layers: tuple[str, ...] = ()
    scores: tuple[str, ...] = ALL_SCORES
    by: str = "linear"
    truth_steps: int = 0
    held_out: float = 0.3
    threads: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in self.scores:
            raise ValueError(f"--by: expected one of {', '.join(self.scores)}, found {self.by!r}")
        if self.truth_steps < 0 or not 0 < self.held_out < 1 or self.frames < 2:
            found = f"{self.truth_steps}, {self.held_out} and {self.frames}"
            raise ValueError(
                f"--truth-steps, --held-out, --frames: expected at least 0, in (0, 1) and 2, found {found}"
            )


@dataclass(frozen=True)
class Row:
    """An encoder, or a layer of it, in the table.

    Attributes:
        name: of the encoder, and of the layer behind a colon.
        system: that trained it.
        parameters: numbers of its weights.
        width: numbers of a vector.
        rms: root mean square of the entries of its centred vectors.
        clamped: share of TMI's distances that were taken as the smallest one.
        embed_s: seconds to encode the labelled and the general frames.
        scores: by name.
        truth: what fine-tuning reached, if it was asked for.
    """

    name: str
    system: str
    parameters: int
    width: int
    rms: float
    clamped: float
    embed_s: float
    scores: Mapping[str, Score]
    truth: Truth | None = None


def classes_of(frames: Frames, column: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class (N,) of each frame, and names of the classes.

    Raises:
        ValueError: no such column, or one that numbers nothing.
    """
    if column == TEXTS:
        frames.need((TEXTS,))
        names, classes = np.unique(np.array(frames.texts), return_inverse=True)
        return classes.astype(np.int64), tuple(names.tolist())
    usable = [name for name, values in frames.columns.items() if values.ndim == 1 and values.dtype.kind in "iub"]
    if column not in usable:
        raise ValueError(f"--column: expected one of {[*usable, *([TEXTS] if frames.texts else [])]}, found {column!r}")
    values, classes = np.unique(frames.columns[column], return_inverse=True)
    known = frames.names.get(column, ())
    return classes.astype(np.int64), tuple(known[v] if 0 <= v < len(known) else str(v) for v in values.tolist())


def rank(
    candidates: Sequence[Candidate],
    frames: Frames,
    classes: NDArray[np.int64],
    options: SelectOptions,
    general: Frames | None = None,
) -> list[Row]:
    """Score candidates, and fine-tune them if that is asked for; the best by `options.by` first.

    Args:
        candidates: encoders of what the frames hold.
        frames: labelled ones, of which some are drawn; the others are still seen by encoders of clips.
        classes: (N,) of the frames.
        options: how.
        general: frames of any kind, for PED; the labelled ones if None.

    Raises:
        ValueError: see `score_features` and `fine_tune`; or no such layer.
    """
    training, test = some(frames, options), np.zeros(0, np.int64)
    general_rows = None if general is None else some(general, options)
    if options.truth_steps:
        drawn, part = training, frames.subset(training)
        count = max(1, round(options.held_out * len(np.unique(part.episode))))
        training, test = (drawn[one] for one in split_frames(part, count, np.random.default_rng(options.seed)))
    layers = [[layer for layer in options.layers if layer in _layers(candidate)] for candidate in candidates]
    missing = set(options.layers).difference(*layers)
    if missing:
        known = ", ".join(sorted({name for candidate in candidates for name in _layers(candidate)}))
        raise ValueError(f"--layers: expected some of {known}, found {sorted(missing)}")
    rows = []
    for candidate, own in zip(tqdm(candidates, desc="encoders", unit="encoder"), layers, strict=True):
        truth = None
        if options.truth_steps:
            tuning = FineTuning(options.truth_steps)
            truth = fine_tune(candidate.encoder, frames, classes, (training, test), tuning, options.seed)
        for layer in ("", *own):
            began = time.perf_counter()
            vectors = _vectors(candidate.encoder, frames, training, layer)
            others = None if general is None else _vectors(candidate.encoder, general, general_rows, layer)
            seconds = time.perf_counter() - began
            try:
                found = score_features(
                    vectors, classes[training], frames.episode[training], options.scores, others, options.seed
                )
                spread = scaled_tmi(vectors.astype(np.float64), classes[training])
            except ValueError as error:
                raise ValueError(f"{candidate.name}: {error}") from error
            name = f"{candidate.name}:{layer}" if layer else candidate.name
            sizes = candidate.parameters, vectors.shape[1], spread.rms, spread.clamped_fraction, seconds
            rows.append(Row(name, candidate.system, *sizes, found, None if layer else truth))
    return sorted(rows, key=lambda row: row.scores[options.by].value, reverse=True)


def _layers(candidate: Candidate) -> list[str]:
    """Names of the modules inside an encoder."""
    encoder = candidate.encoder
    return [name for name, _ in encoder.named_modules() if name] if isinstance(encoder, nn.Module) else []


def _vectors(encoder: Any, frames: Frames, rows: NDArray[np.int64], layer: str) -> NDArray[np.float32]:
    """What an encoder, or a layer of it, makes of frames (N, d)."""
    if not layer:
        return embed(encoder, frames, rows)
    with outputs_of(encoder, layer) as parts:
        embed(encoder, frames, rows)
    return torch.cat([part.flatten(1).float().cpu() for part in parts]).numpy()


def agreement(rows: Sequence[Row], seed: int) -> dict[str, dict[str, float]]:
    """How well each score, the count of parameters and random rankings agree with the truth, see `rank_agreement`."""
    told = [row for row in rows if row.truth is not None]
    truth = [row.truth.accuracy for row in told]
    found = {name: rank_agreement([row.scores[name].value for row in told], truth) for name in told[0].scores}
    found["parameters"] = rank_agreement([row.parameters for row in told], truth)
    mean, high = chance_agreement(truth, seed)
    regret = max(truth) - float(np.mean(truth))
    return found | {"random": {"weighted_kendall": mean, "weighted_kendall_95": high, "top1_regret": regret}}


def result(rows: Sequence[Row], names: Sequence[str], count: int, options: SelectOptions) -> dict[str, Any]:
    """What is written."""
    scoring = sum(row.embed_s + sum(score.seconds for score in row.scores.values()) for row in rows)
    tuning = sum(row.truth.seconds for row in rows if row.truth is not None)
    compared = options.truth_steps and len(rows) > 1
    return {
        "data": str(options.data),
        "column": options.column,
        "classes": list(names),
        "frames": count,
        "general": str(options.general) if options.general else "the labelled frames",
        "sorted_by": options.by,
        "encoders": [asdict(row) for row in rows],
        "agreement": agreement(rows, options.seed) if compared else None,
        "seconds": {"scores": scoring, "fine_tuning": tuning},
    }


def format_table(content: Mapping[str, Any]) -> str:
    """The table for people."""
    rows = content["encoders"]
    width, scores = max(len(row["name"]) for row in rows), list(rows[0]["scores"])
    truths = rows[0]["truth"] is not None or any(row["truth"] for row in rows)
    head = f"{'':<{width}}" + "".join(f"{name:>16}" for name in scores) + f"{'rms':>9}{'clamped':>9}{'seconds':>9}"
    lines = [head + (f"{'fine-tuned':>16}" if truths else "")]
    for row in rows:
        told = [f"{score['value']:.3f} ± {score['error']:.3f}" for score in row["scores"].values()]
        seconds = row["embed_s"] + sum(score["seconds"] for score in row["scores"].values())
        line = f"{row['name']:<{width}}" + "".join(f"{text:>16}" for text in told)
        line += f"{row['rms']:>9.3g}{row['clamped']:>9.0%}{seconds:>9.1f}"
        if row["truth"]:
            line += f"{row['truth']['accuracy']:>8.3f} ± {row['truth']['error']:.3f}"
        lines.append(line)
    if content["agreement"]:
        lines += ["", f"{'agreement with the truth':<24}{'weighted tau':>14}{'tau':>8}{'regret':>8}"]
        for name, found in content["agreement"].items():
            tau = f"{found['kendall']:>8.2f}" if "kendall" in found else " " * 8
            lines.append(f"{name:<24}{found['weighted_kendall']:>14.2f}{tau}{found['top1_regret']:>8.3f}")
        lines.append(f"One of 20 random rankings exceeds {content['agreement']['random']['weighted_kendall_95']:.2f}.")
    seconds = content["seconds"]
    lines += ["", f"PED rescales vectors by those of {content['general']}."]
    lines += [f"scores of all encoders: {seconds['scores']:.1f} s"]
    if seconds["fine_tuning"]:
        lines[-1] += f", beside {seconds['fine_tuning']:.1f} s of fine-tuning"
    return "\n".join(lines)


def write(content: Mapping[str, Any], directory: Path) -> None:
    """Write `RESULT_FILE`; what is not a number, such as the agreement of a constant, becomes null."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain(content), indent=2, allow_nan=False)
    (directory / RESULT_FILE).write_text(text + "\n", encoding="utf-8")


def some(frames: Frames, options: SelectOptions) -> NDArray[np.int64]:
    """Numbers of at most `options.frames` of the frames, in their order."""
    count = min(len(frames), options.frames)
    return np.sort(np.random.default_rng(options.seed).choice(len(frames), count, replace=False))


def select(options: SelectOptions) -> dict[str, Any]:
    """All that the command does but writing.

    Raises:
        FileNotFoundError: no frames, or no encoders.
        ValueError: an encoder or a column that does not fit; see `rank`.
    """
    sight = options.camera, options.image_size, options.points
    frames = open_frames(options.data, *sight)
    classes, names = classes_of(frames, options.column)
    general = open_frames(options.general, *sight) if options.general else None
    if options.encoders:
        candidates = [load_candidate(directory, frames) for directory in options.encoders]
    else:
        candidates, reasons = find_candidates(options.pool, frames)
        for reason in reasons:
            print(f"not ranked: {reason}", file=sys.stderr)
    candidates += [Candidate(name, "", encoder) for name, encoder in baselines(frames, options.seed).items()]
    return result(rank(candidates, frames, classes, options, general), names, len(some(frames, options)), options)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    try:
        options = tyro.cli(SelectOptions, args=args, description=__doc__)
        expect_empty(options.output)
        torch.set_num_threads(options.threads)
        content = select(options)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write(content, options.output)
    print(format_table(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())

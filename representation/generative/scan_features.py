"""Find what a diffusion model tells of a task: `python -m representation.generative.scan_features --output OUT ...`.

`--denoiser` is a run of `representation.pretrain --system diffusion_classification`, a `UNet2DModel` that diffusers
saved, or the released file of the 256-pixel network of guided diffusion. From a few labels of `--data` the best step,
block and pooling are found. OUT then holds `encoder/`, which reads pictures so in one pass and is read as any encoder
is (`representation.embed`, `.probe`, `policies.train --vision-encoder`); `scan.csv` and `scan.png`, what every
choice tells; `cka.csv`, how alike steps, blocks and other encoders (`--against`) are; and heads that were trained on
the same labels (`--heads`). What is told of frames without labels stands beside raw pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import tyro
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from representation.data.frames import LABEL, Frames, expect_empty, open_frames
from representation.embedding import embed
from representation.generative.diffusion_classification import (
    AttentionHead,
    CNNHead,
    FeatureEncoder,
    FeedbackAdapter,
    FeedbackHead,
    FusionHead,
    HeadTraining,
    LinearHead,
    MLPHead,
    ScanRow,
    fit_head,
    linear_cka,
    open_denoiser,
    pooled,
    scan,
)
from representation.generative.diffusion_classification.feature_scan import all_features, reader
from representation.generative.diffusion_classification.features import way_up
from representation.generative.diffusion_classification.fit import head_accuracy
from representation.pretraining.small_encoder import resized
from representation.probe import raw_pixels
from representation.registry import load_encoder

HeadName = Literal["linear", "mlp", "cnn", "attention", "fusion", "feedback"]
DIM, HEADS, LARGEST_SIDE = 128, 4, 8  # of attention, which sees a few labels
COMPARED, SHOWN = 200, 8


@dataclass(frozen=True)
class ScanOptions:
    """What is scanned.

    Attributes:
        denoiser: the network, see above.
        data: directory of the frames.
        output: directory to write; must not hold files.
        column: that is to be told: numbered classes, or numbers.
        labels: frames whose labels are used, alike of all classes.
        times: steps.
        blocks: their numbers; the middle and the way up if left out.
        pools: parts of each side that are averaged over.
        folds: of the cross-validation.
        draws: of noise; each is one pass.
        tested: frames without labels that are told; at most so many.
        heads: to train as well, on classes.
        training: of the heads.
        against: directories of encoders that features are compared with.
        camera: of a LeRobot dataset or a bag; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        threads: of torch.
        seed: of everything that is drawn.
    """

    denoiser: Path
    data: Path
    output: Path
    column: str = LABEL
    labels: int = 50
    times: tuple[int, ...] = (10, 50, 90, 150, 300)
    blocks: tuple[int, ...] = ()
    pools: tuple[int, ...] = (1, 2, 4)
    folds: int = 3
    draws: int = 1
    tested: int = 400
    heads: tuple[HeadName, ...] = ()
    training: HeadTraining = field(default_factory=HeadTraining)
    against: tuple[Path, ...] = ()
    camera: str = ""
    image_size: int = 0
    threads: int = 2
    seed: int = 0


def labelled_rows(y: NDArray, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of `count` labels or somewhat fewer, as many of each class; of any where numbers are told.

    Raises:
        ValueError: more labels than there are, or fewer than one of each class.
    """
    if count >= len(y):
        raise ValueError(f"--labels: expected fewer than the {len(y)} frames, found {count}")
    if np.issubdtype(y.dtype, np.floating):
        return np.sort(rng.permutation(len(y))[:count])
    classes = np.unique(y)
    if count < len(classes):
        raise ValueError(f"--labels: expected at least one of each of {len(classes)} classes, found {count}")
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(y == c))[: count // len(classes)] for c in classes]))


@dataclass(frozen=True)
class Task:
    """Pictures and labels.

    Attributes:
        encoder: over the network, as it came.
        frames: all.
        y: labels (N,); classes are numbered from 0.
        labelled: rows that are learned from.
        tested: rows that are told.
    """

    encoder: FeatureEncoder
    frames: Frames
    y: NDArray
    labelled: NDArray[np.int64]
    tested: NDArray[np.int64]

    def pictures(self, rows: NDArray[np.int64]) -> Tensor:
        """(B, 3, R, R) in [-1, 1]."""
        return 2 * resized(self.frames.pixels(rows), self.encoder.unet.resolution) - 1

    def score(self, vectors: Callable[[NDArray[np.int64]], NDArray]) -> float:
        """What a linear reader tells of the tested frames from vectors of rows."""
        model: Any = reader(self.y)
        return float(
            model.fit(vectors(self.labelled), self.y[self.labelled]).score(vectors(self.tested), self.y[self.tested])
        )


def task_of(options: ScanOptions) -> Task:
    """Open everything and draw what is drawn."""
    encoder = open_denoiser(options.denoiser)
    encoder = encoder.reading(encoder.config.t, encoder.block, encoder.config.pool, options.draws).eval()
    frames = open_frames(options.data, options.camera, options.image_size)
    frames.need([options.column])
    y = frames.columns[options.column]
    if not np.issubdtype(y.dtype, np.floating):
        y = np.unique(y, return_inverse=True)[1]
    rng = np.random.default_rng(options.seed)
    labelled = labelled_rows(y, options.labels, rng)
    rest = rng.permutation(np.setdiff1d(np.arange(len(y)), labelled))[: options.tested]
    return Task(encoder, frames, y, labelled, np.sort(rest))


def new_head(name: HeadName, task: Task, best: ScanRow, times: Sequence[int], blocks: Sequence[int]) -> nn.Module:
    """An untrained head on the best features; DifFormer sees three steps and three blocks, DifFeed two passes."""
    encoder, classes = task.encoder, int(task.y.max()) + 1
    shape = all_features(encoder.unet, task.pictures(task.labelled[:1]), best.t, [*blocks, best.block])
    channels, side = shape[best.block].shape[1:3]
    side = min(side, LARGEST_SIDE)
    if name == "linear":
        return LinearHead(channels, best.pool, classes)
    if name == "mlp":
        return MLPHead(channels, best.pool, classes)
    if name == "cnn":
        return CNNHead(channels, classes)
    if name == "attention":
        return AttentionHead(channels, classes, DIM, HEADS, side=side)
    if name == "fusion":
        widths = {block: shape[block].shape[1] for block in blocks}
        return FusionHead(widths, times, classes, DIM, HEADS, side=min(side, LARGEST_SIDE // 2))
    head = LinearHead(channels, best.pool, classes)
    return FeedbackHead(encoder.unet, FeedbackAdapter(encoder.unet), head, best.t, best.block, encoder.noise)


def spread(values: Sequence[int], best: int) -> tuple[int, ...]:
    """The first, the best and the last of some numbers."""
    return tuple(dict.fromkeys(sorted((values[0], best, values[-1]))))


def head_scores(options: ScanOptions, task: Task, best: ScanRow) -> dict[str, float]:
    """Train every head that is asked for, write it, and tell its accuracy on the tested frames."""
    if np.issubdtype(task.y.dtype, np.floating):
        raise ValueError(f"--heads: expected classes to train on, found numbers in {options.column}")
    blocks = spread(sorted(options.blocks or way_up(task.encoder.unet)), best.block)
    times = spread(sorted(options.times), best.t)
    task.encoder.unet.requires_grad_(False)
    y = torch.from_numpy(task.y)
    found: dict[str, float] = {}

    def inputs_of(name: HeadName, rows: NDArray[np.int64]) -> Any:
        x, noise = task.pictures(rows), task.encoder.noise
        if name == "feedback":
            return x
        if name == "fusion":
            told = {t: all_features(task.encoder.unet, x, t, blocks, noise) for t in times}
            return {(t, block): features for t, several in told.items() for block, features in several.items()}
        return all_features(task.encoder.unet, x, best.t, [best.block], noise)[best.block]

    for name in options.heads:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            head = new_head(name, task, best, times, blocks)
        fit_head(head, inputs_of(name, task.labelled), y[task.labelled], options.training, options.seed)
        (options.output / "heads").mkdir(exist_ok=True)
        save_file(head.state_dict(), options.output / "heads" / f"{name}.safetensors")
        found[name] = head_accuracy(head, inputs_of(name, task.tested), y[task.tested])
    return found


def likenesses(options: ScanOptions, task: Task, best: ScanRow) -> tuple[list[str], NDArray[np.float64]]:
    """Names (K), and CKA (K, K), of features of all steps, of all blocks, and of other encoders."""
    rows = task.tested[:COMPARED]
    x, blocks = task.pictures(rows), options.blocks or way_up(task.encoder.unet)
    vectors: dict[str, NDArray] = {}
    for t in options.times:
        wanted = blocks if t == best.t else [best.block]
        features: Mapping[int, Tensor] = all_features(task.encoder.unet, x, t, wanted, task.encoder.noise)
        vectors |= {f"t {t} block {b}": pooled(h, best.pool).numpy() for b, h in features.items()}
    for directory in options.against:
        vectors[str(directory)] = embed(load_encoder(directory), task.frames, rows)
    names = list(vectors)
    return names, np.array([[linear_cka(vectors[a], vectors[b]) for b in names] for a in names])


def draw_scan(rows: Sequence[ScanRow], path: Path) -> None:
    """A picture of what each block tells at each step, with its best pooling."""
    from matplotlib.figure import Figure

    times, blocks = (sorted({getattr(row, name) for row in rows}) for name in ("t", "block"))
    best = [[max(r.accuracy for r in rows if (r.t, r.block) == (t, b)) for b in blocks] for t in times]
    figure = Figure(figsize=(2 + 0.4 * len(blocks), 1.5 + 0.4 * len(times)), layout="constrained")
    axes = figure.subplots()
    figure.colorbar(axes.imshow(best, cmap="viridis", aspect="auto"))
    axes.set_xticks(range(len(blocks)), blocks)
    axes.set_yticks(range(len(times)), times)
    axes.set_xlabel("block")
    axes.set_ylabel("t")
    figure.savefig(path, dpi=100)


def run(options: ScanOptions) -> str:
    """Scan, write, and tell."""
    task = task_of(options)
    blocks = options.blocks or way_up(task.encoder.unet)
    rows = scan(
        task.encoder.unet,
        task.pictures(task.labelled),
        task.y[task.labelled],
        options.times,
        blocks,
        options.pools,
        options.folds,
        task.encoder.noise,
        seed=options.seed,
    )
    best = rows[0]
    encoder = task.encoder.reading(best.t, best.block, best.pool).eval()
    options.output.mkdir(parents=True, exist_ok=True)
    encoder.save(options.output / "encoder")
    pd.DataFrame(rows).to_csv(options.output / "scan.csv", index=False, float_format="%.4f")
    draw_scan(rows, options.output / "scan.png")
    names, alike = likenesses(options, task, best)
    table = [
        ",".join(["", *names]),
        *(",".join([n, *(f"{v:.3f}" for v in r)]) for n, r in zip(names, alike, strict=True)),
    ]
    (options.output / "cka.csv").write_text("\n".join([*table, ""]), encoding="utf-8")
    pixels = raw_pixels(task.frames.subset(np.concatenate([task.labelled, task.tested])))
    told = {
        f"step {best.t}, block {best.block}, {best.pool} x {best.pool} parts, linear reader": task.score(
            lambda which: embed(encoder, task.frames, which)
        ),
        "raw pixels, linear reader": task.score(
            lambda which: pixels[: len(task.labelled)] if which is task.labelled else pixels[len(task.labelled) :]
        ),
    }
    if options.heads:
        told |= {f"{name} head": value for name, value in head_scores(options, task, best).items()}
    lines = [f"{options.output}: {encoder.width} numbers; {options.column} from {len(task.labelled)} labels"]
    lines += [f"{'t':>5}{'block':>7}{'pool':>6}{'cross-validated':>17}"]
    lines += [f"{row.t:>5}{row.block:>7}{row.pool:>6}{row.accuracy:>17.3f}" for row in rows[:SHOWN]]
    lines += [f"on {len(task.tested)} other frames:", *(f"  {name:<50}{value:.3f}" for name, value in told.items())]
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = tyro.cli(ScanOptions, args=args, description=__doc__)
    expect_empty(options.output)
    torch.set_num_threads(options.threads)
    print(run(options))


if __name__ == "__main__":
    main()

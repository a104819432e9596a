"""Does the encoder find things more closely than what is read from a whole picture?

Tables drawn by `sim.segmented_scenes` in `runs/tables`, 64 px, 200 of them held out. The place of each kind in a
picture is the middle of its pixels; the error is the median distance of what is told, as a share of the picture's side,
averaged over the kinds. Baselines: ridge regression of all places from the pixels, and from the vectors of the same
network with random weights, both with the places of the training pictures as labels; and the encoder's own shares if
what its training weighs more is not taken back.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.short_training import train_shortly
from representation.data.batches import BatchOrder, split_frames
from representation.data.frames import SEGMENTATION, Frames, open_frames
from representation.embedding import embed
from representation.pretraining.segmentation import Config, SegmentationEncoder, new, summed_up
from representation.probe import raw_pixels

TABLES, HELD_OUT, STEPS, BATCH, LR, RESOLUTION = "tables", 200, 600, 64, 3e-3, 64
FEWEST_PIXELS = 6
"""Of a kind in a picture; fewer may be a rim behind something else."""

RIDGE = 100.0


def places(frames: Frames) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Middle (N, K, 2) of the pixels of each kind, x and y from -1 to 1, and where there are enough of them (N, K)."""
    kinds, found, seen = len(frames.names[SEGMENTATION]), [], []
    for start in range(0, len(frames), BATCH):
        shown = torch.from_numpy(np.array(frames.columns[SEGMENTATION][start : start + BATCH])).long()
        shares = F.one_hot(shown, kinds).movedim(-1, 1).float()
        found.append(_middles(summed_up(shares)))
        seen.append((shares.sum((2, 3)) >= FEWEST_PIXELS).numpy())
    return np.concatenate(found), np.concatenate(seen)


def _middles(told: Tensor) -> NDArray[np.float64]:
    return (told[..., 2:4] / told[..., :1].clamp(min=1e-6)).double().numpy()


def error(found: NDArray, true: NDArray, seen: NDArray) -> float:
    """Median distance as a share of the picture's side, averaged over the kinds but the first, everything else."""
    distances = np.linalg.norm(found - true, axis=2) / 2
    return float(np.mean([np.median(distances[seen[:, k], k]) for k in range(1, true.shape[1]) if seen[:, k].any()]))


def read_off(vectors: NDArray, training: NDArray, test: NDArray, true: NDArray, seen: NDArray) -> NDArray:
    """Places (N, K, 2) of test pictures by ridge regression, for each kind from the pictures that show it."""
    found = np.zeros((len(test), *true.shape[1:]))
    for kind in range(1, true.shape[1]):
        rows = training[seen[training, kind]]
        if len(rows):
            found[:, kind] = Ridge(RIDGE).fit(vectors[rows], true[rows, kind]).predict(vectors[test])
    return found


def trained(frames: Frames, rows: NDArray, seed: int, steps: int) -> SegmentationEncoder:
    """An encoder after some steps on some frames."""
    objective = new(Config(resolution=RESOLUTION), frames, seed)
    optimizer = torch.optim.AdamW(objective.parameters(), LR, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=max(steps, 2), pct_start=0.1)
    order = BatchOrder(rows, BATCH, seed)
    train_shortly(objective, frames, order, optimizer, schedule, steps, seed)
    return objective.encoder.eval()


def run(options: BenchOptions) -> list[Claim]:
    """Errors of places, negated, beside the baselines."""
    frames = open_frames(options.data.parent / TABLES)
    true, seen = places(frames)
    errors: dict[str, list[float]] = {name: [] for name in ("ours", "pixels", "random", "weighed")}
    for seed in range(options.seeds):
        training, test = split_frames(frames, HELD_OUT, np.random.default_rng(seed))
        encoder = trained(frames, training, seed, options.steps(STEPS))
        untrained = new(Config(resolution=RESOLUTION), frames, seed).encoder.eval()
        told = {"ours": _found(encoder, frames, test)}
        for name, vectors in (("pixels", raw_pixels(frames)), ("random", embed(untrained, frames))):
            told[name] = read_off(vectors, training, test, true, seen)
        encoder.log_weights.zero_()
        told["weighed"] = _found(encoder, frames, test)
        for name, found in told.items():
            errors[name].append(-error(found, true[test], seen[test]))
    ours = tuple(errors["ours"])
    claim = "tables: error of places as a share of the picture's side, negated"
    return [
        Claim(claim, "read from the pixels", ours, tuple(errors["pixels"]), 0.05),
        Claim(claim, "read from random weights", ours, tuple(errors["random"]), 0.05),
        Claim(claim, "weights not taken back", ours, tuple(errors["weighed"]), 0.0),
    ]


def _found(encoder: SegmentationEncoder, frames: Frames, rows: NDArray) -> NDArray:
    vectors = torch.from_numpy(embed(encoder, frames, rows))
    return _middles(vectors.unflatten(1, (len(encoder.config.kinds), -1)))

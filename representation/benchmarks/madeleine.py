"""What other sensors add to the vectors of the one that is left, and whether sensors find each other's scenes.

Digits: each is seen by four sensors, as 16 tokens of 2 x 2 pixels with their place: raw with strong noise (the
reference), inverted, as absolute horizontal differences, and thresholded, these with weak noise. Trained across the
sensors, or within each of them alone, or not at all, the reference's vectors of digits that were held out are read from
10 labels of each class; the same again with one noise for all. Tokens are 32 numbers, of which 8 are transported, and
the loss of tokens weighs 0.001. Scenes: three objects on a table (`sim.sensor_scenes`, beside the renders), 200 of them
held out; a picture is to find its own depth among these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.short_training import train_shortly
from representation.data.batches import BatchOrder, split_frames
from representation.data.frames import DEPTH, SEGMENTATION, Frames, open_frames
from representation.pretraining.madeleine import (
    BagEncoder,
    Config,
    LossConfig,
    MadeleineEncoder,
    MemoryBags,
    MultiModalPretrainer,
    PretrainerConfig,
    few_shot_probe,
    new,
    sensor_pictures,
)
from representation.pretraining.madeleine.retrieve import retrieval, sensor_vectors
from representation.pretraining.madeleine.sensors import IMAGE

VIEWS = ("raw", "inverted", "differences", "thresholded")
HELD_OUT_DIGITS, SHOTS = 597, 10
HIDDEN, HEADS, TOKEN_DIM, TEMPERATURE, LOCAL_WEIGHT = 64, 4, 32, 0.1, 0.001
STEPS, BATCH, LR, TRANSPORTED = 250, 64, 1e-3, 8
STRONG, WEAK, EQUAL = 0.7, 0.2, 0.3
"""Standard deviations of the noise; pixels are in [0, 1]."""

SCENES, HELD_OUT = "sensor_scenes", 200
SCENE_STEPS, SCENE_BATCH, SCENE_LR = 1000, 64, 3e-3

PICTURED_STEPS, ROWS = 400, 6

LOSSES = {
    "cross": LossConfig(TEMPERATURE, 1.0, LOCAL_WEIGHT, n_tokens=TRANSPORTED),
    "intra": LossConfig(TEMPERATURE, 0.0, 0.0, 1.0),
}


@dataclass(frozen=True)
class Noise:
    """Of the sensors that see a digit.

    Attributes:
        reference: standard deviation of its noise.
        others: of theirs.
    """

    reference: float
    others: float


SETTINGS = {"strong noise in the reference": Noise(STRONG, WEAK), "one noise for all": Noise(EQUAL, EQUAL)}


def digit_tokens(noise: Noise, seed: int) -> tuple[Tensor, NDArray[np.int64]]:
    """All digits as four sensors see them, tokens (S, 4, 16, 20), and their classes (S,)."""
    data = load_digits()
    x, rng = data.images / 16, np.random.default_rng(seed)
    differences = np.abs(np.diff(x, axis=2, append=x[:, :, -1:]))
    views = np.stack([x, 1 - x, differences, (x > 0.5).astype(float)], axis=1)
    spread = np.array([noise.reference, *[noise.others] * (len(VIEWS) - 1)])[None, :, None, None]
    seen = torch.from_numpy(views + spread * rng.normal(size=views.shape)).float()
    pixels = F.pixel_unshuffle(seen.flatten(0, 1)[:, None], 2).flatten(2).transpose(1, 2)
    places = torch.eye(pixels.shape[1]).expand(len(pixels), -1, -1)
    return torch.cat([pixels, places], dim=2).unflatten(0, views.shape[:2]), data.target


def digit_encoder(width: int, seed: int) -> BagEncoder:
    """An untrained encoder of such tokens."""
    return BagEncoder(width, HIDDEN, HEADS, TOKEN_DIM, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def told(encoder: BagEncoder, tokens: Tensor, labels: NDArray) -> float:
    """Balanced accuracy of classes, read from the reference's vectors by `few_shot_probe`."""
    vectors = encoder.eval()(tokens[:, 0], 0).embedding
    return float(few_shot_probe(vectors.numpy(), labels, SHOTS).balanced_accuracy.mean())


def digit_scores(noise: Noise, seed: int, steps: int) -> dict[str, float]:
    """How well classes are told by the means of the tokens, and by encoders that were trained in each way."""
    tokens, labels = digit_tokens(noise, seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    test, training = order[:HELD_OUT_DIGITS], order[HELD_OUT_DIGITS:]
    bags = MemoryBags(tokens[training], VIEWS)
    means = tokens[test, 0].mean(dim=1).numpy()
    found = {"mean": float(few_shot_probe(means, labels[test], SHOTS).balanced_accuracy.mean())}
    found["untrained"] = told(digit_encoder(tokens.shape[3], seed), tokens[test], labels[test])
    epochs = max(1, round(steps * BATCH / len(training)))
    for name, loss in LOSSES.items():
        encoder = digit_encoder(tokens.shape[3], seed)
        config = PretrainerConfig(
            loss=loss,
            epochs=epochs,
            batch_size=BATCH,
            n_tokens=tokens.shape[2],
            lr=LR,
            last_lr=LR,  # as it is all the way
            warmup_epochs=0,
            bfloat16=False,
            seed=seed,
        )
        MultiModalPretrainer(encoder, config).fit(bags)
        found[name] = told(encoder, tokens[test], labels[test])
    return found


def scene_encoder(frames: Frames, training: NDArray, seed: int, steps: int) -> MadeleineEncoder:
    """An encoder after some steps on scenes; untrained after none."""
    objective = new(Config(width=HIDDEN, jitter=0.0), frames, seed)
    optimizer = torch.optim.AdamW(objective.parameters(), SCENE_LR, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, SCENE_LR, total_steps=max(steps, 2), pct_start=0.05)
    order = BatchOrder(training, SCENE_BATCH, seed)
    train_shortly(objective, frames, order, optimizer, schedule, steps, seed)
    objective.eval()
    return objective.encoder


def scene_scores(frames: Frames, seed: int, steps: int) -> dict[str, float]:
    """How often a held-out picture finds its own depth, and its own segmentation, first."""
    training, test = split_frames(frames, HELD_OUT, np.random.default_rng(seed))
    encoder, untrained = (scene_encoder(frames, training, seed, count) for count in (steps, 0))
    found = {name: retrieval(encoder, frames, test, IMAGE, name)["top1"] for name in (DEPTH, SEGMENTATION)}
    return found | {"untrained": retrieval(untrained, frames, test, IMAGE, DEPTH)["top1"]}


def run(options: BenchOptions) -> list[Claim]:
    """Classes told from few labels, and scenes found across sensors, by seed.

    Raises:
        FileNotFoundError: scenes were not made; names them.
    """
    frames = open_frames(options.data.with_name(SCENES))
    claims = []
    for name, noise in SETTINGS.items():
        found = [digit_scores(noise, seed, options.steps(STEPS)) for seed in range(options.seeds)]
        scores = {key: tuple(one[key] for one in found) for key in found[0]}
        gates: Mapping[str, float | None] = {"intra": 0.1, "untrained": 0.15} if noise.reference > noise.others else {}
        what = f"digits of four sensors, {name}: classes told from {SHOTS} labels each, trained across sensors"
        for other, words in (
            ("intra", "trained within sensors"),
            ("untrained", "untrained"),
            ("mean", "mean of the tokens"),
        ):
            claims.append(Claim(what, words, scores["cross"], scores[other], gates.get(other)))
    scenes = [scene_scores(frames, seed, options.steps(SCENE_STEPS)) for seed in range(options.seeds)]
    depth, segmentation, untrained = (tuple(one[key] for one in scenes) for key in (DEPTH, SEGMENTATION, "untrained"))
    what, asked = f"scenes of three objects: a picture finds its own depth first among {HELD_OUT} held-out", 0.5
    return [
        *claims,
        Claim(what, "asked", depth, (asked,) * options.seeds),
        Claim(what, "untrained", depth, untrained, None),
        Claim(what.replace("depth", "segmentation"), "asked", segmentation, (asked,) * options.seeds, None),
    ]


def pictures(options: BenchOptions, file: Path) -> None:
    """Held-out pictures with what the heads attend to, and beside them the depths that they find first.

    A row is a scene: its picture, the attention, its own depth, and the three depths nearest to the picture, in a green
    frame where it is its own.
    """
    frames = open_frames(options.data.with_name(SCENES))
    training, test = split_frames(frames, HELD_OUT, np.random.default_rng(0))
    encoder = scene_encoder(frames, training, 0, options.steps(PICTURED_STEPS))
    (seen, _), (depths, _) = (sensor_vectors(encoder, frames, test, sensor) for sensor in (IMAGE, DEPTH))
    nearest = (seen @ depths.T).topk(3, dim=1).indices
    drawn, _ = sensor_pictures(frames, test, DEPTH, encoder.config.near_far)
    with torch.no_grad():
        attention = encoder.dense(frames.pixels(test[:ROWS]))[1]
    rows = []
    for row in range(ROWS):
        share = attention[row] / attention[row].max()
        side = frames.images.shape[1]
        looked_at = cv2.resize(share.numpy(), (side, side), interpolation=cv2.INTER_NEAREST)[..., None].repeat(3, 2)
        own = drawn[row].permute(1, 2, 0).numpy()
        tiles = [frames.images[test[row]][..., ::-1] / 255, looked_at, own]
        for place in nearest[row].tolist():
            tile = drawn[place].permute(1, 2, 0).numpy().copy()
            if place == row:
                tile[[0, 1, -2, -1]] = tile[:, [0, 1, -2, -1]] = (0.0, 1.0, 0.0)
            tiles.append(tile)
        rows.append(np.hstack([np.pad(tile, ((1, 1), (1, 1), (0, 0))) for tile in tiles]))
    picture = (255 * np.vstack(rows)).astype(np.uint8)
    cv2.imwrite(str(file), cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST))

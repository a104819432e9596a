"""Do restyled frames teach a network to see in looks that it was never shown? And is a style found by its inversion?

Pictures of `sim.appearances` in `runs/appearances`, 64 px: 300 plain ones to train on, 150 plain ones and all changed
ones to test. One small MMIST (seed 0) is trained on the 300 and on procedural textures, each part for a sixth to two
fifths of the steps that the command takes by default; what follows is repeated by seed. A segmentation network of the
same size and steps learns shapes from the plain pictures, from the same in jittered colours, or from the plain ones and
two restyled ones of each (strength 0.7), in twelve looks that texts name; textures of the test pictures are drawn by
other code. Inversions: of texts, and of mixes of a text and a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.picture_grid import write_grid
from representation.benchmarks.short_training import train_shortly
from representation.data.batches import BatchOrder
from representation.data.frames import SEGMENTATION, Frames, as_pixels, open_frames
from representation.generative.mmist import MMIST, CrossModalInverter, Look, MMISTConfig, StyleSpec
from representation.generative.mmist.edges import mean_edge_f1
from representation.generative.mmist.textures import draw_texture
from representation.generative.mmist.train import TrainSettings, train_mmist
from representation.pretraining.segmentation import Config, SegmentationEncoder, new
from representation.restyle import Restyler

APPEARANCES, TRAINED, RESTYLED_EACH = "appearances", 300, 2
SETTINGS = TrainSettings(textures=800, encoder_steps=150, generator_steps=250, clip_steps=300, transfer_steps=450)
LOOKS = (
    "dark red brick",
    "bright green marble",
    "blue and white checks",
    "brown wood",
    "grey concrete",
    "yellow and purple stripes",
    "warm orange tiles",
    "cold white fabric",
    "black and green dots",
    "dim purple marble",
    "bright yellow fabric",
    "orange and blue checks",
)
LOOK_PICTURES, LOOK_STEPS, LOOK_CANDIDATES = 2, 20, 64
INVERTED = ("red brick", "green marble", "blue and yellow stripes", "brown wood", "dim purple tiles")
MIXED = (0.0, 0.25, 0.5, 0.75, 1.0)
STEPS, BATCH, LR, JITTER, STRENGTH = 600, 16, 4e-3, 0.5, 0.7
NETWORK = Config(resolution=64, channels=(16, 24, 32), dilations=(1, 2, 4))


def split(frames: Frames) -> tuple[Frames, Frames, Frames]:
    """Plain frames to train on, plain ones and changed ones to test."""
    frames.need([SEGMENTATION, "changed"])
    plain, changed = (np.flatnonzero(frames.columns["changed"] == value) for value in (0, 1))
    return frames.subset(plain[:TRAINED]), frames.subset(plain[TRAINED:]), frames.subset(changed)


def fitted(frames: Frames, options: BenchOptions) -> MMIST:
    """A small MMIST of some frames."""
    settings = replace(
        SETTINGS,
        encoder_steps=options.steps(SETTINGS.encoder_steps),
        generator_steps=options.steps(SETTINGS.generator_steps),
        clip_steps=options.steps(SETTINGS.clip_steps),
        transfer_steps=options.steps(SETTINGS.transfer_steps),
    )
    config = MMISTConfig()
    side = config.work_side
    larger = np.stack([cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR) for image in frames.images])
    return train_mmist(Frames(larger, frames.episode), config, settings, 0)


def looks_of(model: MMIST, contents: torch.Tensor, options: BenchOptions) -> list[Look]:
    """The twelve looks, found in fewer steps than a whole inversion takes."""
    inverter = model.inverter()
    inverter.steps, inverter.n_candidates = options.steps(LOOK_STEPS), options.steps(LOOK_CANDIDATES)
    return [
        Look(text, inverter.invert(StyleSpec({text: 1.0}), contents, LOOK_PICTURES, number))
        for number, text in enumerate(LOOKS[: options.steps(len(LOOKS))])
    ]


def restyled(frames: Frames, model: MMIST, looks: Sequence[Look], seed: int) -> NDArray[np.uint8]:
    """Pictures (N, S, S, 3) of frames, each in a look of its own."""
    restyler, rng = Restyler(model, looks, STRENGTH, least_edges=0.0), np.random.default_rng(seed)
    chosen, made = rng.integers(len(looks), size=len(frames)), np.empty_like(frames.images)
    for number, look in enumerate(looks):
        rows = np.flatnonzero(chosen == number)
        if len(rows):
            made[rows] = restyler.frames(frames.images[rows], model.style(look), 100 * seed + number)
    return made


def with_restyled(frames: Frames, model: MMIST, looks: Sequence[Look], seed: int) -> Frames:
    """Frames, and each in some looks."""
    images = [frames.images, *(restyled(frames, model, looks, 10 * seed + k) for k in range(RESTYLED_EACH))]
    shown = np.concatenate([frames.columns[SEGMENTATION]] * len(images))
    return Frames(np.concatenate(images), np.arange(len(shown)), {SEGMENTATION: shown}, frames.names)


def segmenter(frames: Frames, jitter: float, seed: int, steps: int) -> SegmentationEncoder:
    """A network that learned what each place shows."""
    objective = new(replace(NETWORK, jitter=jitter), frames, seed)
    optimizer = torch.optim.AdamW(objective.parameters(), LR, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = BatchOrder(np.arange(len(frames)), BATCH, seed)
    train_shortly(objective, frames, order, optimizer, schedule, steps, seed)
    return objective.encoder.eval()


@torch.no_grad()
def told(network: SegmentationEncoder, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Number of the kind of each pixel (N, S, S)."""
    found = []
    for start in range(0, len(images), 50):
        shares = network.shares(network.logits(as_pixels(images[start : start + 50])))
        sized = F.interpolate(shares, images.shape[1:3], mode="bilinear", align_corners=False)
        found.append(sized.argmax(dim=1).numpy())
    return np.concatenate(found)


def mean_iou(found: NDArray, shown: NDArray, kinds: int) -> float:
    """Intersection over union of the kinds, averaged."""
    pairs = [(found == kind, shown == kind) for kind in range(kinds)]
    return float(np.mean([(one & other).sum() / (one | other).sum() for one, other in pairs]))


def boundary_iou(found: NDArray, shown: NDArray) -> float:
    """The same of the two pixels along the inner edge of things, whatever their kind (Cheng et al., CVPR 2021)."""
    kernel = np.ones((3, 3), np.uint8)

    def rim(kinds: NDArray) -> NDArray[np.bool_]:
        things = [(one > 0).astype(np.uint8) for one in kinds]
        return np.stack([(thing > 0) & (cv2.erode(thing, kernel, iterations=2) == 0) for thing in things])

    one, other = rim(found), rim(shown)
    return float((one & other).sum() / (one | other).sum())


def inversion_claims(model: MMIST, contents: torch.Tensor) -> list[Claim]:
    """How far the loss falls, and whether the best of 128 is the better start; five seeds, a text each."""
    best, other = model.inverter(), model.inverter()
    other.start = "random"
    ratios, better = [], []
    for seed, text in enumerate(INVERTED):
        spec = StyleSpec({text: 1.0})
        found, rival = (inverter.invert_once(spec, contents, seed) for inverter in (best, other))
        start, end, end_of_rival = (
            best.measured(ws, spec, contents, seed) for ws in (found.start, found.latents, rival.latents)
        )
        ratios.append(end / start)
        better.append(float(end <= end_of_rival))
    few, left = tuple(float(ratio <= 0.8) for ratio in ratios), tuple(-ratio for ratio in ratios)
    count, task = len(ratios), "inversion: loss over that of the best of 128"
    return [
        Claim(f"{task}, share of seeds with 0.8 or less", "asked", few, (1.0,) * count),
        Claim(f"{task}, negated", "asked: 0.8, negated", left, (-0.8,) * count, None),
        Claim("inversion: the best of 128 ends lower than a random start", "asked", tuple(better), (0.8,) * count),
    ]


def mixed(inverter: CrossModalInverter, contents: torch.Tensor, seed: int) -> float:
    """Spearman correlation of a text's weight, beside a picture's, and of how near the found picture is to the text."""
    picture = as_pixels(draw_texture(64, np.random.default_rng(1000 + seed)).image[None])[0]
    text = INVERTED[seed % len(INVERTED)]
    near = []
    for weight in MIXED:
        spec = StyleSpec({text: weight}, [(picture, 1 - weight)])
        ws = inverter.invert_once(spec, contents, seed).latents
        near.append(-inverter.measured(ws, StyleSpec({text: 1.0}), contents, seed))
    return float(spearmanr(MIXED, near).statistic)


def run(options: BenchOptions) -> list[Claim]:
    """Of the inversion, of the segmentation networks, and of the edges."""
    training, held_out, changed = split(open_frames(options.data.parent / APPEARANCES))
    model, steps, seeds = fitted(training, options), options.steps(STEPS), range(options.seeds)
    contents = as_pixels(training.images[:16])
    claims = inversion_claims(model, contents)
    kinds = len(training.names[SEGMENTATION])
    looks = looks_of(model, contents, options)
    names = ("restyled", "jittered", "plain")
    outside: dict[str, list[float]] = {name: [] for name in names}
    inside: dict[str, list[float]] = {name: [] for name in names}
    edges, rims, orders = [], [], []
    for seed in seeds:
        orders.append(mixed(model.inverter(), contents, seed))
        sets = {"restyled": with_restyled(training, model, looks, seed), "jittered": training, "plain": training}
        for name in names:
            network = segmenter(sets[name], JITTER if name == "jittered" else 0.0, seed, steps)
            for found, part in ((outside, changed), (inside, held_out)):
                found[name].append(mean_iou(told(network, part.images), part.columns[SEGMENTATION], kinds))
            if name == "restyled":
                made, shown = restyled(held_out, model, looks, 1000 + seed), held_out.columns[SEGMENTATION]
                edges.append(mean_edge_f1(held_out.images, made))
                one, other = (boundary_iou(told(network, images), shown) for images in (made, held_out.images))
                rims.append(one - other)
    task, count = "shapes in unseen textures, lights and tints, mean IoU, trained on restyled frames", options.seeds
    ours = tuple(outside["restyled"])
    return [
        *claims,
        Claim("mix of a text and a picture: Spearman of weight and likeness", "asked", tuple(orders), (0.9,) * count),
        Claim(task, "no augmentation", ours, tuple(outside["plain"]), 0.10),
        Claim(task, f"colour jitter of {JITTER}", ours, tuple(outside["jittered"]), 0.03),
        Claim(
            "the same in the plain look", "no augmentation", tuple(inside["restyled"]), tuple(inside["plain"]), -0.02
        ),
        Claim("F1 of edges, before and after", "asked", tuple(edges), (0.5,) * count),
        Claim("boundary IoU of its network, restyled less plain", "asked", tuple(rims), (-0.05,) * count),
    ]


def pictures(options: BenchOptions, file: Path) -> None:
    """Plain frames, then a row for each of four looks: the frames in it and its style picture."""
    training = split(open_frames(options.data.parent / APPEARANCES))[0]
    model = fitted(training, replace(options, scale=0.4 * options.scale))
    frames, contents = training.images[-6:], as_pixels(training.images[:16])
    inverter, restyler = model.inverter(), Restyler(model, [], least_edges=0.0)
    inverter.steps, inverter.n_candidates = options.steps(LOOK_STEPS), options.steps(inverter.n_candidates)
    rows = {"plain frames": as_pixels(frames)}
    for number in (0, 1, 2, 6):
        text = LOOKS[number]
        look = Look(text, inverter.invert(StyleSpec({text: 1.0}), contents, LOOK_PICTURES, number))
        restyled_frames = as_pixels(restyler.frames(frames, model.style(look)))
        rows[f"{text}, and its style picture"] = torch.cat([restyled_frames, look.images[:1]])
    write_grid(rows, file, side=96)

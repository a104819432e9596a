"""Does sorting teach an encoder of clips what happens when? Two blocks, one of which is pushed in each of four steps.

Encoders are pretrained on narrated episodes and frozen. Sorting: how often a sentence of a held-out episode is put at
its place (chance 0.25; sentences that occur twice in an episode keep even a perfect answer below 1). Slots: a logistic
regression tells which of eight actions happens in each quarter of a clip, mean over the quarters (chance 0.125).
Compared: aligning and sorting, aligning alone, and no pretraining; and sorting of clips of other episodes, of which the
sentences alone could tell, and of clips that run backwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.short_training import train_shortly
from representation.data.batches import BatchOrder
from representation.data.clips import history, script_of
from representation.data.frames import LABEL, STEP, Frames
from representation.embedding import embed
from representation.pretraining.tvts import Config, new
from representation.pretraining.tvts.encoder import TVTSEncoder
from representation.pretraining.tvts.pretraining import TVTSObjective

SORTED, ALIGNED, UNTRAINED = "align and sort", "align alone", "no pretraining"
OTHER, BACKWARDS = "another episode's clip", "backwards"
SIDE, BLOCK, STRIDE, STEPS, STEP_FRAMES = 24, 5, 6, 4, 4  # pixels, and frames
LENGTH = STEPS * STEP_FRAMES
COLORS = {"red": (220, 50, 40), "blue": (40, 70, 220)}
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
VERBS = ("pushes", "moves", "slides")
ASKED = 0.45  # share of sentences that are put at their places
CONFIG = Config(resolution=SIDE, patch=6, frames=LENGTH, smallest_crop=1.0)


@dataclass(frozen=True)
class Settings:
    """How much is trained and measured.

    Attributes:
        episodes: to pretrain on.
        labelled: to fit the probes on.
        test: to score on.
        steps: of each pretraining.
        batch: clips of a step.
        lr: peak learning rate.
    """

    episodes: int = 1500
    labelled: int = 800
    test: int = 400
    steps: int = 5000
    batch: int = 48
    lr: float = 1e-3


def run(options: BenchOptions) -> list[Claim]:
    """How well sentences are sorted, and what sorting adds to what a vector tells of the parts of a clip."""
    settings = Settings(steps=options.steps(Settings.steps))
    found = [scores(seed, settings) for seed in range(options.seeds)]

    def claim(what: str, ours: str, baseline: str, least: float) -> Claim:
        values = (tuple(one[name] for one in found) for name in (ours, baseline))
        return Claim(what, baseline.removeprefix("slots: ").removeprefix("sorting: "), *values, least=least)

    slots = "action in a quarter of a clip, told by its vector"
    sorted_ones = tuple(one["sorting"] for one in found)
    return [
        Claim("sentences put at their places, chance 0.25", "asked", sorted_ones, (ASKED,) * options.seeds),
        claim("sentences put at their places, chance 0.25", "sorting", f"sorting: {OTHER}", 0.2),
        claim(f"{slots}: {SORTED}", f"slots: {SORTED}", f"slots: {ALIGNED}", 0.03),
        claim(f"{slots}: {SORTED}", f"slots: {SORTED}", f"slots: {UNTRAINED}", 0.08),
        claim(f"{slots}: {ALIGNED}", f"slots: {ALIGNED}", f"slots: {UNTRAINED}", 0.08),
    ]


def scores(seed: int, settings: Settings) -> dict[str, float]:
    """`slots` of encoders of each kind, and `sorting` of the first one: straight, of other episodes, and backwards."""
    frames, fitted, scored = (
        block_episodes(count, 3 * seed + number)
        for number, count in enumerate((settings.episodes, settings.labelled, settings.test))
    )
    found = {}
    for name in (SORTED, ALIGNED, UNTRAINED):
        config = replace(CONFIG, sort_weight=0.0) if name == ALIGNED else CONFIG
        objective = new(config, frames, seed)
        if name != UNTRAINED:
            train(objective, frames, np.arange(0, len(frames), LENGTH), settings, seed)
        encoder = objective.encoder.eval()
        found[f"slots: {name}"] = slot_accuracy(encoder, fitted, scored)
        if name == SORTED:
            found |= sorting(encoder, scored, last_rows(scored, np.arange(len(scored))))
    found["sorting: best possible"] = best_sorting(scored)
    return found


def block_episodes(count: int, seed: int) -> Frames:
    """Episodes of four steps, `label` being the action: colour and way together."""
    rng = np.random.default_rng(seed)
    images = np.full((count, LENGTH, SIDE, SIDE, 3), 128, np.uint8)
    labels, texts, moves = np.zeros((count, STEPS), np.int64), [], np.array(list(WAYS.values()))
    for episode in range(count):
        places = rng.integers(0, SIDE - BLOCK, (len(COLORS), 2)).astype(float)  # of the top left corner: x, y
        for step in range(STEPS):
            block = int(rng.integers(len(COLORS)))
            ends = places[block] + STRIDE * moves
            way = int(rng.choice(np.flatnonzero(((ends >= 0) & (ends <= SIDE - BLOCK)).all(axis=1))))
            labels[episode, step] = block * len(WAYS) + way
            words = (rng.choice(VERBS), list(COLORS)[block], list(WAYS)[way])
            texts += ["the robot {} the {} block {}".format(*words)] * STEP_FRAMES
            for number in range(STEP_FRAMES):
                places[block] += moves[way] * STRIDE / STEP_FRAMES
                for own, color in zip(places.round().astype(int), COLORS.values(), strict=True):
                    frame = images[episode, step * STEP_FRAMES + number]
                    frame[own[1] : own[1] + BLOCK, own[0] : own[0] + BLOCK] = color
    names = tuple(f"{color} {way}" for color in COLORS for way in WAYS)
    columns = {LABEL: labels.repeat(STEP_FRAMES), STEP: np.tile(np.arange(STEPS).repeat(STEP_FRAMES), count)}
    return Frames(images.reshape(-1, SIDE, SIDE, 3), np.arange(count).repeat(LENGTH), columns, {LABEL: names}, texts)


def train(objective: TVTSObjective, frames: Frames, rows: NDArray[np.int64], settings: Settings, seed: int) -> None:
    """Pretrain on clips about some rows."""
    order = BatchOrder(rows, settings.batch, seed)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=settings.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, settings.steps, pct_start=0.1)
    objective.train()
    train_shortly(objective, frames, order, optimizer, schedule, settings.steps, seed, clip=1.0)


def last_rows(frames: Frames, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The last row of each episode that some rows belong to; its history is the episode."""
    ends = np.flatnonzero(np.diff(frames.episode, append=-1))
    return ends[np.isin(frames.episode[ends], frames.episode[rows])]


@torch.inference_mode()
def sorting(encoder: TVTSEncoder, frames: Frames, rows: NDArray[np.int64]) -> dict[str, float]:
    """How often a sentence of the episodes that end in some rows is put at its place, and what it gets without them."""
    hits: dict[str, list[torch.Tensor]] = {"": [], f": {OTHER}": [], f": {BACKWARDS}": []}
    scripts = [[step.text for step in script_of(frames, int(row))[0].steps] for row in rows]
    for start in range(0, len(rows), 50):
        own = scripts[start : start + 50]
        clips = history(frames, rows[start : start + 50], LENGTH)
        for name, seen in zip(hits, (clips, clips.roll(1, 0), clips.flip(1)), strict=True):
            hits[name].append((encoder.predict_order(seen, own).argmax(dim=2) == torch.arange(STEPS)).float())
    return {f"sorting{name}": float(torch.cat(found).mean()) for name, found in hits.items()}


def best_sorting(frames: Frames) -> float:
    """What a perfect answer gets on average: of actions that occur n times, one n-th is put at its place."""
    labels = frames.columns[LABEL].reshape(-1, LENGTH)[:, ::STEP_FRAMES]
    return float(np.mean([len(np.unique(own)) / STEPS for own in labels]))


def slot_accuracy(encoder: TVTSEncoder, fitted: Frames, scored: Frames) -> float:
    """Accuracy of telling the action of each quarter, mean over the quarters."""
    vectors = [embed(encoder, frames, last_rows(frames, np.arange(len(frames)))) for frames in (fitted, scored)]
    labels = [frames.columns[LABEL].reshape(-1, LENGTH)[:, ::STEP_FRAMES] for frames in (fitted, scored)]
    found = []
    for slot in range(STEPS):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        model.fit(vectors[0], labels[0][:, slot])
        found.append(model.score(vectors[1], labels[1][:, slot]))
    return float(np.mean(found))

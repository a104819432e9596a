"""Are objects known again, and is the background forgotten, and by which of the losses?

Twenty objects, two of each of ten classes (`python -m sim.subject_views`): the first half of the views of each is
trained on and stored, the other half is looked for. One encoder is trained with all losses, with reconstruction alone,
and without the contrast of appearance (MACL), each with the same steps; all see whole pictures when they are measured,
and no phrase. The claim of CustomContrast (arXiv 2409.05606): contrast between subjects keeps what is a subject's own,
reconstruction keeps what is a view's as well. Identity and background are told together, since either alone is easy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from representation.benchmarks.claims import BenchOptions, Claim
from representation.data.frames import LABEL, Frames, open_frames
from representation.pretraining.customcontrast import (
    Config,
    SubjectCodes,
    SubjectEncoder,
    SubjectIndex,
    SubjectObjective,
    new,
)
from representation.probes import linear_probe

NAME = "subjects"  # directory beside the renders, of `python -m sim.subject_views`
FULL, RECONSTRUCTION, WITHOUT, UNTRAINED = "all losses", "reconstruction only", "without MACL", "untrained"
CONFIGS = {
    FULL: Config(),
    RECONSTRUCTION: Config(semantic=0.0, appearance=0.0),
    WITHOUT: Config(appearance=0.0),
}
BACKGROUND = "background"
TILE = 32  # pixels
STRENGTHS = np.logspace(-1, 5, 13)  # of ridge regression, one of which is chosen on what it is fitted on


@dataclass(frozen=True)
class Settings:
    """How much is trained.

    Attributes:
        steps: of each training.
        subjects: P of a step.
        lr: highest learning rate.
    """

    steps: int = 1000
    subjects: int = 16
    lr: float = 1e-3


def halves(frames: Frames) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the first half of the views of each object, and of the other half."""
    first = np.concatenate(
        [rows[: len(rows) // 2] for rows in (np.flatnonzero(frames.episode == n) for n in np.unique(frames.episode))]
    )
    return first, np.setdiff1d(np.arange(len(frames)), first)


def trained(config: Config, frames: Frames, settings: Settings, seed: int) -> SubjectObjective:
    """An objective trained on frames: AdamW with warm-up over a twentieth of the steps, then a cosine."""
    objective = new(config, frames, seed)
    parameters = [value for value in objective.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(parameters, settings.lr, betas=(0.9, 0.95), weight_decay=0.01)
    warm, steps = max(1, settings.steps // 20), settings.steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / warm) * 0.5 * (1 + np.cos(np.pi * step / steps))
    )
    rng, views = np.random.default_rng(seed), [np.flatnonzero(frames.episode == n) for n in np.unique(frames.episode)]
    for step in range(steps):
        chosen = rng.choice(len(views), min(settings.subjects, len(views)), replace=False)
        rows = np.array([rng.choice(views[number]) for number in chosen])
        batch = objective.batch(frames, rows, torch.Generator().manual_seed(seed * 1_000_003 + step))
        optimizer.zero_grad()
        objective(batch).total.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    return objective.eval()


@torch.inference_mode()
def codes_of(encoder: SubjectEncoder, frames: Frames, rows: NDArray[np.int64]) -> SubjectCodes:
    """Codes of whole pictures, without phrases."""
    parts = [encoder.codes(frames.pixels(some)) for some in np.array_split(rows, max(1, len(rows) // 64))]
    return SubjectCodes(torch.cat([part.cls_v for part in parts]), None, torch.cat([part.codes for part in parts]))


def scores(encoder: SubjectEncoder, frames: Frames) -> dict[str, float]:
    """Objects and classes found among stored views, R squared of the background, and the class by a linear probe."""
    scales, labels, background = encoder.config.n_scales, frames.columns[LABEL], frames.columns[BACKGROUND]
    stored, asked = halves(frames)
    codes = {name: codes_of(encoder, frames, rows) for name, rows in (("stored", stored), ("asked", asked))}
    index = SubjectIndex(scales)
    index.add(codes["stored"], [str(number) for number in frames.episode[stored]])
    told = np.array([int(hits[0].id) for hits in index.query(codes["asked"])])
    class_of = dict(zip(frames.episode.tolist(), labels.tolist(), strict=True))
    train, test = (codes[name].vectors(scales).numpy() for name in ("stored", "asked"))
    reader = make_pipeline(StandardScaler(), RidgeCV(STRENGTHS)).fit(train, background[stored])
    return {
        "instance": float((told == frames.episode[asked]).mean()),
        "class": float(np.mean([class_of[number] for number in told.tolist()] == labels[asked])),
        "background": max(0.0, float(reader.score(test, background[asked]))),
        "probe": linear_probe((train, labels[stored]), (test, labels[asked]), LABEL).score,
    }


def opened(options: BenchOptions) -> Frames:
    """The views of objects.

    Raises:
        FileNotFoundError: they were not drawn.
    """
    place = options.data.with_name(NAME)
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: expected views of objects, see python -m sim.subject_views, found none")
    return open_frames(place)


def run(options: BenchOptions) -> list[Claim]:
    """Retrieval, background and classes, by seed.

    Raises:
        FileNotFoundError: the views were not drawn.
    """
    frames, settings = opened(options), Settings()
    settings = replace(settings, steps=options.steps(settings.steps))
    own = frames.subset(halves(frames)[0])
    found: dict[str, list[dict[str, float]]] = {name: [] for name in (*CONFIGS, UNTRAINED)}
    for seed in range(options.seeds):
        for name, config in CONFIGS.items():
            found[name].append(scores(trained(config, own, settings, seed).encoder, frames))
        found[UNTRAINED].append(scores(new(Config(), own, seed).eval().encoder, frames))

    def by_seed(name: str, measure: str) -> tuple[float, ...]:
        return tuple(one[measure] for one in found[name])

    def lost(measure: str) -> tuple[float, ...]:
        return tuple(np.subtract(by_seed(FULL, measure), by_seed(WITHOUT, measure)).tolist())

    def less(name: str) -> tuple[float, ...]:
        return tuple(-value for value in by_seed(name, BACKGROUND))

    again, read = "objects: known again, other view, light and floor", "objects: R squared of the background, negated"
    return [
        Claim(again, RECONSTRUCTION, by_seed(FULL, "instance"), by_seed(RECONSTRUCTION, "instance"), 0.15),
        Claim(read, RECONSTRUCTION, less(FULL), less(RECONSTRUCTION), 0.2),
        Claim("objects: class by a linear probe", "asked", by_seed(FULL, "probe"), (0.9,) * options.seeds),
        Claim(
            "objects: known again, lost without MACL", "class found, lost without MACL", lost("instance"), lost("class")
        ),
        Claim(again, UNTRAINED, by_seed(FULL, "instance"), by_seed(UNTRAINED, "instance"), None),
        Claim(again, WITHOUT, by_seed(FULL, "instance"), by_seed(WITHOUT, "instance"), None),
        Claim("objects: class of the nearest", WITHOUT, by_seed(FULL, "class"), by_seed(WITHOUT, "class"), None),
        Claim(read, WITHOUT, less(FULL), less(WITHOUT), None),
        Claim(read, UNTRAINED, less(FULL), less(UNTRAINED), None),
    ]


def pictures(options: BenchOptions, file: Path) -> None:
    """Objects that are asked for, beside the three nearest stored views; green is the same object, red another."""
    frames = opened(options)
    stored, asked = halves(frames)
    steps = options.steps(Settings().steps)
    encoder = trained(Config(), frames.subset(stored), Settings(steps=steps), 0).encoder
    asked = asked[:: len(asked) // len(np.unique(frames.episode))]  # one of each object
    index = SubjectIndex(encoder.config.n_scales)
    index.add(codes_of(encoder, frames, stored), [str(row) for row in stored])
    rows = []
    for row, hits in zip(asked, index.query(codes_of(encoder, frames, asked), 3), strict=True):
        found = [int(hit.id) for hit in hits]
        tiles = [_framed(frames.images[row], (255, 255, 255))]
        for other in found:
            same = frames.episode[other] == frames.episode[row]
            tiles.append(_framed(frames.images[other], (0, 200, 0) if same else (220, 0, 0)))
        rows.append(np.concatenate(tiles, axis=1))
    half = len(rows) // 2
    columns = [np.concatenate(part) for part in (rows[:half], rows[half : 2 * half])]
    gap = np.full((columns[0].shape[0], 12, 3), 255, np.uint8)
    page = np.concatenate([columns[0], gap, columns[1]], axis=1)
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), cv2.cvtColor(page, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _framed(image: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    small = cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(small, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=colour)

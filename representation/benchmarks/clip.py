"""Does a CLIP name pairs of colour and shape that it never saw together?

Renders of one object (`python -m sim.renders`): six of the thirty pairs of a colour and a shape are left out of the
training, each colour once. Three convolutions and a text transformer of two layers, width 64, train from nothing for 15
epochs on four fifths of the pictures of the others; what is left is named out of all thirty pairs, each by the mean of
its sentences. The baseline, a classifier of thirty classes on the same convolutions, cannot name a pair that it
never saw. The claim of CLIP (arXiv 2103.00020) at this size: sentences of known words name unknown pairs.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.data.frames import LABEL, Frames, open_frames
from representation.pretraining.clip.config import CLIPConfig
from representation.pretraining.clip.encoder import CLIPEncoder, prepare
from representation.pretraining.clip.model import CLIP
from representation.pretraining.clip.pretraining import CLIPObjective
from representation.pretraining.clip.tokenizer import Tokenizer

EPOCHS, BATCH, LR, TRAINED_SHARE = 15, 128, 1e-3, 0.8
SIDE, EMBEDDING, CONTEXT, VOCABULARY = 32, 64, 24, 1024
FACTORS = {"color": "color", "shape": "shape", "size": "scale"}  # words of a template, and columns


class Convolutions(nn.Sequential):
    """Three convolutions of stride 2, the largest value over all places, and a linear layer.

    Pictures (B, 3, 32, 32) to (B, output). An object is small and lies anywhere, which a mean over places would hide.
    """

    def __init__(self, output: int) -> None:
        layers: list[nn.Module] = []
        for channels, out in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(channels, out, 5, stride=2, padding=2), nn.BatchNorm2d(out), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(128, output))


def left_out_pairs(frames: Frames, seed: int) -> NDArray[np.int64]:
    """Labels of a pair of every colour, its shapes as different as they can be."""
    rng = np.random.default_rng(seed)
    colors, shapes = len(frames.names["color"]), len(frames.names["shape"])
    drawn = np.resize(rng.permutation(shapes), colors)
    return rng.permutation(colors) * shapes + drawn


def templates_of(frames: Frames) -> list[str]:
    """The sentences of the frames, with `{color}`, `{shape}` and `{size}` for their words."""
    found = set()
    for row, text in enumerate(frames.texts):
        for word, column in FACTORS.items():
            value = frames.names[column][frames.columns[column][row]]
            text = re.sub(rf"\b{re.escape(value)}\b", f"{{{word}}}", text)
        found.add(text)
    return sorted(found)


@torch.no_grad()
def pair_vectors(encoder: CLIPEncoder, frames: Frames, templates: list[str]) -> Tensor:
    """Unit vectors (P, E) of all pairs, each the mean of its sentences of both sizes."""
    vectors = []
    for color in frames.names["color"]:
        for shape in frames.names["shape"]:
            words = [{"color": color, "shape": shape, "size": size} for size in frames.names["scale"]]
            sentences = [template.format(**own) for template in templates for own in words]
            vectors.append(encoder.encode_texts(sentences).mean(dim=0))
    return F.normalize(torch.stack(vectors), dim=1)


def split(frames: Frames, left_out: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on, the first pictures of each combination that is not left out, and rows to name."""
    combination = frames.columns[LABEL] * len(frames.names["scale"]) + frames.columns["scale"]
    is_first = np.zeros(len(frames), bool)
    for number in np.unique(combination):
        rows = np.flatnonzero(combination == number)
        is_first[rows[: int(TRAINED_SHARE * len(rows))]] = True
    is_left_out = np.isin(frames.columns[LABEL], left_out)
    return np.flatnonzero(is_first & ~is_left_out), np.flatnonzero(~is_first | is_left_out)


def new_clip(frames: Frames, seed: int) -> CLIPObjective:
    """An untrained CLIP with the three convolutions, its vocabulary learned from the sentences of the frames."""
    tokenizer = Tokenizer.fit(frames.texts, VOCABULARY)
    sizes = CLIPConfig(EMBEDDING, SIDE, 1, 64, SIDE, CONTEXT, len(tokenizer), 64, 4, 2)
    model = CLIP(sizes, torch.Generator().manual_seed(seed))
    model.visual = new_convolutions(EMBEDDING, seed)
    return CLIPObjective(CLIPEncoder(model, tokenizer), smallest_crop=1.0)


def new_convolutions(output: int, seed: int) -> Convolutions:
    """Untrained convolutions."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Convolutions(output)


def run_seed(frames: Frames, seed: int, epochs: int = EPOCHS) -> dict[str, dict[str, float]]:
    """Accuracies on seen and on left-out pairs, named out of all thirty, of CLIP and of the baseline."""
    left_out = left_out_pairs(frames, seed)
    training, tested = split(frames, left_out)
    known = frames.subset(training)
    templates = templates_of(known)
    labels, is_seen = torch.from_numpy(frames.columns[LABEL][tested]), ~np.isin(frames.columns[LABEL][tested], left_out)
    images = prepare(frames.pixels(tested), SIDE)

    def accuracy(scores: Tensor) -> dict[str, float]:
        hits = (scores.argmax(dim=1) == labels).numpy()
        return {"seen pairs": float(hits[is_seen].mean()), "left-out pairs": float(hits[~is_seen].mean())}

    def named(encoder: CLIPEncoder, used: list[str]) -> dict[str, float]:
        encoder.eval()
        with torch.no_grad():
            vectors = torch.cat([encoder.model.encode_image(part) for part in images.split(512)])
        return accuracy(vectors @ pair_vectors(encoder, frames, used).T)

    clip = new_clip(known, seed)
    found = {"CLIP, untrained": named(clip.encoder, templates)}
    _train(clip, known, seed, epochs, lambda rows, generator: clip(clip.batch(known, rows, generator)).total)
    found["CLIP"] = named(clip.encoder, templates)
    single = [named(clip.encoder, [template]) for template in templates]
    found["CLIP, its worst sentence"] = {name: min(one[name] for one in single) for name in single[0]}
    classifier = new_convolutions(len(frames.names[LABEL]), seed)
    pixels, known_labels = prepare(known.pixels(np.arange(len(known))), SIDE), torch.from_numpy(known.columns[LABEL])
    _train(
        classifier, known, seed, epochs, lambda rows, _: F.cross_entropy(classifier(pixels[rows]), known_labels[rows])
    )
    with torch.no_grad():
        found["classifier"] = accuracy(torch.cat([classifier.eval()(part) for part in images.split(512)]))
    return found


def run(options: BenchOptions) -> list[Claim]:
    """Accuracy on seen and on left-out pairs beside chance, the classifier, and single sentences."""
    frames = open_frames(options.data)
    found = [run_seed(frames, seed, options.steps(EPOCHS)) for seed in range(options.seeds)]
    chance = (1 / len(frames.names[LABEL]),) * options.seeds
    seen, left_out, kinds = "seen pairs", "left-out pairs", ("CLIP", "CLIP, its worst sentence")

    def by_seed(kind: str, name: str) -> tuple[float, ...]:
        return tuple(one[kind][name] for one in found)

    return [
        Claim("renders: seen pairs named", "chance", by_seed("CLIP", seen), chance, 0.75 - chance[0]),
        Claim(
            "renders: left-out pairs named",
            "classifier of 30 classes",
            by_seed("CLIP", left_out),
            by_seed("classifier", left_out),
            0.3,
        ),
        Claim(
            "renders: left-out pairs named",
            "untrained",
            by_seed("CLIP", left_out),
            by_seed("CLIP, untrained", left_out),
            0.2,
        ),
        *(
            Claim(f"renders: {pairs} named by 4 sentences", "its worst sentence", *(by_seed(k, pairs) for k in kinds))
            for pairs in (seen, left_out)
        ),
    ]


def _train(
    model: nn.Module,
    frames: Frames,
    seed: int,
    epochs: int,
    loss_of: Callable[[NDArray[np.int64], torch.Generator], Tensor],
) -> None:
    optimizer = torch.optim.AdamW(model.train().parameters(), LR)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(frames), generator=generator).split(BATCH)[: len(frames) // BATCH]:
            optimizer.zero_grad()
            loss_of(rows.numpy(), generator).backward()
            optimizer.step()

"""Do heads, decoders and memories take another encoder's coordinates, where they do not take its vectors?

Handwritten digits, and renders of objects on a table. Encoders are trained apart, with seeds of their own; the anchors
are the same 100 training samples. Nothing is trained for a swap. Claims of the paper (arXiv 2209.15430): stitched
networks come near unstitched ones on coordinates, and are worthless on absolute vectors.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.digit_encoders import EPOCHS, all_digits, perceptron, train
from representation.compatibility.picture_encoder import BackboneConfig
from representation.compatibility.relative_representations import (
    RelativeEncoder,
    RelativeLayer,
    RelativeMemory,
    latent_similarity,
    stitching_matrix,
)
from representation.data.frames import Frames, open_frames
from representation.image_tower import draw_weights
from representation.pretraining.small_encoder import SmallEncoder

TRAINING, ANCHORS, LATENT, CODERS, CODER_EPOCHS = 1200, 100, 32, 4, 80
WIDTHS = (16, 32, 32, 64)
RENDERS, RENDER_SIDE, RENDER_EPOCHS, RENDER_BATCH = 500, 32, 25, 50


class Coder(nn.Module):
    """An autoencoder 64-128-32-128-64, of absolute vectors or of coordinates."""

    def __init__(self, anchors: Tensor | None, seed: int) -> None:
        super().__init__()
        self.encoder: Any = perceptron((64, 128, LATENT), seed, nn.GELU)
        width, layer = LATENT, nn.Identity()
        if anchors is not None:
            self.encoder = RelativeEncoder(self.encoder, anchors)
            width, layer = len(anchors), RelativeLayer(len(anchors)).norm
        self.decoder = nn.Sequential(layer, perceptron((width, 128, 64), seed + 1000, nn.GELU))

    def forward(self, x: Tensor) -> Tensor:
        """Restored digits (B, 64)."""
        return self.decoder(self.encoder(x))


def stitched_coders(seed: int, epochs: int) -> dict[str, float]:
    """Squared errors of autoencoders, unstitched and over all pairs, and retrieval over all pairs."""
    x, y = _shuffled()
    found: dict[str, float] = {"mean predicted": float((x[TRAINING:] - x[:TRAINING].mean(dim=0)).square().mean())}
    for name, anchors in (("absolute", None), ("relative", x[:ANCHORS])):
        coders = []
        for number in range(CODERS):
            coder = Coder(anchors, CODERS * seed + number)
            inputs = x[:TRAINING]
            train(
                coder.parameters(),
                lambda rows, coder=coder, inputs=inputs: F.mse_loss(coder(inputs[rows]), inputs[rows]),
                TRAINING,
                CODERS * seed + number,
                epochs,
            )
            coders.append(coder.eval())
        held_out = x[TRAINING:]
        errors = stitching_matrix(
            [coder.encoder for coder in coders],
            [coder.decoder for coder in coders],
            (held_out, held_out),
            lambda a, b: float(F.mse_loss(a, b)),
        )
        own = np.eye(CODERS, dtype=bool)
        found |= {f"{name} own": float(errors[own].mean()), f"{name} stitched": float(errors[~own].mean())}
        pairs = list(itertools.permutations([coder.encoder for coder in coders], 2))
        with torch.no_grad():
            mrr = [latent_similarity(a(held_out), b(held_out))["mrr"] for a, b in pairs]
            found[f"{name} mrr"] = float(np.mean(mrr))
            found[f"{name} swap"] = float(np.mean([swapped_memory(a, b, x, y) for a, b in pairs]))
    return found


def swapped_memory(first: Any, second: Any, x: Tensor, y: Tensor) -> float:
    """How often the best hit of a query by the second encoder has its class, in a memory that the first one filled."""
    if not isinstance(first, RelativeEncoder):
        memory = RelativeMemory(LATENT)
        queries = second(x[TRAINING:])
    else:
        memory = RelativeMemory(ANCHORS, x[:ANCHORS])
        queries = memory.swap_encoder(second.backbone)(x[TRAINING:])
    memory.add(first(x[:TRAINING]), y[:TRAINING].tolist())
    hits = torch.tensor([hits[0][0] for hits in memory.query(queries, 1)])
    return float((hits == y[TRAINING:]).float().mean())


def stitched_classifiers(seed: int, epochs: int) -> dict[str, float]:
    """Accuracy of heads on coordinates by frozen encoders of different widths, of their own and of the others."""
    x, y = _shuffled()
    encoders, heads = [], []
    for number, width in enumerate(WIDTHS):
        encoder = perceptron((64, 128, width), len(WIDTHS) * seed + number, nn.Tanh)
        classifier = nn.Sequential(encoder, perceptron((width, 10), number))
        _train_classifier(classifier, x, y, epochs, seed)
        encoders.append(RelativeEncoder(encoder, x[:ANCHORS]).eval())
    for number, encoder in enumerate(encoders):
        with torch.no_grad():
            r = encoder(x)
        head = nn.Sequential(RelativeLayer(ANCHORS).norm, perceptron((ANCHORS, ANCHORS, 10), number, nn.Tanh))
        _train_classifier(head, r, y, epochs, seed)
        heads.append(head.eval())
    scores = stitching_matrix(encoders, heads, (x[TRAINING:], y[TRAINING:]))
    own = np.eye(len(WIDTHS), dtype=bool)
    return {"heads own": float(scores[own].mean()), "heads stitched": float(scores[~own].mean())}


def _train_classifier(model: nn.Module, inputs: Tensor, y: Tensor, epochs: int, seed: int) -> None:
    train(model.parameters(), lambda rows: F.cross_entropy(model(inputs[rows]), y[rows]), TRAINING, seed, epochs)


def _shuffled() -> tuple[Tensor, Tensor]:
    x, y = all_digits()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(y)))
    return x[order], y[order]


def swapped_cameras(frames: Frames, seed: int, options: BenchOptions) -> dict[str, float]:
    """How well a head tells the colour of rendered objects, behind its own encoder and behind another."""
    rows = np.random.default_rng(seed).permutation(len(frames))
    training, held_out = rows[:RENDERS], rows[RENDERS : 3 * RENDERS]
    x, tested = frames.pixels(training), frames.pixels(held_out)
    colors = torch.from_numpy(frames.columns["color"].astype(np.int64))
    y, truth = colors[training], colors[held_out]
    classes, epochs = int(colors.max()) + 1, options.steps(RENDER_EPOCHS)
    encoders = []
    for number in range(2):
        generator = torch.Generator().manual_seed(2 * seed + number)
        encoder = SmallEncoder("relative_representations", BackboneConfig(), generator)
        classifier = draw_weights(nn.Linear(encoder.width, classes), generator)
        parameters = [*encoder.parameters(), *classifier.parameters()]

        def loss(rows: Tensor, encoder: SmallEncoder = encoder, classifier: nn.Module = classifier) -> Tensor:
            return F.cross_entropy(classifier(encoder.encode(x[rows])), y[rows])

        train(parameters, loss, RENDERS, 2 * seed + number, epochs, RENDER_BATCH)
        encoders.append(encoder.eval())
    spaces: dict[str, list[Callable[[Tensor], Tensor]]] = {
        "absolute": [encoder.encode for encoder in encoders],
        "relative": [RelativeEncoder(encoder, x[:ANCHORS], center=True).eval() for encoder in encoders],
    }
    found = {}
    for name, (first, second) in spaces.items():
        with torch.no_grad():
            features = first(x)
        width = features.shape[1]
        head = nn.Sequential(nn.LayerNorm(width), perceptron((width, width, classes), seed, nn.Tanh))
        train(
            head.parameters(),
            lambda rows, f=features, h=head: F.cross_entropy(h(f[rows]), y[rows]),
            RENDERS,
            seed,
            epochs,
        )
        (own,), (other,) = stitching_matrix([first, second], [head.eval()], (tested, truth))
        found |= {f"{name} own color": float(own), f"{name} swapped color": float(other)}
    return found


def run(options: BenchOptions) -> list[Claim]:
    """Stitched autoencoders and classifiers, retrieval across spaces, a memory after a swap, and renders."""
    frames = open_frames(options.data, size=RENDER_SIDE)
    found = [
        stitched_coders(seed, options.steps(CODER_EPOCHS))
        | stitched_classifiers(seed, options.steps(EPOCHS))
        | swapped_cameras(frames, seed, options)
        for seed in range(options.seeds)
    ]

    def by_seed(name: str, factor: float = 1.0) -> tuple[float, ...]:
        return tuple(factor * one[name] for one in found)

    def fixed(value: float) -> tuple[float, ...]:
        return (value,) * options.seeds

    return [
        Claim(
            "digits: error of stitched autoencoders on coordinates, negated",
            "0.7 of predicting the mean, negated",
            by_seed("relative stitched", -1.0),
            by_seed("mean predicted", -0.7),
        ),
        Claim(
            "digits: error of stitched autoencoders on coordinates, negated",
            "a fifth of that on absolute vectors, negated",
            by_seed("relative stitched", -1.0),
            by_seed("absolute stitched", -0.2),
        ),
        Claim(
            "digits: accuracy of heads before encoders of widths 16, 32, 32, 64 that they were not trained with",
            "chance",
            by_seed("heads stitched"),
            fixed(0.1),
            0.75,
        ),
        Claim(
            "digits: reciprocal rank of a digit across two encoders, by coordinates",
            "absolute vectors",
            by_seed("relative mrr"),
            by_seed("absolute mrr"),
            0.65,
        ),
        Claim(
            "digits: right first hits in the other encoder's memory, by coordinates",
            "absolute vectors",
            by_seed("relative swap"),
            by_seed("absolute swap"),
            0.5,
        ),
        Claim(
            "renders: colour told by a head behind another encoder, on coordinates",
            "0.7 of that behind its own",
            by_seed("relative swapped color"),
            tuple(0.7 * value for value in by_seed("relative own color")),
        ),
        Claim(
            "renders: colour told by a head behind another encoder, on coordinates",
            "absolute vectors",
            by_seed("relative swapped color"),
            by_seed("absolute swapped color"),
            0.3,
        ),
    ]

"""Does a diffusion of bits draw, complete and score what it learned? Digits as 8 tokens of 8 bits, and renders.

Digits of 8 x 8 pixels, a bit each: 1,400 to train, 397 to test. Draws are compared by the Fréchet distance in 20
principal numbers with draws of each pixel by itself; completed digits by a classifier of real ones with digits whose
right half is the mean. Renders of 32 pixels become 8 x 8 places of 16 bits. Frames are found again by noisy bits;
hidden squares are filled in, beside the mean picture; pictures with a square of another frame are told from others at
a rate of false alarms fitted on frames that the prior did not learn from, beside the distance to the nearest frame's
bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.frechet import frechet_distance
from representation.data.frames import open_frames
from representation.generative.binary_latent_diffusion import (
    BernoulliDiffusion,
    BernoulliSchedule,
    BinaryDenoiser,
    BinaryEncoder,
    Config,
    DenoiserConfig,
    HammingIndex,
    tokens,
)
from representation.memory.binary_frames import alarm_threshold, places_of, repaired, surprise
from representation.pretraining.small_encoder import resized

DIGITS, T, STEPS, BATCH, LR = 1400, 32, 1500, 96, 1e-3
VISITED, FEW = (4, 8, 16, 32), 16
NUMBERS = 20
SIDE, TRAINED, KNOWN, JUDGED = 32, 1600, 400, 200  # renders: pixels, and frames for each purpose
CHANNELS, PICTURE_STEPS, PICTURE_BATCH, PICTURE_LR = 8, 350, 32, 4e-3
PRIOR_STEPS, PRIOR_BATCH = 600, 32
FOUND, FLIPPED = 1000, 0.03
RATE, HIDDEN = 0.05, slice(10, 24)
TIMED = 20


class Renders(NamedTuple):
    """Pictures (N, 3, 32, 32): to train on, to fit the alarm on, and to judge."""

    trained: Tensor
    known: Tensor
    judged: Tensor


def run(options: BenchOptions) -> list[Claim]:
    """All claims, by seed."""
    drawn = [_digits(options, seed) for seed in range(options.seeds)]
    renders = _renders(options)
    seen = [_rendered(options, renders, seed) for seed in range(options.seeds)]

    def of(rows: list[dict[str, float]], name: str, factor: float = 1.0) -> tuple[float, ...]:
        return tuple(factor * row[name] for row in rows)

    ones = (1.0,) * options.seeds
    alone = "independent pixels"
    text = f"Fréchet distance of digits in {FEW} steps, negative"
    own = of(drawn, f"in {FEW}", -1)
    claims = [
        Claim(text, f"0.8 of that of {alone}", own, of(drawn, alone, -0.8)),
        Claim(text, f"1.25 of that in all {T} steps", own, of(drawn, f"in {T}", -1.25)),
    ]
    claims += [
        Claim(f"Fréchet distance of digits in {steps} steps", alone, of(drawn, f"in {steps}"), of(drawn, alone), None)
        for steps in VISITED
    ]
    claims += [
        Claim("Fréchet distance of real digits", alone, of(drawn, "real"), of(drawn, alone), None),
        Claim("right answers on completed digits", "the mean in the right half", of(drawn, "completed"),
              of(drawn, "mean"), 0.15),
        Claim("noisy frames that find themselves first, of 1,000", "asked: 0.99", of(seen, "found"),
              (0.99,) * options.seeds),
        Claim("mean absolute error of decoded renders, negative", "the mean picture", of(seen, "decoded", -1),
              of(seen, "mean picture", -1)),
        Claim("error in a hidden part that is filled in, negative", "the mean picture", of(seen, "repaired", -1),
              of(seen, "mean part", -1), 0.0),
        Claim("error in a hidden part that is filled in", "bits that are coin flips there", of(seen, "repaired"),
              of(seen, "coins"), None),
        Claim(f"alarms on pictures with a strange part, {RATE:g} false", "distance of the nearest frame",
              of(seen, "alarms"), of(seen, "alarms by distance"), 0.0),
        Claim("false alarms", "asked", of(seen, "false alarms"), (RATE,) * options.seeds, None),
        Claim("speed of a search by bits", "by whole vectors = 1", of(seen, "speed"), ones, None),
        Claim("bytes of a frame", "of whole vectors", of(seen, "bytes"), of(seen, "bytes of vectors"), None),
    ]  # fmt: skip
    return claims


def digits(seed: int) -> tuple[tuple[Tensor, NDArray], tuple[Tensor, NDArray]]:
    """Bits (N, 8, 8) and classes (N,) to train on, and others to test with."""
    content = load_digits()
    bits = torch.from_numpy((content.images > 7).astype(np.float32))
    order = np.random.default_rng(seed).permutation(len(bits))
    train, test = order[:DIGITS], order[DIGITS:]
    return (bits[train], content.target[train]), (bits[test], content.target[test])


def new_prior(config: DenoiserConfig, seed: int) -> BernoulliDiffusion:
    """An untrained prior whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BernoulliDiffusion(BinaryDenoiser(config), BernoulliSchedule(config.total_steps), balance=False)


def fit(
    parameters: list[Tensor], loss: Callable[[Tensor, torch.Generator], Tensor], count: int, steps: int, seed: int,
    batch: int = BATCH, lr: float = LR,
) -> None:  # fmt: skip
    """Adam on the loss of random rows of `count` samples."""
    generator, optimizer = torch.Generator().manual_seed(seed), torch.optim.Adam(parameters, lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(torch.randint(count, (batch,), generator=generator), generator).backward()
        optimizer.step()


def fit_prior(prior: BernoulliDiffusion, bits: Tensor, steps: int, seed: int, batch: int = BATCH) -> None:
    """Train a prior of grids (N, L, c); it is then in evaluation mode."""

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        return prior.loss(bits[rows], generator=generator).total

    fit(list(prior.parameters()), loss, len(bits), steps, seed, batch)
    prior.eval()


def frechet(pca: PCA, real: Tensor, drawn: Tensor) -> float:
    """Distance of two sets (N, 8, 8) as normal distributions of principal numbers."""
    a, b = (pca.transform(bits.flatten(1).numpy().astype(float)) for bits in (real, drawn))
    return frechet_distance(a, b)


def _digits(options: BenchOptions, seed: int) -> dict[str, float]:
    (x, y), (real, classes) = digits(seed)
    pca = PCA(NUMBERS, random_state=seed).fit(x.flatten(1).numpy())
    generator = torch.Generator().manual_seed(seed)
    alone = (torch.rand(real.shape, generator=generator) < x.mean(dim=0)).float()
    found = {"independent pixels": frechet(pca, real, alone), "real": frechet(pca, real, x[: len(real)])}
    prior = new_prior(DenoiserConfig(8, (8, 1), T), seed)
    fit_prior(prior, x, options.steps(STEPS), seed)
    for steps in VISITED:
        found[f"in {steps}"] = frechet(pca, real, prior.sample(len(real), steps, generator=generator))
    left = torch.zeros(8, 8, dtype=torch.bool)
    left[:, :4] = True
    whole = prior.sample(len(real), FEW, known=real, mask=left, generator=generator).float()
    judge = LogisticRegression(max_iter=1000).fit(x.flatten(1).numpy(), y)
    for name, right in (("completed", whole), ("mean", x.mean(dim=0).expand_as(real))):
        found[name] = float(judge.score(torch.where(left, real, right).flatten(1).numpy(), classes))
    return found


def _renders(options: BenchOptions) -> Renders:
    frames = open_frames(options.data)
    order = np.random.default_rng(0).permutation(len(frames))[: TRAINED + KNOWN + JUDGED]
    return Renders(*resized(frames.pixels(order), SIDE).clamp(0, 1).split([TRAINED, KNOWN, JUDGED]))


def trained_encoder(options: BenchOptions, x: Tensor, seed: int) -> BinaryEncoder:
    """An autoencoder of renders, and a prior over its bits."""
    encoder = BinaryEncoder(Config(resolution=SIDE, channels=CHANNELS), "here", seed)
    shape = (encoder.config.bits, *encoder.config.grid)

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        uniform = torch.rand(len(rows), *shape, generator=generator)
        return encoder.autoencoder.loss(x[rows], uniform).total

    weights = list(encoder.autoencoder.parameters())
    fit(weights, loss, len(x), options.steps(PICTURE_STEPS), seed, PICTURE_BATCH, PICTURE_LR)
    encoder.eval()
    fit_prior(encoder.needed_prior(), bits_of(encoder, x), options.steps(PRIOR_STEPS), seed, PRIOR_BATCH)
    return encoder


def bits_of(encoder: BinaryEncoder, x: Tensor) -> Tensor:
    """Bits as the prior takes them."""
    return torch.cat([tokens(encoder.bits(part)) for part in x.split(200)])


def _rendered(options: BenchOptions, renders: Renders, seed: int) -> dict[str, float]:
    encoder, rng = trained_encoder(options, renders.trained, seed), np.random.default_rng(seed)
    x, mean = renders.judged, renders.trained.mean(dim=0)
    bits = encoder.bits(x)
    part = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    part[HIDDEN, HIDDEN] = True
    places = places_of(part.numpy(), encoder.config.grid)
    hidden = torch.where(part, 0.5, x)  # grey, as what hides a part may be
    coins = torch.from_numpy(rng.integers(0, 2, bits.shape, dtype=np.uint8))
    filled = {
        "repaired": repaired(encoder, encoder.bits(hidden), places, seed=seed),
        "coins": torch.where(torch.from_numpy(places), coins, encoder.bits(hidden)),
    }
    errors = {name: (encoder.autoencoder.decode(some) - x).abs() for name, some in filled.items()}
    found = {name: float(error[..., part].mean()) for name, error in errors.items()}
    found["decoded"] = float((encoder.autoencoder.decode(bits) - x).abs().mean())
    found["mean picture"] = float((mean - x).abs().mean())
    found["mean part"] = float((mean - x).abs()[..., part].mean())
    strange = torch.where(part, x.roll(1, 0).flip(2), x)
    return found | _alarms(encoder, renders, strange, seed) | _searched(encoder, renders, rng)


def _alarms(encoder: BinaryEncoder, renders: Renders, strange: Tensor, seed: int) -> dict[str, float]:
    """Share of strange and of usual frames that give an alarm; and of strange ones by the nearest trained frame."""
    trained, known, judged, other = (
        torch.cat([encoder.bits(part) for part in x.split(200)])
        for x in (renders.trained, renders.known, renders.judged, strange)
    )

    def distance(bits: Tensor) -> NDArray:
        ours, theirs = (2 * some.flatten(1).float() - 1 for some in (bits, trained))
        return -(ours @ theirs.T).amax(dim=1).numpy()

    def surprised(bits: Tensor) -> NDArray:
        return surprise(encoder, bits, FEW, seed)

    least = alarm_threshold(surprised(known), RATE)
    far = alarm_threshold(distance(known), RATE)
    return {
        "alarms": float((surprised(other) > least).mean()),
        "false alarms": float((surprised(judged) > least).mean()),
        "alarms by distance": float((distance(other) > far).mean()),
    }


def _searched(encoder: BinaryEncoder, renders: Renders, rng: np.random.Generator) -> dict[str, float]:
    """How often noisy bits find their own frame, and how fast, beside a product of whole vectors."""
    x = renders.trained[:FOUND]
    bits = torch.cat([encoder.bits(part) for part in x.split(200)])
    packed = encoder.autoencoder.pack(bits).numpy()
    noisy = bits ^ torch.from_numpy(rng.random(bits.shape) < FLIPPED)
    asked = encoder.autoencoder.pack(noisy).numpy()
    index = HammingIndex()
    for place, row in enumerate(packed):
        index.add(str(place), row)
    right = [index.query(row, 1)[0] == [str(place)] for place, row in enumerate(asked)]
    vectors = 2 * bits.flatten(1).numpy().astype(np.float32) - 1
    wanted = 2 * noisy.flatten(1).numpy().astype(np.float32) - 1
    seconds = []
    for search in (lambda row: index.query(asked[row], 10), lambda row: np.argsort(-(vectors @ wanted[row]))[:10]):
        began = time.perf_counter()
        for row in range(TIMED):
            search(row)
        seconds.append(time.perf_counter() - began)
    return {
        "found": float(np.mean(right)),
        "speed": seconds[1] / seconds[0],
        "bytes": float(packed.shape[1]),
        "bytes of vectors": float(vectors[0].nbytes),
    }


def pictures(options: BenchOptions, file: Path) -> None:
    """Draw renders, what is decoded of their bits, what is filled in where they are hidden, and drawn anew."""
    renders = _renders(options)
    encoder = trained_encoder(options, renders.trained, 0)
    x = renders.judged[:6]
    part = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    part[HIDDEN, HIDDEN] = True
    hidden = torch.where(part, 0.5, x)
    places = places_of(part.numpy(), encoder.config.grid)
    drawn = repaired(encoder, encoder.bits(x), np.ones_like(places), temperature=0.8)
    decode = encoder.autoencoder.decode
    rows = {
        "render": x,
        "of its bits": decode(encoder.bits(x)),
        "hidden": hidden,
        "filled in": decode(repaired(encoder, encoder.bits(hidden), places, temperature=0.8)),
        "drawn": decode(drawn),
    }
    figure, axes = plt.subplots(len(rows), len(x), figsize=(6, 5), layout="compressed")
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for place, (axis, image) in enumerate(zip(line, images, strict=True)):
            axis.imshow(image.permute(1, 2, 0).numpy())
            axis.set(xticks=[], yticks=[])
            if not place:
                axis.set_ylabel(name, fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=70)
    plt.close(figure)

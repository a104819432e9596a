"""Does seeing pixels while telling tokens help? Digits of 8 x 8 grey values, as pictures of 32 pixels and 64 tokens.

The same is asked of renders of one object, 64 pixels in `runs/renders_64`, as 64 tokens too.

Per seed 1,300 digits to train on and 497 to test with; a tokenizer of 64 codes, a token predictor and ADDP, both of 96
numbers, 4 blocks and 2 of the decoder, without dropout. Samples: how far 256 of them are from the test digits (Fréchet
distance of 20 principal components of the 8 x 8 means), beside tokens drawn place by place from the training digits'
and decoded likewise. Probe: a linear one of the mean features, from 10 labels a class, beside the same transformer
untrained, and beside the token predictor, which is as large, sees the same tokens in training for as many steps, and no
pixels. Surprise: 200 test digits with a patch of another one pasted in, from anywhere, that differs by half of the
range at least; is this patch the most surprising of 64? The three networks learn for 300, 1,000 and 1,000 steps of 16
pictures. Renders: 1,300 and 497 likewise, distances of all three colours, classes are colour and shape, and a wrong
patch differs by a fifth of the range, as renders have less contrast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.digit_encoders import all_digits
from representation.benchmarks.frechet import frechet_distance
from representation.data.frames import FRAMES_FILE, LABEL, Frames, open_frames
from representation.generative.addp import (
    ADDP,
    DecoderConfig,
    EncoderConfig,
    MaskedTokenPredictor,
    MaskSchedule,
    VQTokenizer,
)
from representation.probes import linear_probe

GRID, CODES, DIM, CHANNELS, GROUPS = 8, 64, 16, 8, 8
SIDE, RENDER_SIDE = 32, 64
FACTORS = {SIDE: (1, 1, 2), RENDER_SIDE: (1, 1, 2, 2)}
WIDTH, DEPTH, HEADS, DECODER_DEPTH = 96, 4, 4, 2
TRAINED, TESTED, BATCH, DECAY, WARM = 1300, 497, 16, 0.05, 0.1
TOKENIZER_STEPS, PREDICTOR_STEPS, ADDP_STEPS = 300, 1000, 1000
TOKENIZER_LR, LR = 3e-3, 2e-3
CLIP = 3.0
SAMPLES, COMPONENTS, LABELS, CASES = 256, 20, 10, 200
WRONG, WRONG_RENDERED, TRIES = 0.5, 0.2, 10_000  # of the range; draws until a patch differs by as much
RENDERS = "renders_64"
LEFT, GAIN, FOUND = 0.6, 0.10, 0.7  # what is asked


class Split(NamedTuple):
    """Pictures (N, 3, S, S) in [0, 1] and their classes (N,)."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def split(seed: int) -> Split:
    """All digits, in an order by the seed."""
    x, y = all_digits()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    large = F.interpolate(x.view(-1, 1, GRID, GRID), (SIDE, SIDE), mode="bilinear", align_corners=False)
    images, labels = large.clamp(0, 1).expand(-1, 3, -1, -1)[order].contiguous(), y[order]
    return Split(images[:TRAINED], labels[:TRAINED], images[TRAINED:], labels[TRAINED:])


def renders(options: BenchOptions) -> Frames:
    """Renders of 64 pixels.

    Raises:
        FileNotFoundError: they were not drawn; says how to.
        ValueError: others than are needed.
    """
    place = options.data.parent / RENDERS
    if not (place / FRAMES_FILE).is_file():
        raise FileNotFoundError(
            f"{place}: expected renders; python -m sim.renders --size {RENDER_SIDE} --output {place}"
        )
    frames = open_frames(place)
    frames.need([LABEL])
    if len(frames) < TRAINED + TESTED or frames.images.shape[1] != RENDER_SIDE:
        raise ValueError(
            f"{place}: expected {TRAINED + TESTED} or more pictures of {RENDER_SIDE} pixels, found {len(frames)} of "
            f"{frames.images.shape[1]}"
        )
    return frames


def rendered(frames: Frames, seed: int) -> Split:
    """Some renders, in an order by the seed."""
    order = np.random.default_rng(seed).permutation(len(frames))[: TRAINED + TESTED]
    images, labels = frames.pixels(order).contiguous(), torch.from_numpy(frames.columns[LABEL][order])
    return Split(images[:TRAINED], labels[:TRAINED], images[TRAINED:], labels[TRAINED:])


def fit(
    model: torch.nn.Module, loss: Callable[[Tensor, torch.Generator], Tensor], steps: int, lr: float, seed: int
) -> None:
    """AdamW with a warm-up and a cosine on random rows of the training pictures."""
    generator = torch.Generator().manual_seed(seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr, betas=(0.9, 0.95), weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps + 1, pct_start=WARM)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(torch.randint(TRAINED, (BATCH,), generator=generator), generator).backward()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        schedule.step()
    model.eval()


def untrained(side: int, seed: int) -> tuple[VQTokenizer, MaskedTokenPredictor]:
    """A tokenizer of pictures of some pixels and a predictor, with weights by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = VQTokenizer(CODES, DIM, CHANNELS, FACTORS[side], 1, GROUPS)
        return tokenizer, MaskedTokenPredictor(
            CODES, GRID, WIDTH, DEPTH, HEADS, DECODER_DEPTH, HEADS, classes=1, dropout=0.0
        )


def new_addp(tokenizer: VQTokenizer, predictor: MaskedTokenPredictor, seed: int) -> ADDP:
    """ADDP with weights by the seed; in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 + seed)
        encoder = EncoderConfig(GRID * tokenizer.patch, tokenizer.patch, WIDTH, DEPTH, HEADS, dropout=0.0)
        return ADDP(encoder, DecoderConfig(DECODER_DEPTH, HEADS, dropout=0.0), tokenizer, predictor).eval()


def trained(data: Split, seed: int, share: Callable[[int], int]) -> ADDP:
    """All three stages, one after the other."""
    tokenizer, predictor = untrained(data.train.shape[-1], seed)
    fit(tokenizer, lambda rows, _: tokenizer.loss(data.train[rows]).total, share(TOKENIZER_STEPS), TOKENIZER_LR, seed)
    with torch.no_grad():
        ids = tokenizer.encode(data.train)[0]
    schedule = MaskSchedule()

    def masked(rows: Tensor, generator: torch.Generator) -> Tensor:
        return predictor.loss(ids[rows], schedule.sample(len(rows), GRID**2, generator)[0])

    fit(predictor, masked, share(PREDICTOR_STEPS), LR, seed)
    model = new_addp(tokenizer, predictor, seed)
    fit(model, lambda rows, generator: model.loss(data.train[rows], generator).total, share(ADDP_STEPS), LR, seed)
    return model


@torch.no_grad()
def drawn_by_place(model: ADDP, train: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Pictures of tokens each of which is that of any training picture at its place."""
    ids = model.tokenizer.encode(train)[0]
    rows = torch.randint(len(ids), (count, ids.shape[1]), generator=generator)
    return model.tokenizer.decode(model.tokenizer.lookup(ids.gather(0, rows), (GRID, GRID))).clamp(0, 1)


def means(images: Tensor) -> np.ndarray:
    """8 x 8 means (N, 192) of pictures, of which each colour weighs a third in squared distances."""
    return (F.avg_pool2d(images, images.shape[-1] // GRID).flatten(1) / 3**0.5).numpy()


@torch.no_grad()
def distances(model: ADDP, data: Split, seed: int) -> tuple[float, float]:
    """Fréchet distances to the test pictures: of samples, and of tokens that were drawn place by place."""
    components = PCA(COMPONENTS, random_state=0).fit(means(data.train))
    samples = model.sample(SAMPLES, generator=torch.Generator().manual_seed(seed))
    others = drawn_by_place(model, data.train, SAMPLES, torch.Generator().manual_seed(seed))
    ours, test, theirs = (components.transform(means(images)) for images in (samples, data.test, others))
    return frechet_distance(ours, test), frechet_distance(theirs, test)


@torch.no_grad()
def probed(features: Callable[[Tensor], Tensor], data: Split, seed: int) -> float:
    """Test accuracy of a linear probe on features (N, D), from a few labels of each class."""
    rng, labels = np.random.default_rng(seed), data.train_labels.numpy()
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(labels == label), LABELS, replace=False) for label in np.unique(labels)]
    )
    few = features(data.train[rows]).numpy(), labels[rows]
    return linear_probe(few, (features(data.test).numpy(), data.test_labels.numpy()), "class").score


def with_wrong_patches(images: Tensor, least: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures with one patch of another one pasted in, and the number (N,) of its place.

    Args:
        images: (N, 3, S, S).
        least: mean absolute difference of the patch and of what was there.
        generator: draws pictures and places.

    Raises:
        ValueError: hardly any patch differs by as much.
    """
    found, places, patch = images.clone(), [], images.shape[-1] // GRID
    for number in range(len(images)):
        for _ in range(TRIES):
            other = int(torch.randint(len(images), (), generator=generator))
            y, x, from_y, from_x = (patch * torch.randint(GRID, (4,), generator=generator)).tolist()
            pasted = images[other, :, from_y : from_y + patch, from_x : from_x + patch]
            if float((pasted - images[number, :, y : y + patch, x : x + patch]).abs().mean()) >= least:
                break
        else:
            raise ValueError(f"images: expected patches that differ by {least}, found none in {TRIES} draws")
        found[number, :, y : y + patch, x : x + patch] = pasted
        places.append(y // patch * GRID + x // patch)
    return found, torch.tensor(places)


def told_wrong(model: ADDP, data: Split, least: float, seed: int) -> float:
    """Share of the wrong patches that surprise most."""
    images, places = with_wrong_patches(data.test[:CASES], least, torch.Generator().manual_seed(seed))
    surprise = model.surprise(images, generator=torch.Generator().manual_seed(seed))
    return float((surprise.flatten(1).argmax(dim=1) == places).float().mean())


class Measured(NamedTuple):
    """Of one seed.

    Attributes:
        samples: Fréchet distance of samples.
        by_place: that of tokens by place.
        pixels: test accuracy of a probe of the features.
        fresh: that of the untrained transformer.
        tokens: that of the token predictor.
        wrong: see `told_wrong`.
    """

    samples: float
    by_place: float
    pixels: float
    fresh: float
    tokens: float
    wrong: float


def measured(data: Split, least: float, options: BenchOptions, seed: int) -> Measured:
    """Train on pictures and measure; `least` as of `with_wrong_patches`."""
    model = trained(data, seed, options.steps)
    blank = new_addp(model.tokenizer, model.predictor, seed)
    samples, by_place = distances(model, data, seed)
    return Measured(
        samples,
        by_place,
        probed(lambda x: pooled(model.features(x)), data, seed),
        probed(lambda x: pooled(blank.features(x)), data, seed),
        probed(lambda x: pooled(token_features(model, x)), data, seed),
        told_wrong(model, data, least, seed),
    )


def run(options: BenchOptions) -> list[Claim]:
    """Samples, probes and surprise, by seed.

    Raises:
        FileNotFoundError: the renders were not drawn; says how to.
        ValueError: others than are needed.
    """
    frames, seeds = renders(options), range(options.seeds)
    digits = [measured(split(seed), WRONG, options, seed) for seed in seeds]
    objects = [measured(rendered(frames, seed), WRONG_RENDERED, options, seed) for seed in seeds]
    told = claims(objects, "test renders", "colours and shapes", "renders: ")
    return claims(digits, "test digits", "digits", "") + told


def claims(rows: Sequence[Measured], compared: str, told: str, prefix: str) -> list[Claim]:
    """What is claimed of the results of seeds.

    Args:
        rows: by seed.
        compared: name of what samples are compared with.
        told: what the classes are.
        prefix: of claims whose words are those of other data too.
    """
    samples, by_place, pixels, fresh, tokens, found = zip(*rows, strict=True)
    nearer = tuple(1 - one.samples / one.by_place for one in rows)
    asked = (1.0,) * len(rows)
    return [
        Claim(
            f"{prefix}share of the samples' Fréchet distance that is gone",
            f"asked: {1 - LEFT:g}",
            nearer,
            tuple((1 - LEFT) * one for one in asked),
        ),
        Claim(
            f"Fréchet distance of samples to {compared}, negated", "tokens by place", _minus(samples), _minus(by_place)
        ),
        Claim(f"{told} told by a linear probe of {LABELS} labels a class", "untrained", pixels, fresh, GAIN),
        Claim(f"{prefix}the same", "trained on tokens, without pixels", pixels, tokens),
        Claim(
            f"{prefix}wrong patches that surprise most, of 64",
            f"asked: {FOUND:g}",
            found,
            tuple(FOUND * one for one in asked),
        ),
    ]


def pooled(features: Tensor) -> Tensor:
    """Mean (N, D) over the patches of features (N, L + 1, D)."""
    return features[:, 1:].mean(dim=1)


def token_features(model: ADDP, images: Tensor) -> Tensor:
    """Features (N, L + 1, D) that the token predictor makes of the pictures' tokens."""
    return model.predictor.features(model.tokenizer.encode(images)[0])


def _minus(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(-value for value in values)


def pictures(options: BenchOptions, file: Path) -> None:
    """Test digits, what the tokens give back, samples, tokens by place, and digits with a wrong patch and surprise."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    data, count = split(0), 12
    model = trained(data, 0, lambda steps: options.steps(steps // 2))
    with torch.no_grad():
        back = model.tokenizer.decode(model.tokenizer.encode(data.test[:count])[1]).clamp(0, 1)
    wrong, _ = with_wrong_patches(data.test[:CASES], WRONG, torch.Generator().manual_seed(0))
    rows = {
        "test digits": data.test[:count, 0],
        "from their tokens": back[:, 0],
        "samples": model.sample(count)[:, 0],
        "tokens by place": drawn_by_place(model, data.train, count, torch.Generator().manual_seed(0))[:, 0],
        "a wrong patch": wrong[:count, 0],
        "surprise": model.surprise(wrong[:count]),
    }
    figure, axes = plt.subplots(len(rows), count, figsize=(count * 0.8, len(rows) * 0.85))
    for line, (name, shown) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, shown, strict=True):
            axis.imshow(image.numpy(), cmap="inferno" if name == "surprise" else "gray", vmin=0)
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=70, bbox_inches="tight")
    plt.close(figure)

"""What do the features of a small diffusion model tell of digits, at which step and block, and by which head?

A U-Net of 13 blocks learns the noise in 1,200 digits of 16 pixels without labels, in 300 steps. A linear reader of each
block at each step sees 5 labels of each class, heads see 50; 597 digits test. The same network with its first weights,
whose zero convolutions leave it nearly linear, stands beside it. The noise is drawn anew for every picture.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.generative.adm_unet import ADMUNet, UNetConfig
from representation.generative.denoiser import LINEAR, train_denoiser
from representation.generative.diffusion_classification import (
    AttentionHead,
    FusionHead,
    HeadTraining,
    LinearHead,
    extract,
    fit_head,
    pooled,
)
from representation.generative.diffusion_classification.feature_scan import all_features, reader
from representation.generative.diffusion_classification.fit import head_accuracy

SIZES = UNetConfig(16, 32, (1, 2, 2), 1, (4,), 64, 1, 1)
BLOCKS, MIDDLE, LAST_OF_BEST, POOL = tuple(range(1, 14)), 7, 11, 2
TIMES, RANGE = (10, 50, 90, 150, 300, 500), (50, 300)
UNLABELLED, FEW, MANY, STEPS, BATCH, LR = 1200, 5, 50, 300, 32, 1e-3
NOISY, IMAGES, DRAWS, AVERAGED = (10, 100, 400, 800), 64, 5, 4
RATIO = (0.2, 0.32)  # of variances, of means of 4 draws and of single ones
HEAD_TIMES, HEAD_BLOCKS, DIM = (90, 150, 300), (7, 9, 11), 64
EXIT, EXIT_SIZES = 24, UNetConfig(64, 32, (1, 1, 2, 2, 4, 4), 2, (16, 8))


@dataclass(frozen=True)
class Data:
    """Digits of one seed, in [-1, 1].

    Attributes:
        x: (1797, 1, 16, 16); the first `UNLABELLED` are learned from.
        y: classes (1797,).
    """

    x: Tensor
    y: NDArray[np.int64]

    def labelled(self, per_class: int) -> NDArray[np.int64]:
        """The first rows of each class."""
        return np.concatenate([np.flatnonzero(self.y[:UNLABELLED] == c)[:per_class] for c in range(10)])


def data_of(seed: int) -> Data:
    """Digits in the order of a seed."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images = torch.from_numpy(digits.images[order] / 8 - 1).float()[:, None]
    return Data(F.interpolate(images, (16, 16), mode="bilinear"), digits.target[order])


def table(unet: ADMUNet, data: Data, times: Sequence[int], seed: int) -> NDArray[np.float64]:
    """Accuracy (T, 13) of a linear reader of each block at each step."""
    rows, found = data.labelled(FEW), []
    for t in times:
        generator = torch.Generator().manual_seed(seed)
        train = all_features(unet, data.x[rows], t, BLOCKS, generator)
        test = all_features(unet, data.x[UNLABELLED:], t, BLOCKS, generator)
        found.append([read(pooled(train[b], POOL), pooled(test[b], POOL), data, rows) for b in BLOCKS])
    return np.array(found)


def read(train: Tensor, test: Tensor, data: Data, rows: NDArray[np.int64]) -> float:
    """Accuracy on the test digits of a linear reader of some rows' vectors."""
    model = reader(data.y).fit(train.numpy(), data.y[rows])
    return float(model.score(test.numpy(), data.y[UNLABELLED:]))


@torch.no_grad()
def change_by_noise(unet: ADMUNet, x: Tensor, block: int, seed: int) -> tuple[list[float], list[float], float]:
    """What fresh noise does to pooled features.

    Returns:
        For each step of `NOISY` their spread over draws by the length of their mean; for each the share of their
        variance, over draws and pictures, that is of the draws; and the ratio of the variances of means and of draws.
    """
    generator = torch.Generator().manual_seed(seed)

    def draws(t: int, count: int, averaged: int) -> Tensor:
        found = [extract(unet, x, t, [block], generator, averaged)[block] for _ in range(count)]
        return torch.stack([pooled(h, POOL) for h in found])

    changes, shares = [], []
    for t in NOISY:
        v = draws(t, DRAWS, 1)
        spread = v.var(dim=0).sum(dim=1).sqrt() / v.mean(dim=0).norm(dim=1)
        changes.append(float(spread.mean()))
        shares.append(float(v.var(dim=0).mean() / v.flatten(0, 1).var(dim=0).mean()))
    single, mean = (float(draws(NOISY[1], DRAWS, n).var(dim=0).mean()) for n in (1, AVERAGED))
    return changes, shares, mean / single


def head_scores(unet: ADMUNet, data: Data, options: BenchOptions, seed: int) -> dict[str, float]:
    """Accuracy of heads on the features of block 9 at step 90, and of DifFormer on three steps and blocks."""
    rows, training = data.labelled(MANY), HeadTraining(epochs=options.steps(28))
    generator = torch.Generator().manual_seed(seed)
    y, of_tests = torch.from_numpy(data.y[rows]), torch.from_numpy(data.y[UNLABELLED:])

    def features(x: Tensor) -> dict[tuple[int, int], Tensor]:
        told = {t: all_features(unet, x, t, HEAD_BLOCKS, generator) for t in HEAD_TIMES}
        return {(t, b): h for t, several in told.items() for b, h in several.items()}

    train, test = features(data.x[rows]), features(data.x[UNLABELLED:])
    one = (HEAD_TIMES[0], HEAD_BLOCKS[1])
    channels, side = train[one].shape[1:3]
    widths = {b: train[one[0], b].shape[1] for b in HEAD_BLOCKS}
    found = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads: dict[str, nn.Module] = {
            "linear": LinearHead(channels, POOL, 10),
            "attention": AttentionHead(channels, 10, DIM, 4, side=side),
            "fusion": FusionHead(widths, HEAD_TIMES, 10, DIM, 4, side=4),
        }
    for name, head in heads.items():
        inputs = (train, test) if name == "fusion" else (train[one], test[one])
        fit_head(head, inputs[0], y, training, seed)
        found[name] = head_accuracy(head, inputs[1], of_tests)
    return found


@torch.no_grad()
def saved_time(seed: int) -> float:
    """Share of a pass's time that is saved by leaving at block 24 of 37; the least of three passes each."""
    unet = ADMUNet(EXIT_SIZES, seed).eval()
    x, t = torch.zeros(4, 3, 64, 64), 90
    steps = torch.full((4,), t)
    extract(unet, x, t, [1])
    spent = {}
    for name, call in (("early", lambda: extract(unet, x, t, [EXIT])), ("whole", lambda: unet(x, steps))):
        times = []
        for _ in range(3):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        spent[name] = min(times)
    return 1 - spent["early"] / spent["whole"]


def trained(data: Data, seed: int, steps: int) -> ADMUNet:
    """The U-Net after that many steps."""
    unet = ADMUNet(SIZES, seed)
    train_denoiser(unet, data.x[:UNLABELLED], steps, seed, BATCH, LR)
    return unet


def run(options: BenchOptions) -> list[Claim]:
    """Tables of steps and blocks, and heads, by seed."""
    tables, chances, pixels, changes, heads, saved = [], [], [], [], [], []
    for seed in range(options.seeds):
        data = data_of(seed)
        unet = trained(data, seed, options.steps(STEPS))
        tables.append(table(unet, data, TIMES, seed))
        chances.append(table(ADMUNet(SIZES, seed).eval(), data, TIMES, seed))
        rows, flat = data.labelled(FEW), data.x.flatten(1)
        pixels.append(read(flat[rows], flat[UNLABELLED:], data, rows))
        changes.append(change_by_noise(unet, data.x[UNLABELLED : UNLABELLED + IMAGES], HEAD_BLOCKS[1], seed))
        heads.append(head_scores(unet, data, options, seed))
        saved.append(saved_time(seed))
    by_seed = np.stack(tables)
    mean = by_seed.mean(axis=0)
    inside = np.array([[RANGE[0] <= t <= RANGE[1] and MIDDLE <= b <= LAST_OF_BEST for b in BLOCKS] for t in TIMES])
    ti, bi = np.unravel_index(mean.argmax(), mean.shape)

    def at_best_of(mask: NDArray[np.bool_]) -> tuple[float, ...]:
        place = np.unravel_index(np.where(mask, mean, -1).argmax(), mean.shape)
        return tuple(by_seed[:, place[0], place[1]].tolist())

    best, last = (tuple(by_seed[:, ti, b].tolist()) for b in (bi, -1))
    random = tuple(float(one[ti].max()) for one in chances)
    light, lightest = (tuple(by_seed[:, TIMES.index(t), bi].tolist()) for t in (90, 10))
    rises, shares = (tuple(float(np.diff(one[part]).min()) for one in changes) for part in (0, 1))
    within = tuple(float(RATIO[0] <= ratio <= RATIO[1]) for _, _, ratio in changes)
    attention, linear, fusion = (tuple(one[name] for one in heads) for name in ("attention", "linear", "fusion"))
    none, all_of = (0.0,) * options.seeds, (1.0,) * options.seeds
    return [
        Claim("best at t 50 to 300, block 7 to 11", "best elsewhere", at_best_of(inside), at_best_of(~inside), 0.0),
        Claim(f"best: t {TIMES[ti]}, block {BLOCKS[bi]}", "last block", best, last, 0.1),
        Claim("best t and block", "untrained, its best block", best, random, 0.08),
        Claim("best block at t 90", "at t 10", light, lightest, 0.02),
        Claim("best t and block", "raw pixels", best, tuple(pixels), None),
        Claim("least rise of the change by fresh noise, t 10, 100, 400, 800", "none", rises, none, 0.0),
        Claim("least rise of its share of the variance, same t", "none", shares, none, None),
        Claim("seeds in which means of 4 draws vary 0.2 to 0.32 as much, of all", "asked: all", within, all_of, 0.0),
        Claim("attention head, 50 labels a class", "linear head", attention, linear, 0.0),
        Claim("DifFormer on three steps and blocks", "attention head", fusion, attention, None),
        Claim("time saved by leaving at block 24 of 37", "asked", tuple(saved), (0.25,) * options.seeds, 0.0),
    ]


def pictures(options: BenchOptions, file: Path) -> None:
    """What each block tells at some steps, and digits that the same network makes."""
    from matplotlib.figure import Figure

    data = data_of(0)
    unet = trained(data, 0, options.steps(150))
    noise = torch.randn(12, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    made = LINEAR.ddim_sample(unet, noise, steps=25)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(2, 1))
    axes = left.subplots()
    for t, row in zip((10, 90, 300), table(unet, data, (10, 90, 300), 0), strict=True):
        axes.plot(BLOCKS, row, marker="o", label=f"t {t}")
    axes.plot(BLOCKS, table(ADMUNet(SIZES).eval(), data, (90,), 0)[0], ":", label="untrained, t 90")
    axes.set_xlabel("block")
    axes.set_ylabel("accuracy, 5 labels a class")
    axes.legend()
    for place, picture in zip(right.subplots(4, 3).flat, made, strict=True):
        place.imshow(picture[0].numpy(), cmap="gray", vmin=-1, vmax=1)
        place.axis("off")
    right.suptitle("made by the same network")
    figure.savefig(file, dpi=80)

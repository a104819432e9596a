"""Does a diffusion of bits draw, complete and score what it learned? Digits as 8 tokens of 8 bits, and renders.

Digits of 8 x 8 pixels, a bit each: 1,400 to train, 397 to test. Draws are compared by the Fréchet distance in 20
principal numbers with draws of each pixel by itself; completed digits by a classifier of real ones with digits whose
right half is the mean. Renders of 32 pixels become 8 x 8 x 16 bits: frames are found again by noisy bits; squares of
noise are painted over, and it is measured what of the picture comes back; frames are told from those with other colours
at a rate of false alarms fitted on frames that the prior did not learn from.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import Tensor

from representation.generative.binary_latent_diffusion import (
    BernoulliDiffusion,
    BernoulliSchedule,
    BinaryDenoiser,
    DenoiserConfig,
)
from representation.generative.binary_latent_diffusion.diffusion import Predict

SIDE, DIGITS, T, STEPS, BATCH, LR = 8, 1400, 32, 1500, 96, 1e-3
VISITED = (4, 8, 16, 32)
NUMBERS = 20
RENDERED, TESTED, OWN, FLIPPED = 1400, 200, 1000, 0.03
RESOLUTION, PICTURE_STEPS, PICTURE_BATCH, PICTURE_LR = 32, 400, 32, 2e-3
PRIOR_STEPS, PRIOR_BATCH = 700, 32
RATE, HIDDEN = 0.05, slice(8, 24)


def digits(seed: int) -> tuple[tuple[Tensor, NDArray], tuple[Tensor, NDArray]]:
    """Bits (N, 8, 8) and classes (N,) to train on, and others to test with."""
    content = load_digits()
    bits = torch.from_numpy((content.images > 7).astype(np.float32))
    order = np.random.default_rng(seed).permutation(len(bits))
    train, test = order[:DIGITS], order[DIGITS:]
    return (bits[train], content.target[train]), (bits[test], content.target[test])


def prior_of(config: DenoiserConfig, predict: Predict, seed: int) -> BernoulliDiffusion:
    """An untrained prior whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        schedule = BernoulliSchedule(config.total_steps)
        return BernoulliDiffusion(BinaryDenoiser(config), schedule, predict, balance=False)


def fit(
    loss: Callable[[Tensor, torch.Generator], Tensor],
    parameters: list[Tensor],
    count: int,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
) -> None:
    """Adam on the loss of random rows of `count` samples."""
    generator, optimizer = torch.Generator().manual_seed(seed), torch.optim.Adam(parameters, lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(torch.randint(count, (batch,), generator=generator), generator).backward()
        optimizer.step()


def learn_bits(prior: BernoulliDiffusion, bits: Tensor, steps: int, batch: int, seed: int) -> None:
    """Train a prior of grids (N, L, c)."""
    fit(
        lambda rows, g: prior.loss(bits[rows], None, g).total,
        list(prior.parameters()),
        len(bits),
        steps,
        batch,
        LR,
        seed,
    )
    prior.eval()


def frechet(pca: PCA, real: NDArray, drawn: NDArray) -> float:
    """Distance of two sets (N, D) as normal distributions in principal numbers."""
    a, b = pca.transform(real), pca.transform(drawn)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(first @ second).real
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first + second - 2 * root))

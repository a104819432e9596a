"""Do mixed negatives make momentum contrast learn faster, and not worse?

Handwritten digits without their labels, an encoder 64-256-128 and a head 128-128-32, 24 epochs. MoCo is the baseline;
MoCHi (N, s, s') differs in nothing but its mixtures; the class oracle leaves out keys of the query's class, which only
labels can tell. The claims of MoCHi (arXiv 2010.01028) are that neighbours are as right at the end, and sooner so. At
this size they are as right at the end, less than a hundredth apart, and not sooner. What mixtures change is that
vectors are spread more evenly, views of one digit lie farther apart, and own keys are missed more often. Of ten classes
more than half of the hardest keys are of the query's own, so that mixtures of these are false negatives too: no gain is
promised where classes are few.
"""

from __future__ import annotations

import math

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.hypersphere import alignment, uniformity
from representation.pretraining.mochi import HardNegativeMixer, MoCo, false_negative_rate, mochi_logits, mochi_loss
from representation.probes import knn_probe

TRAINING, BATCH, EPOCHS, WARMUP = 1200, 64, 24, 3
WIDTH, DIM, QUEUE, MOMENTUM, TAU, LR = 128, 32, 1024, 0.99, 0.2, 1e-3
HARDEST = 128  # keys that are counted as false negatives where they are of the query's class
MIXERS = {
    "MoCo": None,
    "MoCHi (128, 128, 32)": HardNegativeMixer(128, 128, 32),
    "MoCHi (128, 0, 128)": HardNegativeMixer(128, 0, 128),
}
ORACLES = {f"{name}, class oracle": MIXERS[name] for name in ("MoCo", "MoCHi (128, 128, 32)")}


def changed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Views (B, 64) of digits (B, 8, 8) in [0, 1]: turned, scaled, moved, of another contrast, noisy."""

    def draw(largest: float) -> Tensor:
        return largest * (2 * torch.rand(len(images), generator=generator) - 1)

    turn, scale = draw(math.radians(15)), 1 + draw(0.15)
    theta = torch.stack([turn.cos(), -turn.sin(), draw(0.2), turn.sin(), turn.cos(), draw(0.2)], dim=1).view(-1, 2, 3)
    theta[:, :, :2] *= scale[:, None, None]
    grid = F.affine_grid(theta, [len(images), 1, 8, 8], align_corners=False)
    moved = F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]
    noise = 0.1 * torch.randn(moved.shape, generator=generator)
    return (moved * (1 + draw(0.3))[:, None, None] + noise).flatten(1)


def new_moco(seed: int) -> MoCo:
    """An untrained encoder with its copy and queue."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, WIDTH), nn.ReLU())
    return MoCo(encoder, WIDTH, DIM, QUEUE, MOMENTUM, torch.Generator().manual_seed(seed))


def train(
    mixer: HardNegativeMixer | None, is_oracle: bool, images: Tensor, labels: Tensor, seed: int, epochs: int = EPOCHS
) -> dict[str, float]:
    """Train on the first digits and measure on the others.

    Args:
        mixer: of negatives; None for MoCo.
        is_oracle: whether labels are used to leave out keys of the query's class. Else they only measure.
        images: (N, 8, 8) in [0, 1].
        labels: (N,).
        seed: of weights, order, views and mixtures.
        epochs: over the first digits; an early measurement is made after a third of them.
    """
    moco, generator, mixing = new_moco(seed), *(torch.Generator().manual_seed(seed) for _ in range(2))
    optimizer = torch.optim.Adam([*moco.encoder.parameters(), *moco.head.parameters()], LR)
    queue_labels = torch.full((QUEUE,), -1)
    found: dict[str, float] = {}

    def neighbours() -> float:
        with torch.no_grad():
            z = moco.queries(images.flatten(1)).numpy()
        train, test = ((z[rows], labels[rows].numpy()) for rows in (slice(0, TRAINING), slice(TRAINING, None)))
        return knn_probe(train, test, "digit").score

    early = max(1, epochs // 3)
    for epoch in range(epochs):
        missed = []
        for rows in torch.randperm(TRAINING, generator=generator).split(BATCH)[: TRAINING // BATCH]:
            moco.follow()
            q, k = (encode(changed(images[rows], generator)) for encode in (moco.queries, moco.keys))
            excluded = queue_labels == labels[rows][:, None] if is_oracle else None
            used = mixer if epoch >= WARMUP else None
            logits = mochi_logits(q, k, moco.queue.clone(), used, TAU, mixing, excluded)
            loss = mochi_loss(logits)
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
            missed.append(float(loss.parts["missed_key"]))
            first = int(moco.pointer)
            queue_labels[first : first + BATCH] = labels[rows]
            moco.enqueue(k)
        if epoch + 1 == early:
            found["neighbours after a third"] = neighbours()
    with torch.no_grad():
        z = moco.queries(images[TRAINING:].flatten(1))
        views = [moco.queries(changed(images[TRAINING:], generator)) for _ in range(2)]
    return found | {
        "neighbours": neighbours(),
        "uniformity": uniformity(z),
        "alignment": alignment(*views),
        "keys missed": sum(missed) / len(missed),
        "keys of the query's class": float((queue_labels == labels[TRAINING:, None]).float().mean()),
        "false negatives": false_negative_rate(z, labels[TRAINING:], moco.queue, queue_labels, HARDEST),
    }


def run_seed(seed: int, options: BenchOptions) -> dict[str, dict[str, float]]:
    """Measures of MoCo, of MoCHi, and of both with the class oracle, on the same order of the same views."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(seed))
    images = (torch.tensor(digits.images, dtype=torch.float32) / 16)[order]
    labels = torch.tensor(digits.target)[order]
    kinds = [(name, mixer, False) for name, mixer in MIXERS.items()]
    kinds += [(name, mixer, True) for name, mixer in ORACLES.items()]
    epochs = options.steps(EPOCHS)
    return {name: train(mixer, is_oracle, images, labels, seed, epochs) for name, mixer, is_oracle in kinds}


def run(options: BenchOptions) -> list[Claim]:
    """Neighbours of digits early and at the end, what the vectors look like, and what an oracle would add."""
    found = [run_seed(seed, options) for seed in range(options.seeds)]

    def claim(name: str, kind: str, baseline: str, least: float | None = 0.0) -> Claim:
        ours, theirs = (tuple(one[which][name] for one in found) for which in (kind, baseline))
        return Claim(f"digits: {name}, {kind}", baseline, ours, theirs, least)

    mochi, query_only = "MoCHi (128, 128, 32)", "MoCHi (128, 0, 128)"
    return [
        claim("neighbours", mochi, "MoCo", -0.01),
        claim("neighbours after a third", mochi, "MoCo", 0.005),
        claim("neighbours", mochi, query_only),
        claim("uniformity", mochi, "MoCo"),
        claim("keys missed", mochi, "MoCo"),
        claim("alignment", mochi, "MoCo", None),
        claim("false negatives", mochi, "MoCo", None),
        Claim(
            f"digits: false negatives, {mochi}: queries' classes among their {HARDEST} hardest keys",
            "among all keys",
            *(tuple(one[mochi][name] for one in found) for name in ("false negatives", "keys of the query's class")),
        ),
        claim("neighbours", "MoCo, class oracle", "MoCo"),
        claim("neighbours", f"{mochi}, class oracle", mochi),
    ]

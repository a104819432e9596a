"""Do mixtures keep Barlow Twins from fitting few pictures too well?

A hundred handwritten digits without their labels, slight changes, an encoder 64-256-128 with batch normalisation and a
projector 128-256, 600 epochs: right nearest neighbours of held-out digits at several epochs. The baseline, Barlow
Twins, differs in nothing but the mixtures. The claim of Mixed Barlow Twins (arXiv 2312.02151) at this size is modest:
they do no harm, and neighbours do not become worse with time.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from representation.benchmarks.claims import BenchOptions, Claim
from representation.pretraining.mixed_barlow_twins import MixedBarlowTwins, Projector, draw_mixture
from representation.probes import knn_probe

TRAINING, TESTED, EPOCHS, MEASURED = 100, 597, 600, (50, 100, 200, 400, 600)
WIDTH, DIM, LR, LAMBDA_REG = 128, 256, 1e-3, 4.0


def changed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Views (B, 64) of digits (B, 8, 8) in [0, 1]: moved by at most a pixel sideways, of another contrast, noisy."""
    ways = torch.randint(-1, 2, (len(images),), generator=generator)
    columns = (torch.arange(8) - ways[:, None]) % 8
    moved = images.gather(2, columns[:, None].expand(-1, 8, -1))
    contrast = 0.8 + 0.4 * torch.rand(len(images), 1, 1, generator=generator)
    return (moved * contrast + 0.1 * torch.randn(moved.shape, generator=generator)).flatten(1)


def curve(lambda_reg: float, images: Tensor, labels: Tensor, seed: int, epochs: int) -> dict[int, float]:
    """Right nearest neighbours among the first digits of the last ones, by epoch.

    Args:
        lambda_reg: weight of the mixtures; 0 for Barlow Twins.
        images: (N, 8, 8) in [0, 1].
        labels: (N,), which only measure.
        seed: of weights, views and mixtures.
        epochs: of the training, whose batch is all first digits.
    """
    generator, mixing = (torch.Generator().manual_seed(seed) for _ in range(2))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, WIDTH))
    twins = MixedBarlowTwins(encoder, Projector(WIDTH, DIM, DIM, generator), 1 / DIM, lambda_reg, normalize_rows=False)
    optimizer = torch.optim.Adam(twins.parameters(), LR)
    found = {}
    for epoch in range(1, epochs + 1):
        views = [changed(images[:TRAINING], generator) for _ in range(2)]
        optimizer.zero_grad()
        twins.train()(*views, **draw_mixture(TRAINING, mixing)).total.backward()
        optimizer.step()
        if epoch in MEASURED or epoch == epochs:
            with torch.no_grad():
                z = encoder.eval()(images.flatten(1)).numpy()
            train, test = ((z[rows], labels[rows].numpy()) for rows in (slice(0, TRAINING), slice(-TESTED, None)))
            found[epoch] = knn_probe(train, test, "digit").score
    return found


def run_seed(seed: int, epochs: int = EPOCHS) -> dict[str, float]:
    """Curves of both, by the same digits, views and first weights; "end" is the last epoch."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(seed))
    images = (torch.tensor(digits.images, dtype=torch.float32) / 16)[order]
    labels = torch.tensor(digits.target)[order]
    found = {}
    for name, weight in (("mixed", LAMBDA_REG), ("plain", 0.0)):
        measured = curve(weight, images, labels, seed, epochs)
        found |= {f"{name}, epoch {epoch}": score for epoch, score in measured.items()}
        found[f"{name}, end"] = measured[epochs]
    return found


def run(options: BenchOptions) -> list[Claim]:
    """Nearest neighbours at the end beside Barlow Twins, and beside what they were before."""
    found = [run_seed(seed, options.steps(EPOCHS)) for seed in range(options.seeds)]
    first = f"mixed, epoch {min(MEASURED)}" if options.scale == 1 else "mixed, end"

    def by_seed(name: str) -> tuple[float, ...]:
        return tuple(one[name] for one in found)

    held_out = "digits: right neighbours of held-out ones, 100 trained on"
    return [
        Claim(held_out, "without mixtures", by_seed("mixed, end"), by_seed("plain, end"), 0.0),
        Claim(held_out, "itself at epoch 50", by_seed("mixed, end"), by_seed(first), 0.0),
    ]

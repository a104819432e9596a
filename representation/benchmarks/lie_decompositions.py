"""What convolutions over affine maps are worth on few pictures: digits, seen upright alone, told from any side.

Networks over maps that keep areas, over rotations alone, and a plain convolutional network learn 1,200 upright digits;
then they see the other 597, upright and after maps that none has seen. Beside that, whether the measure that belongs to
the polar decomposition is invariant, by importance sampling, and whether two others are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.ponita import train_network
from representation.equivariant.lie_decompositions import (
    AffineEquivariantEncoder,
    AffineGroup,
    Config,
    polar_decompose,
    polar_log,
    stretch_density,
)

MAPS, TURNS, CONVOLUTIONS = "areas kept", "rotations alone", "a convolutional network"
UPRIGHT, MILD, TURNED, QUARTERS, STRETCHED = "upright", "mild maps", "any rotation", "quarter turns", "stretches"
DIGIT_SIDE, CLASSES = 12, 10
SPREAD = 1.6  # of the stretches that integrals are sampled with
MOVE = ((1.4, 0.5), (0.2, 0.8))


@dataclass(frozen=True)
class Settings:
    """How much is trained and measured.

    Attributes:
        digits: to train on.
        tests: digits to score on.
        epochs: of training.
        batch: digits of a step.
        lr: of training, at its highest.
        side: of the pictures, pixels; the digits are 12.
        maps: of each layer.
        channels: at each map.
        plain_channels: of the convolutional network.
        samples: maps for integrals.
    """

    digits: int = 1200
    tests: int = 597
    epochs: int = 25
    batch: int = 32
    lr: float = 2e-3
    side: int = 18
    maps: int = 8
    channels: int = 12
    plain_channels: int = 40
    samples: int = 1_000_000


def run(options: BenchOptions) -> list[Claim]:
    """Accuracies on digits, and how far integrals change."""
    settings = Settings(epochs=options.steps(Settings.epochs))
    found = [accuracies(seed, settings) | integrals(seed, settings.samples) for seed in range(options.seeds)]

    def claim(text: str, name: str, ours: str, other: str | float, least: float | None = 0.0) -> Claim:
        baseline = tuple(one[other] if isinstance(other, str) else other for one in found)
        return Claim(text, name, tuple(one[ours] for one in found), baseline, least)

    task = f"accuracy of digits, {settings.digits} upright ones to learn from"
    plain = {pose: f"{CONVOLUTIONS}, {pose}" for pose in (UPRIGHT, MILD, TURNED, QUARTERS, STRETCHED)}
    ours = {pose: f"{MAPS}, {pose}" for pose in plain}
    for one in found:
        one["lost"] = 1 - one[plain[QUARTERS]]
    return [
        claim("minus change of an integral when all maps are moved: invariant measure", "asked", "kept", -0.01),
        claim("change of an integral when all maps are moved: even measure of logarithms", "asked", "flat", 0.05),
        claim("change of an integral when all maps are moved: even measure of squares", "asked", "undivided", 0.05),
        claim(f"{task}: {UPRIGHT}", "asked", ours[UPRIGHT], 0.95),
        claim(f"{task}: {UPRIGHT}", CONVOLUTIONS, ours[UPRIGHT], plain[UPRIGHT], None),
        claim(f"{task}: {QUARTERS}", UPRIGHT, ours[QUARTERS], ours[UPRIGHT], -0.03),
        claim(f"errors in digits after {QUARTERS}: {CONVOLUTIONS}", "asked", "lost", 0.5),
        claim(f"{task}: {TURNED}", CONVOLUTIONS, ours[TURNED], plain[TURNED], 0.15),
        claim(f"{task}: {MILD}", "asked", ours[MILD], 0.85),
        claim(f"{task}: {MILD}", CONVOLUTIONS, ours[MILD], plain[MILD], None),
        claim(f"{task}: {STRETCHED}", TURNS, ours[STRETCHED], f"{TURNS}, {STRETCHED}"),
        claim(f"{task}: {STRETCHED}", CONVOLUTIONS, ours[STRETCHED], plain[STRETCHED], None),
    ]


def accuracies(seed: int, settings: Settings) -> dict[str, float]:
    """Accuracy of each network on digits that were held out, in each pose."""
    pictures, labels = digits(seed, settings.side)
    train = slice(settings.digits)
    test = pictures[settings.digits :][: settings.tests]
    truth = labels[settings.digits :][: settings.tests]
    poses = posed(test, torch.Generator().manual_seed(seed))
    config = Config(settings.side, "sl2", maps=settings.maps, channels=settings.channels, classes=CLASSES, seed=seed)
    makers: dict[str, Callable[[], nn.Module]] = {
        MAPS: lambda: AffineEquivariantEncoder(config),
        TURNS: lambda: AffineEquivariantEncoder(Config(**{**vars(config), "group": "so2"})),
        CONVOLUTIONS: lambda: convolutions(settings.plain_channels),
    }
    found = {}
    for name, make in makers.items():
        torch.manual_seed(seed)
        model = make()

        def loss(rows: Tensor, model: nn.Module = model) -> Tensor:
            return F.cross_entropy(model(pictures[train][rows]), labels[train][rows])

        steps = settings.epochs * (settings.digits // settings.batch)
        train_network(model, loss, settings.digits, steps, settings.batch, seed, settings.lr)
        with torch.inference_mode():
            for pose, shown in poses.items():
                told = torch.cat([model(part).argmax(dim=1) for part in shown.split(100)])
                found[f"{name}, {pose}"] = float((told == truth).float().mean())
    return found


def digits(seed: int, side: int) -> tuple[Tensor, Tensor]:
    """All digits in random order, in the middle of dark pictures (N, 1, side, side), and their classes."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    pixels = torch.from_numpy(images[order].reshape(-1, 1, 8, 8)).float() / 16
    larger = F.interpolate(pixels, (DIGIT_SIDE, DIGIT_SIDE), mode="bilinear", align_corners=False)
    return F.pad(larger, [(side - DIGIT_SIDE) // 2] * 4), torch.from_numpy(labels[order])


def posed(pictures: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Pictures (B, 1, H, H) in each pose."""
    count = len(pictures)

    def even(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    angle, shear, scale = even(-math.pi / 9, math.pi / 9), even(-0.2, 0.2), even(0.8, 1.2)
    sheared = torch.eye(2).repeat(count, 1, 1)
    sheared[:, 0, 1] = shear
    shift = torch.stack([even(-1, 1), even(-1, 1)], dim=1) * 2 / pictures.shape[-1]
    stretches = polar_decompose(AffineGroup("sl2").sample_pair(count, generator).g)[0].float()
    quarters = torch.randint(1, 4, (count,), generator=generator)
    turned = [picture.rot90(int(number), (1, 2)) for picture, number in zip(pictures, quarters, strict=True)]
    return {
        UPRIGHT: pictures,
        MILD: mapped(pictures, scale[:, None, None] * rotations(angle) @ sheared, shift),
        TURNED: mapped(pictures, rotations(even(-math.pi, math.pi)), torch.zeros(count, 2)),
        QUARTERS: torch.stack(turned),
        STRETCHED: mapped(pictures, stretches, torch.zeros(count, 2)),
    }


def rotations(angle: Tensor) -> Tensor:
    """Matrices (B, 2, 2) of angles (B,)."""
    return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).unflatten(1, (2, 2))


def mapped(pictures: Tensor, maps: Tensor, shift: Tensor) -> Tensor:
    """Pictures (B, 1, H, H) that show what maps (B, 2, 2) and shifts (B, 2), in half pictures, make of them."""
    inverse = torch.linalg.inv(maps)
    affine = torch.cat([inverse, -inverse @ shift[:, :, None]], dim=2)
    grid = F.affine_grid(affine, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False)


def convolutions(channels: int) -> nn.Sequential:
    """Classes of pictures (B, 1, H, H) by convolutions in the same order as the networks over maps."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3),
        nn.GELU(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3),
        nn.GELU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * channels, 256),
        nn.GELU(),
        nn.Linear(256, CLASSES),
    )


def integrals(seed: int, samples: int) -> dict[str, float]:
    """How far an integral over all maps changes when they are moved by one.

    Returns:
        `kept`: minus that by the invariant measure, (det S)^-3/2 dS of squares S = g g^T; `flat`: by dY of logarithms Y
        of S; `undivided`: by dS alone.
    """
    generator, group = torch.Generator().manual_seed(seed), AffineGroup("gl2")
    drawn = torch.zeros(samples, group.dim, dtype=torch.float64)
    drawn[:, :-1] = SPREAD * torch.randn(samples, group.dim - 1, dtype=torch.float64, generator=generator)
    angle = math.pi * (2 * torch.rand(samples, dtype=torch.float64, generator=generator) - 1)
    log_square = group.hat(drawn)
    values, vectors = torch.linalg.eigh(log_square)
    stretch = (vectors * (values / 2).exp()[:, None]) @ vectors.mT
    g = stretch @ rotations(angle)
    even = (drawn.square().sum(dim=1) / (2 * SPREAD**2)).exp()
    before, after = value_of(g), value_of(torch.tensor(MOVE, dtype=torch.float64) @ g)
    found = {}
    invariant = even * stretch_density(log_square)
    undivided = invariant * (1.5 * values.sum(dim=1)).exp()  # times (det S)^3/2
    for name, weight in (("kept", invariant), ("flat", even), ("undivided", undivided)):
        found[name] = abs(float((weight * after).sum() / (weight * before).sum()) - 1)
    return found | {"kept": -found["kept"]}


def value_of(g: Tensor) -> Tensor:
    """exp(-|log g g^T|² / 2 - angle²) of maps (B, 2, 2)."""
    x = polar_log(g)
    symmetric, angle = x + x.mT, (x[:, 1, 0] - x[:, 0, 1]) / 2
    return (-symmetric.square().sum(dim=(1, 2)) / 2 - angle.square()).exp()

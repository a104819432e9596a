"""Do the first numbers of a DiTi vector tell what is fine, and the last ones what is coarse? Scenes of two factors.

Pictures of 16 pixels: a bright block of 7 x 7 in one of 16 places, and in a corner a small mark, which of whose four
pixels is dark; brightness and the fall of light vary. A U-Net of two levels and 8 channels learns their noise, then
DiTi (8 bins, 32 numbers, each bin taught at its own steps) and PDAE (one bin) learn to correct it, in 1,200 steps each,
so that the whole takes minutes. The margins were stated for 32 pixels, 32 channels and 3,000 steps of both: a claim
that does not hold here may hold there. Linear readers of each quarter of a vector, from the first to the last, are
tested on other pictures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from representation.benchmarks.claims import BenchOptions, Claim
from representation.generative.adm_unet import ADMUNet, UNetConfig
from representation.generative.denoiser import LINEAR, train_denoiser
from representation.generative.diti import PDAE, DiTi, PictureEncoder, TimeSlicer
from representation.generative.edit_slices import draw, quarters
from representation.probes import linear_probe

SIDE, PLACES, BLOCK, MARKS, MARK = 16, 4, 7, 4, 0.8
SIZES = UNetConfig(SIDE, 8, (1, 2), 1, (8,), 16, 1, 1, groups=4)
D, BINS, CHANNELS = 32, 8, 8
TRAINING, TESTED, STEPS, BATCH, LR = 1000, 600, 1200, 16, 1e-3
SHOWN, SAMPLED = 16, 50


def scenes(count: int, seed: int) -> tuple[Tensor, dict[str, NDArray[np.int64]]]:
    """Pictures (N, 1, 16, 16) in [-1, 1], and the factors "coarse" (16) and "fine" (4) of each."""
    rng = np.random.default_rng(seed)
    places, marks = rng.integers(0, PLACES**2, count), rng.integers(0, MARKS, count)
    dark, bright = rng.uniform(-0.9, -0.4, count), rng.uniform(0.2, 0.9, count)
    slope = rng.uniform(-0.2, 0.2, (count, 2, 1, 1)) * np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    x = np.broadcast_to(dark[:, None, None], (count, SIDE, SIDE)).copy()
    for number, picture in enumerate(x):
        top, left = (3 * int(part) for part in divmod(int(places[number]), PLACES))
        picture[top : top + BLOCK, left : left + BLOCK] = bright[number]
        picture[SIDE - 2 :, SIDE - 2 :] = dark[number] + MARK
        picture[SIDE - 2 + int(marks[number]) // 2, SIDE - 2 + int(marks[number]) % 2] = dark[number]
    x += slope.sum(axis=1) + rng.normal(0, 0.05, x.shape)
    return torch.from_numpy(x).float().clamp(-1, 1)[:, None], {"coarse": places, "fine": marks}


def new(kind: str, unet: ADMUNet, seed: int) -> DiTi:
    """An untrained DiTi or PDAE over a trained network."""
    encoder = PictureEncoder(SIDE, D, CHANNELS, 4, seed, 1)
    if kind == "PDAE":
        return PDAE(unet, encoder, D, seed)
    return DiTi(unet, encoder, TimeSlicer(D, BINS), "stop_grad", seed)


def train(model: DiTi, x: Tensor, steps: int, seed: int, progress: bool = False) -> list[float]:
    """Adam on random pictures, steps and noise; the model is then in evaluation mode. Returns the losses."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer, generator, losses = torch.optim.Adam(trained, LR), torch.Generator().manual_seed(seed), []
    model.train()
    for _ in tqdm(range(steps), desc="steps", unit="step", disable=not progress):
        shown = x[torch.randint(len(x), (BATCH,), generator=generator)]
        t = torch.randint(LINEAR.T, (BATCH,), generator=generator)
        loss = model.loss(shown, t, torch.randn(shown.shape, generator=generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    model.eval()
    return losses


@torch.no_grad()
def told(model: DiTi, seed: int) -> dict[str, list[float]]:
    """Accuracy of each factor from each quarter of the vector, and last from all of it."""
    (x, factors), (other, wanted) = scenes(TRAINING, seed), scenes(TESTED, seed + 1000)
    train_z, test_z = model.encode(x).numpy(), model.encode(other).numpy()
    return {
        name: [
            linear_probe((train_z[:, part], factors[name]), (test_z[:, part], wanted[name]), name).score
            for part in [*quarters(D), slice(0, D)]
        ]
        for name in factors
    }


def signal_over_noise(model: DiTi, seed: int, steps: int = SAMPLED) -> float:
    """Of pictures that come back, decibels."""
    x = scenes(SHOWN, seed + 1000)[0]
    return float(-10 * torch.log10(((model.reconstruct(x, steps) - x) / 2).square().mean()))


def frozen(seed: int, steps: int) -> tuple[ADMUNet, Tensor]:
    """The network that is corrected, and the pictures it was trained with."""
    x, unet = scenes(TRAINING, seed)[0], ADMUNet(SIZES, seed)
    train_denoiser(unet, x, steps, seed, BATCH, LR)
    return unet, x


def run(options: BenchOptions) -> list[Claim]:
    """Both models, by seed."""
    found: dict[str, list[dict[str, list[float]]]] = {"DiTi": [], "PDAE": []}
    decibels = []
    for seed in range(options.seeds):
        unet, x = frozen(seed, options.steps(STEPS))
        for kind, results in found.items():
            model = new(kind, unet, seed)
            train(model, x, options.steps(STEPS), seed)
            results.append(told(model, seed))
            if kind == "DiTi":
                decibels.append(signal_over_noise(model, seed))

    def scores(kind: str, factor: str, part: int) -> tuple[float, ...]:
        return tuple(100 * one[factor][part] for one in found[kind])

    first, last, whole = 0, 3, 4
    lean = tuple(max(abs(one[factor][last] - one[factor][first]) * 100 for factor in one) for one in found["PDAE"])
    mean = tuple(np.mean([one[factor][whole] * 100 for factor in one]) for one in found["DiTi"])
    plain = tuple(np.mean([one[factor][whole] * 100 for factor in one]) for one in found["PDAE"])
    claims = [
        Claim(
            "coarse factor, last quarter, %",
            "first quarter",
            scores("DiTi", "coarse", 3),
            scores("DiTi", "coarse", 0),
            15.0,
        ),
        Claim(
            "fine factor, first quarter, %", "last quarter", scores("DiTi", "fine", 0), scores("DiTi", "fine", 3), 10.0
        ),
        Claim("PDAE leans by less than 5 points to any end: 5 minus", "its larger lean", (5.0,) * len(lean), lean, 0.0),
        Claim("both factors from the whole vector, %", "PDAE", mean, plain, -1.0),
        Claim("signal over noise of what comes back, dB", "asked", tuple(decibels), (20.0,) * options.seeds, 0.0),
    ]
    for factor in ("coarse", "fine"):
        for part, name in ((1, "second"), (2, "third")):
            claims.append(
                Claim(
                    f"{factor} factor, {name} quarter, %",
                    "PDAE",
                    scores("DiTi", factor, part),
                    scores("PDAE", factor, part),
                    None,
                )
            )
    return claims


def pictures(options: BenchOptions, file: Path) -> None:
    """Scenes, what comes back, and each with a quarter of the numbers of the next."""
    unet, x = frozen(0, options.steps(500))
    model = new("DiTi", unet, 0)
    train(model, x, options.steps(700), 0)
    shown = scenes(6, 1000)[0]
    columns = [("picture", shown), ("back", model.reconstruct(shown, SAMPLED))]
    for number, name in enumerate(("finest", "fine", "coarse", "coarsest")):
        bins = range(number * BINS // 4, (number + 1) * BINS // 4)
        columns.append((name, model.swap(shown, shown.roll(-1, dims=0), bins, SAMPLED)))
    draw([(name, images.expand(-1, 3, -1, -1)) for name, images in columns], file)

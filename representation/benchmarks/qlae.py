"""Do few values and strong decay make each latent mean one thing? Sprites of five factors, and renders of one object.

Sprites: 648 pictures of 16 pixels, every combination of shape, size, place and brightness. QLAE, the same network
without quantisation but with the decay, and without both; dense layers, 6,000 steps. Latents that are not quantised are
told by 8 quantiles, and count as active with more than an eighth of the widest range. Renders: 2,000 frames of
`runs/renders`, 32 pixels, whose factors are colour, shape, size and place; the same networks and training. One block:
2,000 renders in `runs/one_block` of a cube of which only colour, place and turn change, and nothing around it. As its
sides are alike, its turn is told within a quarter of a circle. Places and turns are told by their fifths.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.picture_grid import write_grid
from representation.data.frames import FRAMES_FILE, Frames, open_frames
from representation.disentanglement import sources_of
from representation.generative.qlae import QLAE, InfoMEC, infomec
from representation.pretraining.small_encoder import resized

SIDE, PLACES, LEVELS = 16, 6, (0.4, 0.7, 1.0)
LATENTS, VALUES, WIDTH, STEPS, BATCH, LR, DECAY = 10, 8, 192, 6000, 128, 1e-3, 1.0
BINS, ACTIVE_SHARE = 8, 8
RENDERED, RENDER_SIDE = 2000, 32
FACTORS = ("color", "shape", "scale", "position")
BLOCK, BLOCK_FACTORS, BINS_OF_FACTORS = "one_block", ("color", "position", "turn"), 5


def sprites() -> tuple[Tensor, NDArray[np.int64]]:
    """Pictures (648, 1, 16, 16) in [0, 1] and factors (648, 5): shape, size, x, y, brightness."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    pictures, factors = [], []
    for shape in range(3):
        for size in range(2):
            for x in range(PLACES):
                for y in range(PLACES):
                    dx, dy = np.abs(columns - (3.5 + 1.8 * x)), np.abs(rows - (3.5 + 1.8 * y))
                    half = 1.6 + size
                    inside = (np.maximum(dx, dy), dx + dy, np.minimum(dx, dy) + 0.4 * np.maximum(dx, dy))[shape] <= half
                    for level, brightness in enumerate(LEVELS):
                        pictures.append(brightness * inside)
                        factors.append((shape, size, x, y, level))
    return torch.from_numpy(np.array(pictures, np.float32))[:, None], np.array(factors)


def train(model: QLAE, x: Tensor, seed: int, steps: int, decay: float) -> None:
    """AdamW with decoupled decay on weights, whose gradients are limited entry by entry."""
    groups = model.param_groups(decay)
    optimizer, generator = torch.optim.AdamW(groups, LR, fused=True), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        loss = model.loss(x[torch.randint(len(x), (min(BATCH, len(x)),), generator=generator)]).total
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(groups[0]["params"], 1.0)
        optimizer.step()


@torch.no_grad()
def measured(model: QLAE, x: Tensor, sources: NDArray[np.int64]) -> InfoMEC:
    """InfoMEC of codes, or of quantiles of latents that vary enough."""
    if model.quantizer is not None:
        return infomec(sources, model.encode(x).numpy(), discrete=True)
    z = model.latents(x).numpy()
    reach = np.ptp(z, axis=0)
    z = z[:, reach > reach.max() / ACTIVE_SHARE]
    edges = np.quantile(z, np.linspace(0, 1, BINS + 1)[1:-1], axis=0)
    told = np.stack([np.searchsorted(e, c, side="right") for e, c in zip(edges.T, z.T, strict=True)], axis=1)
    return infomec(sources, told, discrete=True)


@torch.no_grad()
def signal_to_noise(model: QLAE, x: Tensor) -> float:
    """Peak signal over the noise of what comes back, decibels."""
    return float(-10 * torch.log10((model.reconstruct(x) - x).square().mean()))


def new(values: int, seed: int, shape: tuple[int, ...]) -> QLAE:
    """A model whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return QLAE(shape, LATENTS, values, "dense", width=WIDTH)


def run(options: BenchOptions) -> list[Claim]:
    """Modularity beside both baselines, by seed.

    Raises:
        FileNotFoundError: renders were not drawn.
        ValueError: too few of one block.
    """
    objects, block = renders(options), one_block(options)
    x, sources = sprites()
    kinds = {"QLAE": (VALUES, DECAY), "decay alone": (0, DECAY), "neither": (0, 0.0)}
    found: dict[str, list[InfoMEC]] = {kind: [] for kind in kinds}
    decibels: dict[str, list[float]] = {kind: [] for kind in kinds}
    for seed in range(options.seeds):
        for kind, (values, decay) in kinds.items():
            model = new(values, seed, (1, SIDE, SIDE))
            train(model, x, seed, options.steps(STEPS), decay)
            found[kind].append(measured(model, x, sources))
            decibels[kind].append(signal_to_noise(model, x))
    modular = {kind: tuple(one.infom for one in results) for kind, results in found.items()}
    compact = {kind: tuple(one.infoc for one in results) for kind, results in found.items()}
    signal = {kind: tuple(values) for kind, values in decibels.items()}
    ours, plain = modularity(objects, FACTORS, options)
    ours_block, plain_block = modularity(block, BLOCK_FACTORS, options)
    all_of = (1.0,) * options.seeds
    return [
        Claim("modularity (InfoM) on sprites", "autoencoder", modular["QLAE"], modular["neither"], 0.05),
        Claim("modularity on sprites", "autoencoder with decay", modular["QLAE"], modular["decay alone"], 0.03),
        Claim("compactness on sprites", "autoencoder", compact["QLAE"], compact["neither"], None),
        Claim("signal over noise on sprites, dB", "autoencoder", signal["QLAE"], signal["neither"], None),
        Claim("modularity on renders", "autoencoder", ours, plain, None),
        Claim("seeds in which it is larger on renders, of all", "asked: all", _larger(ours, plain), all_of, 0.0),
        Claim("modularity on renders of one block", "autoencoder", ours_block, plain_block, None),
        Claim("seeds in which it is larger on one block", "asked: all", _larger(ours_block, plain_block), all_of),
    ]


def pictures(options: BenchOptions, file: Path) -> None:
    """Sprites, what comes back of them, and one sprite with each value of the latents that tell most of a factor."""
    x, sources = sprites()
    model = new(VALUES, 0, (1, SIDE, SIDE))
    train(model, x, 0, options.steps(STEPS), DECAY)
    shown = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:VALUES]]
    latents = measured(model, x, sources).nmi.argmax(axis=1)
    rows = {"sprites": shown, "what comes back": model.reconstruct(shown)}
    for factor, latent in zip(("shape", "size", "x", "y", "brightness"), latents, strict=True):
        rows[f"latent {latent}: most of {factor}"] = model.traverse(shown[:1], int(latent))[0]
    write_grid(rows, file)


def renders(options: BenchOptions) -> Frames:
    """2,000 renders of any object.

    Raises:
        FileNotFoundError: they were not drawn.
    """
    frames = open_frames(options.data)
    return frames.subset(np.sort(np.random.default_rng(0).permutation(len(frames))[:RENDERED]))


def one_block(options: BenchOptions) -> Frames:
    """2,000 renders of one cube, their `turn` (N,) within a quarter of a circle, rad.

    Raises:
        FileNotFoundError: they were not drawn; says how to.
        ValueError: too few.
    """
    place = options.data.parent / BLOCK
    if not (place / FRAMES_FILE).is_file():
        raise FileNotFoundError(
            f"{place}: expected renders of one block; python -m sim.renders --vary {' '.join(BLOCK_FACTORS)} "
            f"--count 334 --output {place}"
        )
    frames = open_frames(place)
    if len(frames) < RENDERED:
        raise ValueError(f"{place}: expected at least {RENDERED} renders, found {len(frames)}")
    frames = frames.subset(np.arange(RENDERED))
    columns = {**frames.columns, "turn": frames.columns["turn"] % (np.pi / 2)}
    return Frames(frames.images, frames.episode, columns, frames.names, frames.texts)


def modularity(
    frames: Frames, factors: tuple[str, ...], options: BenchOptions
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """InfoM of QLAE and of the autoencoder, by seed."""
    _, sources = sources_of(frames, factors, BINS_OF_FACTORS)
    x = resized(frames.pixels(np.arange(len(frames))), RENDER_SIDE).clamp(0, 1)
    pairs = []
    for seed in range(options.seeds):
        pair = []
        for values, decay in ((VALUES, DECAY), (0, 0.0)):
            model = new(values, seed, (3, RENDER_SIDE, RENDER_SIDE))
            train(model, x, seed, options.steps(STEPS), decay)
            pair.append(measured(model, x, sources).infom)
        pairs.append(pair)
    ours, plain = zip(*pairs, strict=True)
    return ours, plain


def _larger(ours: tuple[float, ...], others: tuple[float, ...]) -> tuple[float, ...]:
    """1 for each seed in which the first is larger, else 0."""
    return tuple(float(a > b) for a, b in zip(ours, others, strict=True))

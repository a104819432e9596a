"""Where do pictures come from that a diffusion model, or an edit, has made of others?

Digits: a variational autoencoder, and two diffusion models of its latents that translate pictures to other classes. The
map learns from translations by the first; the second has other sizes and another seed, and is asked about only. Frames:
those of `python -m sim.narrated_episodes`, of which edits are made; one kind of edit
is held out at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.data.frames import Frames, open_frames
from representation.image_tower import draw_weights
from representation.memory.origin_identification.autoencoder import SmallAutoencoder
from representation.memory.origin_identification.edits import EDITS
from representation.memory.origin_identification.identifier import FitConfig, OriginIdentifier, train_map
from representation.memory.origin_identification.lda import LdaProjection
from representation.memory.origin_identification.origin_index import mean_average_precision
from representation.memory.origin_identification.trace import frame_ids, rejection

TRAINING, LATENT, WIDTH, TRANSLATIONS = 1000, 24, 32, 4
VAE_STEPS, DENOISER_STEPS, BATCH = 1500, 1500, 128
NOISE_STEPS, STRENGTH = 50, 0.4
# The cosine schedule of Nichol and Dhariwal (arXiv 2102.09672).
_CURVE = ((torch.linspace(0, 1, NOISE_STEPS + 1) + 0.008) / 1.008 * torch.pi / 2).cos().square()
BETAS = (1 - _CURVE[1:] / _CURVE[:-1]).clamp(max=0.999)
KEPT = (1 - BETAS).cumprod(dim=0)
SIZES = {"A": (128, 2), "B": (96, 3)}  # width and hidden layers of the denoisers
FIT = FitConfig(steps=400, lr=5e-3, s=16)

NAME, SIDE = "narrated", 32  # directory beside that of the renders; pixels
EPISODES, FRAMES, NEAR = 20, 25, 2  # of the gallery, and as many unknown ones; of each; steps
HELD_OUT = ("restyle", "tint")  # one at a time
FRAME_STEPS, FRAME_BATCH, FRAME_WIDTH, DRAWS = 300, 32, 128, 2
FRAME_FIT = FitConfig(steps=600, identities=64, lr=5e-3, s=30)


def run(options: BenchOptions) -> list[Claim]:
    """All claims, by seed.

    Raises:
        FileNotFoundError: there are no frames; says how to make them.
    """
    place = options.data.with_name(NAME)
    if not place.is_dir():
        raise FileNotFoundError(
            f"{place}: expected narrated episodes, found none; python -m sim.narrated_episodes --output {place}"
        )
    frames = open_frames(place, size=SIDE)
    found = [digits(seed, options) | edits_of_frames(seed, frames, options) for seed in range(options.seeds)]

    def claim(text: str, name: str, ours: str, baseline: str | float, least: float = 0.0) -> Claim:
        others = tuple(x[baseline] if isinstance(baseline, str) else baseline for x in found)
        return Claim(text, name, tuple(x[ours] for x in found), others, least)

    edited = []
    for kind in HELD_OUT:
        text = f"frames, held-out edit {kind}:"
        edited += [
            claim(f"{text} episode told", "asked", f"{kind} episode", 0.95),
            claim(f"{text} episode told", "autoencoder alone", f"{kind} episode", f"raw {kind} episode"),
            claim(f"{text} frame told within {NEAR} steps", "autoencoder alone", f"{kind} frame", f"raw {kind} frame"),
            claim(f"{text} unknown rejected where 0.9 of known pass", "asked", f"{kind} rejected", 0.95),
            claim(
                f"{text} unknown rejected where 0.9 of known pass",
                "autoencoder alone",
                f"{kind} rejected",
                f"raw {kind} rejected",
            ),
        ]
    unseen, seen = (f"digits: mAP of origins, {kind} generator, linear map" for kind in ("unseen", "seen"))
    return [
        claim(unseen, "deep network on pixels", "B linear", "B deep", 0.15),
        claim(unseen, "autoencoder alone", "B linear", "B raw"),
        claim(unseen, "in closed form", "B linear", "B lda", -0.05),
        claim(unseen, "pixels", "B linear", "B pixels"),
        claim(seen, "autoencoder alone", "A linear", "A raw", 0.06),
        *edited,
    ]


def digits(seed: int, options: BenchOptions) -> dict[str, float]:
    """How well each way tells origins, by generator."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images, labels = torch.from_numpy(data.data[order] / 16).float(), torch.from_numpy(data.target[order])
    generator = torch.Generator().manual_seed(seed)
    vae = DigitAutoencoder(generator)
    vae.learn(images[:TRAINING], options.steps(VAE_STEPS), generator)
    origins, known = images[TRAINING:], images[:TRAINING]
    made = {}
    for number, (name, (width, depth)) in enumerate(SIZES.items()):
        own = torch.Generator().manual_seed(1000 * seed + number)
        denoiser = Denoiser(width, depth, own)
        denoiser.learn(vae.vectors(known), labels[:TRAINING], options.steps(DENOISER_STEPS), own)
        made[name] = translated(vae, denoiser, origins, own)
        if name == "A":
            again = known.repeat(TRANSLATIONS, 1)
            training, of = translated(vae, denoiser, again, own), np.tile(np.arange(TRAINING), TRANSLATIONS)
    config = FitConfig(options.steps(FIT.steps), lr=FIT.lr, s=FIT.s, seed=seed)
    linear = OriginIdentifier(vae.vectors, WIDTH).fit(known, list(zip(training, of.tolist(), strict=True)), config)
    lda = LdaProjection(LATENT // 2).fit(vae.vectors(known), vae.vectors(training), of)
    deep = _network(64, 128, WIDTH, 2, generator)
    train_map(deep, WIDTH, known, training, of.tolist(), config, generator)
    ways = {
        "pixels": lambda x: x,
        "raw": vae.vectors,
        "linear": linear.embed,
        "lda": lambda x: torch.from_numpy(lda.project(vae.vectors(x))),
        "deep": lambda x: deep(x).detach(),
    }
    right = np.eye(len(origins), dtype=bool)
    return {
        f"{name} {way}": mean_average_precision(_cosines(way_(queries), way_(origins)), right)
        for name, queries in made.items()
        for way, way_ in ways.items()
    }


class DigitAutoencoder(nn.Module):
    """A variational autoencoder of 64 pixels."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = _network(64, 128, 2 * LATENT, 1, generator)
        self.decoder = _network(LATENT, 128, 64, 1, generator)

    @torch.no_grad()
    def vectors(self, images: Tensor) -> Tensor:
        """Posterior means (B, 24) of pictures (B, 64)."""
        return self.encoder(images)[:, :LATENT]

    def learn(self, images: Tensor, steps: int, generator: torch.Generator) -> None:
        """Train on pictures (N, 64)."""
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-3)
        for _ in range(steps):
            x = images[torch.randint(len(images), (BATCH,), generator=generator)]
            mean, log_variance = self.encoder(x).chunk(2, dim=1)
            z = mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=generator)
            divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
            loss = (self.decoder(z) - x).square().sum(dim=1).mean() + 0.05 * divergence
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


class Denoiser(nn.Module):
    """Predicts the noise in a latent, given how much there is and the class."""

    def __init__(self, width: int, depth: int, generator: torch.Generator) -> None:
        super().__init__()
        self.network = _network(LATENT + 10 + 2, width, LATENT, depth, generator)
        self.scale = torch.ones(LATENT)

    def forward(self, z: Tensor, step: Tensor, labels: Tensor) -> Tensor:
        """Noise (B, 24) in latents (B, 24) at steps (B,)."""
        kept = KEPT[step]
        noise = torch.stack([kept.sqrt(), (1 - kept).sqrt()], dim=1)
        return self.network(torch.cat([z, noise, F.one_hot(labels, 10)], dim=1))

    def learn(self, latents: Tensor, labels: Tensor, steps: int, generator: torch.Generator) -> None:
        """Train on latents (N, 24)."""
        self.scale = latents.std(dim=0)
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-3)
        for _ in range(steps):
            rows = torch.randint(len(latents), (BATCH,), generator=generator)
            step = torch.randint(NOISE_STEPS, (BATCH,), generator=generator)
            noise = torch.randn(BATCH, LATENT, generator=generator)
            z = _noised(latents[rows] / self.scale, step, noise)
            optimizer.zero_grad()
            F.mse_loss(self(z, step, labels[rows]), noise).backward()
            optimizer.step()


@torch.no_grad()
def translated(vae: DigitAutoencoder, denoiser: Denoiser, images: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures (B, 64) after noise of a strength was laid over their latents and taken away towards random classes."""
    labels = torch.randint(10, (len(images),), generator=generator)
    start = round(STRENGTH * NOISE_STEPS) - 1
    z = vae.vectors(images) / denoiser.scale
    step = torch.full((len(images),), start)
    z = _noised(z, step, torch.randn(z.shape, generator=generator))
    for number in range(start, -1, -1):
        step = torch.full((len(images),), number)
        beta, kept = BETAS[number], KEPT[number]
        z = (z - beta / (1 - kept).sqrt() * denoiser(z, step, labels)) / (1 - beta).sqrt()
        if number:
            z = z + beta.sqrt() * torch.randn(z.shape, generator=generator)
    return vae.decoder(z * denoiser.scale).clamp(0, 1)


def edits_of_frames(seed: int, frames: Frames, options: BenchOptions) -> dict[str, float]:
    """How often episode and frame are told of frames after an edit that was held out, and unknown episodes rejected."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    chosen = rng.permutation(np.unique(frames.episode))[: 2 * EPISODES]
    gallery, unknown = (_spread(frames, part) for part in (chosen[:EPISODES], chosen[EPISODES:]))
    pictures, strange = (part.pixels(np.arange(len(part))) for part in (gallery, unknown))
    autoencoder = SmallAutoencoder(SIDE, 16, 16, generator)
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=2e-3)
    for _ in range(options.steps(FRAME_STEPS)):
        images = pictures[torch.randperm(len(pictures), generator=generator)[:FRAME_BATCH]]
        error, divergence = autoencoder.losses(
            images, torch.randn(FRAME_BATCH, autoencoder.numbers, generator=generator)
        )
        optimizer.zero_grad()
        (error + 1e-3 * divergence).backward()
        optimizer.step()
    made = {kind: [EDITS[kind](pictures, generator) for _ in range(DRAWS)] for kind in EDITS}
    step = np.array([number for _, number in frame_ids(gallery)])
    result = {}
    for held_out in HELD_OUT:
        known = [images for kind, draws in made.items() if kind != held_out for images in draws]
        pairs = [(image, number) for images in known for number, image in enumerate(images)]
        config = FitConfig(
            options.steps(FRAME_FIT.steps), FRAME_FIT.identities, lr=FRAME_FIT.lr, s=FRAME_FIT.s, seed=seed
        )
        linear = OriginIdentifier(autoencoder.vectors, FRAME_WIDTH).fit(pictures, pairs, config)
        others = EDITS[held_out](strange, generator)
        for name, way in (("", linear.embed), ("raw ", autoencoder.vectors)):
            with torch.no_grad():
                gallery_vectors, asked, foreign = way(pictures), way(made[held_out][0]), way(others)
            similar = _cosines(asked, gallery_vectors)
            best = similar.argmax(axis=1)
            same = gallery.episode[best] == gallery.episode
            result[f"{name}{held_out} episode"] = float(same.mean())
            result[f"{name}{held_out} frame"] = float((same & (np.abs(step[best] - step) <= NEAR)).mean())
            found = rejection(similar.max(axis=1), _cosines(foreign, gallery_vectors).max(axis=1), 0.9)
            result[f"{name}{held_out} rejected"] = 1 - found.unknown
    return result


def _spread(frames: Frames, episodes: Sequence[int] | NDArray) -> Frames:
    """So many frames of each episode, spread evenly over it."""
    rows = [np.flatnonzero(frames.episode == number) for number in episodes]
    return frames.subset(
        np.concatenate([own[np.linspace(0, len(own) - 1, FRAMES).round().astype(int)] for own in rows])
    )


def _network(inputs: int, width: int, outputs: int, depth: int, generator: torch.Generator) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(inputs, width), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return draw_weights(nn.Sequential(*layers, nn.Linear(width, outputs)), generator)


def _noised(z: Tensor, step: Tensor, noise: Tensor) -> Tensor:
    kept = KEPT[step][:, None]
    return kept.sqrt() * z + (1 - kept).sqrt() * noise


def _cosines(a: Tensor, b: Tensor) -> NDArray[np.float64]:
    return (F.normalize(a, dim=1) @ F.normalize(b, dim=1).T).double().numpy()

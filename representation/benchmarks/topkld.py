"""Fewer bits for two generators of digits, one of tokens and one of diffusion; and what distillation repairs.

The token model tells each of 64 pixels, in 16 grey levels, from the class and the pixels before. Its teacher is rounded
to 3 and 2 bits, each row of a matrix by itself, and trained to answer like the teacher by several losses. The denoiser
has about as many numbers in its rounded maps (147,067 and 147,456), and the same is done to both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.digit_encoders import split_digits
from representation.benchmarks.frechet import frechet_distance
from representation.compression.topkld import (
    IntFormat,
    distill,
    fake_quantize,
    forward_kld,
    reverse_kld,
    topkld,
)
from representation.pretraining.transformer_block import Block

GREYS, CLASSES, PIXELS = 16, 10, 64
WIDTH, HEADS, LAYERS = 64, 4, 3
STEPS, BATCH, LR = 500, 32, 1e-3
DISTILLED, DISTILL_LR, K = 80, 3e-4, 4
DRAWN, COMPONENTS = 256, 20
NOISE_STEPS, DENOISER_WIDTH, DENOISER_STEPS = 100, 211, 3000


class TokenModel(nn.Module):
    """Log-odds (B, 64, 16) of each pixel's grey level from the class (B,) and the pixels before, of (B, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(GREYS + CLASSES, WIDTH)
        self.place_embed = nn.Parameter(0.02 * torch.randn(PIXELS, WIDTH))
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS) for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, GREYS)
        self.register_buffer("causal", torch.full((PIXELS, PIXELS), -math.inf).triu(1), persistent=False)

    def forward(self, digits: Tensor, pixels: Tensor) -> Tensor:
        """See the class."""
        before = torch.cat([GREYS + digits[:, None], pixels[:, :-1]], dim=1)
        x = self.embed(before) + self.place_embed
        for block in self.blocks:
            x = block(x, self.causal)
        return self.head(self.norm(x))

    def draw(self, digits: Tensor, generator: torch.Generator) -> Tensor:
        """Pixels (B, 64) of digits (B,), one after the other."""
        pixels = torch.zeros(len(digits), PIXELS, dtype=torch.long)
        for place in range(PIXELS):
            odds = self(digits, pixels)[:, place].softmax(-1)
            pixels[:, place] = torch.multinomial(odds, 1, generator=generator)[:, 0]
        return pixels


class Denoiser(nn.Module):
    """The noise (B, 64) in digits (B, 64) with noise, after so many of the steps (B,), of a class (B,)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(NOISE_STEPS, DENOISER_WIDTH)
        self.class_embed = nn.Embedding(CLASSES, DENOISER_WIDTH)
        widths = [PIXELS + DENOISER_WIDTH, *[DENOISER_WIDTH] * 3]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.head = nn.Linear(DENOISER_WIDTH, PIXELS)
        betas = torch.linspace(1e-4, 0.1, NOISE_STEPS)
        self.register_buffer("betas", betas, persistent=False)
        self.register_buffer("power", (1 - betas).cumprod(0), persistent=False)

    def forward(self, noisy: Tensor, steps: Tensor, digits: Tensor) -> Tensor:
        """See the class."""
        x = torch.cat([noisy, self.embed(steps) + self.class_embed(digits)], dim=1)
        for layer in self.layers:
            x = F.silu(layer(x))
        return self.head(x)

    def draw(self, digits: Tensor, generator: torch.Generator) -> Tensor:
        """Digits (B, 64) in [-1, 1], by the steps of the diffusion backwards (DDPM, arXiv 2006.11239)."""
        x = torch.randn(len(digits), PIXELS, generator=generator)
        for step in reversed(range(NOISE_STEPS)):
            beta, power = self.betas[step], self.power[step]
            noise = self(x, torch.full((len(x),), step), digits)
            x = (x - beta / (1 - power).sqrt() * noise) / (1 - beta).sqrt()
            if step:
                x = x + beta.sqrt() * torch.randn(x.shape, generator=generator)
        return x.clamp(-1, 1)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "labels": lambda student, teacher, pixels: F.cross_entropy(student.flatten(0, 1), pixels.flatten()),
    "forward": lambda student, teacher, pixels: forward_kld(student, teacher),
    "reverse": lambda student, teacher, pixels: reverse_kld(student, teacher),
    "generalized": lambda student, teacher, pixels: topkld(student, teacher, K),
    "naive": lambda student, teacher, pixels: topkld(student, teacher, K, "naive"),
}


def run(options: BenchOptions) -> list[Claim]:
    """Divergences from the teacher after rounding and after distillation, and what rounding costs both generators."""
    found = [_one(seed, options) for seed in range(options.seeds)]

    def all_of(bits: int, name: str, factor: float = 1.0) -> tuple[float, ...]:
        return tuple(1000 * factor * one[0][bits, name] for one in found)

    def less(bits: int, name: str, other: str, share: float = 1.0, least: float | None = 0.0) -> Claim:
        told = other if share == 1 else f"{share:g} x {other}"
        claim = f"divergence from the teacher, thousandths of a nat, negated; {bits} bits, {name}"
        return Claim(claim, told, all_of(bits, name, -1.0), all_of(bits, other, -share), least)

    return [
        less(3, "generalized", "rounded", 0.25),
        less(3, "generalized", "forward", 1.2),
        less(2, "generalized", "rounded", 0.15),
        less(2, "generalized", "labels"),
        less(3, "reverse", "generalized", least=None),
        less(2, "forward", "generalized", least=None),
        Claim(
            "divergence from the teacher, thousandths of a nat; 3 bits, naive",
            "10 x forward",
            all_of(3, "naive"),
            all_of(3, "forward", 10.0),
        ),
        Claim(
            "rise of the Fréchet distance by rounding to 3 bits, tokens, negated",
            "half of the rise of diffusion's",
            tuple(-one[1]["tokens"] for one in found),
            tuple(-0.5 * one[1]["diffusion"] for one in found),
        ),
        Claim(
            "Fréchet distance of whole token models, negated",
            "of whole diffusion models",
            tuple(-one[1]["whole tokens"] for one in found),
            tuple(-one[1]["whole diffusion"] for one in found),
            None,
        ),
    ]


def _one(seed: int, options: BenchOptions) -> tuple[dict[tuple[int, str], float], dict[str, float]]:
    (x, y), (test_x, test_y) = split_digits(seed)
    pixels, test_pixels = ((GREYS * part).round().clamp(max=GREYS - 1).long() for part in (x, test_x))

    def batches(purpose: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(1000 * seed + purpose)
        while True:
            rows = torch.randint(len(y), (BATCH,), generator=generator)
            yield y[rows], pixels[rows]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        teacher, denoiser = TokenModel(), Denoiser()
    _train(
        teacher, batches(0), lambda batch: LOSSES["labels"](teacher(*batch), batch[0], batch[1]), options.steps(STEPS)
    )
    divergences = {}
    for bits in (3, 2):
        student = fake_quantize(teacher, IntFormat(bits))
        divergences[bits, "rounded"] = _divergence(student, teacher, test_y, test_pixels)
        for name, loss in LOSSES.items():
            student = fake_quantize(teacher, IntFormat(bits))
            distill(
                student,
                teacher,
                batches(1),
                lambda ours, theirs, batch, loss=loss: loss(ours, theirs, batch[1]),
                DISTILL_LR,
                options.steps(DISTILLED),
                lambda model, batch: model(*batch),
            )
            divergences[bits, name] = _divergence(student, teacher, test_y, test_pixels)
    _train_denoiser(denoiser, (x, y), seed, options.steps(DENOISER_STEPS))
    return divergences, _distances(teacher, denoiser, (test_x, test_y), seed)


def _train(model: nn.Module, batches: Iterator, loss: Callable[[tuple], Tensor], steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), LR)
    model.train()
    for _ in range(steps):
        value = loss(next(batches))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    model.eval()


def _train_denoiser(model: Denoiser, digits: tuple[Tensor, Tensor], seed: int, steps: int) -> None:
    x, y = digits
    generator = torch.Generator().manual_seed(2000 + seed)

    def batches() -> Iterator[tuple[Tensor, ...]]:
        while True:
            rows = torch.randint(len(y), (128,), generator=generator)
            times = torch.randint(NOISE_STEPS, (128,), generator=generator)
            yield 2 * x[rows] - 1, y[rows], times, torch.randn(128, PIXELS, generator=generator)

    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        clean, classes, times, noise = batch
        power = model.power[times, None]
        return F.mse_loss(model(power.sqrt() * clean + (1 - power).sqrt() * noise, times, classes), noise)

    _train(model, batches(), loss, steps)


@torch.no_grad()
def _divergence(student: nn.Module, teacher: nn.Module, digits: Tensor, pixels: Tensor) -> float:
    return float(forward_kld(student(digits, pixels), teacher(digits, pixels)))


@torch.no_grad()
def _distances(teacher: nn.Module, denoiser: nn.Module, test: tuple[Tensor, Tensor], seed: int) -> dict[str, float]:
    """Fréchet distances of what whole models draw, and by how much of themselves they rise with 3 bits."""
    x, y = test
    pca = PCA(COMPONENTS, random_state=0).fit(x)
    digits = y[:DRAWN]

    def distance(name: str, model: nn.Module) -> float:
        drawn = model.draw(digits, torch.Generator().manual_seed(3000 + seed))
        pictures = drawn / GREYS if name == "tokens" else (drawn + 1) / 2
        return frechet_distance(pca.transform(x.numpy()), pca.transform(pictures.numpy()))

    result = {}
    for name, model in (("tokens", teacher), ("diffusion", denoiser)):
        whole = distance(name, model)
        result[f"whole {name}"] = whole
        result[name] = distance(name, fake_quantize(model, IntFormat(3))) / whole - 1
    return result

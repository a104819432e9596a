"""Fewer bits for two generators of digits, one of tokens and one of diffusion; and what distillation repairs.

The token model tells each of 64 pixels, in 16 grey levels, from the class and the pixels before. Its teacher is rounded
to 3 and 2 bits, each row of a matrix by itself, and trained to answer like the teacher by several losses. The denoiser
has about as many numbers in its rounded maps (147,067 and 147,456), and the same is done to both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

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
BITS, ROUNDED_BITS, PICTURED = (3, 2), (8, 4, 3, 2), 10
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


def pictures(options: BenchOptions, file: Path) -> None:
    """Draw the errors of both generators against bits, and below digits that they draw with fewer."""
    from matplotlib.figure import Figure

    teacher, denoiser, divergences, (x, y) = _trained(0, options)
    distances = _distances(teacher, denoiser, (x, y), 0, ROUNDED_BITS)
    rounded = [_divergence(fake_quantize(teacher, IntFormat(bits)), teacher, y, _greys(x)) for bits in ROUNDED_BITS]
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    axes = figure.subplot_mosaic([["token", "token", "both", "both"], ["tokens"] * 4, ["diffusion"] * 4])
    axes["token"].plot(ROUNDED_BITS, [1000 * value for value in rounded], marker=".", label="rounded")
    for name in LOSSES:
        axes["token"].plot(BITS, [1000 * divergences[bits, name] for bits in BITS], marker=".", label=f"then {name}")
    axes["token"].set(yscale="log", ylabel="divergence, 0.001 nat")
    for name in ("tokens", "diffusion"):
        found = [distances[f"{bits} bits {name}"] for bits in ROUNDED_BITS]
        (line,) = axes["both"].plot(ROUNDED_BITS, found, marker=".", label=f"{name}, rounded")
        axes["both"].axhline(distances[f"whole {name}"], linestyle=":", color=line.get_color(), label=f"{name}, whole")
    axes["both"].set(yscale="log", ylabel="Fréchet distance")
    for name in ("token", "both"):
        axes[name].set(xlabel="bits of a weight", xticks=ROUNDED_BITS)
        axes[name].legend(fontsize=7)
    for name, model in (("tokens", teacher), ("diffusion", denoiser)):
        rows = [(f"{bits} bits", fake_quantize(model, IntFormat(bits))) for bits in BITS]
        _show_digits(axes[name], name, [("whole", model), *rows])
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)


@torch.no_grad()
def _show_digits(axes: Any, name: str, models: Sequence[tuple[str, Any]]) -> None:
    """Digits 0 to 9 as some models of one kind draw them, a row of them for each model."""
    drawn = []
    for _, model in models:
        digits = model.draw(torch.arange(PICTURED), torch.Generator().manual_seed(0))
        shown = digits / GREYS if name == "tokens" else (digits + 1) / 2
        drawn.append(F.pad(shown.unflatten(1, (8, 8)), (1, 1, 1, 1), value=1.0).permute(1, 0, 2).flatten(1))
    axes.imshow(torch.cat(drawn).numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set(title=name, xticks=[], yticks=[10 * row + 4.5 for row in range(len(models))])
    axes.set_yticklabels([label for label, _ in models])


def _one(seed: int, options: BenchOptions) -> tuple[Mapping[tuple[int, str], float], dict[str, float]]:
    teacher, denoiser, divergences, test = _trained(seed, options)
    distances = _distances(teacher, denoiser, test, seed, BITS[:1])
    for name in ("tokens", "diffusion"):
        distances[name] = distances[f"{BITS[0]} bits {name}"] / distances[f"whole {name}"] - 1
    return divergences, distances


def _trained(
    seed: int, options: BenchOptions
) -> tuple[TokenModel, Denoiser, dict[tuple[int, str], float], tuple[Tensor, Tensor]]:
    """Both generators, divergences of the first by bits and way, and the test digits with their classes."""
    (x, y), (test_x, test_y) = split_digits(seed)
    pixels, test_pixels = _greys(x), _greys(test_x)

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
    for bits in BITS:
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
    return teacher, denoiser, divergences, (test_x, test_y)


def _greys(digits: Tensor) -> Tensor:
    """Grey levels (B, 64) of digits (B, 64) in [0, 1]."""
    return (GREYS * digits).round().clamp(max=GREYS - 1).long()


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
def _distances(
    teacher: nn.Module, denoiser: nn.Module, test: tuple[Tensor, Tensor], seed: int, widths: Sequence[int]
) -> dict[str, float]:
    """Fréchet distances of what both models draw, whole and with fewer bits."""
    x, y = test
    pca = PCA(COMPONENTS, random_state=0).fit(x)
    digits = y[:DRAWN]

    def distance(name: str, model: nn.Module) -> float:
        drawn = model.draw(digits, torch.Generator().manual_seed(3000 + seed))
        pictures = drawn / GREYS if name == "tokens" else (drawn + 1) / 2
        return frechet_distance(pca.transform(x.numpy()), pca.transform(pictures.numpy()))

    result = {}
    for name, model in (("tokens", teacher), ("diffusion", denoiser)):
        result[f"whole {name}"] = distance(name, model)
        for bits in widths:
            result[f"{bits} bits {name}"] = distance(name, fake_quantize(model, IntFormat(bits)))
    return result

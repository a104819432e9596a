"""PoNet beside attention and Fourier mixing: pixels of digits one by one, and a robot's long history of readings.

Encoders have the same sizes and differ in what mixes the steps. Histories are those of `python -m sim.held_tools`:
seven seconds of readings of a tool, of which a head tells whether nothing happened, a collision or a slip. PoNet is
also pretrained on made-up episodes as texts, and tells in which order two parts of one stand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.peak_memory import peak_bytes
from representation.benchmarks.phase_sentences import VOCAB, drawn_episodes
from representation.benchmarks.timing import Growth, exponent, least_seconds
from representation.dynamics.hamiltonian_meta.windows import EVENTS, read_held_tools
from representation.structure.ponet import (
    PoNetConfig,
    PoNetEncoder,
    PoNetForPretraining,
    PoolingMixer,
    ordered_pairs,
)

PONET, ATTENTION, FOURIER = "PoNet", "attention", "Fourier"
NO_LOCAL, NO_SEGMENT = "PoNet without maxima of neighbours", "PoNet without maxima of segments"
SYMBOLS, TRAINING = 17, 1200
EPISODES, NEW_EPISODES, PAIR_STEPS, PAIRS = 2000, 500, 500, 32
TOOLS = "held_tools"  # directory beside that of the renders
FITTED_FROM = 1000
SIZES = (100, 316, 1000, 3162, 10_000, 31_623, 100_000)
COMPARED = (PONET, ATTENTION)
LENGTHS = (1024, 2048, 4096, 8192, 16_384)
LONG, LONGEST_WRITTEN_OUT = 8192, 8192  # twice as many steps of attention that is written out take 4 GB
WIDTH, HEADS, LIMIT_S = 64, 2, 2.0


class AttentionMixer(nn.Module):
    """Softmax attention of all steps to all."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.maps = heads, nn.Linear(dim, 3 * dim)

    def forward(self, x: Tensor, segment_ids: Tensor | None, mask: Tensor | None, special: Tensor | None) -> Tensor:
        """Mixed steps; takes what `PoolingMixer` takes, and has no use for segments and marks."""
        batch, length, dim = x.shape
        parts = self.maps(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        shown = None if mask is None or mask.all() else mask[:, None, None]
        mixed = F.scaled_dot_product_attention(*parts.unbind(0), attn_mask=shown)
        return mixed.transpose(1, 2).reshape(batch, length, dim)


class WrittenOutAttention(AttentionMixer):
    """The same, with the weights of all pairs of steps in memory at a time; torch's holds a part of them."""

    def forward(self, x: Tensor, segment_ids: Tensor | None, mask: Tensor | None, special: Tensor | None) -> Tensor:
        """Mixed steps; all of them must be there."""
        batch, length, dim = x.shape
        query, key, value = self.maps(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) / key.shape[-1] ** 0.5).softmax(dim=-1)
        return (weights @ value).transpose(1, 2).reshape(batch, length, dim)


class FourierMixer(nn.Module):
    """The real part of a Fourier transform over steps and features, as in FNet; nothing is learned."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, segment_ids: Tensor | None, mask: Tensor | None, special: Tensor | None) -> Tensor:
        """Mixed steps; all of them must be there."""
        return torch.fft.fft2(x).real


def without(part: Literal["local", "segment"]) -> Callable[[int, int], PoolingMixer]:
    """Makes mixers of PoNet in which the maxima of neighbours or of segments are zero and stay so."""

    def make(dim: int, heads: int) -> PoolingMixer:
        mixer = PoolingMixer(dim, heads)
        for parameter in getattr(mixer, part).parameters():
            nn.init.zeros_(parameter.requires_grad_(False))
        return mixer

    return make


MIXERS: dict[str, Callable[[int, int], nn.Module]] = {
    PONET: PoolingMixer,
    ATTENTION: AttentionMixer,
    FOURIER: FourierMixer,
    NO_LOCAL: without("local"),
    NO_SEGMENT: without("segment"),
}


@dataclass(frozen=True)
class Task:
    """Sequences with labels.

    Attributes:
        steps: (K, N) tokens or (K, N, F) features.
        labels: (K,).
        training: how many are learned from; the rest is tested.
        config: of the encoder.
        epochs: of training.
        batch: sequences of a step.
    """

    steps: Tensor
    labels: Tensor
    training: int
    config: PoNetConfig
    epochs: int
    batch: int


def run(options: BenchOptions) -> list[Claim]:
    """Accuracies and times.

    Raises:
        FileNotFoundError: there are no windows of held tools; says how to make them.
    """
    tasks = {"digits": (digits(), MIXERS), "history": (history(options), (PONET, ATTENTION, FOURIER))}
    found = {
        (name, mixer): tuple(accuracy(task, mixer, seed, options) for seed in range(options.seeds))
        for name, (task, mixers) in tasks.items()
        for mixer in mixers
    }
    pixels, readings = "digits, a pixel a token: accuracy", "history of 350 readings: event told"
    return [
        Claim(pixels, FOURIER, found["digits", PONET], found["digits", FOURIER], 0.03),
        Claim(pixels, ATTENTION, found["digits", PONET], found["digits", ATTENTION], -0.01),
        Claim(pixels, NO_LOCAL, found["digits", PONET], found["digits", NO_LOCAL], 0.01),
        Claim(pixels, NO_SEGMENT, found["digits", PONET], found["digits", NO_SEGMENT], -0.01),
        Claim(readings, ATTENTION, found["history", PONET], found["history", ATTENTION], -0.01),
        Claim(readings, FOURIER, found["history", PONET], found["history", FOURIER], None),
        Claim(
            "order of two parts of an episode told, of three",
            "asked",
            tuple(order_accuracy(seed, options) for seed in range(options.seeds)),
            (0.8,) * options.seeds,
        ),
        *_costs(options),
    ]


def _costs(options: BenchOptions) -> list[Claim]:
    """Time by seed, and memory, which is the same each time."""
    seconds = {
        name: [[pass_seconds(MIXERS[name](WIDTH, HEADS), length) for length in LENGTHS] for _ in range(options.seeds)]
        for name in COMPARED
    }
    space = {name: [pass_bytes(MIXERS[name](WIDTH, HEADS), length) for length in LENGTHS] for name in COMPARED}
    written_out = [length for length in LENGTHS if length <= LONGEST_WRITTEN_OUT]
    squares = [pass_bytes(WrittenOutAttention(WIDTH, HEADS), length) for length in written_out]
    powers = {name: tuple(exponent(LENGTHS, part) for part in parts) for name, parts in seconds.items()}
    long = LENGTHS.index(LONG)
    faster = tuple(a[long] / b[long] for a, b in zip(seconds[ATTENTION], seconds[PONET], strict=True))

    def each(value: float) -> tuple[float, ...]:
        return (value,) * options.seeds

    return [
        Claim("exponent of the time of one mixer, negated", "asked: 1.15", _minus(powers[PONET]), each(-1.15)),
        Claim("exponent of the time of attention", "asked: 1.6", powers[ATTENTION], each(1.6)),
        Claim(f"times faster than attention at {LONG} steps", "asked: 5", faster, each(5.0)),
        Claim(
            "exponent of the memory of one mixer, negated",
            "asked: 1.15",
            each(-exponent(LENGTHS, space[PONET])),
            each(-1.15),
        ),
        Claim(
            "exponent of the memory of attention that is written out",
            "asked: 1.6",
            each(exponent(written_out, squares)),
            each(1.6),
        ),
        Claim(
            f"MB of one mixer at {LENGTHS[-1]} steps, negated",
            "torch's attention, negated",
            each(-space[PONET][-1] / 1e6),
            each(-space[ATTENTION][-1] / 1e6),
            None,
        ),
    ]


def _minus(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(-value for value in values)


def digits() -> Task:
    """Pictures of 8 x 8 pixels as sequences of 64 tokens."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    config = PoNetConfig(vocab=SYMBOLS, dim=32, max_len=64, segments=8)
    steps, labels = torch.from_numpy(data.data[order]).long(), torch.from_numpy(data.target[order])
    return Task(steps, labels, TRAINING, config, 20, 64)


def history(options: BenchOptions) -> Task:
    """Every other reading of the held tools, in units of the spread of each window's calm part."""
    tools = read_held_tools(options.data.with_name(TOOLS))
    rows = []
    for window in tools.windows:
        readings = np.concatenate([window.positions, window.velocities], axis=1)
        rows.append(readings[::2] / readings[: tools.calm].std(axis=0))
    labels = torch.tensor([EVENTS.index(event) for event in tools.events])
    steps = torch.from_numpy(np.stack(rows)).float()
    config = PoNetConfig(in_features=2, dim=32, max_len=steps.shape[1], segments=16)
    return Task(steps, labels, 2 * len(steps) // 3, config, 30, 10)


def accuracy(task: Task, mixer: str, seed: int, options: BenchOptions) -> float:
    """Share of test sequences that a trained encoder and a linear head tell rightly."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    encoder = PoNetEncoder(task.config, MIXERS[mixer])
    head = nn.Linear(encoder.width, int(task.labels.max()) + 1)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=1e-3)
    order = torch.randperm(len(task.labels), generator=generator)
    learned, tested = order[: task.training], order[task.training :]
    for _ in range(options.steps(task.epochs)):
        for rows in learned[torch.randperm(len(learned), generator=generator)].split(task.batch):
            loss = F.cross_entropy(head(encoder(task.steps[rows])[1]), task.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    encoder.eval()
    with torch.no_grad():
        told = torch.cat([head(encoder(task.steps[rows])[1]).argmax(dim=1) for rows in tested.split(64)])
    return float((told == task.labels[tested]).float().mean())


def order_accuracy(seed: int, options: BenchOptions) -> float:
    """Share of pairs of parts of new episodes whose order is told, after pretraining on others."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = PoNetForPretraining(PoNetEncoder(PoNetConfig(vocab=VOCAB, max_len=64, norm="post")))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    episodes = drawn_episodes(EPISODES, seed)
    for _ in range(options.steps(PAIR_STEPS)):
        rows = torch.randperm(EPISODES, generator=generator)[:PAIRS].tolist()
        optimizer.zero_grad()
        model.loss(ordered_pairs(episodes, rows, generator), generator).backward()
        optimizer.step()
    model.eval()
    pairs = ordered_pairs(drawn_episodes(NEW_EPISODES, 1_000_000 + seed), range(NEW_EPISODES), generator)
    with torch.no_grad():
        told = model(pairs.tokens, pairs.segments, pairs.present, pairs.marks)[1].argmax(dim=1)
    return float((told == pairs.orders).float().mean())


@torch.no_grad()
def pass_seconds(mixer: nn.Module, length: int) -> float:
    """Processor time of a pass forward."""
    x, ids = torch.randn(1, length, WIDTH), (torch.arange(length) // 64)[None]
    return least_seconds(lambda: mixer(x, ids, None, None), repeats=6, limit_s=LIMIT_S)


@torch.no_grad()
def pass_bytes(mixer: nn.Module, length: int) -> int:
    """Memory of a pass forward, its result among it and its input not."""
    x, ids = torch.randn(1, length, WIDTH), (torch.arange(length) // 64)[None]
    return peak_bytes(lambda: mixer(x, ids, None, None))


def growth() -> Growth:
    """Milliseconds of one mixer by the length of the sequence."""
    seconds = {}
    for name in COMPARED:
        mixer = MIXERS[name](WIDTH, HEADS)
        seconds[name] = [pass_seconds(mixer, size) for size in SIZES]
    return Growth(
        f"PoNet and attention: processor time, {WIDTH} numbers a step",
        "python -m representation.benchmarks.growth ponet",
        "steps",
        SIZES,
        seconds,
        fitted_from=FITTED_FROM,
    )

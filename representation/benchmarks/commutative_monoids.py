"""Monoids that are learned, beside sums, maxima and a recurrent network: second smallest numbers, and time.

Sets of 2 to 16 whole numbers of 6 bits are summed up by each, and asked for the bits of their second smallest number;
then sets of 32 and 64, which no training has seen.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.timing import Growth, least_seconds
from representation.structure.commutative_monoids import (
    CommutativeMonoid,
    RecurrentAggregation,
    SlidingFold,
    fold_levels,
    second_minimum_sets,
)

BITS, DIM, BATCH, STEPS, LR = 6, 64, 128, 3000, 2e-3
SMALLEST, LARGEST, TESTED = 2, 16, (16, 32, 64)
TEST_SETS, PENALTY, TRIPLES = 1000, 0.1, 600
FOLD_SIZES, FOLD_ELEMENTS = (64, 1024), 8192
GROWTH_SIZES, GROWTH_DIM = tuple(10**power for power in range(2, 7)), 8

Kind = Literal["monoid", "monoid and penalty", "recurrent", "maximum", "sum"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class SetNetwork(nn.Module):
    """Bits of elements to a state, and of the state to bits.

    Args:
        kind: how elements are summed up.
        generator: draws weights.
    """

    def __init__(self, kind: Kind, generator: torch.Generator) -> None:
        super().__init__()
        self.kind = kind
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            self.encoder = nn.Sequential(nn.Linear(BITS, DIM), nn.ReLU(), nn.Linear(DIM, DIM))
            self.decoder = nn.Sequential(nn.Linear(DIM, DIM), nn.ReLU(), nn.Linear(DIM, BITS))
        if kind in ("monoid", "monoid and penalty"):
            self.monoid = CommutativeMonoid(DIM, generator=generator)
        elif kind == "recurrent":
            self.recurrent = RecurrentAggregation(DIM, DIM, generator)

    def levels(self, x: Tensor) -> list[Tensor]:
        """States (B, m, d) of all levels of the tree of sets (B, n, bits), or of the elements and the result."""
        states = self.encoder(x)
        if self.kind in ("monoid", "monoid and penalty"):
            return [level for level, _ in fold_levels(self.monoid.combine, states)]
        if self.kind == "recurrent":
            there, order = torch.ones(x.shape[:2], dtype=torch.bool), torch.arange(x.shape[1])
            return [states, self.recurrent.fold(states, there, order)[:, None]]
        return [states, states.amax(dim=1, keepdim=True) if self.kind == "maximum" else states.sum(dim=1, keepdim=True)]

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, bits) of the bits."""
        return self.decoder(self.levels(x)[-1][:, 0])


def run(options: BenchOptions) -> list[Claim]:
    """All claims, by seed."""
    found = [_one(seed, options) for seed in range(options.seeds)]

    def claim(text: str, name: str, ours: str, baseline: str | float, least: float | None) -> Claim:
        others = tuple(x[baseline] if isinstance(baseline, str) else baseline for x in found)
        return Claim(text, name, tuple(x[ours] for x in found), others, least)

    task, ours = "second smallest told exactly, of", "monoid and penalty"
    claims = [claim(f"{task} 32 numbers", "asked", "monoid 32", 0.65, 0.0)]
    for kind, least in (("maximum", 0.15), ("sum", 0.35), ("recurrent", None)):
        claims.append(claim(f"{task} 32 numbers", kind, "monoid 32", f"{kind} 32", least))
    claims.append(claim(f"{task} 64 numbers, with the penalty", "without", f"{ours} 64", "monoid 64", 0.05))
    return [
        *claims,
        claim("error of associativity without the penalty, times that with it", "asked", "associativity", 3.0, 0.0),
        claim("fold of sets of 1,024 over 64, times, negated", "asked, negated", "fold", -3.0, 0.0),
        claim("GRU over sets of 1,024 over 64, times", "asked", "recurrent", 6.0, 0.0),
    ]


def _one(seed: int, options: BenchOptions) -> dict[str, float]:
    networks = {kind: trained(kind, seed, options.steps(STEPS)) for kind in KINDS}
    result = {}
    for kind, network in networks.items():
        for size in TESTED:
            generator = torch.Generator().manual_seed(1_000_000 + seed)
            x, y = second_minimum_sets(TEST_SETS, BITS, size, generator)
            with torch.no_grad():
                result[f"{kind} {size}"] = float(((network(x) > 0) == (y > 0.5)).all(dim=1).float().mean())
    plain, penalised = (relative_penalty(networks[kind], seed) for kind in ("monoid", "monoid and penalty"))
    result["associativity"] = plain / penalised
    return result | _times(seed)


def trained(kind: Kind, seed: int, steps: int) -> SetNetwork:
    """A network that has seen sets of all sizes."""
    generator = torch.Generator().manual_seed(seed)
    network = SetNetwork(kind, generator)
    optimizer = torch.optim.Adam(network.parameters(), LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        size = int(torch.randint(SMALLEST, LARGEST + 1, (), generator=generator))
        x, y = second_minimum_sets(BATCH, BITS, size, generator)
        levels = network.levels(x)
        loss = F.binary_cross_entropy_with_logits(network.decoder(levels[-1][:, 0]), y)
        if kind == "monoid and penalty":
            loss = loss + PENALTY * network.monoid.associativity_penalty(reached(levels, TRIPLES, generator))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network.eval()


def reached(levels: list[Tensor], count: int, generator: torch.Generator) -> Tensor:
    """Some of the states (N, d) of all levels of a tree."""
    states = torch.cat([level.flatten(0, 1) for level in levels])
    return states[torch.randint(len(states), (count,), generator=generator)]


@torch.no_grad()
def relative_penalty(network: SetNetwork, seed: int) -> float:
    """E ||(a ⊕ b) ⊕ c - a ⊕ (b ⊕ c)||² over E ||a ⊕ (b ⊕ c)||², of states that sets of 16 reach."""
    generator = torch.Generator().manual_seed(2_000_000 + seed)
    x, _ = second_minimum_sets(200, BITS, LARGEST, generator)
    states = reached(network.levels(x), 3 * TRIPLES, generator)
    a, b, c = states.chunk(3)
    combine = network.monoid.combine
    return float(network.monoid.associativity_penalty(states) / combine(a, combine(b, c)).square().sum(dim=-1).mean())


@torch.no_grad()
def _times(seed: int) -> dict[str, float]:
    """By how much slower long sets are than short ones, of as many elements together; the fold's negated."""
    generator, seconds = torch.Generator().manual_seed(seed), {}
    monoid, recurrent = CommutativeMonoid(DIM, generator=generator), RecurrentAggregation(DIM, DIM, generator)
    for size in FOLD_SIZES:
        x = torch.randn(FOLD_ELEMENTS // size, size, DIM, generator=generator)
        there, order = torch.ones(x.shape[:2], dtype=torch.bool), torch.arange(size)
        seconds["fold", size] = least_seconds(lambda x=x: monoid.fold(x))
        seconds["recurrent", size] = least_seconds(lambda x=x, m=there, o=order: recurrent.fold(x, m, o))
    short, long = FOLD_SIZES
    fold, steps = (seconds[name, long] / seconds[name, short] for name in ("fold", "recurrent"))
    return {"fold": -fold, "recurrent": steps}


@torch.no_grad()
def growth() -> Growth:
    """Milliseconds to bring the state of a window up to date: in the tree, or by folding all of it again."""
    generator = torch.Generator().manual_seed(0)
    monoid = CommutativeMonoid(GROWTH_DIM, generator=generator)
    seconds: dict[str, list[float]] = {"a new element in the tree": [], "folding all again": []}
    for size in GROWTH_SIZES:
        elements = torch.randn(size, GROWTH_DIM, generator=generator)
        tree = SlidingFold(monoid, size)
        tree.fill(elements)
        times = (
            least_seconds(lambda t=tree, x=elements: t.push(x[0]), repeats=50),
            least_seconds(lambda x=elements[None]: fold_levels(monoid.combine, x), repeats=5),
        )
        for found, time in zip(seconds.values(), times, strict=True):
            found.append(time)
    return Growth(
        f"The state of a window of elements, {GROWTH_DIM} numbers each",
        "python -m representation.benchmarks.growth commutative_monoids",
        "elements",
        GROWTH_SIZES,
        seconds,
        fitted_from=GROWTH_SIZES[0],
    )

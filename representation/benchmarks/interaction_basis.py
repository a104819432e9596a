"""How few directions carry digits that are told among noise, and whether two networks side by side are found as two."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.analysis.interaction_basis import (
    Basis,
    build,
    edges,
    modularity,
    required_directions,
)
from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.digit_encoders import Digits, perceptron, split_digits

NOISE, NOISE_STD = 32, 2.0
WIDTHS = (64, 64, 64, 10)
EPOCHS, BATCH, LR, DECAY = 40, 64, 2e-3, 0.1
DRAWS = 4  # of noise, for each digit that the basis is computed on
PAIRS, PAIR_WIDTHS = 6000, (64, 24, 24, 10)
SCALES = (0.3, 3.0)
PAIR_EPS, SHARE, GAMMA = 1e-6, 0.01, 0.3


def run(options: BenchOptions) -> list[Claim]:
    """Directions and modules, by seed."""
    noisy = [needed_among_noise(seed, options.steps(EPOCHS)) for seed in range(options.seeds)]
    plain = [needed_hidden(seed, options.steps(EPOCHS)) for seed in range(options.seeds)]
    modules = [found_modules(seed, options.steps(EPOCHS)) for seed in range(options.seeds)]
    purity, quality = ({name: tuple(one[name][place] for one in modules) for name in modules[0]} for place in (0, 1))
    few, many = (tuple(float(one[place]) for one in noisy) for place in (0, 1))

    def negated(values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(-value for value in values)

    def asked(value: float) -> tuple[float, ...]:
        return (value,) * options.seeds

    task = "input directions that keep 2 points of accuracy, digits among 32 noisy inputs"
    pair = "two networks side by side, scrambled:"
    return [
        Claim("accuracy on digits among 32 noisy inputs", "told", tuple(one[2] for one in noisy), asked(0.95), None),
        Claim(f"{task}, negated", "asked: 12, negated", negated(few), asked(-12)),
        Claim(f"{task}, negated", "PCA, negated", negated(few), negated(many), None),
        Claim(f"PCA's by the basis's {task}", "asked", tuple(b / a for a, b in zip(few, many, strict=True)), asked(4)),
        Claim(
            "hidden directions that keep 1 point, plain digits, negated",
            "PCA, negated",
            negated(tuple(float(one[0]) for one in plain)),
            negated(tuple(float(one[1]) for one in plain)),
        ),
        Claim(f"{pair} purity of modules", "asked", purity["basis"], asked(0.9)),
        Claim(f"{pair} modularity", "asked", quality["basis"], asked(0.3)),
        Claim(f"{pair} purity of PCA's, negated", "asked: .65, negated", negated(purity["PCA"]), asked(-0.65)),
        Claim(f"{pair} purity of neurons', negated", "asked: .65, negated", negated(purity["neurons"]), asked(-0.65)),
        Claim(f"{pair} modularity", "PCA", quality["basis"], quality["PCA"], None),
    ]


def trained(digits: Digits, seed: int, epochs: int, noise: int = 0, widths: tuple[int, ...] = WIDTHS) -> nn.Sequential:
    """A perceptron of digits beside so many noisy inputs, drawn anew each time."""
    x, y = digits
    model, generator = perceptron((widths[0] + noise, *widths[1:]), seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), LR, weight_decay=DECAY)
    for _ in range(epochs):
        for rows in torch.randperm(len(y), generator=generator).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(beside_noise(x[rows], noise, generator)), y[rows]).backward()
            optimizer.step()
    return model.eval()


def beside_noise(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Inputs (N, 64 + count)."""
    return torch.cat([x, NOISE_STD * torch.randn(len(x), count, generator=generator)], dim=1)


def needed(model: nn.Sequential, layer: int, data: Tensor, test: Digits, tol: float) -> tuple[int, int, float]:
    """Directions of the basis and of PCA that keep the accuracy on test digits; and that accuracy."""
    x, y = test

    def accuracy(logits: Tensor) -> float:
        return float((logits.argmax(dim=1) == y).double().mean())

    basis, components = (build(model, data, [layer], mode)[layer] for mode in ("global", "pca"))
    few, many = (required_directions(model, layer, one, x, tol + 1e-9, accuracy) for one in (basis, components))
    return few, many, accuracy(model(x))


def needed_among_noise(seed: int, epochs: int) -> tuple[int, int, float]:
    """Of the inputs, digits and noise."""
    digits, (x, y) = split_digits(seed)
    model = trained(digits, seed, epochs, NOISE)
    generator = torch.Generator().manual_seed(1000 + seed)
    data = beside_noise(digits[0].repeat(DRAWS, 1), NOISE, generator)
    return needed(model, 0, data, (beside_noise(x, NOISE, generator), y), 0.02)


def needed_hidden(seed: int, epochs: int) -> tuple[int, int, float]:
    """Of the first hidden layer, without noise."""
    digits, test = split_digits(seed)
    return needed(trained(digits, seed, epochs), 2, digits[0], test, 0.01)


def found_modules(seed: int, epochs: int) -> dict[str, tuple[float, float]]:
    """Purity and modularity of the modules of two networks, in the basis, in PCA's and of neurons."""
    digits, _ = split_digits(seed)
    pair = [trained(digits, 2 * seed + number, epochs, widths=PAIR_WIDTHS) for number in range(2)]
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(digits[1]), (2, PAIRS), generator=generator)
    data = torch.cat([digits[0][rows[0]], digits[0][rows[1]]], dim=1).double()
    both, layers = side_by_side(pair, generator), [3, 6]
    found = {}
    for name in ("basis", "PCA", "neurons"):
        if name == "neurons":
            bases = {layer: own_coordinates(both, layer, data) for layer in layers}
        else:
            bases = build(both, data, layers, "global" if name == "basis" else "pca", eps=PAIR_EPS)
        strengths = edges(both, bases, data)
        quality, labels = modularity(strengths, [SHARE * float(one.max()) for one in strengths], GAMMA)
        owners = [driven(edges(both, {layer: bases[layer]}, data)[0]) for layer in layers]
        found[name] = (purity(torch.cat(labels[:2]), torch.cat(owners)), quality)
    return found


def side_by_side(pair: list[nn.Sequential], generator: torch.Generator) -> nn.Sequential:
    """Two networks as one, whose hidden activations h are shown as h S."""
    linears = [[module for module in one if isinstance(module, nn.Linear)] for one in pair]
    modules: list[nn.Module] = []
    undo = torch.eye(2 * PAIR_WIDTHS[0]).double()
    for depth, maps in enumerate(zip(*linears, strict=True)):
        weight = torch.block_diag(*(one.weight.detach().double() for one in maps)) @ undo
        modules.append(linear(weight, torch.cat([one.bias.detach().double() for one in maps])))
        if depth < len(linears[0]) - 1:
            size = len(weight)
            turn = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
            low, high = SCALES
            scramble = turn * (low + (high - low) * torch.rand(size, generator=generator, dtype=torch.float64))
            modules += [nn.ReLU(), linear(scramble.T, torch.zeros(size).double())]
            undo = torch.linalg.inv(scramble.T)
    return nn.Sequential(*modules)


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A map with these numbers."""
    module = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
    module.weight, module.bias = nn.Parameter(weight), nn.Parameter(bias)
    return module


def own_coordinates(seq: nn.Sequential, layer: int, data: Tensor) -> Basis:
    """A layer's activations as they are, centred."""
    basis = build(seq, data, [layer], "pca", eps=0.0)[layer]
    d = len(basis.C)
    mean = basis.C_pinv[0]
    columns, rows = torch.eye(d).double(), torch.eye(d).double()
    columns[-1, :-1], rows[-1] = -mean[:-1], mean
    order = [d - 1, *range(d - 1)]
    return Basis(columns[:, order], rows[order], torch.ones(d).double(), d - 1, d - 1, True)


def driven(strengths: Tensor) -> Tensor:
    """Which network's logits (20, r) each direction drives more."""
    halves = strengths.unflatten(0, (2, -1)).sum(dim=1)
    return halves.argmax(dim=0)


def purity(labels: Tensor, owners: Tensor) -> float:
    """Share of directions whose module mostly drives the same network; those without an edge are in no module."""
    counts = torch.zeros(int(labels.max()) + 1, 2)
    counts.index_put_((labels, owners), torch.ones(len(labels)), accumulate=True)
    counts = counts[counts.sum(dim=1) > 1]
    return float(counts.max(dim=1).values.sum() / counts.sum())

"""Turned, flipped and inverted digits: networks for combinations that nobody trained, out of each alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.digit_encoders import all_digits
from representation.transfer.atlas import (
    AnisotropicComposer,
    TaskVector,
    accuracy,
    cross_entropy,
    learn_composition,
    negate,
)

TRAINED, VALIDATION = 900, 200
SIDE, CLASSES = 8, 10
EPOCHS, BATCH, LR = 25, 64, 1e-3
SHOTS, STEPS, RATE = (1, 4), 150, 0.05
FULL_LR = 1e-3
ADDED_AT_ONCE = 50
ADDITION_STEPS, ADDITION_RATE = (150, 600), 0.02
NEGATED, NEGATION_RATE, NEGATION_EPOCHS = "rot180", 0.02, 40
GRID = tuple(scale / 20 for scale in range(1, 21))

Pictures = tuple[Tensor, Tensor]
Change = Callable[[Tensor], Tensor]
CHANGES: dict[str, Change] = {
    "rot90": lambda x: x.rot90(1, (2, 3)),
    "rot180": lambda x: x.rot90(2, (2, 3)),
    "inversion": lambda x: 1 - x,
    "flip": lambda x: x.flip(3),
    "transpose": lambda x: x.transpose(2, 3),
}
COMPOSITES = (("rot90", "inversion"), ("rot180", "inversion"), ("flip", "inversion"))


def network(seed: int) -> nn.Sequential:
    """A small convolutional network; its last layer stays as it is when it is tuned."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, CLASSES),
        )


def trained(model: nn.Sequential, data: Pictures, seed: int, epochs: int, whole: bool = False) -> nn.Sequential:
    """A trained copy; without its last layer unless `whole`."""
    model, (x, y) = copy.deepcopy(model), data
    model[-1].requires_grad_(whole)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], LR)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(y), generator=generator).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.requires_grad_(True)


def share_right(model: nn.Module, data: Pictures) -> float:
    """Accuracy."""
    with torch.no_grad():
        return float((model(data[0]).argmax(dim=1) == data[1]).double().mean())


class Pool:
    """Digits, a base, and networks that were tuned to each change; all of one seed."""

    def __init__(self, seed: int, epochs: int) -> None:
        x, y = all_digits()
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
        x, y = x[order].unflatten(1, (1, SIDE, SIDE)), y[order]
        self.seed = seed
        self.train = x[:TRAINED], y[:TRAINED]
        self.validation = x[TRAINED : TRAINED + VALIDATION], y[TRAINED : TRAINED + VALIDATION]
        self.test = x[TRAINED + VALIDATION :], y[TRAINED + VALIDATION :]
        self.base = trained(network(seed), self.train, seed, epochs, whole=True)
        self.tuned = {
            name: trained(self.base, changed(self.train, [name]), seed + number + 1, epochs)
            for number, name in enumerate(CHANGES)
        }
        state = self.base.state_dict()
        self.vectors = {
            name: TaskVector.from_state_dicts(state, model.state_dict()) for name, model in self.tuned.items()
        }

    def composer(self, granularity: str) -> AnisotropicComposer:
        """Of all vectors; the last layer is frozen, so that it has no blocks."""
        keys = [name for name, _ in self.base.named_parameters() if not name.startswith(f"{len(self.base) - 1}.")]
        return AnisotropicComposer(self.base, list(self.vectors.values()), granularity, keys=keys)


def changed(data: Pictures, names: Sequence[str]) -> Pictures:
    """Pictures after some changes."""
    x = data[0]
    for name in names:
        x = CHANGES[name](x)
    return x, data[1]


def few(data: Pictures, shots: int) -> Pictures:
    """The first so many of each class."""
    rows = torch.cat([(data[1] == one).nonzero()[:shots, 0] for one in range(CLASSES)])
    return data[0][rows], data[1][rows]


def run(options: BenchOptions) -> list[Claim]:
    """Few shots of unseen combinations, addition and negation, by seed."""
    found = [measured(Pool(seed, options.steps(EPOCHS)), options) for seed in range(options.seeds)]
    of = {name: tuple(one[name] for one in found) for name in found[0]}

    def asked(value: float) -> tuple[float, ...]:
        return (value,) * options.seeds

    claims = []
    for shots in SHOTS:
        task = f"test accuracy on three unseen combinations, {shots} a class"
        claims += [
            Claim(task, "isotropic, learned", of[f"block {shots}"], of[f"global {shots}"], 0.08),
            Claim(task, "full fine-tuning", of[f"block {shots}"], of[f"full {shots}"], 0.03 if shots == 1 else None),
            Claim(task, f"full fine-tuning at {RATE}", of[f"block {shots}"], of[f"full at rate {shots}"], None),
        ]
    short, long = ADDITION_STEPS
    task = "one network for all five changes, accuracy by each one's own"
    return [
        *claims,
        Claim("the same without a single sample, told", "chance", of["base"], asked(0.1), None),
        Claim(f"{task}, {short} steps", "best isotropic of a grid", of[f"added {short}"], of["added grid"], -0.01),
        Claim(f"{task}, {long} steps", "best isotropic of a grid", of[f"added {long}"], of["added grid"], 0.02),
        Claim(f"{task}, {long} steps", "the base", of[f"added {long}"], of["added base"], None),
        Claim("points that a negated change loses", "asked: 20", of["forgotten"], asked(0.2)),
        Claim("share of the control that stays meanwhile", "asked: .95", of["control kept"], asked(0.95)),
    ]


def measured(pool: Pool, options: BenchOptions) -> dict[str, float]:
    """All numbers of a seed."""
    found: dict[str, float] = {}
    cells: dict[str, list[float]] = {}
    for names, shots in product(COMPOSITES, SHOTS):
        sample, test = few(changed(pool.train, names), shots), changed(pool.test, names)
        cells.setdefault("base", []).append(share_right(pool.base, test))
        for granularity in ("block", "global"):
            composer = pool.composer(granularity)
            learn_composition(composer, cross_entropy, [sample], RATE, steps=options.steps(STEPS))
            cells.setdefault(f"{granularity} {shots}", []).append(accuracy(composer, [test]))
        for name, rate in (("full", FULL_LR), ("full at rate", RATE)):
            tuned = full(pool.base, sample, options.steps(STEPS), rate)
            cells.setdefault(f"{name} {shots}", []).append(share_right(tuned, test))
    found |= {name: sum(values) / len(values) for name, values in cells.items()}
    return found | added(pool, options) | negated(pool, options)


def full(base: nn.Sequential, sample: Pictures, steps: int, rate: float) -> nn.Sequential:
    """All weights but the last layer's, tuned to a few samples."""
    model = copy.deepcopy(base)
    model[-1].requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], rate)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(sample[0]), sample[1]).backward()
        optimizer.step()
    return model


def added(pool: Pool, options: BenchOptions) -> dict[str, float]:
    """Mean accuracy on all changes, each by that of the network that was tuned to it alone."""
    own = {name: share_right(model, changed(pool.test, [name])) for name, model in pool.tuned.items()}

    def normalised(model: nn.Module, data: Pictures) -> float:
        return sum(share_right(model, changed(data, [name])) / own[name] for name in CHANGES) / len(CHANGES)

    def loss(composer: AnisotropicComposer, data: Pictures) -> Tensor:
        return len(CHANGES) * cross_entropy(composer, data)

    parts = zip(*(part.split(ADDED_AT_ONCE) for part in pool.validation), strict=True)
    several = [[changed(part, [name]) for name in CHANGES] for part in parts]
    batches = [(torch.cat([x for x, _ in one]), torch.cat([y for _, y in one])) for one in several]
    found = {"added base": normalised(pool.base, pool.test)}
    isotropic = pool.composer("global")
    scores = []
    for scale in GRID:
        with torch.no_grad():
            isotropic.coef.fill_(scale)
        scores.append((normalised(isotropic, pool.validation), normalised(isotropic, pool.test)))
    found["added grid"] = max(scores)[1]
    for steps in ADDITION_STEPS:
        composer = pool.composer("block")
        learn_composition(composer, loss, batches, ADDITION_RATE, steps=options.steps(steps))
        found[f"added {steps}"] = normalised(composer, pool.test)
    return found


def negated(pool: Pool, options: BenchOptions) -> dict[str, float]:
    """What a network that knows a change beside plain digits has lost of it, and kept of these, on test digits."""
    both = [torch.cat(part) for part in zip(pool.train, changed(pool.train, [NEGATED]), strict=True)]
    knows = trained(pool.base, (both[0], both[1]), pool.seed + 9, options.steps(EPOCHS))
    vector = TaskVector.from_state_dicts(pool.base.state_dict(), knows.state_dict())
    keys = [name for name, _ in knows.named_parameters() if not name.startswith(f"{len(knows) - 1}.")]
    composer = AnisotropicComposer(knows, [vector], keys=keys)
    target, control = changed(pool.validation, [NEGATED]), pool.validation
    negate(composer, [target], [control], lr=NEGATION_RATE, epochs=options.steps(NEGATION_EPOCHS))
    data = changed(pool.test, [NEGATED])
    return {
        "forgotten": share_right(knows, data) - accuracy(composer, [data]),
        "control kept": accuracy(composer, [pool.test]) / share_right(knows, pool.test),
    }

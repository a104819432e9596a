"""What orientations are worth, and does a network that knows the symmetries of space learn motions from few examples?

In the plane: digits as clouds of 64 pixels with intensities, by PONITA with 8 orientations, by the same network that
sees distances alone, and by a convolutional network; also after a quarter turn of the digits, which none has seen.
In space: where five charged particles are going, by PONITA and by a plain graph network, after as many steps; both are
trained on randomly turned motions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.charged_particles import PARTICLES, simulate_charged
from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.timing import Growth, least_seconds
from representation.data.batches import BatchOrder
from representation.equivariant.cloud_graphs import cloud_graph, complete_graph, radius_graph
from representation.equivariant.cloud_targets import random_turns
from representation.equivariant.ponita import Ponita
from representation.equivariant.ponita.model import PLAIN

SIDE, CLASSES = 8, 10
REACH = 2.1  # pixels
POINTS = tuple(2**power for power in range(6, 15))
PONITA, DISTANCES, CONVOLUTIONS, GRAPH_NETWORK = "PONITA", "distances alone", "a convolutional network", "a plain GNN"
CONSTANT_VELOCITY = "0.6 of the error of constant velocity"


@dataclass(frozen=True)
class Settings:
    """How much is trained and measured.

    Attributes:
        digits: to train on.
        digit_steps: of training.
        motions: to train on.
        test_motions: to score on.
        motion_steps: of training.
        batch: digits of a step.
        motion_batch: motions of a step.
        hidden: channels of PONITA.
        digit_tests: digits to score on.
    """

    digits: int = 800
    digit_tests: int = 597
    digit_steps: int = 2000
    motions: int = 500
    test_motions: int = 300
    motion_steps: int = 300
    batch: int = 16
    motion_batch: int = 100
    hidden: int = 32


def run(options: BenchOptions) -> list[Claim]:
    """Accuracies of digits and squared errors of motions, the latter with their signs changed."""
    settings = Settings(
        digit_steps=options.steps(Settings.digit_steps), motion_steps=options.steps(Settings.motion_steps)
    )
    digits = [digit_scores(seed, settings) for seed in range(options.seeds)]
    motions = [motion_errors(seed, settings) for seed in range(options.seeds)]

    def column(found: list[dict[str, float]], name: str, factor: float = 1.0) -> tuple[float, ...]:
        return tuple(factor * one[name] for one in found)

    for one in digits:
        one["lost"] = one[CONVOLUTIONS] - one[f"{CONVOLUTIONS}, turned"]
    turned = column(digits, f"{PONITA}, turned")
    accuracy = f"accuracy of digits after {settings.digit_steps} steps"
    error = f"minus squared error of places 1 s ahead, {settings.motions} motions to learn from"
    constant, count = column(motions, CONSTANT_VELOCITY, -0.6), options.seeds
    return [
        Claim(f"{accuracy}: 8 orientations", DISTANCES, column(digits, PONITA), column(digits, DISTANCES), 0.03),
        Claim(f"{accuracy}, a quarter turn: PONITA", "upright", turned, column(digits, PONITA), -0.03),
        Claim(f"{accuracy}, lost by a quarter turn: {CONVOLUTIONS}", "asked", column(digits, "lost"), (0.3,) * count),
        Claim(f"{accuracy}, upright: PONITA", CONVOLUTIONS, column(digits, PONITA), column(digits, CONVOLUTIONS), None),
        Claim(f"{error}: PONITA", CONSTANT_VELOCITY, column(motions, PONITA, -1.0), constant),
        Claim(f"{error}: PONITA", GRAPH_NETWORK, column(motions, PONITA, -1.0), column(motions, GRAPH_NETWORK, -1.0)),
    ]


def growth() -> Growth:
    """Milliseconds for clouds of more and more points, each told by 8 others."""
    seconds = {}
    for name, num_ori in (("12 orientations", 12), (DISTANCES, PLAIN)):
        torch.manual_seed(0)
        model = Ponita(1, 0, 16, 1, 0, 3, num_ori=num_ori).eval()
        seconds[name] = []
        for count in POINTS:
            points, scalars = torch.rand(count, 3), torch.ones(count, 1)
            edges = cloud_graph(points[None], neighbours=8)
            with torch.inference_mode():
                seconds[name].append(least_seconds(lambda m=model, p=points, s=scalars, e=edges: m(p, s, None, e)))
    return Growth(
        "PONITA of 3 layers and 16 channels, 8 neighbours that are known",
        "python -m representation.benchmarks.growth ponita",
        "points",
        POINTS,
        seconds,
        fitted_from=POINTS[2],
        each="point",
    )


def digit_scores(seed: int, settings: Settings) -> dict[str, float]:
    """Accuracy of each network on digits that were held out, and on the same digits after a quarter turn."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    pixels = torch.from_numpy(images[order].reshape(-1, SIDE, SIDE)).float() / 16
    classes = torch.from_numpy(labels[order])
    train, test = slice(settings.digits), slice(settings.digits, settings.digits + settings.digit_tests)
    makers = {
        PONITA: lambda: DigitCloud(settings.hidden, 8),
        DISTANCES: lambda: DigitCloud(settings.hidden, PLAIN),
        CONVOLUTIONS: convolutions,
    }
    found = {}
    for name, make in makers.items():
        torch.manual_seed(seed)
        model = make()

        def loss(rows: Tensor, model: nn.Module = model) -> Tensor:
            return F.cross_entropy(model(pixels[train][rows]), classes[train][rows])

        train_network(model, loss, settings.digits, settings.digit_steps, settings.batch, seed)
        with torch.inference_mode():
            for what, shown in ((name, pixels[test]), (f"{name}, turned", pixels[test].rot90(1, (1, 2)))):
                told = torch.cat([model(part).argmax(dim=1) for part in shown.split(100)])
                found[what] = float((told == classes[test]).float().mean())
    return found


class DigitCloud(nn.Module):
    """Classes of pictures (B, 8, 8) by a PONITA, which sees their pixels as points."""

    places: Tensor

    def __init__(self, hidden: int, num_ori: int) -> None:
        super().__init__()
        self.network = Ponita(
            1, 0, hidden, CLASSES, 0, 3, dim=2, num_ori=num_ori, radius=REACH, task="graph", multiple_readouts=False
        )
        axis = torch.arange(SIDE).float()
        self.register_buffer("places", torch.cartesian_prod(axis, axis))
        self.edges = radius_graph(self.places, REACH, torch.zeros(len(self.places)))

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits (B, 10)."""
        count, points = len(pictures), len(self.places)
        number = torch.arange(count).repeat_interleave(points)
        edges = (self.edges[:, None] + points * torch.arange(count)[:, None]).flatten(1)
        return self.network(self.places.repeat(count, 1), pictures.reshape(-1, 1), None, edges, number)[0]


def convolutions() -> nn.Sequential:
    """Classes of pictures (B, 8, 8) by two convolutions."""
    return nn.Sequential(
        nn.Unflatten(1, (1, SIDE)),
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, CLASSES),
    )


def motion_errors(seed: int, settings: Settings) -> dict[str, float]:
    """Squared error of each network on motions that it has not seen."""
    parts = (simulate_charged(settings.motions, 2 * seed), simulate_charged(settings.test_motions, 2 * seed + 1))
    train, test = ({name: torch.from_numpy(values) for name, values in part.items()} for part in parts)
    found = {CONSTANT_VELOCITY: float((test["pos"] + test["vel"] - test["target"]).square().mean())}
    makers: dict[str, Callable[[], nn.Module]] = {
        PONITA: lambda: PonitaMotion(settings.hidden),
        GRAPH_NETWORK: lambda: GraphNetwork(2 * settings.hidden),
    }
    for name, make in makers.items():
        torch.manual_seed(seed)
        model, generator = make(), torch.Generator().manual_seed(seed)

        def loss(rows: Tensor, model: nn.Module = model, generator: torch.Generator = generator) -> Tensor:
            turn = random_turns(1, generator)[0]
            pos, vel, target = (train[key][rows] @ turn.T for key in ("pos", "vel", "target"))
            return (model(pos, vel, train["charge"][rows]) - target).square().mean()

        train_network(model, loss, settings.motions, settings.motion_steps, settings.motion_batch, seed)
        with torch.inference_mode():
            told = model(test["pos"], test["vel"], test["charge"])
            found[name] = float((told - test["target"]).square().mean())
    return found


class PonitaMotion(nn.Module):
    """Places (B, 5, 3) by PONITA of places and velocities (B, 5, 3) and charges (B, 5, 1)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.network = Ponita(1, 1, hidden, 0, 1, 3, num_ori=8)

    def forward(self, pos: Tensor, vel: Tensor, charge: Tensor) -> Tensor:
        """Where the particles will be."""
        number = torch.arange(len(pos)).repeat_interleave(PARTICLES)
        _, way = self.network(pos.flatten(0, 1), charge.flatten(0, 1), vel.flatten(0, 1)[:, None], None, number)
        return pos + way.view_as(pos)


class GraphNetwork(nn.Module):
    """The same by message passing that knows nothing of space."""

    def __init__(self, hidden: int) -> None:
        super().__init__()

        def network(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
            )

        self.embed, self.read = nn.Linear(7, hidden), network(hidden, 3)
        self.messages = nn.ModuleList(network(2 * hidden, hidden) for _ in range(4))
        self.updates = nn.ModuleList(network(2 * hidden, hidden) for _ in range(4))

    def forward(self, pos: Tensor, vel: Tensor, charge: Tensor) -> Tensor:
        """Where the particles will be."""
        x = self.embed(torch.cat([pos, vel, charge], dim=2)).flatten(0, 1)
        sender, receiver = complete_graph(torch.arange(len(pos)).repeat_interleave(PARTICLES))
        for message, update in zip(self.messages, self.updates, strict=True):
            told = torch.zeros_like(x).index_add(0, receiver, message(torch.cat([x[receiver], x[sender]], dim=1)))
            x = x + update(torch.cat([x, told], dim=1))
        return pos + self.read(x).view_as(pos)


def train_network(
    model: nn.Module, loss: Callable[[Tensor], Tensor], count: int, steps: int, batch: int, seed: int, lr: float = 3e-3
) -> None:
    """Train by the loss of rows (batch,) out of `count`; leaves the model in evaluation mode."""
    order = BatchOrder(np.arange(count), batch, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps, pct_start=0.1)
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        loss(torch.from_numpy(order[step])).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        schedule.step()
    model.eval()

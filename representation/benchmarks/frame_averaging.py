"""What frames do for a network that learned in one pose: normals of surfaces, motions of bodies; and for graphs.

Normals of ellipsoids, boxes and rods that are all upright in training, by a PointNet and by the mean of the same one
over frames. Where five charged particles are going, by a graph network, plainly and with new frames after every layer;
once more for motions that were turned for training so that the first particle flies along x. Graphs that message
passing cannot tell apart, by networks with random weights that see the nodes in the orders of the frames.

Clouds of 256 points and motions of 500 simulations, 60 epochs of batches of 100, in networks of 4 layers of 60 numbers,
are what is asked. Smaller than published are the PointNets, whose layers have a half to an eighth of the width; and
Adam's rate is 3e-3 at its highest, not 1e-3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.charged_particles import simulate_charged
from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.ponita import train_network
from representation.data.shapes import box, tube
from representation.equivariant.cloud_targets import random_turns
from representation.equivariant.frame_averaging import FAGNN, FAPointNet, PointNet, graph_frames
from representation.equivariant.frame_averaging.graph_frames import in_order
from representation.equivariant.frame_averaging.graph_network import motion_layers, pairs_of

FRAMES, PLAIN = "frames", "PointNet"
FA_GNN, GNN, GNN_ONE_WAY, CONSTANT_VELOCITY = "FA-GNN", "GNN", "GNN, trained along x", "constant velocity"
MLP, NAMED_GIN, PLAIN_GIN = "MLP", "GIN with numbered nodes", "GIN"
EMBEDDING, ORDERS, LEAST_ERRORS = 8, 10_000, 5.0


@dataclass(frozen=True)
class Settings:
    """How much is trained and measured.

    Attributes:
        clouds: to train on.
        test_clouds: to score on.
        points: of a cloud.
        cloud_steps: of training.
        batch: clouds of a step.
        motions: to train on.
        test_motions: to score on.
        motion_steps: of training.
        motion_batch: motions of a step.
        width: features of a particle.
    """

    clouds: int = 300
    test_clouds: int = 100
    points: int = 256
    cloud_steps: int = 100
    batch: int = 16
    motions: int = 500
    test_motions: int = 400
    motion_steps: int = 300
    motion_batch: int = 100
    width: int = 60


def run(options: BenchOptions) -> list[Claim]:
    """Errors of normals and motions, and how far graphs come apart."""
    settings = Settings(
        cloud_steps=options.steps(Settings.cloud_steps), motion_steps=options.steps(Settings.motion_steps)
    )
    found = [
        normal_errors(seed, settings) | motion_errors(seed, settings) | graph_distances(seed)
        for seed in range(options.seeds)
    ]

    def claim(text: str, name: str, ours: str, other: str | float, least: float | None = 0.0, by: float = 1.0) -> Claim:
        baseline = tuple(by * one[other] if isinstance(other, str) else other for one in found)
        return Claim(text, name, tuple(one[ours] for one in found), baseline, least)

    for one in found:
        one |= {f"{name} kept": one[f"{name} upright"] / one[f"{name} turned"] for name in (FRAMES, PLAIN)}
        one |= {f"minus {name}": -value for name, value in one.items()}
    normals = f"error of normals, upright clouds, as a share of that of turned ones, {settings.clouds} upright to learn"
    error = "minus error of normals (1 - cos²)"
    motion = f"minus squared error of places 1 s ahead, {settings.motions} motions to learn from"
    return [
        claim(f"{normals}: PointNet in frames", "asked", f"{FRAMES} kept", 0.98),
        claim(f"{normals}: in frames", "PointNet", f"{FRAMES} kept", f"{PLAIN} kept", 0.33),
        claim(f"{error}, turned: in frames", "PointNet", f"minus {FRAMES} turned", f"minus {PLAIN} turned"),
        claim(f"{error}, upright: in frames", "PointNet", f"minus {FRAMES} upright", f"minus {PLAIN} upright", None),
        claim(f"{motion}: FA-GNN", "0.6 of constant velocity", f"minus {FA_GNN}", f"minus {CONSTANT_VELOCITY}", by=0.6),
        claim(f"{motion}: FA-GNN", "1.15 of a GNN", f"minus {FA_GNN}", f"minus {GNN}", by=1.15),
        claim(f"{motion} that fly along x: FA-GNN", "GNN / 1.3", f"minus {FA_GNN}", f"minus {GNN_ONE_WAY}", by=1 / 1.3),
        claim("minus median change of what is told by a turn: FA-GNN", "asked", f"minus {FA_GNN} off", -1e-5),
        claim("median change of what is told by a turn: GNN", "asked", f"{GNN} off", 0.01),
        *(
            claim(
                f"distance of {pair}, in standard errors: {name}, in frames", "asked", f"{name}, {pair}", LEAST_ERRORS
            )
            for pair in alike_pairs()
            for name in (MLP, NAMED_GIN)
        ),
        claim("minus the largest distance of any of them: GIN without frames", "asked", f"minus {PLAIN_GIN}", -1e-6),
    ]


def normal_errors(seed: int, settings: Settings) -> dict[str, float]:
    """1 - cos² of normals told by each network on upright and on turned clouds."""
    points, normals = surfaces(settings.clouds, settings.points, 2 * seed)
    test, truth = surfaces(settings.test_clouds, settings.points, 2 * seed + 1)
    turns = random_turns(len(test), torch.Generator().manual_seed(seed))
    tests = {"upright": (test, truth), "turned": (test @ turns.mT, truth @ turns.mT)}
    makers: dict[str, Callable[[], nn.Module]] = {
        FRAMES: lambda: FAPointNet(0, 1),
        PLAIN: lambda: PointNet(3, 0, 1),
    }
    found = {}
    for name, make in makers.items():
        torch.manual_seed(seed)
        model = make()

        def loss(rows: Tensor, model: nn.Module = model) -> Tensor:
            return normal_error(model(points[rows])[1], normals[rows])

        train_network(model, loss, len(points), settings.cloud_steps, settings.batch, seed)
        with torch.inference_mode():
            for pose, (shown, wanted) in tests.items():
                found[f"{name} {pose}"] = float(normal_error(model(shown)[1], wanted))
    return found


def normal_error(told: Tensor, normals: Tensor) -> Tensor:
    """Mean 1 - cos² of vectors (B, N, 1, 3) to normals (B, N, 3), of which the side does not matter."""
    return (1 - F.cosine_similarity(told[:, :, 0], normals, dim=2).square()).mean()


def surfaces(count: int, points: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points (count, points, 3), around their mean, and normals of upright ellipsoids, boxes and rods in turn."""
    rng = np.random.default_rng(seed)
    found, normals = np.zeros((2, count, points, 3), np.float32)
    for number in range(count):
        sizes = np.sort(rng.uniform(0.3, 1.0, 3)) * (1.0, 1.15, 1.3)  # never alike, so that axes are determined
        if number % 3 == 0:
            ball = rng.normal(size=(points, 3))
            ball /= np.linalg.norm(ball, axis=1, keepdims=True)
            drawn, ways = ball * sizes, ball / sizes
        else:
            _, draw = box(sizes) if number % 3 == 1 else tube(0.6 * sizes[0], sizes[2])
            drawn, ways = draw(points, rng)
        found[number] = drawn - drawn.mean(axis=0)
        normals[number] = ways / np.linalg.norm(ways, axis=1, keepdims=True)
    return torch.from_numpy(found), torch.from_numpy(normals)


def motion_errors(seed: int, settings: Settings) -> dict[str, float]:
    """Squared errors of places told by each network, and how much a turn changes what it tells."""
    parts = (simulate_charged(settings.motions, 2 * seed), simulate_charged(settings.test_motions, 2 * seed + 1))
    train, test = ({name: torch.from_numpy(values) for name, values in part.items()} for part in parts)
    found = {CONSTANT_VELOCITY: float((test["pos"] + test["vel"] - test["target"]).square().mean())}
    one_way = along_x(train)
    # Frames make of turned motions what they make of the others, so that FA-GNN needs no second training.
    for name, shown in ((FA_GNN, train), (GNN, train), (GNN_ONE_WAY, one_way)):
        torch.manual_seed(seed)
        model = FAGNN(settings.width) if name == FA_GNN else PlainGNN(settings.width)

        def loss(rows: Tensor, model: nn.Module = model, shown: dict[str, Tensor] = shown) -> Tensor:
            told = model(shown["pos"][rows], shown["vel"][rows], shown["charge"][rows])
            return (told - shown["target"][rows]).square().mean()

        train_network(model, loss, settings.motions, settings.motion_steps, settings.motion_batch, seed)
        turn = torch.from_numpy(Rotation.random(rng=seed).as_matrix()).float()
        with torch.inference_mode():
            told = model(test["pos"], test["vel"], test["charge"])
            turned = model(test["pos"] @ turn.T, test["vel"] @ turn.T, test["charge"])
        found[name] = float((told - test["target"]).square().mean())
        found[f"{name} off"] = float((turned - told @ turn.T).abs().median())
    return found


def along_x(motions: dict[str, Tensor]) -> dict[str, Tensor]:
    """Motions, each turned so that the first particle flies along x."""
    first = F.normalize(motions["vel"][:, 0], dim=1)
    turns, _ = zip(*(Rotation.align_vectors([[1.0, 0.0, 0.0]], [way]) for way in first.double().numpy()), strict=True)
    matrices = torch.from_numpy(np.stack([turn.as_matrix() for turn in turns])).float()
    ways = {name: motions[name] @ matrices.mT for name in ("pos", "vel", "target")}
    return {**motions, **ways}


class PlainGNN(nn.Module):
    """The layers of `FAGNN` without frames: places around their mean, as they are."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(motion_layers(width, 4))

    def forward(self, pos: Tensor, vel: Tensor, charge: Tensor) -> Tensor:
        """See `FAGNN.forward`."""
        pairs, center = pairs_of(pos, charge), pos.mean(dim=1, keepdim=True)
        told = torch.cat([pos - center, vel], dim=2)
        for layer in self.layers:
            told = layer(told, pairs)
        return told + center


def graph_distances(seed: int) -> dict[str, float]:
    """How far pairs of graphs come apart by networks of random weights.

    Returns:
        Of each network that sees random orders, for each pair, the largest distance of a number of the mean embeddings,
        in standard errors; of the GIN without orders the largest distance of any pair.
    """
    found: dict[str, float] = {PLAIN_GIN: 0.0}
    for name, pair in alike_pairs().items():
        nodes = len(pair[0])
        torch.manual_seed(seed)
        layers = [nn.Linear(nodes**2, 64), Sine(), nn.Linear(64, 64), Sine(), nn.Linear(64, EMBEDDING)]
        networks = {MLP: nn.Sequential(nn.Flatten(), *layers), NAMED_GIN: GIN(nodes)}
        generator, plain = torch.Generator().manual_seed(seed), GIN(1)
        with torch.inference_mode():
            seen = [in_order(one, graph_frames(one, ORDERS, generator)) for one in pair]
            for kind, network in networks.items():
                first, second = (network(one).double() for one in seen)
                error = ((first.var(dim=0) + second.var(dim=0)) / ORDERS).sqrt().clamp(min=1e-9)
                found[f"{kind}, {name}"] = float(((first.mean(dim=0) - second.mean(dim=0)).abs() / error).max())
            first, second = (plain(one[None]) for one in pair)
            found[PLAIN_GIN] = max(found[PLAIN_GIN], float((first - second).abs().max()))
    return found


def alike_pairs() -> dict[str, tuple[Tensor, Tensor]]:
    """Adjacency matrices of graphs that have the same message passing."""
    rook, shrikhande = set(), set()
    for a, b, c, d in product(range(4), repeat=4):
        edge = (4 * a + b, 4 * c + d)
        if (a == c) != (b == d):
            rook.add(edge)
        if ((c - a) % 4, (d - b) % 4) in {(0, 1), (0, 3), (1, 0), (3, 0), (1, 1), (3, 3)}:
            shrikhande.add(edge)
    return {
        "a hexagon and two triangles": (_matrix(6, _ring(0, 6)), _matrix(6, _ring(0, 3) | _ring(3, 3))),
        "decalin and bicyclopentyl": (
            _matrix(10, _ring(0, 10) | {(0, 5)}),
            _matrix(10, _ring(0, 5) | _ring(5, 5) | {(0, 5)}),
        ),
        "the rook's graph and Shrikhande's": (_matrix(16, rook), _matrix(16, shrikhande)),
    }


def _ring(first: int, count: int) -> set[tuple[int, int]]:
    return {(first + node, first + (node + 1) % count) for node in range(count)}


def _matrix(nodes: int, edges: set[tuple[int, int]]) -> Tensor:
    matrix = torch.zeros(nodes, nodes)
    for one, other in edges:
        matrix[one, other] = matrix[other, one] = 1.0
    return matrix


class Sine(nn.Module):
    """sin(10 x), which sees more of the shape of a distribution than its mean."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return (10 * x).sin()


class GIN(nn.Module):
    """Three rounds of sums over neighbours; nodes know their place in the order, or nothing if `names` is 1."""

    def __init__(self, names: int) -> None:
        super().__init__()
        self.names = names
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 32), nn.Tanh()) for inputs in (names, 32, 32)
        )
        self.read = nn.Linear(32, EMBEDDING)

    def forward(self, adjacency: Tensor) -> Tensor:
        """Embeddings (K, 8) of adjacency matrices (K, n, n)."""
        count, nodes = adjacency.shape[:2]
        told = torch.eye(nodes) if self.names == nodes else torch.ones(nodes, 1)
        told = told.expand(count, -1, -1)
        for layer in self.layers:
            told = layer(told + adjacency @ told)
        return self.read(told.mean(dim=1))

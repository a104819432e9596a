"""Graphs of piles of blocks, which the simulation let come to rest: `python -m sim.scene_graphs --output DIR`.

Blocks are put down one after the other: on the table, on a block, or across two blocks of one height. Some fall. When
all have come to rest, contacts are read from the simulation; one whose normal is within 60 degrees of the vertical is a
support. The format is that of `representation.data.scene_graphs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from representation.data.frames import expect_empty
from representation.data.scene_graphs import SceneGraph, SceneNode, write_scene_graphs

TABLE = (0.6, 0.6, 0.05)
SPREAD, GAP = 0.18, 0.002  # m: half side of where blocks are put, free height below a block that is put down
REST_S, LONGEST_S, AT_REST = 0.5, 4.0, 0.01  # m/s
UPRIGHT = 0.5  # least vertical part of a support's normal
_TRIES = 50


@dataclass(frozen=True)
class PileOptions:
    """What is piled.

    Attributes:
        output: directory to write; must not hold files.
        count: piles.
        fewest: blocks of a pile.
        most: likewise.
        seed: of everything that is drawn.
    """

    output: Path
    count: int = 400
    fewest: int = 4
    most: int = 9
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.fewest <= self.most or self.count < 1:
            raise ValueError(f"count, fewest, most: expected 1 <= fewest <= most, found {self}")


@dataclass(frozen=True)
class Block:
    """A block that is put down, upright: half sides (3,) and centre (3,), m."""

    half_size: NDArray[np.float64]
    position: NDArray[np.float64]

    @property
    def top(self) -> float:
        """Height of its upper side, m."""
        return float(self.position[2] + self.half_size[2])


def drawn_blocks(count: int, rng: np.random.Generator) -> list[Block]:
    """Blocks in the order in which they are put down; none within another."""
    blocks: list[Block] = []
    for _ in range(count):
        for _ in range(_TRIES):
            block = _drawn_block(blocks, rng)
            if not any(_overlap(block, other) for other in blocks):
                blocks.append(block)
                break
    return blocks


def _drawn_block(blocks: list[Block], rng: np.random.Generator) -> Block:
    half = np.array([rng.uniform(0.02, 0.04), rng.uniform(0.02, 0.03), 0.02])
    way = rng.uniform()
    pairs = [(a, b) for i, a in enumerate(blocks) for b in blocks[:i] if abs(a.top - b.top) < 1e-6]
    if way < 0.3 and pairs:
        below = pairs[rng.integers(len(pairs))]
        first, second = (block.position[:2] for block in below)
        distance = np.abs(first - second)
        half[:2] = np.maximum(half[:2], distance / 2 + 0.01)
        return Block(half, np.array([*(first + second) / 2, below[0].top + half[2] + GAP]))
    if way < 0.65 and blocks:
        lower = blocks[rng.integers(len(blocks))]
        shift = rng.uniform(-0.9, 0.9, 2) * lower.half_size[:2]
        return Block(half, np.array([*(lower.position[:2] + shift), lower.top + half[2] + GAP]))
    return Block(half, np.array([*rng.uniform(-SPREAD, SPREAD, 2), half[2] + GAP]))


def _overlap(a: Block, b: Block) -> bool:
    return bool((np.abs(a.position - b.position) < a.half_size + b.half_size).all())


def rest(blocks: list[Block]) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Let blocks fall and come to rest; body k + 1 is block k."""
    spec = mujoco.MjSpec()
    spec.option.timestep = 0.004
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=TABLE, pos=(0, 0, -TABLE[2]))
    for block in blocks:
        body = spec.worldbody.add_body(pos=block.position)
        body.add_freejoint()
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=block.half_size, density=600.0)
    model = spec.compile()
    data = mujoco.MjData(model)
    still = 0
    while data.time < LONGEST_S and still * model.opt.timestep < REST_S:
        mujoco.mj_step(model, data)
        still = still + 1 if np.abs(data.qvel).max() < AT_REST else 0
    mujoco.mj_forward(model, data)
    return model, data


def graph_of(model: mujoco.MjModel, data: mujoco.MjData, blocks: list[Block]) -> SceneGraph:
    """Contacts and supports of what lies there; node 0 is the table."""
    nodes = [SceneNode("table", TABLE, (0.0, 0.0, -TABLE[2]))]
    for block, position in zip(blocks, data.xpos[1:], strict=True):
        x, y, z = (round(float(value), 4) for value in position)
        a, b, c = (round(float(value), 4) for value in block.half_size)
        nodes.append(SceneNode("block", (a, b, c), (x, y, z)))
    contacts: set[tuple[int, int]] = set()
    supports: dict[tuple[int, int], float] = {}
    for contact in data.contact:
        first, second = (int(body) for body in model.geom_bodyid[contact.geom])
        pair = (min(first, second), max(first, second))
        contacts.add(pair)
        vertical = float(contact.frame[2])  # of the normal, which points from the first to the second
        if abs(vertical) > UPRIGHT and abs(vertical) > abs(supports.get(pair, 0.0)):
            supports[pair] = vertical if first < second else -vertical
    borne = [pair if upwards > 0 else pair[::-1] for pair, upwards in supports.items()]
    return SceneGraph(tuple(nodes), tuple(sorted(contacts)), tuple(sorted(borne)))


def pile(fewest: int, most: int, rng: np.random.Generator) -> SceneGraph:
    """The graph of a pile that was drawn."""
    blocks = drawn_blocks(int(rng.integers(fewest, most + 1)), rng)
    return graph_of(*rest(blocks), blocks)


def main() -> None:
    """Write them."""
    options = tyro.cli(PileOptions, description=__doc__)
    expect_empty(options.output)
    graphs = [
        pile(options.fewest, options.most, np.random.default_rng((options.seed, index)))
        for index in tqdm(range(options.count), desc="piles", unit="pile")
    ]
    path = write_scene_graphs(graphs, options.output)
    print(f"{path}: {len(graphs)} graphs, {sum(len(graph.supports) for graph in graphs)} supports")


if __name__ == "__main__":
    main()

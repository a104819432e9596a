"""Cables that are dropped, dragged and lifted on a table: `python -m sim.cables --output DIR`.

Each episode lets a cable of random stiffness fall on a table with posts, in a random curl; then one of its nodes is
taken and dragged over the table, or lifted, and let go. The cable is a one-dimensional flex of MuJoCo: a discrete
elastic rod with bending and torsion, of fixed length, that touches the table, the posts and itself.

`chains.npz` has the nodes of each frame, see `representation.generative.progae.chains`; with `--size N`, the directory
also has a camera's pictures of the same frames in the plain format, with the column `nodes` in the frame of the world.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from representation.data.frames import Frames, expect_empty, write_frames
from representation.generative.progae import Chains, chain_from_mujoco, frenet_chains, write_chains
from sim.rendering import OffscreenRenderer
from sim.scene import look_at

NAME, CAMERA, NODES = "cable", "table", "nodes"
STEP_S = 0.002
RADIUS, DENSITY = 0.005, 1200.0  # m, kg/m3
STIFFNESS = (3e-4, 1e-2)  # of bending, N m2
DAMPING_S, EDGE_S = 0.02, 0.004  # of bending; in which the length of an edge comes back
POSTS, POST_RADIUS, POST_HALF_HEIGHT = 3, 0.015, 0.03
DROP_M = 0.03  # of the lowest node
FALL_SHARE, HOLD_SHARE = 0.3, 0.85  # of an episode: until the cable is taken; until it is let go
REACH, LIFT = 0.3, 0.25  # of the hand, m
GRIP_N_PER_M, GRIP_NS_PER_M, GRIP_N = 40.0, 1.0, 3.0
EYE, TARGET = (0.0, -0.75, 0.75), (0.0, 0.0, 0.03)


@dataclass(frozen=True)
class CableOptions:
    """What is simulated.

    Attributes:
        output: directory to write; must not hold files.
        count: episodes.
        nodes: of the cable.
        length: of the cable, m.
        seconds: of each episode.
        rate: frames per second.
        size: side of the pictures, pixels; 0 for none.
        seed: of everything that is drawn.
    """

    output: Path
    count: int = 60
    nodes: int = 32
    length: float = 0.6
    seconds: float = 4.0
    rate: float = 10.0
    size: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.nodes < 4 or self.size < 0:
            raise ValueError(
                f"count, nodes, size: expected at least 1, 4 and 0, found {self.count}, {self.nodes}, {self.size}"
            )
        if self.length / (self.nodes - 1) < 2 * RADIUS:
            most = int(self.length / (2 * RADIUS)) + 1
            raise ValueError(f"nodes: expected at most {most} on a cable of {self.length} m, found {self.nodes}")
        if self.seconds <= 0 or not 0 < self.rate <= 1 / STEP_S:
            raise ValueError(
                f"seconds, rate: expected above 0 and up to {1 / STEP_S:g}, found {self.seconds}, {self.rate}"
            )


class CableScene:
    """One cable above a table with posts.

    Args:
        nodes: of the cable.
        length: its, m.
        rng: draws its stiffness, its first shape and the posts.

    Raises:
        RuntimeError: a MuJoCo without elastic rods.
    """

    def __init__(self, nodes: int, length: float, rng: np.random.Generator) -> None:
        if tuple(int(part) for part in mujoco.__version__.split(".")[:2]) < (4, 0):
            raise RuntimeError(f"mujoco: expected 4.0 or newer, which has elastic rods, found {mujoco.__version__}")
        self.nodes, self.rng = nodes, rng
        self.model = mujoco.MjModel.from_xml_string(_scene_xml(nodes, length, rng))
        self.data = mujoco.MjData(self.model)
        self._bodies = np.array([self.model.body(f"{NAME}_{number}").id for number in range(nodes)])
        first = self.model.jnt_qposadr[self.model.body_jntadr[self._bodies]]
        start = length * frenet_chains(1, nodes, int(rng.integers(2**31)))[0][0].numpy().astype(np.float64)
        start += (*rng.uniform(-0.1, 0.1, 2), RADIUS + DROP_M - start[:, 2].min())
        self.data.qpos[first[:, None] + np.arange(3)] = start - self.model.body_pos[self._bodies]
        mujoco.mj_forward(self.model, self.data)

    @property
    def positions(self) -> NDArray[np.float64]:
        """Where the nodes are (n, 3), m."""
        return chain_from_mujoco(self.model, self.data, NAME)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / STEP_S)):
            mujoco.mj_step(self.model, self.data)

    def pull(self, node: int, target: NDArray[np.float64]) -> None:
        """Pull a node towards a place (3,), m, by a spring of limited force, from now on."""
        body = self._bodies[node]
        force = GRIP_N_PER_M * (target - self.data.xpos[body]) - GRIP_NS_PER_M * self.data.cvel[body, 3:]
        self.data.xfrc_applied[body, :3] = force * min(1.0, GRIP_N / max(float(np.linalg.norm(force)), 1e-9))

    def let_go(self) -> None:
        """Pull no more."""
        self.data.xfrc_applied[:] = 0.0


def _scene_xml(nodes: int, length: float, rng: np.random.Generator) -> str:
    stiffness = np.exp(rng.uniform(*np.log(STIFFNESS)))
    young = stiffness / (np.pi * RADIUS**4 / 4)
    mass, spacing = DENSITY * np.pi * RADIUS**2 * length, length / (nodes - 1)
    posts = "".join(
        f'<geom type="cylinder" size="{POST_RADIUS} {POST_HALF_HEIGHT}" pos="{x} {y} {POST_HALF_HEIGHT}" '
        'rgba=".3 .35 .4 1"/>'
        for x, y in rng.uniform(-REACH, REACH, (POSTS, 2))
    )
    eye = " ".join(str(value) for value in look_at(np.array(EYE), np.array(TARGET)))
    return f"""<mujoco>
      <option timestep="{STEP_S}" integrator="discrete"/>
      <visual><headlight ambient=".4 .4 .4"/></visual>
      <worldbody>
        <light pos="0 0 2" dir="0 0 -1"/>
        <camera name="{CAMERA}" pos="{EYE[0]} {EYE[1]} {EYE[2]}" quat="{eye}" fovy="50"/>
        <geom type="plane" size="2 2 .1" rgba=".75 .7 .6 1"/>
        {posts}
        <flexcomp name="{NAME}" type="grid" dim="1" count="{nodes} 1 1" spacing="{spacing} {spacing} {spacing}"
                  pos="0 0 {RADIUS}" radius="{RADIUS}" mass="{mass}" rgba=".1 .3 .8 1">
          <edge equality="true" solref="{EDGE_S} 1"/>
          <elasticity young="{young}" poisson=".3" damping="{DAMPING_S}"/>
          <contact selfcollide="auto"/>
        </flexcomp>
      </worldbody>
    </mujoco>"""


def episode(options: CableOptions, rng: np.random.Generator) -> tuple[NDArray, NDArray[np.uint8]]:
    """One episode.

    Returns:
        Nodes (T, n, 3), m, and pictures (T, H, W, 3), of which there are none without a size.
    """
    scene = CableScene(options.nodes, options.length, rng)
    renderer = OffscreenRenderer(scene.model, options.size, options.size) if options.size else None
    node, frames = int(rng.choice((0, options.nodes // 2, options.nodes - 1))), round(options.seconds * options.rate)
    ways = np.concatenate([rng.uniform(-REACH, REACH, (4, 2)), rng.uniform(RADIUS, LIFT, (4, 1))], axis=1)
    positions, pictures = [], []
    for number in range(frames):
        share = number / frames
        positions.append(scene.positions)
        if renderer is not None:
            pictures.append(renderer.render(scene.data, CAMERA)[0])
        for _ in range(max(1, round(1 / options.rate / STEP_S))):
            if FALL_SHARE <= share < HOLD_SHARE:
                scene.pull(node, ways[int(len(ways) * (share - FALL_SHARE) / (HOLD_SHARE - FALL_SHARE))])
            else:
                scene.let_go()
            scene.advance(STEP_S)
    if renderer is not None:
        renderer.close()
    return np.array(positions), np.array(pictures, np.uint8)


def main() -> None:
    """Simulate and write."""
    options = tyro.cli(CableOptions, description=__doc__)
    expect_empty(options.output)
    rng = np.random.default_rng(options.seed)
    found = [episode(options, rng) for _ in tqdm(range(options.count), desc="cables", unit="episode")]
    positions = np.concatenate([nodes for nodes, _ in found]).astype(np.float32)
    episodes = np.repeat(np.arange(options.count), len(found[0][0]))
    if options.size:
        pictures = np.concatenate([images for _, images in found])
        write_frames(Frames(pictures, episodes, {NODES: positions}, {}), options.output)
    write_chains(Chains(positions, episodes), options.output)
    print(f"{options.output}: {len(positions)} frames of {options.count} cables with {options.nodes} nodes")


if __name__ == "__main__":
    main()

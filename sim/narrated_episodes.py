"""Episodes of the arm whose steps are narrated, as a LeRobot dataset: `python -m sim.narrated_episodes --output DIR`.

The arm does four things in any order: it goes over one object, over another, up high, and closes and opens its
gripper. Each frame's task is the sentence of its step. As the order is drawn anew for each episode, and the words tell
nothing of it, what happens when can only be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from policies.data.demonstration_frames import features, frame
from policies.execution.arm_gateway import ArmGateway
from policies.execution.chunk_scheduler import ChunkScheduler
from policies.interface import ActionChunk
from representation.data.lerobot_writer import LeRobotWriter
from sim.episode_id import EpisodeId
from sim.expert import MAX_STEP
from sim.motions import CLOSED, OPEN, Vector
from sim.scene import Scene
from sim.simulation import SimulationConfig, TabletopSimulation

SHORTEST, LONGEST = 4, 40  # control steps of one step of the script
_ABOVE, _HIGH, _NEAR = 0.09, 0.36, 0.015  # m
_SQUEEZE = 5  # control steps that the gripper closes, and then opens

Move = Callable[[Scene, int], tuple[Vector, float, bool]]
"""Way of the tool (3,) in metres, gripper, and whether the step is over, from the scene and the steps so far."""


@dataclass(frozen=True)
class NarratedOptions:
    """What is recorded.

    Attributes:
        output: directory of the dataset.
        episodes: how many.
        camera: that looks.
        size: width and height of the images, pixels.
        seed: of the scenes and scripts.
    """

    output: Path
    episodes: int = 80
    camera: str = "front"
    size: int = 64
    seed: int = 1000


def script(words: dict[str, str], rng: np.random.Generator) -> list[tuple[str, Move]]:
    """Four sentences and how they come true, in random order and words; `words` names `object` and `base`."""
    first, second = words["object"], words["base"]
    known = [
        ((f"move over the {first}", f"go to the {first} from above", f"hover above the {first}"), _over(0)),
        ((f"move over the {second}", f"go to the {second} from above", f"hover above the {second}"), _over(1)),
        (("rise high above the table", "go up as far as possible", "lift the hand to the top"), _rise),
        (("close and open the gripper", "squeeze the fingers once", "shut the hand and open it"), _squeeze),
    ]
    return [(str(rng.choice(known[k][0])), known[k][1]) for k in rng.permutation(len(known))]


def record(simulation: TabletopSimulation, episode: EpisodeId) -> list[tuple[dict[str, Any], str]]:
    """Frames of one episode, each with the sentence of its step."""
    rng = np.random.default_rng(episode.seed_sequence("script"))
    simulation.reset(episode)
    scheduler, gateway = ChunkScheduler(simulation.robot), ArmGateway(simulation.robot)
    found = []
    for sentence, move in script(dict(simulation.scene.layout.words), rng):
        for number in range(LONGEST):
            way, gripper, over = move(simulation.scene, number)
            if over and number >= SHORTEST:
                break
            observation = simulation.observe()
            way = way * min(1.0, MAX_STEP / max(float(np.linalg.norm(way)), 1e-9))
            row = np.concatenate([way, np.zeros(3), [gripper]])
            chunk = ActionChunk(simulation.time, simulation.control_period, "cartesian_delta", row[None])
            joints = simulation.kinematics.to_joint_chunk(chunk, observation.joint_positions)
            plan = scheduler.plan(joints, observation.joint_positions, simulation.time)
            simulation.accept(gateway.command(plan, observation).trajectory)
            simulation.advance(1)
            found.append((frame(observation, row, success=False), sentence))
    return found


def _over(index: int) -> Move:
    def move(scene: Scene, number: int) -> tuple[Vector, float, bool]:
        goal = scene.object_position(index) + np.array((0.0, 0.0, _ABOVE))
        way = goal - scene.tool_position()
        return way, OPEN, bool(np.linalg.norm(way) < _NEAR)

    return move


def _rise(scene: Scene, number: int) -> tuple[Vector, float, bool]:
    way = np.array((0.0, 0.0, _HIGH - scene.tool_position()[2]))
    return way, OPEN, bool(abs(way[2]) < _NEAR)


def _squeeze(scene: Scene, number: int) -> tuple[Vector, float, bool]:
    return np.zeros(3), CLOSED if number < _SQUEEZE else OPEN, number >= 2 * _SQUEEZE


def main() -> None:
    """Record and write."""
    options = tyro.cli(NarratedOptions, description=__doc__)
    config = SimulationConfig(cameras=(options.camera,), width=options.size, height=options.size)
    simulation = TabletopSimulation(config)
    sizes = {options.camera: (options.size, options.size)}
    writer = LeRobotWriter(options.output, config.control_hz, features(sizes, simulation.robot), config.robot)
    for index in tqdm(range(options.episodes), desc="narrated", unit="episode"):
        for values, sentence in record(simulation, EpisodeId("stack", "nominal", 1, index, options.seed)):
            writer.add_frame(values, task=sentence)
        writer.save_episode()
    writer.finalize()
    print(f"{options.output}: {options.episodes} episodes of four narrated steps")


if __name__ == "__main__":
    main()

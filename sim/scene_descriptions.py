"""Scenes of the tasks in words and numbers, a line of JSON each: `python -m sim.scene_descriptions --output DIR`.

What stands where is read from the simulation after the scene was arranged: metres and radians in the base frame.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from tqdm import tqdm

from representation.data.frames import expect_empty
from sim.episode_id import EpisodeId
from sim.simulation import TabletopSimulation
from sim.tasks import tasks_of

FILE = "scenes.jsonl"
DIGITS = 4


@dataclass(frozen=True)
class SceneOptions:
    """What is described.

    Attributes:
        output: directory to write; must not hold files.
        count: scenes, of all tasks of the panda in turn.
        seed: of everything that is drawn.
    """

    output: Path
    count: int = 1000
    seed: int = 0


def description(simulation: TabletopSimulation, task: str) -> dict[str, Any]:
    """The scene that a simulation was reset to; objects by the part that they play, `target` or `other_N`."""
    scene = simulation.scene
    layout = scene.layout

    def rounded(values: Any) -> list[float]:
        return [round(float(value), DIGITS) for value in values]

    objects = {
        "target" if slot == 0 else f"other_{slot}": {
            "shape": item.shape,
            "colour": item.colour,
            "half_size": round(item.half_size, DIGITS),
            "position": rounded(scene.object_position(slot)),
            "yaw": round(item.yaw, DIGITS),
        }
        for slot, item in enumerate(layout.objects)
    }
    return {
        "task": task,
        "instruction": simulation.instruction,
        "objects": objects,
        "bins": [rounded(xy) for xy in layout.bins],
        "zones": [{"colour": zone.colour, "position": rounded(zone.xy)} for zone in layout.zones],
        "robot": {
            "joints": rounded(scene.joint_positions),
            "tool": rounded(scene.tool_position()),
            "gripper": round(scene.gripper_opening(), DIGITS),
        },
    }


def describe(count: int, seed: int) -> list[dict[str, Any]]:
    """Descriptions of so many scenes, with other objects beside those that a task asks for."""
    simulation, tasks = TabletopSimulation(), tasks_of("panda")
    found = []
    for index in tqdm(range(count), desc="scenes", unit="scene"):
        task = tasks[index % len(tasks)]
        simulation.reset(EpisodeId(task, "distractors", 3, index, seed))
        found.append(description(simulation, task))
    return found


def main() -> None:
    """Write them."""
    options = tyro.cli(SceneOptions, description=__doc__)
    expect_empty(options.output)
    options.output.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(scene) for scene in describe(options.count, options.seed)]
    (options.output / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{options.output / FILE}: {len(lines)} scenes")


if __name__ == "__main__":
    main()

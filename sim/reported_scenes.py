"""Tables before two cameras, with labels, masks and a true report: `python -m sim.reported_scenes --output DIR`.

The tables are laid out as tasks lay them out, half of them with more objects beside; the arms stand about their home, a
closed hand often with the named object in it. Two frames, of the fixed camera and of the first hand's, are one scene
(`episode`). The columns are `shown` (which colours and shapes lie on the table or in the hand), `grasped` (whether the
hand holds something) and `segmentation` (everything else, object or gripper); the text is a report of the scene. The
format is that of `representation.data.frames`.

Objects are told from left to right, as the robot sees them, each beside the next one: "the red cube is left of the blue
ball . the blue ball is behind the green cylinder . the gripper holds the yellow cube ." All of it is read from the
simulation.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from policies.robots import get_robot
from representation.data.frames import SEGMENTATION, Frames, expect_empty, write_frames
from sim.appearance import COLOURS, SHAPES
from sim.episode_id import EpisodeId
from sim.scene import Scene
from sim.segmented_scenes import SegmentedTables, drawn_poses
from sim.tasks import robot_of

SHOWN, GRASPED = "shown", "grasped"
PARTS = ("everything else", "object", "gripper")
VIEWS, SUITES = 2, ("nominal", "distractors")
OPEN = 0.5  # least opening of a gripper that is told to be open


@dataclass(frozen=True)
class ReportedOptions:
    """What is drawn.

    Attributes:
        output: directory to write; must not hold files.
        tasks: whose tables are drawn, of one robot.
        count: tables.
        size: side of the pictures, pixels.
        seed: of everything that is drawn.
    """

    output: Path
    tasks: tuple[str, ...] = ("push", "pick", "place", "stack")
    count: int = 400
    size: int = 96
    seed: int = 0


def held_by(scene: Scene) -> int | None:
    """The arm in whose hand the first object is, or None."""
    for arm in range(len(scene.robot.arms)):
        if scene.layout.objects and np.allclose(scene.object_position(0), scene.tool_position(arm)):
            return arm
    return None


def relation(first: NDArray[np.float64], second: NDArray[np.float64]) -> str:
    """Where the first of two places (3,) is, seen from the robot, which looks along x with y to its left."""
    x, y = (first - second)[:2]
    if abs(y) >= abs(x):
        return "left of" if y > 0 else "right of"
    return "behind" if x > 0 else "in front of"


def report(scene: Scene) -> str:
    """What is true of a table, in sentences of few words."""
    names = [f"the {item.colour} {item.shape}" for item in scene.layout.objects]
    holder = held_by(scene)
    places = {slot: scene.object_position(slot) for slot in range(len(names))}
    lying = sorted((slot for slot in places if holder is None or slot > 0), key=lambda slot: -places[slot][1])
    sentences = [f"{names[a]} is {relation(places[a], places[b])} {names[b]}" for a, b in itertools.pairwise(lying)]
    if len(lying) == 1:
        sentences = [f"{names[lying[0]]} is on the table"]
    several = len(scene.robot.arms) > 1
    for arm in range(len(scene.robot.arms)):
        gripper = f"the {('left', 'right')[arm]} gripper" if several else "the gripper"
        if arm == holder:
            sentences.append(f"{gripper} holds {names[0]}")
        else:
            sentences.append(f"{gripper} is {'open' if scene.gripper_opening(arm) >= OPEN else 'closed'}")
    return " . ".join(sentences) + " ."


def reported_scenes(options: ReportedOptions) -> Frames:
    """Draw the pictures.

    Raises:
        ValueError: tasks of several robots.
    """
    rng, robot = np.random.default_rng(options.seed), get_robot(robot_of(options.tasks))
    poses, tables = drawn_poses(robot, rng), SegmentedTables(robot.name, options.size)
    parts = np.array([1 if name in COLOURS else 2 if name.startswith("hand") else 0 for name in tables.names])
    words = (*COLOURS, *SHAPES)
    images, shown, there, grasped, texts = [], [], [], [], []
    for index in tqdm(range(options.count), desc="tables", unit="table"):
        episode = EpisodeId(
            str(rng.choice(options.tasks)), str(rng.choice(SUITES)), int(rng.integers(1, 4)), index, options.seed
        )
        pictures, kinds = tables.draw(episode, poses[rng.integers(len(poses))], rng)
        images += pictures[:VIEWS]
        shown += [parts[kind].astype(np.uint8) for kind in kinds[:VIEWS]]
        found = {word for item in tables.scene.layout.objects for word in (item.colour, item.shape)}
        there += [[word in found for word in words]] * VIEWS
        grasped += [held_by(tables.scene) is not None] * VIEWS
        texts += [report(tables.scene)] * VIEWS
    tables.close()
    columns = {SEGMENTATION: np.stack(shown), SHOWN: np.array(there, np.uint8), GRASPED: np.array(grasped, np.uint8)}
    names = {SEGMENTATION: PARTS, SHOWN: words, GRASPED: ("not grasped", "grasped")}
    return Frames(np.stack(images), np.repeat(np.arange(options.count), VIEWS), columns, names, texts)


def main(args: Sequence[str] | None = None) -> None:
    """Draw the pictures from the command line."""
    options = tyro.cli(ReportedOptions, args=args, description=__doc__)
    expect_empty(options.output)
    write_frames(reported_scenes(options), options.output)


if __name__ == "__main__":
    main()

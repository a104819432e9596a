"""Pictures of the tables of tasks in which every pixel's thing is known: `python -m sim.segmented_scenes --output DIR`.

The tables are laid out as the tasks lay them out, in the nominal conditions and in other lights and rooms; the arms
stand as in moments of demonstrations or anyhow, a closed hand often with the named object in it. Nothing is simulated:
the pictures show places, not motions. Objects are told apart by colour, bins, the tray and its handles by place; zones
and drawers are not told from what surrounds them.

Each camera's picture is a frame, `episode` is the table, `segmentation` (H, W) tells what each pixel shows and, if
asked for, `depth` (H, W) how far it is. The format is that of `representation.data.frames`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from policies.robots import get_robot
from policies.robots.spec import RobotSpec
from representation.data.depth import encode_depth
from representation.data.frames import DEPTH, SEGMENTATION, Frames, expect_empty, write_frames
from representation.data.lerobot_dataset import LeRobotDataset
from sim.appearance import COLOURS
from sim.episode_id import EpisodeId
from sim.rendering import OffscreenRenderer
from sim.scene import Scene
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.tasks import robot_of

SUITES = ("nominal", "nominal", "nominal", "lighting", "background", "distractors", "placement")
"""Conditions, each as often as it is named."""

OVERSAMPLING = (1, 2)
"""Pictures are drawn so many times as large, and made small: some robots' cameras are sharper than others."""

HELD_SHARE = 0.75
"""Of the tables on which a hand is closed, how many have the named object in it."""

DRAWN_POSES, SPREAD_RAD = 2000, 0.3
HANDLE_RADIUS = 0.02  # m

OTHER, BINS, TRAY_HANDLES = "other", ("left bin", "right bin"), {"left": "left handle", "right": "right handle"}


@dataclass(frozen=True)
class SegmentedOptions:
    """What is drawn.

    Attributes:
        output: directory to write; must not hold files.
        tasks: whose tables are drawn, of one robot.
        poses: LeRobot datasets of the tasks; the arms stand as there. Without any they stand about their home.
        count: tables.
        size: side of the pictures, pixels.
        depth: also keep the depths.
        seed: of everything that is drawn.
    """

    output: Path
    tasks: tuple[str, ...]
    poses: tuple[Path, ...] = ()
    count: int = 3000
    size: int = 96
    depth: bool = False
    seed: int = 0


class SegmentedTables:
    """Draws tables of one robot.

    Args:
        robot: its name.
        size: side of the pictures, pixels.

    Attributes:
        depths: codes (S, S) of the depths of the last pictures, see `representation.data.depth`.
    """

    def __init__(self, robot: str, size: int) -> None:
        self._size, self._simulation = size, TabletopSimulation(SimulationConfig.of(robot))
        self._scene = self._simulation.scene
        model = self._scene.model
        self._renderers = {
            factor: OffscreenRenderer(model, factor * size, factor * size, "fast") for factor in OVERSAMPLING
        }
        self._bodies = [model.body(int(body)).name for body in model.geom_bodyid]
        arms = self._simulation.robot.arms
        self._hands = {body: f"hand {number}" for number, arm in enumerate(arms) for body in arm.hand_bodies}
        hands = [f"hand {number}" for number in range(len(arms))]
        self.names = (OTHER, *COLOURS, *BINS, "tray", *TRAY_HANDLES.values(), *hands)
        self.cameras = self._scene.cameras.names
        self.depths: list[NDArray[np.uint16]] = []

    @property
    def scene(self) -> Scene:
        """As the last table was laid out."""
        return self._scene

    def draw(
        self, episode: EpisodeId, pose: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
        """Pictures (S, S, 3) of all cameras, and what they show (S, S), numbers in `names`.

        Args:
            episode: whose table is laid out.
            pose: (n,) joints, rad (m).
            rng: draws whether a closed hand holds something, and how sharp the cameras are.
        """
        scene, robot = self._scene, self._simulation.robot
        self._simulation.reset(episode, pose)
        closed = np.flatnonzero(robot.gripper_openings(pose) < 0.9)
        if len(closed) and len(scene.layout.objects) and rng.random() < HELD_SHARE:
            scene.move_object(0, scene.tool_position(int(rng.choice(closed))))
        factor = int(rng.choice(OVERSAMPLING))
        renderer, kinds = self._renderers[factor], self._kinds()
        pictures, shown, self.depths = [], [], []
        for camera in self.cameras:
            picture, depth = renderer.render(scene.data, camera)
            if factor > 1:
                picture = cv2.resize(picture, (self._size, self._size), interpolation=cv2.INTER_AREA)
            pictures.append(picture)
            # The pixel in the middle of each square that became one.
            middles = (slice(factor // 2, None, factor),) * 2
            shown.append(kinds[renderer.render_geoms(scene.data, camera)][middles])
            self.depths.append(encode_depth(depth[middles]))
        return pictures, shown

    def _kinds(self) -> NDArray[np.uint8]:
        """Number in `names` of what each geom is; the last entry is for no geom."""
        scene, layout = self._scene, self._scene.layout
        names = self._hands | {f"object{slot}": item.colour for slot, item in enumerate(layout.objects)}
        leftmost = sorted(range(len(layout.bins)), key=lambda number: -layout.bins[number][1])
        names |= {f"bin{number or ''}": name for number, name in zip(leftmost, BINS, strict=False)}
        handles = {name: scene.tray_handle(side) for side, name in TRAY_HANDLES.items()} if layout.props else {}
        found = np.zeros(len(self._bodies) + 1, dtype=np.uint8)
        for geom, body in enumerate(self._bodies):
            name = names.get(body, body)
            if body == "tray":
                ways = {handle: np.linalg.norm(scene.data.geom_xpos[geom] - place) for handle, place in handles.items()}
                name = next((handle for handle, way in ways.items() if way < HANDLE_RADIUS), name)
            found[geom] = self.names.index(name) if name in self.names else 0
        return found

    def close(self) -> None:
        """Free the renderers."""
        for renderer in self._renderers.values():
            renderer.close()


def segmented_scenes(options: SegmentedOptions) -> Frames:
    """Draw the pictures.

    Raises:
        ValueError: tasks of several robots, or a dataset is damaged or of another robot.
    """
    rng, robot = np.random.default_rng(options.seed), get_robot(robot_of(options.tasks))
    poses = _recorded(options.poses, robot) if options.poses else drawn_poses(robot, rng)
    tables = SegmentedTables(robot.name, options.size)
    images, shown, depths = [], [], []
    for index in tqdm(range(options.count), desc="tables", unit="table"):
        task, suite = str(rng.choice(options.tasks)), str(rng.choice(SUITES))
        episode = EpisodeId(task, suite, int(rng.integers(1, 3)), index, options.seed)
        pictures, kinds = tables.draw(episode, poses[rng.integers(len(poses))], rng)
        images += pictures
        shown += kinds
        depths += tables.depths if options.depth else []
    tables.close()
    number = np.repeat(np.arange(options.count), len(tables.cameras))
    columns = {SEGMENTATION: np.stack(shown)} | ({DEPTH: np.stack(depths)} if options.depth else {})
    return Frames(np.stack(images), number, columns, {SEGMENTATION: tables.names})


def _recorded(paths: Sequence[Path], robot: RobotSpec) -> NDArray[np.float64]:
    """Joints (N, n) of all steps of some datasets."""
    found = []
    for path in paths:
        data = LeRobotDataset(path)
        if data.info.robot_type != robot.name:
            raise ValueError(f"{path}: robot: expected {robot.name}, found {data.info.robot_type}")
        states = [data.episode(index, ["observation.state"])["observation.state"] for index in range(data.num_episodes)]
        found.append(np.concatenate(states).astype(np.float64))
        if found[-1].shape[1:] != (len(robot.joint_names),):
            raise ValueError(
                f"{path}: observation.state: expected {len(robot.joint_names)} joints, found {found[-1].shape[1:]}"
            )
    return np.concatenate(found)


def drawn_poses(robot: RobotSpec, rng: np.random.Generator) -> NDArray[np.float64]:
    """Joints (N, n) about the home pose, the grippers anyhow."""
    poses = robot.home + rng.normal(0.0, SPREAD_RAD, (DRAWN_POSES, len(robot.home)))
    grippers = robot.grippers
    poses[:, grippers] = rng.uniform(robot.lower[grippers], robot.upper[grippers], (DRAWN_POSES, len(grippers)))
    return poses.clip(robot.lower, robot.upper)


def main(args: Sequence[str] | None = None) -> None:
    """Draw the pictures from the command line."""
    options = tyro.cli(SegmentedOptions, args=args, description=__doc__)
    expect_empty(options.output)
    write_frames(segmented_scenes(options), options.output)


if __name__ == "__main__":
    main()

"""Pictures of episodes that ended well and of some that did not, with the simulator's truth, for success detection.

The scripted expert drives, undisturbed in every second episode and heavily disturbed in the others. Each episode is
judged up to three times: by its last picture, by one from before its goal was reached, and by its last picture with a
sentence about another object of the scene. Staged pictures with captions, made without driving, are to pretrain on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from policies.execution.arm_gateway import ArmGateway
from policies.execution.chunk_scheduler import ChunkScheduler
from policies.interface import Observation
from representation.data.frames import Frames
from sim.demonstrations import NO_NOISE, Disturbance, NoiseConfig
from sim.episode_id import EpisodeId
from sim.expert import Expert
from sim.instructions import instruct
from sim.layout import Layout, ObjectLayout
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.suites import ALL_PAIRS
from sim.tasks import get_task

TASK = "pick"
EXPERT, NOISY, EARLY, WRONG_OBJECT = KINDS = ("expert", "noisy", "stopped early", "wrong object")
CAMERA = "front"
STRIDE = 3  # control steps from one picture to the next
HOLDING, EMPTY = "the gripper holds the {}", "the gripper is empty"
STAGED_SEED = 1_000_000  # added to that of the episodes, whose scenes are others then
_EMPTY_SHARE = 0.25
_TOOL_BOX = (0.36, -0.24, 0.10), (0.64, 0.24, 0.36)  # m, where the tool is staged
_NOISE = NoiseConfig(clean_share=0.0, step_std_m=0.012, kick_rate=0.12, slip_share=0.5)


@dataclass(frozen=True, slots=True)
class Run:
    """What was seen of one episode.

    Attributes:
        pictures: (T, H, W, 3) uint8, every `STRIDE` control steps, and the last one.
        achieved: (T,) whether the goal state held in each.
        instruction: what was to be done.
        layout: of the scene.
    """

    pictures: NDArray[np.uint8]
    achieved: NDArray[np.bool_]
    instruction: str
    layout: Layout


def drive(simulation: TabletopSimulation, episode: EpisodeId, noise: NoiseConfig) -> Run:
    """Let the expert, disturbed by noise, drive through an episode."""
    simulation.reset(episode)
    scene, robot = simulation.scene, simulation.robot
    truth, expert = get_task(episode.task)(scene), Expert(simulation)
    rng = np.random.default_rng(episode.seed_sequence("noise"))
    disturbance = Disturbance(noise, rng, simulation.control_period, len(robot.arms))
    scheduler, gateway = ChunkScheduler(robot), ArmGateway(robot)
    pictures, achieved = [], []

    def look() -> None:
        pictures.append(simulation.view(CAMERA, scene.joint_positions).rgb)
        achieved.append(truth.achieved())

    while not (status := simulation.status()).done:
        if status.steps % STRIDE == 0:
            look()
        seen = Observation(simulation.time, {}, scene.joint_positions, scene.joint_velocities, simulation.instruction)
        step = expert.act()
        executed = replace(step, rows=disturbance.disturb(step.rows[0])[None])
        joints = simulation.kinematics.to_joint_chunk(executed, seen.joint_positions)
        plan = scheduler.plan(joints, seen.joint_positions, simulation.time)
        simulation.accept(gateway.command(plan, seen).trajectory)
        simulation.advance(1)
    look()
    return Run(np.stack(pictures), np.array(achieved), simulation.instruction, scene.layout)


def named(item: ObjectLayout) -> str:
    """An object's words, as instructions have them."""
    return f"{item.colour} {item.shape}"


def staged_pictures(count: int, size: int, seed: int) -> Frames:
    """Pictures with captions of an arm that holds an object above the table, or none.

    Args:
        count: of the pictures; every one shows another scene.
        size: side of the pictures, pixels.
        seed: of the scenes.
    """
    simulation = TabletopSimulation(SimulationConfig(cameras=(CAMERA,), width=size, height=size))
    scene, robot, images, texts = simulation.scene, simulation.robot, [], []
    upright = simulation.kinematics.forward(robot.home)
    for number in tqdm(range(count), desc="staged", unit="picture"):
        episode = EpisodeId(TASK, "nominal", 1, number, seed + STAGED_SEED)
        rng = np.random.default_rng(episode.seed_sequence("stage"))
        upright[:3, 3] = rng.uniform(*_TOOL_BOX)
        joints = simulation.kinematics.inverse(upright, robot.home)
        joints[robot.grippers] = robot.upper[robot.grippers]
        simulation.reset(episode, joints)
        item = scene.layout.objects[0]
        holds = rng.uniform() >= _EMPTY_SHARE
        if holds:
            joints[robot.grippers] = item.half_size
            simulation.reset(episode, joints)
            scene.move_object(0, scene.tool_position())
        images.append(simulation.view(CAMERA, scene.joint_positions).rgb)
        texts.append(HOLDING.format(named(item)) if holds else EMPTY)
    simulation.close()
    return Frames(np.stack(images), np.arange(count), {}, {}, texts)


def judged_episodes(count: int, size: int, seed: int) -> Frames:
    """Drive through episodes of `TASK`.

    Args:
        count: of the episodes.
        size: side of the pictures, pixels.
        seed: of scenes, sentences and noise.

    Returns:
        Judgements, with the columns `success` (whether what the text asks for is the case in the picture), `kind` (of
        `KINDS`) and `asked` (the object that the text names), both numbered.
    """
    simulation = TabletopSimulation(SimulationConfig(cameras=(CAMERA,), width=size, height=size))
    names = tuple(" ".join(pair) for pair in ALL_PAIRS)
    judged: dict[str, list] = {name: [] for name in ("image", "text", "episode", "success", "kind", "asked")}

    def judge(image: NDArray[np.uint8], text: str, number: int, success: bool, kind: str, asked: ObjectLayout) -> None:
        values = (image, text, number, success, KINDS.index(kind), names.index(named(asked)))
        for column, value in zip(judged.values(), values, strict=True):
            column.append(value)

    for number in tqdm(range(count), desc="episodes", unit="episode"):
        noisy, episode = number % 2 == 1, EpisodeId(TASK, "nominal", 1, number, seed)
        rng = np.random.default_rng(episode.seed_sequence("judgements"))
        run = drive(simulation, episode, _NOISE if noisy else NO_NOISE)
        asked, *others = run.layout.objects
        judge(run.pictures[-1], run.instruction, number, bool(run.achieved[-1]), NOISY if noisy else EXPERT, asked)
        early = rng.choice(np.flatnonzero(~run.achieved))
        judge(run.pictures[early], run.instruction, number, False, EARLY, asked)
        if others and run.achieved[-1]:
            other = others[rng.integers(len(others))]
            judge(run.pictures[-1], instruct(TASK, rng, object=named(other)), number, False, WRONG_OBJECT, other)
    simulation.close()
    columns = {name: np.array(judged[name]) for name in ("success", "kind", "asked")}
    numbered = {"kind": KINDS, "asked": names}
    return Frames(np.stack(judged["image"]), np.array(judged["episode"]), columns, numbered, judged["text"])

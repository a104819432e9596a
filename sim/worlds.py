"""The worlds that tasks are done in: our tabletop, or gym-aloha's for tasks named `gym_aloha/...`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from policies.interface import Policy
from policies.robots import get_robot
from sim.expert_policy import ExpertPolicy
from sim.gym_aloha.environment import REQUIREMENTS
from sim.gym_aloha.expert import TransferCubeExpert
from sim.gym_aloha.server import HEIGHT, WIDTH
from sim.gym_aloha.world import GymAlohaWorld
from sim.gym_aloha.world import is_task as is_gym_aloha
from sim.protocol import EvaluationProtocol
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.tasks import fits, get_task, robot_of
from sim.videos import Film, film_of
from sim.world import World

GYM_ALOHA_SETTINGS = {
    "robot": "aloha",
    "control_hz": get_robot("aloha").control_hz,
    "robot_model": REQUIREMENTS[0],
    "profile": "gym-aloha",
    "width": WIDTH,
    "height": HEIGHT,
}


def world_settings(tasks: Sequence[str], robot: str = "") -> dict[str, Any]:
    """Fields of an `EvaluationProtocol` that follow from its tasks.

    Args:
        tasks: names.
        robot: name or YAML file of the robot that does them; the one that they were laid out for if left out.

    Raises:
        ValueError: an unknown task, no task, tasks of different robots or worlds, or a robot that does not fit.
    """
    if not any(is_gym_aloha(task) for task in tasks):
        spec = get_robot(robot or robot_of(tasks))
        for task in tasks:
            if not fits(get_task(task), spec):
                raise ValueError(f"robot: expected one with as many arms as task {task!r} needs, found {spec.name!r}")
        return {"robot": robot or spec.name, "control_hz": spec.control_hz}
    if robot not in ("", GYM_ALOHA_SETTINGS["robot"]):
        raise ValueError(f"robot: expected {GYM_ALOHA_SETTINGS['robot']} as in gym-aloha, found {robot!r}")
    if ours := [task for task in tasks if not is_gym_aloha(task)]:
        raise ValueError(f"tasks: expected some of one world, found {ours} beside those of gym-aloha")
    return dict(GYM_ALOHA_SETTINGS)


def make_world(protocol: EvaluationProtocol, cameras: Sequence[str]) -> World:
    """The world of a protocol's tasks, in which a policy looks through the cameras of these names."""
    if is_gym_aloha(protocol.tasks[0]):
        return GymAlohaWorld(cameras, protocol.control_hz)
    return TabletopSimulation(
        SimulationConfig(
            robot=protocol.robot,
            robot_model=protocol.robot_model,
            profile=protocol.profile,
            cameras=tuple(cameras),
            width=protocol.width,
            height=protocol.height,
            control_hz=protocol.control_hz,
        )
    )


def expert_policy(world: World) -> Policy:
    """The policy that knows the state of a world."""
    if isinstance(world, TabletopSimulation):
        return ExpertPolicy(world)
    if isinstance(world, GymAlohaWorld):
        return TransferCubeExpert(world)
    raise TypeError(f"world: expected one with an expert, found {type(world).__name__}")


def make_film(world: World) -> Film:
    """A film of a world for people."""
    if isinstance(world, TabletopSimulation):
        return film_of(world)
    if isinstance(world, GymAlohaWorld):
        return Film(world.picture, world.control_hz)
    raise TypeError(f"world: expected one that can be filmed, found {type(world).__name__}")

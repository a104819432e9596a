"""Scripted experts: one per task, with privileged knowledge of where everything is.

Each expert is a function of the present state alone, without memory: after any disturbance it goes on from where the
arm then is, so recordings with injected noise hold consistent corrections, and a policy that sees the state can learn
them. Each answer is one step of `ActionChunk` kind `cartesian_delta`. Those of the two-armed tasks are in
`sim.bimanual_expert`.
"""

from __future__ import annotations

import numpy as np

from policies.interface import ActionChunk
from sim.bimanual_expert import BIMANUAL_EXPERTS, ArmStep
from sim.motions import CLOSED, OPEN, Vector, funnel, turn_between
from sim.scene import Scene
from sim.simulation import TabletopSimulation
from sim.tasks.pick import held
from sim.tasks.place import in_bin
from sim.tasks.reach import reach_goal
from sim.tasks.stack import stacked

MAX_STEP = 0.03
MAX_TURN = 0.10
PACE_PERIOD = 0.1  # s; at a faster control rate each row is that share of the way
_TRAVEL_HEIGHT = 0.16
_FINGERS_AT_REST = 0.02


class Expert:
    """The expert of the simulation's current task.

    Args:
        simulation: whose episodes it solves.
        max_step: longest way of a tool in 0.1 s, metres.
    """

    def __init__(self, simulation: TabletopSimulation, max_step: float = MAX_STEP) -> None:
        self._simulation = simulation
        self._pace = simulation.control_period / PACE_PERIOD
        self._max_step = max_step
        self._upright = simulation.kinematics.forward(simulation.robot.home)[:3, :3]

    def act(self) -> ActionChunk:
        """One row: for each arm the tool's next step, and the gripper."""
        simulation = self._simulation
        scene, task = simulation.scene, simulation.task_name
        if task in BIMANUAL_EXPERTS:
            steps = BIMANUAL_EXPERTS[task](scene)
        else:
            move, gripper = _EXPERTS[task](scene)
            steps = [ArmStep(move, self._upright, gripper)]
        row = np.concatenate([self._bounded(step, scene.tool_rotation(arm)) for arm, step in enumerate(steps)])
        return ActionChunk(simulation.time, simulation.control_period, "cartesian_delta", row[None])

    def _bounded(self, step: ArmStep, rotation: Vector) -> Vector:
        """The (7,) row of one arm: in 0.1 s at most `max_step`, and at most `MAX_TURN` about each axis."""
        length = float(np.linalg.norm(step.move))
        move = step.move * min(1.0, self._max_step / max(length, 1e-9))
        turn = np.clip(turn_between(rotation, step.rotation), -MAX_TURN, MAX_TURN)
        return np.concatenate([self._pace * move, self._pace * turn, [step.gripper]])


def _grasp(scene: Scene) -> tuple[Vector, float]:
    """Go down on object 0 and close; the caller takes over when it is held by closed fingers."""
    tool, goal = scene.tool_position(), scene.object_position(0)
    goal[2] = max(goal[2], 0.015)
    offset = goal - tool
    if np.linalg.norm(offset[:2]) < 0.013 and abs(offset[2]) < 0.012:
        return 0.5 * offset, CLOSED
    return funnel(tool, goal, hover=0.09), OPEN


def _grasped(scene: Scene) -> bool:
    """Whether the fingers have closed on object 0 and come to rest."""
    gripper = scene.robot.arms[0].gripper
    width = scene.layout.objects[0].half_size / scene.robot.upper[gripper]
    at_rest = abs(scene.joint_velocities[gripper]) < _FINGERS_AT_REST
    return held(scene, 0) and scene.gripper_opening() < width + 0.12 and at_rest


def _reach(scene: Scene) -> tuple[Vector, float]:
    return reach_goal(scene) - scene.tool_position(), OPEN


def _pick(scene: Scene) -> tuple[Vector, float]:
    if _grasped(scene):
        return np.array((0.0, 0.0, max(0.18 - scene.tool_position()[2], 0.0))), CLOSED
    return _grasp(scene)


def _carry(scene: Scene, goal: Vector, travel: float) -> Vector:
    """Step of the tool that carries what it holds to `goal`, rising to `travel` until it is nearly above."""
    return funnel(scene.tool_position(), goal, hover=travel - goal[2], radius=0.012, slope=4.0)


def _place(scene: Scene) -> tuple[Vector, float]:
    tool = scene.tool_position()
    above_bin = np.array((*scene.layout.bins[0], 0.10))
    over = bool(np.linalg.norm(tool[:2] - above_bin[:2]) < 0.045)
    released = scene.gripper_opening() > 0.9
    if in_bin(scene, 0) or (over and not _grasped(scene) and not released and _near_bin(scene)):
        return np.array((0.0, 0.0, max(_TRAVEL_HEIGHT - tool[2], 0.0) if released else 0.0)), OPEN
    if _grasped(scene):
        if np.linalg.norm(tool[:2] - above_bin[:2]) < 0.025 and tool[2] < 0.125:
            return np.zeros(3), OPEN
        return _carry(scene, above_bin, _TRAVEL_HEIGHT), CLOSED
    return _grasp(scene)


def _near_bin(scene: Scene) -> bool:
    return bool(np.linalg.norm(scene.object_position(0)[:2] - np.asarray(scene.layout.bins[0])) < 0.07)


def _stack(scene: Scene) -> tuple[Vector, float]:
    tool, top, base = scene.tool_position(), scene.object_position(0), scene.object_position(1)
    rest = scene.layout.objects[0].half_size + scene.layout.objects[1].half_size
    gap = float(top[2] - base[2] - rest)
    poised = bool(np.linalg.norm(top[:2] - base[:2]) < 0.010) and abs(gap) < 0.005
    if poised or (stacked(scene) and not _grasped(scene)):
        rise = max(_TRAVEL_HEIGHT - tool[2], 0.0) if scene.gripper_opening() > 0.85 else 0.0
        return np.array((0.0, 0.0, rise)), OPEN
    if _grasped(scene):
        goal = np.array((base[0], base[1], base[2] + rest + 0.002)) + (tool - top)
        return _carry(scene, goal, _TRAVEL_HEIGHT), CLOSED
    return _grasp(scene)


def _push(scene: Scene) -> tuple[Vector, float]:
    tool, item = scene.tool_position(), scene.object_position(0)
    to_zone = np.asarray(scene.layout.zones[0].xy) - item[:2]
    remaining = float(np.linalg.norm(to_zone))
    if remaining < 0.02:
        return np.array((0.0, 0.0, max(0.12 - tool[2], 0.0))), CLOSED
    ahead = to_zone / remaining
    across = np.array((-ahead[1], ahead[0]))
    offset = tool[:2] - item[:2]
    behind, aside = -float(offset @ ahead), float(offset @ across)
    half = scene.layout.objects[0].half_size
    low = 0.022
    if behind > 0.5 * half and abs(aside) < 0.014 and tool[2] < low + 0.015:
        step = ahead * min(0.025, remaining + behind - half - 0.008) - across * aside
        return np.array((step[0], step[1], low - tool[2])), CLOSED
    start = item[:2] - ahead * (half + 0.035)
    return funnel(tool, np.array((start[0], start[1], low)), hover=0.08, radius=0.010), CLOSED


def _drawer(scene: Scene) -> tuple[Vector, float]:
    target = scene.layout.target_drawer
    tool, handle = scene.tool_position(), scene.handle_position(target)
    behind = tool[0] - handle[0]
    low = handle[2] - 0.012
    if 0.008 < behind < 0.05 and abs(tool[1] - handle[1]) < 0.035 and tool[2] < low + 0.012:
        pull = 0.03 if scene.drawer_opening(target) < 0.13 else 0.0
        return np.array((-pull, 0.3 * (handle[1] - tool[1]), low - tool[2])), CLOSED
    return funnel(tool, np.array((handle[0] + 0.027, handle[1], low)), hover=0.07, radius=0.006), CLOSED


_EXPERTS = {"reach": _reach, "push": _push, "pick": _pick, "place": _place, "stack": _stack, "drawer": _drawer}

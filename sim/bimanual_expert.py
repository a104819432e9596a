"""Scripted experts of the two-armed tasks; like those of `sim.expert`, functions of the present state alone.

Each returns one `ArmStep` per arm, in the robot's order: left, right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.execution.kinematics import rotation_from_rpy
from sim.motions import CLOSED, OPEN, Vector, funnel, turn_between
from sim.props import HANDLE_HALF_WIDTH, PEG_HALF_LENGTH, PEG_HALF_WIDTH, SOCKET_HALF_LENGTH, SOCKET_HALF_WIDTH
from sim.scene import Item, Scene
from sim.tasks.insertion import HOLDERS, grip, insertion_depth
from sim.tasks.lift_tray import HANDLES
from sim.tasks.pick import held
from sim.tasks.sampling import LEFT, RIGHT

_HANDOVER = np.array((0.50, 0.0, 0.26))
_TRAY_HEIGHT = 0.15
_SOCKET_AT = np.array((0.56, 0.0, 0.18))
_PUSHED_IN = 0.055
_PART_HALF_WIDTHS = {"peg": PEG_HALF_WIDTH, "socket": SOCKET_HALF_WIDTH}
_WAITING = (np.array((0.50, 0.24, 0.26)), np.array((0.50, -0.24, 0.26)))
_BASES = (np.array((0.50, 0.469)), np.array((0.50, -0.469)))
# A straight wrist is singular. It stays bent by more than 30 degrees when tools point straight down near the table, at
# most `_FAR` aside at the height of the bins, and at most `_OBLIQUE` aside a hand's breadth higher.
_VERTICAL, _FAR, _OBLIQUE = 0.0, np.deg2rad(28.0), np.pi / 4
_ALIGNED = 0.12  # rad
_FINGERS_AT_REST = 0.02  # m/s


class ArmStep(NamedTuple):
    """What one arm shall do next.

    Attributes:
        move: (3,) m, way of the tool that is left to go; it may be longer than a step.
        rotation: (3, 3) tool's orientation to come to.
        gripper: 0 closed to 1 open.
    """

    move: Vector
    rotation: NDArray[np.float64]
    gripper: float


def pointing(arm: int, tilt: float, yaw: float = 0.0, roll: float = 0.0) -> NDArray[np.float64]:
    """Rotation (3, 3) of a tool.

    Args:
        arm: left or right.
        tilt: rad, from pointing straight down (0) to pointing away from the arm's own base (pi / 2).
        yaw: rad, then turned about the vertical.
        roll: rad, first turned about its approach; at 0 the fingers move along the table's x at any tilt.
    """
    down = np.array(((0.0, -1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, -1.0)))  # of the right arm, which faces +y
    facing = yaw + (np.pi if arm == LEFT else 0.0)
    return rotation_from_rpy((0, 0, facing)) @ rotation_from_rpy((tilt, 0, 0)) @ down @ rotation_from_rpy((0, 0, roll))


def heading(scene: Scene, arm: int) -> float:
    """Yaw (rad) at which a tool points away from its arm's base: wrist and forearm then need not turn aside."""
    away = scene.tool_position(arm)[:2] - _BASES[arm]
    return float(np.arctan2(away[0], -away[1]) if arm == LEFT else np.arctan2(-away[0], away[1]))


def wait(scene: Scene, arm: int) -> ArmStep:
    """Go where the arm is out of the other one's way."""
    return ArmStep(_WAITING[arm] - scene.tool_position(arm), pointing(arm, _OBLIQUE, heading(scene, arm)), OPEN)


def aligned(scene: Scene, arm: int, rotation: NDArray[np.float64]) -> bool:
    """Whether the tool has come to an orientation."""
    return float(np.linalg.norm(turn_between(scene.tool_rotation(arm), rotation))) < _ALIGNED


def poised(scene: Scene, arm: int, goal: Vector, rotation: NDArray[np.float64], half_width: float) -> bool:
    """Whether fingers that close would take hold of something of that half width at `goal`."""
    along, across, ahead = rotation.T @ (goal - scene.tool_position(arm))
    room = scene.robot.upper[scene.robot.arms[arm].gripper] - half_width - 0.003
    return abs(along) < 0.012 and abs(across) < room and abs(ahead) < 0.012 and aligned(scene, arm, rotation)


def grasp(
    scene: Scene, arm: int, goal: Vector, rotation: NDArray[np.float64], half_width: float, may_close: bool = True
) -> ArmStep:
    """Turn to an orientation, come down on `goal` with open fingers and close them there, if they may."""
    if may_close and poised(scene, arm, goal, rotation, half_width):
        return ArmStep(0.5 * (goal - scene.tool_position(arm)), rotation, CLOSED)
    if not aligned(scene, arm, rotation):
        goal = goal + np.array((0.0, 0.0, 0.16))
    return ArmStep(funnel(scene.tool_position(arm), goal, hover=0.09), rotation, OPEN)


def grasped(scene: Scene, arm: int, item: Item, half_width: float) -> bool:
    """Whether an arm's fingers have closed on something of that half width and come to rest."""
    gripper = scene.robot.arms[arm].gripper
    closed = scene.joint_positions[gripper] < half_width + 0.005
    return closed and abs(scene.joint_velocities[gripper]) < _FINGERS_AT_REST and scene.touches_gripper(item, arm)


def yaw_of(scene: Scene, item: Item) -> float:
    """Heading (rad) of a box within a quarter turn, from -pi / 4 to pi / 4."""
    rotation = scene.object_rotation(item)
    axis = rotation[:, int(np.argmax(np.abs(rotation[0])))]  # the edge that lies nearest to the table's x
    axis = axis * np.sign(axis[0])
    return float(np.arctan2(axis[1], axis[0]))


def _transfer_cube(scene: Scene) -> list[ArmStep]:
    """The right hand holds the cube by two sides, the left one takes it by two others, across the right fingers.

    Picked from straight above and held out obliquely, the cube is tilted as the left fingers are.
    """
    cube, half = scene.object_position(0), scene.layout.objects[0].half_size
    giving, receiving = pointing(RIGHT, _OBLIQUE), pointing(LEFT, _OBLIQUE, roll=np.pi / 2)
    still = np.zeros(3)
    if grasped(scene, LEFT, 0, half) and held(scene, 0, LEFT):
        if scene.gripper_opening(RIGHT) < 0.85:
            return [ArmStep(still, receiving, CLOSED), ArmStep(still, giving, OPEN)]
        if np.linalg.norm(scene.tool_position(RIGHT) - cube) < 0.09:
            return [ArmStep(still, receiving, CLOSED), ArmStep(-0.1 * giving[:, 2], giving, OPEN)]
        return [ArmStep(still, receiving, CLOSED), wait(scene, RIGHT)]
    if grasped(scene, RIGHT, 0, half) and held(scene, 0, RIGHT):
        carry, offset = _HANDOVER - cube, cube - scene.tool_position(LEFT)
        ready = np.linalg.norm(carry) < 0.025 and aligned(scene, RIGHT, giving) and aligned(scene, LEFT, receiving)
        aside, across, ahead = receiving.T @ offset
        if ready and abs(aside) < 0.010 and abs(across) < 0.012 and ahead < 0.012:
            return [ArmStep(0.5 * offset, receiving, CLOSED), ArmStep(0.5 * carry, giving, CLOSED)]
        # A left finger fits between the right ones with 9 mm to spare.
        room = 0.010 if ahead < 0.06 else 0.006
        if not ready or max(abs(aside), abs(across)) > room:
            offset = offset - 0.10 * receiving[:, 2]
        return [ArmStep(offset, receiving, OPEN), ArmStep(carry, giving, CLOSED)]
    cube[2] = max(cube[2], 0.018)
    return [wait(scene, LEFT), grasp(scene, RIGHT, cube, pointing(RIGHT, _VERTICAL, yaw_of(scene, 0)), half)]


def _sort(scene: Scene) -> list[ArmStep]:
    item, half = scene.object_position(0), scene.layout.objects[0].half_size
    holders = [arm for arm in (LEFT, RIGHT) if grasped(scene, arm, 0, half) and held(scene, 0, arm)]
    arm = holders[0] if holders else _nearer(item)
    tool, bin_xy = scene.tool_position(arm), np.asarray(scene.layout.bins[0])
    above = np.array((*bin_xy, 0.11))
    lets_go = bool(np.linalg.norm(item[:2] - bin_xy) < 0.035) and item[2] < 0.135
    steps = [wait(scene, LEFT), wait(scene, RIGHT)]
    if lets_go:
        dropping = next((a for a in (LEFT, RIGHT) if scene.touches_gripper(0, a)), None)
        if dropping is not None:
            steps[dropping] = ArmStep(np.zeros(3), _over_bin(dropping, bin_xy), OPEN)
        return [_rising(scene, a, bin_xy) if a != dropping else steps[a] for a in (LEFT, RIGHT)]
    if holders:
        carry = funnel(tool, above + (tool - item), hover=0.07, radius=0.02, slope=2.0)
        steps[arm] = ArmStep(carry, _over_bin(arm, bin_xy), CLOSED)
    else:
        item[2] = max(item[2], 0.018)
        yaw = yaw_of(scene, 0) if scene.layout.objects[0].shape == "cube" else 0.0
        steps[arm] = grasp(scene, arm, item, pointing(arm, _VERTICAL, yaw), half)
    return steps


def _nearer(item: Vector) -> int:
    return LEFT if item[1] > 0 else RIGHT


def _over_bin(arm: int, bin_xy: Vector) -> NDArray[np.float64]:
    """Orientation to let something fall into a bin: the tool leans away from its base where it could not reach else."""
    reach = float(np.linalg.norm(bin_xy - _BASES[arm]))
    return pointing(arm, _FAR * float(np.clip((reach - 0.40) / 0.15, 0.0, 1.0)))


def _rising(scene: Scene, arm: int, bin_xy: Vector) -> ArmStep:
    """Leave a bin upwards before going anywhere else."""
    tool = scene.tool_position(arm)
    if tool[0] > 0.58 and tool[2] < 0.16:
        return ArmStep(np.array((0.0, 0.0, 0.18 - tool[2])), _over_bin(arm, bin_xy), OPEN)
    return wait(scene, arm)


def _lift_tray(scene: Scene) -> list[ArmStep]:
    yaw = yaw_of(scene, "tray")
    handles = {arm: scene.tray_handle(side) for arm, side in HANDLES.items()}
    rotations = {arm: pointing(arm, _VERTICAL, yaw) for arm in HANDLES}
    ready = {arm: grasped(scene, arm, "tray", HANDLE_HALF_WIDTH) for arm in HANDLES}
    # They close together: a hand that holds the tray alone would drag it from the other one.
    close = all(ready[a] or poised(scene, a, handles[a], rotations[a], HANDLE_HALF_WIDTH) for a in HANDLES)
    steps = []
    for arm, other in ((LEFT, RIGHT), (RIGHT, LEFT)):
        if not ready[arm]:
            steps.append(grasp(scene, arm, handles[arm], rotations[arm], HANDLE_HALF_WIDTH, close))
            continue
        move = 0.5 * (handles[arm] - scene.tool_position(arm))
        # The higher end waits for the lower one.
        ends = handles[arm][2], handles[other][2]
        move[2] = min(_TRAY_HEIGHT - ends[0], ends[1] + 0.015 - ends[0]) if ready[other] else 0.0
        steps.append(ArmStep(move, rotations[arm], CLOSED))
    return steps


def _insertion(scene: Scene) -> list[ArmStep]:
    socket, peg = scene.object_position("socket"), scene.object_position("peg")
    ready = {arm: grasped(scene, arm, part, _PART_HALF_WIDTHS[part]) for arm, part in HOLDERS.items()}
    tip = peg + PEG_HALF_LENGTH * scene.object_rotation("peg")[:, 0]
    off_axis = np.abs(scene.object_rotation("socket").T @ (tip - socket))[1:].max()
    bent = [abs(float(scene.object_rotation(part)[0, 0])) < np.cos(0.06) for part in HOLDERS.values()]
    inside = insertion_depth(scene) > 0.003
    pushing = all(ready.values()) and (inside or (off_axis < 0.0035 and not any(bent)))
    mouths = np.array((SOCKET_HALF_LENGTH + PEG_HALF_LENGTH, 0.0, 0.0))  # between the middles of peg and socket
    gap = np.array((-_PUSHED_IN if pushing else 0.03, 0.0, 0.0))
    goals = {LEFT: _SOCKET_AT, RIGHT: socket - mouths - gap}
    if not ready[LEFT]:
        goals[RIGHT] = _SOCKET_AT - mouths - 2 * gap
    steps = []
    for arm, part in HOLDERS.items():
        if not ready[arm]:
            across = pointing(arm, _VERTICAL, np.pi / 2 + yaw_of(scene, part))
            steps.append(grasp(scene, arm, grip(scene, arm), across, _PART_HALF_WIDTHS[part]))
            continue
        move = goals[arm] - scene.object_position(part)
        if arm == RIGHT and inside:
            move[0] = min(move[0], 0.02)
        steps.append(ArmStep(move, _with_axis_along_x(scene, arm, part), CLOSED))
    return steps


def _with_axis_along_x(scene: Scene, arm: int, part: str) -> NDArray[np.float64]:
    """Orientation of the tool, as upright as can be, in which the part that it holds lies along the table's x."""
    rotation = scene.tool_rotation(arm)
    axis = rotation.T @ scene.object_rotation(part)[:, 0]
    up = -np.array((0.0, 0.0, 1.0)) + axis[2] * axis
    up /= np.linalg.norm(up)
    return np.stack([axis, np.cross(up, axis), up])


BIMANUAL_EXPERTS: dict[str, Callable[[Scene], list[ArmStep]]] = {
    "transfer_cube": _transfer_cube,
    "sort": _sort,
    "lift_tray": _lift_tray,
    "insertion": _insertion,
}
"""Experts by task."""

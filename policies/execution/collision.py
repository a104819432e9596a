"""Whether a planned motion would bring links of a robot into each other, or into the table.

The robot's MuJoCo model is put, alone, on a horizontal plane. Fingers may touch the plane and each other, of two arms
too: that is how objects are picked up and handed over. Everything else keeps a margin. What the robot holds and what
stands on the table are not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.execution.trajectory import Motion
from policies.robots.spec import RobotSpec

TABLE = "table"
SAMPLE_PERIOD_S = 0.01  # s; among these samples of a motion the ones to check are chosen
NEARER = 1e-3  # m; bodies that begin too near each other may come nearer by this


@dataclass(frozen=True, slots=True)
class CollisionConfig:
    """What counts as a collision, and how closely a motion is looked at.

    Attributes:
        enabled: whether motions are checked.
        margin_m: bodies that come nearer than this collide.
        table_height_m: of the table's surface in the model's world frame.
        resolution: rad (m for grippers); most that a joint moves between two checked configurations.
    """

    enabled: bool = True
    margin_m: float = field(default=0.002, metadata={"range": (0.0, 0.2)})
    table_height_m: float = field(default=0.0, metadata={"range": (-5.0, 5.0)})
    resolution: float = field(default=0.02, metadata={"range": (0.001, 0.5)})


@dataclass(frozen=True, slots=True)
class Collision:
    """Two bodies that come too near each other.

    Attributes:
        bodies: their names; `table` is the table's.
        distance: m between their surfaces, negative where they overlap.
        time: seconds from the beginning of the motion.
    """

    bodies: tuple[str, str]
    distance: float
    time: float

    def __str__(self) -> str:
        return (
            f"collision: {self.bodies[0]} and {self.bodies[1]} come to {1e3 * self.distance:.1f} mm of each other "
            f"after {self.time:.3f} s"
        )


class CollisionChecker:
    """Checks motions of one robot; holds scratch memory, so one object per thread.

    Args:
        spec: the robot.
        config: what counts as a collision.
    """

    def __init__(self, spec: RobotSpec, config: CollisionConfig | None = None) -> None:
        self.spec = spec
        self.config = config or CollisionConfig()
        self._model = _compile(spec, self.config)
        self._data = mujoco.MjData(self._model)
        self._qpos = self._data.qpos
        self._address = np.array([self._model.joint(name).qposadr[0] for name in spec.joint_names])
        doubled = [(arm.gripper, arm.second_finger) for arm in spec.arms if arm.second_finger is not None]
        self._doubled = [gripper for gripper, _ in doubled]
        self._second = [int(self._model.joint(name).qposadr[0]) for _, name in doubled]
        names = [self._model.body(body).name for body in range(self._model.nbody)]
        self._names = [TABLE, *names[1:]]  # the plane is the world's only geometry

    def first_collision(self, motion: Motion) -> Collision | None:
        """Return the first collision of a motion, or None.

        Bodies that are too near each other from the beginning may part, but not come nearer.
        """
        times, positions = self._configurations(motion)
        begin = self._distances(positions[0])
        for time, q in zip(times[1:], positions[1:], strict=True):
            for pair, distance in self._distances(q).items():
                if distance < begin.get(pair, np.inf) - NEARER:
                    return Collision((self._names[pair[0]], self._names[pair[1]]), distance, float(time))
        return None

    def _configurations(self, motion: Motion) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Times (K,) since the beginning and configurations (K, n), `resolution` apart, with the first and last."""
        begin, end = motion.start.time, motion.end
        elapsed = np.linspace(0.0, end - begin, max(2, int(np.ceil((end - begin) / SAMPLE_PERIOD_S)) + 1))
        path = motion.sample_many(begin + elapsed)[0]
        # Never less than the way of the joint that moves most between two samples.
        way = np.append(0.0, np.cumsum(np.abs(np.diff(path, axis=0)).max(axis=1)))
        chosen = np.flatnonzero(np.diff(np.floor(way / self.config.resolution), prepend=-1.0))
        chosen = np.unique(np.append(chosen, len(elapsed) - 1))
        return elapsed[chosen], path[chosen]

    def _distances(self, q: ArrayLike) -> dict[tuple[int, int], float]:
        """Least distance by pair of bodies, of the pairs that are nearer than the margin at positions q (n,)."""
        data, model = self._data, self._model
        self._qpos[self._address] = q
        self._qpos[self._second] = np.asarray(q)[self._doubled]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        found: dict[tuple[int, int], float] = {}
        if not data.ncon:
            return found
        for contact in data.contact[: data.ncon]:
            one, other = sorted(int(model.geom_bodyid[geom]) for geom in contact.geom)
            found[one, other] = min(found.get((one, other), np.inf), float(contact.dist))
        return found


def _compile(spec: RobotSpec, config: CollisionConfig) -> mujoco.MjModel:
    robot = mujoco.MjSpec.from_file(str(spec.model_path))
    for geom in robot.geoms:
        geom.margin = config.margin_m / 2  # of a pair the margins add up
    plane = robot.worldbody.add_geom(
        name=TABLE, type=mujoco.mjtGeom.mjGEOM_PLANE, size=(0, 0, 1), pos=(0, 0, config.table_height_m)
    )
    plane.margin = config.margin_m / 2
    fingers = []
    for arm in spec.arms:
        finger = robot.joint(spec.joint_names[arm.gripper]).parent
        # Where only one finger moves, the hand is the other.
        second = finger.parent if arm.second_finger is None else robot.joint(arm.second_finger).parent
        fingers += [finger.name, second.name]
    for place, finger in enumerate(fingers):
        for other in ("world", *fingers[:place]):
            robot.add_exclude(bodyname1=other, bodyname2=finger)
    return robot.compile()

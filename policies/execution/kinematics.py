"""Forward and inverse kinematics of a robot, and Cartesian chunks turned into joint chunks.

Inverse kinematics is differential inverse kinematics (mink: a quadratic programme with joint limits on the tool's
pose error) repeated to convergence from a seed, so the answer stays on the seed's branch and is deterministic.
"""

from __future__ import annotations

from dataclasses import replace

import mink
import mujoco
import numpy as np
import qpsolvers
from numpy.typing import ArrayLike, NDArray

from policies.interface import ActionChunk
from policies.robots.spec import Arm, RobotSpec

MAX_ITERATIONS = 30
POSITION_TOLERANCE = 1e-5  # m
ORIENTATION_TOLERANCE = 1e-4  # rad
STEP_TOLERANCE = 1e-6  # rad; below it the solver rests, at the target or as near to it as the limits allow
# Metres and radians weigh the same; the posture task only decides the redundant direction.
POSE_COST = 1.0
POSTURE_COST = 1e-3
LM_DAMPING = 1e-3
DAMPING = 1e-9
MAX_STEP = 0.3  # rad an iteration; beyond it the linear model of a far target is worth nothing
SOLVER = "daqp"


def rotation_from_rpy(rpy: ArrayLike) -> NDArray[np.float64]:
    """Return the (3, 3) rotation of fixed-axis roll, pitch, yaw (rad): Rz(yaw) Ry(pitch) Rx(roll)."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(rpy), np.cos(rpy)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def rpy_from_rotation(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fixed-axis roll, pitch, yaw (3,) rad of a rotation (3, 3): the inverse of `rotation_from_rpy`."""
    pitch = np.arcsin(np.clip(-rotation[2, 0], -1.0, 1.0))
    roll = np.arctan2(rotation[2, 1], rotation[2, 2])
    yaw = np.arctan2(rotation[1, 0], rotation[0, 0])
    return np.array([roll, pitch, yaw])


class _ArmSolver:
    """The tasks of one arm's quadratic programme."""

    def __init__(self, model: mujoco.MjModel, spec: RobotSpec, arm: Arm) -> None:
        dofs = [model.joint(spec.joint_names[joint]).dofadr[0] for joint in arm.joints]
        self.tool_task = mink.FrameTask(
            arm.tool_site, "site", position_cost=POSE_COST, orientation_cost=POSE_COST, lm_damping=LM_DAMPING
        )
        posture_cost = np.zeros(model.nv)
        posture_cost[dofs] = POSTURE_COST
        self.posture_task = mink.PostureTask(model, cost=posture_cost)
        self.other_dofs = np.setdiff1d(np.arange(model.nv), dofs)


class Kinematics:
    """Kinematics of one robot; holds scratch memory, so one object per thread.

    Args:
        spec: the robot.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self.spec = spec
        model = mujoco.MjModel.from_xml_path(str(spec.model_path))
        for name, lower, upper in zip(spec.joint_names, spec.lower, spec.upper, strict=True):
            model.joint(name).range = lower, upper  # a robot's file may be narrower than its model
        self._model = model
        self._configuration = mink.Configuration(model)
        self._data = self._configuration.data
        self._frames: dict[str, tuple[NDArray, NDArray]] = {}  # views into the data
        self._address = np.array([model.joint(name).qposadr[0] for name in spec.joint_names])
        self._limit = mink.ConfigurationLimit(model)
        self._solvers = [_ArmSolver(model, spec, arm) for arm in spec.arms]

    def forward(self, q: ArrayLike, arm: int = 0) -> NDArray[np.float64]:
        """Return the (4, 4) base_from_tool of one arm at joint positions q (n,), rad (m)."""
        return self.frame(q, self.spec.arms[arm].tool_site)

    def tool_paths(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Return the tools' positions (arms, T, 3) in the base frame, m, at joint positions (T, n)."""
        arms = range(len(self.spec.arms))
        places = [[self.forward(row, arm)[:3, 3] for row in np.asarray(rows)] for arm in arms]
        return np.array(places).reshape(len(arms), -1, 3)

    def frame(self, q: ArrayLike, name: str) -> NDArray[np.float64]:
        """Return the (4, 4) pose in the base frame of a site or body of the robot at joint positions q (n,).

        Raises:
            ValueError: q has another length than the robot has joints, or the robot has no such frame.
        """
        self._set_positions(q)
        rotation, position = self._locate(name)
        base_rotation, base_position = self._locate(self.spec.base_frame)
        pose = np.eye(4)
        pose[:3, :3] = base_rotation.T @ rotation
        pose[:3, 3] = base_rotation.T @ (position - base_position)
        return pose

    def jacobian(self, q: ArrayLike, arm: int = 0) -> NDArray[np.float64]:
        """Return the (6, n) Jacobian of an arm's tool at joint positions q (n,), rad (m).

        Times joint velocities (n,) it gives the tool's linear (m/s) and angular velocity (rad/s) in the base frame.
        """
        self._set_positions(q)
        linear, angular = np.zeros((3, self._model.nv)), np.zeros((3, self._model.nv))
        site = self._model.site(self.spec.arms[arm].tool_site).id
        mujoco.mj_jacSite(self._model, self._data, linear, angular, site)
        base_rotation, _ = self._locate(self.spec.base_frame)
        dofs = [self._model.joint(name).dofadr[0] for name in self.spec.joint_names]
        return np.vstack([base_rotation.T @ linear[:, dofs], base_rotation.T @ angular[:, dofs]])

    def has_frame(self, name: str) -> bool:
        """Whether the robot has a site or body of that name; the world is none."""
        site = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_SITE, name)
        return site >= 0 or mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_BODY, name) > 0

    def inverse(self, base_from_tool: ArrayLike, seed_q: ArrayLike, arm: int = 0) -> NDArray[np.float64]:
        """Return joint positions (n,) within the limits that bring an arm's tool to a pose, near a seed.

        A pose out of reach gives the configuration where the weighted pose error is least; grippers and other arms keep
        the seed's positions.

        Args:
            base_from_tool: (4, 4) target pose of the tool.
            seed_q: (n,) where to start, rad (m); clipped to the limits.
            arm: which arm.

        Raises:
            ValueError: a wrong shape or a value that is not finite.
            RuntimeError: the quadratic programme has no solution (numerical breakdown).
        """
        target = np.asarray(base_from_tool, dtype=np.float64)
        if target.shape != (4, 4) or not np.isfinite(target).all():
            raise ValueError(f"base_from_tool: expected a finite (4, 4) pose, found {target}")
        seed = np.clip(np.asarray(seed_q, dtype=np.float64), self.spec.lower, self.spec.upper)
        if not np.isfinite(seed).all():
            raise ValueError(f"seed_q: expected finite values, found {seed}")
        self._set_positions(seed)
        configuration, solver = self._configuration, self._solvers[arm]
        solver.tool_task.set_target(mink.SE3.from_matrix(target))
        solver.posture_task.set_target(configuration.q)
        for _ in range(MAX_ITERATIONS):
            error = solver.tool_task.compute_error(configuration)
            close = np.linalg.norm(error[:3]) < POSITION_TOLERANCE and np.linalg.norm(error[3:]) < ORIENTATION_TOLERANCE
            if close:
                break
            problem = mink.build_ik(
                configuration, (solver.tool_task, solver.posture_task), 1.0, damping=DAMPING, limits=(self._limit,)
            )
            step = qpsolvers.solve_problem(problem, SOLVER).x
            if step is None:
                raise RuntimeError(f"inverse kinematics: {SOLVER} found no step towards {target} from {seed}")
            step[solver.other_dofs] = 0.0
            step *= MAX_STEP / max(MAX_STEP, float(np.abs(step).max()))
            configuration.integrate_inplace(step, 1.0)
            if np.abs(step).max() < STEP_TOLERANCE:
                break
        joints = list(self.spec.arms[arm].joints)
        q = seed.copy()
        q[joints] = np.clip(configuration.q[self._address], self.spec.lower, self.spec.upper)[joints]
        return q

    def to_joint_chunk(self, chunk: ActionChunk, joint_positions: ArrayLike) -> ActionChunk:
        """Return the chunk with absolute joint targets in its rows.

        Deltas are summed from the forward kinematics of the observed joints; each row is solved from the row before.
        A row that is not finite, and every row after it, becomes NaN: rejecting it is the safety filter's work.

        Args:
            chunk: any kind of chunk; a `joint` chunk is returned as it is.
            joint_positions: (n,) joint positions of the observation that the chunk answers, rad (m).

        Raises:
            ValueError: Cartesian rows for another number of arms.
        """
        if chunk.kind == "joint":
            return chunk
        arms = range(len(self.spec.arms))
        if chunk.rows.shape[1] != 7 * len(arms):
            raise ValueError(f"rows: expected 7 values for each of {len(arms)} arms, found {chunk.rows.shape[1]}")
        q = np.array(joint_positions, dtype=np.float64)
        poses = [self.forward(q, arm) for arm in arms]
        rows = np.full((len(chunk.rows), len(self.spec.joint_names)), np.nan)
        for i, row in enumerate(chunk.rows.reshape(len(chunk.rows), len(arms), 7)):
            if not np.isfinite(row).all():
                break
            for arm, (pose, values) in enumerate(zip(poses, row, strict=True)):
                if chunk.kind == "cartesian_delta":
                    pose[:3, 3] += values[:3]
                    pose[:3, :3] = rotation_from_rpy(values[3:6]) @ pose[:3, :3]
                else:
                    pose[:3, 3] = values[:3]
                    pose[:3, :3] = rotation_from_rpy(values[3:6])
                q = self.inverse(pose, q, arm)
            rows[i] = q
            rows[i, self.spec.grippers] = self.spec.gripper_positions(row[:, 6])
        return replace(chunk, kind="joint", rows=rows)

    def _locate(self, name: str) -> tuple[NDArray, NDArray]:
        """World rotation (3, 3) and position (3,) of a site or body."""
        if name not in self._frames:
            site = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_SITE, name)
            body = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_BODY, name)
            if site < 0 and body < 0:
                raise ValueError(f"frame: expected a site or body of {self.spec.name}, found {name!r}")
            data = self._data
            self._frames[name] = (
                (data.site_xmat[site], data.site_xpos[site]) if site >= 0 else (data.xmat[body], data.xpos[body])
            )
        rotation, position = self._frames[name]
        return rotation.reshape(3, 3), position

    def _set_positions(self, q: ArrayLike) -> None:
        q = np.asarray(q, dtype=np.float64)
        if q.shape != self._address.shape:
            raise ValueError(f"q: expected {len(self._address)} joint positions, found shape {q.shape}")
        full = self._model.qpos0.copy()
        full[self._address] = q
        self._configuration.update(full)

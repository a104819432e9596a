"""`MujocoPassive`: joints of a MuJoCo model that swing freely, as a Hamiltonian system with p = M(q) q'."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from representation.dynamics.hamiltonian_meta.energy_alarm import JointWindow

STEP = 1e-5  # of the positions that the slope of the energy is taken over, rad or m


class MujocoPassive:
    """Some joints of a model; all others stand still where its reference pose has them.

    States are (T, 2 d): d positions in rad or m, and as many momenta in SI units. Gravity and springs count. Friction,
    actuators and contacts are no part of an energy, and are left out.

    Args:
        model: of the robot, or of the tool.
        joints: names of d hinges or slides.

    Attributes:
        inertia: mean inertia of the joints in the reference pose, kg m² or kg: a unit of momenta.

    Raises:
        ValueError: a joint is missing, or is neither a hinge nor a slide.
    """

    def __init__(self, model: mujoco.MjModel, joints: Sequence[str]) -> None:
        self.model, self.data = model, mujoco.MjData(model)
        numbers = [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name) for name in joints]
        scalar = {int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)}
        for name, number in zip(joints, numbers, strict=True):
            if number < 0 or int(model.jnt_type[number]) not in scalar:
                raise ValueError(f"joints: expected hinges and slides of the model, found {name!r}")
        self._places, self._dofs = model.jnt_qposadr[numbers], model.jnt_dofadr[numbers]
        self.inertia = float(np.diag(self._mass(self.data.qpos[self._places])).mean())

    def momenta(self, positions: NDArray[np.float64], velocities: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, d) of positions and velocities (T, d)."""
        return np.array([self._mass(q) @ v for q, v in zip(positions, velocities, strict=True)])

    def window(self, dt: float, positions: NDArray[np.float64], velocities: NDArray[np.float64]) -> JointWindow:
        """Readings (T, d) with their momenta by `inertia`."""
        return JointWindow(dt, positions, velocities, self.momenta(positions, velocities) / self.inertia)

    def hamiltonian(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Energies (T,), J."""
        found = []
        for q, p in zip(*np.split(states, 2, axis=1), strict=True):
            kinetic = 0.5 * p @ np.linalg.solve(self._mass(q), p)
            mujoco.mj_energyPos(self.model, self.data)
            found.append(kinetic + self.data.energy[0])
        return np.array(found)

    def field(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rates (T, 2 d) by the slopes of the energy, those over the positions by central differences."""
        count = len(self._dofs)
        q, p = np.split(states, 2, axis=1)
        rates = [np.linalg.solve(self._mass(one), momentum) for one, momentum in zip(q, p, strict=True)]
        steps = STEP * np.eye(2 * count)[:count]
        forces = [(self.hamiltonian(states - step) - self.hamiltonian(states + step)) / (2 * STEP) for step in steps]
        return np.concatenate([np.array(rates), np.stack(forces, axis=1)], axis=1)

    def trajectory(self, state: NDArray[np.float64], duration: float, points: int) -> NDArray[np.float64]:
        """States (points, 2 d) from one (2 d,) on, at even times; LSODA."""
        times = np.linspace(0, duration, points)
        found = solve_ivp(
            lambda _, x: self.field(x[None])[0], (0, duration), state, "LSODA", times, rtol=1e-8, atol=1e-10
        )
        return found.y.T

    def _mass(self, q: NDArray[np.float64]) -> NDArray[np.float64]:
        """Inertia (d, d) at positions (d,); the pose stays in `data`."""
        model, data = self.model, self.data
        data.qpos[self._places] = q
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_crb(model, data)
        mujoco.mj_factorM(model, data)
        rows = []
        for dof in self._dofs:
            unit, row = np.zeros(model.nv), np.zeros(model.nv)
            unit[dof] = 1.0
            mujoco.mj_mulM(model, data, row, unit)
            rows.append(row[self._dofs])
        return np.array(rows)

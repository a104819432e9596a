from __future__ import annotations

import mujoco
import numpy as np
import pytest

from representation.dynamics.hamiltonian_meta.energy_alarm import TIME_UNIT_S, AlarmConfig, EnergyAlarm
from representation.dynamics.hamiltonian_meta.mujoco_passive import MujocoPassive
from representation.dynamics.hamiltonian_meta.network import HamiltonianConfig, HamiltonianNet

DT, POINTS = 0.01, 200


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    """Two links, one behind the other, and a slide with a spring that stands still."""
    spec = mujoco.MjSpec()
    spec.option.timestep = 0.001
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_RK4
    parent = spec.worldbody
    for name, length, mass in (("first", 0.4, 1.0), ("second", 0.3, 0.4)):
        parent = parent.add_body(pos=(0, 0, -0.4 if name == "second" else 0))
        parent.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=(0, 1, 0))
        parent.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=(0, 0, 0, 0, 0, -length), size=(0.01, 0, 0), mass=mass
        )
    spec.worldbody.add_body(name="ball").add_freejoint(name="free")
    spec.body("ball").add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(0.01, 0, 0), pos=(5, 0, 0))
    for geom in spec.geoms:
        geom.contype = geom.conaffinity = 0
    return spec.compile()


@pytest.fixture(scope="module")
def swing(model) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities (T, 2) of the simulation itself, at 100 Hz."""
    data = mujoco.MjData(model)
    data.qpos[:2] = (0.9, -0.6)
    rows = []
    for _ in range(POINTS):
        rows.append((data.qpos[:2].copy(), data.qvel[:2].copy()))
        for _ in range(10):
            mujoco.mj_step(model, data)
    positions, velocities = map(np.array, zip(*rows, strict=True))
    return positions, velocities


def test_momenta_and_energy_follow_the_simulation_and_velocities_do_not(model, swing):
    system = MujocoPassive(model, ("first", "second"))
    positions, velocities = swing
    momenta = system.momenta(positions, velocities)
    states = np.concatenate([positions, momenta], axis=1)
    energies = system.hamiltonian(states)
    kinetic = 0.5 * (momenta * velocities).sum(axis=1)
    assert np.ptp(energies) < 1e-6 * kinetic.max()
    plain = system.hamiltonian(np.concatenate([positions, system.inertia * velocities], axis=1))
    assert np.ptp(plain) > 0.1 * kinetic.max()
    rates = system.field(states)
    swept = (8 * (states[3:-1] - states[1:-3]) - (states[4:] - states[:-4])) / (12 * DT)
    np.testing.assert_allclose(rates[:, :2], velocities, atol=1e-9)
    np.testing.assert_allclose(rates[2:-2], swept, atol=5e-4 * np.abs(rates).max())


def test_its_own_trajectory_is_that_of_the_simulation(model, swing):
    system = MujocoPassive(model, ("first", "second"))
    positions, velocities = swing
    start = np.concatenate([positions[0], system.momenta(positions[:1], velocities[:1])[0]])
    found = system.trajectory(start, 0.5, 51)
    np.testing.assert_allclose(found[:, :2], positions[:51], atol=1e-6)


def test_windows_of_several_joints_have_momenta_for_states_and_velocities_for_rates(model, swing):
    system = MujocoPassive(model, ("first", "second"))
    window = system.window(DT, *swing)
    expected = system.momenta(*swing) / system.inertia * TIME_UNIT_S
    np.testing.assert_allclose(window.states()[:, 0, 2:], expected, rtol=1e-5)
    np.testing.assert_allclose(window.rates()[:, 0, :2], swing[1] * TIME_UNIT_S, rtol=1e-5)
    np.testing.assert_array_equal(window.part(slice(20, 40)).states(), window.states()[20:40])
    alarm = EnergyAlarm(HamiltonianNet(HamiltonianConfig(coordinates=2, hidden=8)), window, AlarmConfig(steps=2))
    assert np.isfinite(alarm.sigmas(window)).all()


def test_joints_that_do_not_swing_are_refused(model):
    for name in ("third", "free"):
        with pytest.raises(ValueError, match=f"expected hinges and slides of the model, found '{name}'"):
            MujocoPassive(model, ("first", name))

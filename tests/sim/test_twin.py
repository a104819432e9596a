"""Every preset in the simulation, as a twin of the hardware."""

from __future__ import annotations

import numpy as np
import pytest

from policies.execution.trajectory import JointTrajectory
from policies.robots.description import PRESETS
from sim.episode_id import EpisodeId
from sim.expert import Expert
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.tasks import tasks_for


@pytest.mark.parametrize("name", PRESETS)
def test_the_twin_follows_a_trajectory(name):
    simulation = TabletopSimulation(SimulationConfig.of(name, cameras=()))
    spec = simulation.robot
    simulation.reset(EpisodeId(tasks_for(spec)[0], "nominal", 1, 0, 0), spec.home)
    target = spec.home.copy()
    target[spec.arm_joints] += 0.1
    target[spec.grippers] = (spec.lower + spec.upper)[spec.grippers] / 2
    simulation.accept(JointTrajectory(0.0, np.array([1.0]), target[None], np.zeros((1, len(target)))))
    for _ in range(round(1.5 / simulation.scene.model.opt.timestep)):
        simulation.tick()
    found = simulation.scene.joint_positions
    np.testing.assert_allclose(found[spec.arm_joints], target[spec.arm_joints], atol=0.01)
    np.testing.assert_allclose(simulation.robot.gripper_openings(found), 0.5, atol=0.05)


@pytest.mark.parametrize("name", ["fr3", "ur5e", "xarm7"])
def test_the_expert_reaches_with_every_arm_of_the_panda_s_size(name):
    simulation = TabletopSimulation(SimulationConfig.of(name, cameras=()))
    simulation.reset(EpisodeId("reach", "nominal", 1, 0, 0))
    expert = Expert(simulation)
    while not (status := simulation.status()).done:
        chunk = simulation.kinematics.to_joint_chunk(expert.act(), simulation.scene.joint_positions)
        times = np.array([simulation.control_period])
        simulation.accept(JointTrajectory(simulation.time, times, chunk.rows, np.zeros_like(chunk.rows)))
        status = simulation.advance(1)
    assert status.success

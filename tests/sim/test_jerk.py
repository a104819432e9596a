from __future__ import annotations

import numpy as np
import pytest

from policies.execution.chunk_scheduler import ChunkScheduler
from sim.episode_id import EpisodeId
from sim.expert import Expert
from sim.simulation import SimulationConfig, TabletopSimulation, rms_jerk


def test_a_cubic_path_has_the_jerk_of_its_third_derivative():
    times = 0.1 * np.arange(20)
    path = [np.array([2.0 * t**3, 0.0]) for t in times]
    assert rms_jerk(path, 0.1) == pytest.approx(12.0 / np.sqrt(2))


def test_constant_acceleration_and_short_paths_have_none():
    assert rms_jerk([np.array([t**2]) for t in np.arange(10.0)], 1.0) == pytest.approx(0.0)
    assert rms_jerk([np.ones(7)] * 3, 0.1) == 0.0


def test_an_arm_that_holds_still_has_less_than_one_that_works():
    simulation = TabletopSimulation(SimulationConfig(cameras=()))
    simulation.reset(EpisodeId("reach", "nominal", 1, 0, 0))
    assert simulation.advance(5).jerk == pytest.approx(0.0, abs=1e-6)
    expert = Expert(simulation)
    row = expert.act()
    q = simulation.scene.joint_positions
    chunk = simulation.kinematics.to_joint_chunk(row, q)
    simulation.accept(ChunkScheduler(simulation.robot).plan(chunk, q, simulation.time))
    assert simulation.advance(3).jerk > 1.0

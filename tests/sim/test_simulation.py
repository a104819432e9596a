from __future__ import annotations

import numpy as np
import pytest

from policies.interface import ActionChunk
from sim.episode_id import EpisodeId
from sim.episode_worker import EpisodeWorker, WorkerConfig
from sim.protocol import EvaluationProtocol
from sim.simulation import SimulationConfig, TabletopSimulation

REACH = EpisodeId("reach", "nominal", 1, 0, 0)


def test_an_observation_carries_the_joints_of_the_control_steps_since_the_last_one():
    simulation = TabletopSimulation(SimulationConfig(cameras=()))
    simulation.reset(REACH)
    assert simulation.observe().readings is None
    passed = []
    for _ in range(3):
        simulation.advance(1)
        passed.append((simulation.time, simulation.scene.joint_positions))
    observation = simulation.observe()
    np.testing.assert_array_equal(observation.readings.stamps, [time for time, _ in passed[:2]])
    np.testing.assert_array_equal(observation.readings.positions, [joints for _, joints in passed[:2]])
    assert observation.stamp == pytest.approx(0.3)
    simulation.advance(2)
    simulation.reset(REACH)
    assert simulation.observe().readings is None


class Watching:
    """Moves nothing, and remembers when the joints were read."""

    robot, cameras, control_hz, chunk_length = "panda", (), 10.0, 4

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def reset(self, seed=None) -> None:
        self.stamps.clear()

    def act(self, observation) -> ActionChunk:
        readings = () if observation.readings is None else observation.readings.stamps
        self.stamps += [*readings, observation.stamp]
        return ActionChunk(observation.stamp, 0.1, "joint", np.tile(observation.joint_positions, (4, 1)))

    def act_batch(self, observations) -> list[ActionChunk]:
        return [self.act(observation) for observation in observations]


def test_a_policy_that_is_asked_now_and_then_hears_of_every_control_step(monkeypatch):
    policy = Watching()
    monkeypatch.setattr("sim.episode_worker.load_policy", lambda *_, **__: policy)
    worker = EpisodeWorker(WorkerConfig("watching", EvaluationProtocol(("reach",), query_steps=3)))
    steps = worker.run(REACH).steps
    assert policy.stamps == pytest.approx(np.arange(len(policy.stamps)) / 10)
    assert steps - 3 <= len(policy.stamps) <= steps

import numpy as np
import pytest

from sim.demonstrations import NO_NOISE, NoiseConfig, demonstrate
from sim.episode_id import EpisodeId
from sim.expert import MAX_STEP
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.tasks import TASKS


@pytest.fixture(scope="module")
def simulation():
    simulation = TabletopSimulation(SimulationConfig(cameras=()))
    yield simulation
    simulation.close()


@pytest.mark.parametrize("task", TASKS)
def test_the_expert_succeeds(simulation, task):
    results = [demonstrate(simulation, EpisodeId(task, "nominal", 1, i, 11), NO_NOISE) for i in range(3)]
    assert all(frames is not None for frames in results)


@pytest.mark.parametrize("task", ["pick", "push"])
def test_the_expert_recovers_from_disturbance(simulation, task):
    noise = NoiseConfig(clean_share=0.0, kick_rate=0.06, scattered_start_share=1.0)
    results = [demonstrate(simulation, EpisodeId(task, "nominal", 1, i, 12), noise) for i in range(4)]
    assert sum(frames is not None for frames in results) >= 3


def test_labels_are_the_undisturbed_actions_and_bounded(simulation):
    noise = NoiseConfig(clean_share=0.0)
    frames = demonstrate(simulation, EpisodeId("reach", "nominal", 1, 0, 13), noise)
    labels = np.array([frame["action"] for frame in frames])
    executed = np.array([frame["action.executed"] for frame in frames])
    assert np.linalg.norm(labels[:, :3], axis=1).max() <= MAX_STEP + 1e-6
    assert np.abs(labels - executed).max() > 1e-3


def test_the_same_demonstration_twice_is_bit_equal(simulation):
    episode = EpisodeId("push", "nominal", 1, 2, 14)
    first, second = (demonstrate(simulation, episode, NoiseConfig()) for _ in range(2))
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert all(np.array_equal(a[key], b[key]) for key in a)

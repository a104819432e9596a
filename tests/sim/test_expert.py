import numpy as np
import pytest

from sim.demonstrations import NO_NOISE, NoiseConfig, demonstrate
from sim.episode_id import EpisodeId
from sim.expert import MAX_STEP
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.tasks import TASKS, get_task


@pytest.fixture(scope="module")
def simulations():
    return {robot: TabletopSimulation(SimulationConfig.of(robot, cameras=())) for robot in ("panda", "aloha")}


@pytest.fixture
def simulation(simulations):
    return simulations["panda"]


@pytest.mark.parametrize("task", TASKS)
def test_the_expert_succeeds(simulations, task):
    simulation = simulations[get_task(task).robot]
    results = [demonstrate(simulation, EpisodeId(task, "nominal", 1, i, 11), NO_NOISE) for i in range(3)]
    assert all(frames is not None for frames in results)


@pytest.mark.parametrize("task", ["pick", "push", "transfer_cube", "sort", "lift_tray"])
def test_the_expert_recovers_from_disturbance(simulations, task):
    simulation = simulations[get_task(task).robot]
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


def test_two_arms_record_what_their_controllers_were_told(simulations):
    simulation = simulations["aloha"]
    frames = demonstrate(simulation, EpisodeId("transfer_cube", "nominal", 1, 0, 13), NoiseConfig(clean_share=0.0))
    assert frames is not None
    labels, states = (np.array([frame[key] for frame in frames]) for key in ("action", "observation.state"))
    assert labels.shape == (len(frames), len(simulation.robot.joint_names))
    arms = simulation.robot.arm_joints
    assert np.abs(labels - states)[:, arms].max() < 0.35
    assert all(np.array_equal(frame["action"], frame["action.executed"]) for frame in frames)
    np.testing.assert_array_equal(labels[-1], simulation.commanded_positions.astype(np.float32))


def test_the_same_demonstration_twice_is_bit_equal(simulation):
    episode = EpisodeId("push", "nominal", 1, 2, 14)
    first, second = (demonstrate(simulation, episode, NoiseConfig()) for _ in range(2))
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert all(np.array_equal(a[key], b[key]) for key in a)

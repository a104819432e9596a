from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policies.interface import CameraView, Observation
from sim.episode_id import EpisodeId
from sim.perturbation import Perturbation
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.tasks import TASKS, get_task


@pytest.fixture(scope="module")
def simulations() -> dict[str, TabletopSimulation]:
    return {robot: TabletopSimulation(SimulationConfig.of(robot, cameras=())) for robot in ("panda", "aloha")}


@pytest.fixture
def simulation(simulations: dict[str, TabletopSimulation]) -> TabletopSimulation:
    return simulations["panda"]


def observation() -> Observation:
    view = CameraView(
        np.full((4, 6, 3), 90, np.uint8),
        np.linspace(0.3, 2.0, 24, dtype=np.float32).reshape(4, 6),
        np.eye(3),
        np.eye(4),
    )
    earlier = {"front": np.full((4, 6, 3), 80, np.uint8)}
    return Observation(0.5, {"front": view}, np.arange(8.0), np.zeros(8), "pick up the red cube", earlier=earlier)


def test_blank_images_hide_the_scene_and_nothing_else() -> None:
    seen = Perturbation(blank_images=True).apply(observation())
    assert not seen.cameras["front"].rgb.any()
    assert not seen.earlier["front"].any()
    assert np.ptp(seen.cameras["front"].depth) == 0
    np.testing.assert_array_equal(seen.cameras["front"].base_from_camera, np.eye(4))
    np.testing.assert_array_equal(seen.joint_positions, np.arange(8.0))
    assert (seen.stamp, seen.instruction) == (0.5, "pick up the red cube")


def test_no_perturbation_changes_nothing(simulation: TabletopSimulation) -> None:
    given = observation()
    assert Perturbation().apply(given) is given
    Perturbation().begin(simulation, EpisodeId("pick", "nominal", 1, 0, 0))
    assert simulation.instruction


@pytest.mark.parametrize("task", TASKS)
def test_a_shuffled_instruction_names_another_target_in_the_same_world(
    simulations: dict[str, TabletopSimulation], task: str
) -> None:
    simulation = simulations[get_task(task).robot]
    for index in range(5):
        episode = EpisodeId(task, "nominal", 1, index, 0)
        simulation.reset(episode)
        own, words, joints = simulation.instruction, simulation.scene.layout.words, simulation.scene.joint_positions
        Perturbation(shuffle_instructions=True).begin(simulation, episode)
        assert simulation.scene.layout.words == words
        np.testing.assert_array_equal(simulation.scene.joint_positions, joints)
        assert simulation.instruction != own
        assert not all(name in simulation.instruction for name in words.values())


def test_the_foreign_instruction_depends_on_the_episode_alone(simulation: TabletopSimulation) -> None:
    def shuffled(index: int) -> str:
        Perturbation(shuffle_instructions=True).begin(simulation, EpisodeId("pick", "nominal", 1, index, 0))
        return simulation.instruction

    first = [shuffled(index) for index in range(4)]
    assert [shuffled(index) for index in reversed(range(4))] == first[::-1]


def test_severity_and_suite_stay(simulation: TabletopSimulation) -> None:
    episode = EpisodeId("reach", "held_out_paraphrases", 1, 0, 0)
    Perturbation(shuffle_instructions=True).begin(simulation, episode)
    foreign = simulation.instruction
    instructions = set()
    for offset in range(1, 20):
        simulation.reset(replace(episode, index=offset))
        instructions.add(simulation.instruction)
    assert foreign in instructions

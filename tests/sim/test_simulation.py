from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from transformers import SiglipVisionConfig

from policies.interface import ActionChunk
from policies.rdt.config import RDTConfig
from policies.rdt.embodiment import PANDA
from policies.rdt.image_tower import SiglipTower
from policies.rdt.policy import RDTPolicy
from policies.rdt.settings import RDTSettings
from policies.rdt.word_encoder import WordEncoder
from sim.episode_id import EpisodeId
from sim.episode_worker import EpisodeWorker, WorkerConfig
from sim.protocol import EvaluationProtocol
from sim.simulation import SimulationConfig, TabletopSimulation
from tests.policies.rdt.conftest import random_model

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


class LookingBack(RDTPolicy):
    """An RDT of two moments that remembers what it was shown of one step before."""

    def __init__(self) -> None:
        sizes = {"hidden_size": 48, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
        tower = SiglipTower(SiglipVisionConfig(**sizes, image_size=28, patch_size=14))
        words = WordEncoder(("reach",), RDTConfig.tiny().lang_token_dim)
        small_steps = replace(PANDA, relative=True, action_scale=(0.01,) * 7 + (0.04,))
        super().__init__(random_model(), tower, words, RDTSettings("panda", small_steps))
        self.shown: list[list[np.ndarray | None]] = []

    def conditions(self, instruction, pictures):
        self.shown.append(list(pictures[:2]))
        return super().conditions(instruction, pictures)


def shown_pictures(monkeypatch, query_steps: int, **protocol) -> tuple[list, dict[float, list[np.ndarray]]]:
    """What an RDT was shown of one step before, and front and wrist as they are rendered at every step, by time."""
    policy = LookingBack()
    monkeypatch.setattr("sim.episode_worker.load_policy", lambda *_, **__: policy)
    settings = EvaluationProtocol(("reach",), query_steps=query_steps, width=48, height=32, **protocol)
    worker = EpisodeWorker(WorkerConfig("looking_back", settings))
    world, rendered = worker._world, {}
    advance = world.advance

    def rendering(steps):
        joints = world.scene.joint_positions
        rendered[world.time] = [world.view(camera, joints).rgb for camera in ("front", "wrist")]
        return advance(steps)

    monkeypatch.setattr(world, "advance", rendering)
    worker.run(REACH)
    return policy.shown, rendered


@pytest.mark.parametrize("query_steps", [1, 8])
def test_an_rdt_of_two_moments_sees_the_pictures_of_the_step_before_each_of_its_answers(monkeypatch, query_steps):
    shown, rendered = shown_pictures(monkeypatch, query_steps)
    assert shown[0] == [None, None], "expected no picture before the first"
    assert len(shown) > 2
    times = sorted(rendered)
    for number, pictures in enumerate(shown[1:], 1):
        for picture, expected in zip(pictures, rendered[times[number * query_steps - 1]], strict=True):
            np.testing.assert_array_equal(picture, expected)
    changes = [(rendered[time][1] != rendered[before][1]).any() for before, time in itertools.pairwise(times)]
    around = [changes[number * query_steps - 2 : number * query_steps] for number in range(2, len(shown))]
    assert any(all(both) for both in around), "expected pictures that differ from those of the steps beside them"


def test_a_policy_whose_images_are_blank_sees_nothing_of_the_step_before(monkeypatch):
    shown, _ = shown_pictures(monkeypatch, 8, blank_images=True)
    assert not any(picture.any() for pictures in shown[1:] for picture in pictures)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from policies.execution.kinematics import Kinematics
from policies.robots import get_robot
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.fitting import fit_processor
from policies.spatialvla.model import build_model
from policies.spatialvla.policy import SpatialVLAPolicy
from policies.spatialvla.processor import ProcessorSettings
from sim.episode_id import EpisodeId
from sim.episode_worker import EpisodeWorker, WorkerConfig
from sim.protocol import EvaluationProtocol

REACH, PUSH = EpisodeId("reach", "nominal", 1, 0, 5), EpisodeId("push", "lighting", 2, 1, 5)
PROTOCOL = EvaluationProtocol(("reach", "push"), query_steps=8, width=64, height=64)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy with random weights that sees, reads and moves a little."""
    rng = np.random.default_rng(0)
    actions = np.concatenate([rng.normal(0.0, 0.01, (500, 6)), rng.integers(0, 2, (500, 1))], axis=1)
    robot = get_robot("panda")
    processor = fit_processor(
        actions,
        ("reach the red cube",),
        SpatialVLAConfig.tiny(),
        ProcessorSettings(),
        robot,
        Kinematics(robot).forward,
        num_bins={"theta": 4, "phi": 5, "r": 3, "roll": 3, "pitch": 2, "yaw": 3},
    )
    model = build_model(processor.config, 0)
    model.language_model.lm_head.weight.data *= 50.0  # sharp choices, which the images can tip
    directory = tmp_path_factory.mktemp("checkpoint")
    SpatialVLAPolicy(model, processor).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def worker(checkpoint: Path) -> EpisodeWorker:
    return EpisodeWorker(WorkerConfig(str(checkpoint), PROTOCOL))


def test_an_episode_is_the_same_to_the_bit_whatever_ran_before(worker: EpisodeWorker, checkpoint: Path) -> None:
    first = worker.run(REACH)
    worker.run(PUSH)
    again = worker.run(REACH)
    fresh = EpisodeWorker(WorkerConfig(str(checkpoint), PROTOCOL)).run(REACH)
    assert first.joint_targets_sha256 == again.joint_targets_sha256 == fresh.joint_targets_sha256
    assert (first.steps, first.progress) == (again.steps, again.progress) == (fresh.steps, fresh.progress)
    assert len(first.inference_s) == -(-first.steps // PROTOCOL.query_steps)
    assert (first.inference_s > 0).all()


def test_filming_changes_nothing_but_the_film(tmp_path: Path) -> None:
    worker = EpisodeWorker(WorkerConfig("expert", PROTOCOL))
    plain, filmed = worker.run(REACH), worker.run(REACH, filmed=True)
    assert plain.video is None
    assert filmed.joint_targets_sha256 == plain.joint_targets_sha256
    (tmp_path / "film.mp4").write_bytes(filmed.video or b"")
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == filmed.steps + 1


def test_a_seeing_policy_moves_otherwise_when_its_images_are_blanked(worker: EpisodeWorker, checkpoint: Path) -> None:
    blanked = EpisodeWorker(WorkerConfig(str(checkpoint), replace(PROTOCOL, blank_images=True)))
    assert worker.run(PUSH).joint_targets_sha256 != blanked.run(PUSH).joint_targets_sha256

"""`stored_learner`: a trained policy with its own loss on demonstrations, for commands that change the policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator

from policies.loading import model_type
from policies.rdt.learner import RDTLearner
from policies.rdt.policy import RDTPolicy
from policies.rdt.training_options import RDTTraining
from policies.spatialvla.learner import SpatialVLALearner
from policies.spatialvla.processor_file import read_processor
from policies.train import LEARNERS
from policies.train_config import TrainConfig
from representation.training import new_accelerator

StoredLearner = SpatialVLALearner | RDTLearner


def kind_of(directory: Path) -> str:
    """Which of `LEARNERS` trained a policy.

    Raises:
        ValueError: none did.
    """
    kind = model_type(directory)
    if kind not in LEARNERS:
        raise ValueError(f"{directory}: expected a policy of {', '.join(LEARNERS)}, found {kind}")
    return kind


def stored_learner(
    directory: Path,
    dataset: Sequence[Path],
    output: Path,
    batch_size: int,
    validation_episodes: int,
    validation_frames: int,
    threads: int,
    seed: int,
) -> tuple[StoredLearner, Accelerator]:
    """Data and loss of a policy on demonstrations; pictures are not changed at random, and nothing is dropped.

    Args:
        directory: of the policy.
        dataset: directories of demonstrations.
        output: of the run, for pictures while they are decoded.
        batch_size: frames at a time.
        validation_episodes: episodes held out, over all datasets.
        validation_frames: at most so many of their frames are measured.
        threads: of torch.
        seed: of held-out episodes and batches.

    Raises:
        ValueError: no policy that is trained, one with packed weights, or demonstrations that do not fit it or leave
            no frame to measure on.
    """
    kind = kind_of(directory)
    config = TrainConfig(
        output=output,
        dataset=tuple(dataset),
        policy=kind,
        initial=directory,
        jitter=0.0,
        batch_size=batch_size,
        validation_episodes=validation_episodes,
        validation_frames=validation_frames,
        threads=threads,
        seed=seed,
        mixed_precision="no",
    )
    if kind == "spatialvla":
        processor = read_processor(directory)
        config = replace(config, camera=processor.settings.camera, ego3d=processor.config.use_ego3d)
    else:
        policy = RDTPolicy.from_pretrained(directory)
        objective, max_delay = policy.settings.objective, policy.max_delay
        options = RDTTraining(objective=objective, max_delay=max_delay, drop=0.0, freeze=False)
        config = replace(config, rdt=options)
    accelerator = new_accelerator(config)
    learner = LEARNERS[kind](config, accelerator)
    if not len(learner.held_out):
        raise ValueError(
            f"--dataset, --validation-episodes: expected frames to measure on, found none in {validation_episodes} "
            "held-out episodes; an RDT needs demonstrations without steady noise"
        )
    return learner, accelerator

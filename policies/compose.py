"""Compose a policy for a new cell out of what fine-tuning changed in others: task vectors, scaled block by block.

    python -m policies.compose --base spatialvla_small --tuned RUN_A/policy RUN_B/policy --dataset DIR --output OUT

learns a coefficient for each block of parameters of each tuned policy from a few demonstrations, with the loss that the
policy was trained with. OUT then holds `policy/` (what `load_policy` loads), `coefficients.safetensors` (kilobytes: all
that has to be shipped where the others are) and `compose.json` with held-out losses of the base, of each tuned policy
and of what was composed. Encoders of `representation/` are composed alike, to OUT/encoder, where `--base` is one: then
`--label` names the column of the frames that is to be told. Source: aTLAS, see `representation.transfer.atlas`.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn

from policies.json_file import write_json
from policies.loading import find_policy
from policies.lora import LoraSettings
from policies.rdt.settings import read_settings
from policies.rdt.trained_network import stored_network
from policies.spatialvla.checkpoint import load_weights
from policies.spatialvla.learner import SpatialVLALearner
from policies.spatialvla.processor_file import read_processor
from policies.stored_learner import StoredLearner, stored_learner
from policies.train_config import POLICY_DIRECTORY
from representation.checkpoint import CONFIG_FILE as ENCODER_FILE
from representation.data.batches import BatchOrder
from representation.data.frames import expect_empty, open_frames
from representation.transfer.atlas import AnisotropicComposer, TaskVector, learn_composition, select_blocks
from representation.transfer.atlas.composer import Granularity
from representation.transfer.compose_encoders import compose_encoders

SUMMARY, ENCODER_DIRECTORY = "compose.json", "encoder"
BLOCK_BATCHES, HELD_OUT_BATCHES, VALIDATION_FRAMES = 4, 4, 512


@dataclass(frozen=True)
class ComposeOptions:
    """What is composed, and how.

    Attributes:
        base: name of a shipped policy, or directory of a policy or an encoder.
        tuned: directories of what was fine-tuned from it.
        dataset: LeRobot dataset with a few demonstrations in the new cell; for encoders any labelled frames.
        output: directory that is made.
        granularity: a coefficient for each block of parameters, each vector ("global") or groups in each matrix.
        partitions: groups of a matrix, with "partition".
        budget: (vector, block) pairs that are kept, those that the loss depends on most; all if left out.
        steps: of learning.
        lr: learning rate.
        weight_decay: draws the coefficients to 0, which is the base.
        batch_size: frames of a step.
        validation_episodes: demonstrations on which the best moment is chosen, and losses are told.
        label: column that is to be told, for encoders.
        seed: of batches, groups and held-out episodes.
        threads: of torch.
    """

    base: str
    tuned: tuple[Path, ...]
    dataset: Path
    output: Path
    granularity: Granularity = "block"
    partitions: int = 10
    budget: int | None = None
    steps: int = 150
    lr: float = 0.05
    weight_decay: float = 0.1
    batch_size: int = 32
    validation_episodes: int = 2
    label: str = ""
    seed: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        if not self.tuned:
            raise ValueError("tuned: expected at least one directory, found none")


class TrainingBatches:
    """Batches of a learner, made as they are asked for."""

    def __init__(self, learner: StoredLearner, frames: Any, size: int, count: int, seed: int) -> None:
        self._learner, self._order = learner, BatchOrder(frames, min(size, len(frames)), seed)
        self._count, self._seed = count, seed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Mapping[str, Tensor]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + number)
        return self._learner.batch(self._order[number], generator)


def tuned_state(learner: StoredLearner, base: Path, directory: Path) -> dict[str, Tensor]:
    """State dict of a tuned policy, under the names of what the learner trains.

    Raises:
        FileNotFoundError: no weights there.
        ValueError: its actions mean other things than the base's, or its weights have other shapes.
    """
    if isinstance(learner, SpatialVLALearner):
        if _token_meanings(directory) != _token_meanings(base):
            raise ValueError(f"{directory}: expected settings, statistics and bins of {base}, found others")
        model = copy.deepcopy(learner.model)
        load_weights(model, directory, "float32")
        return model.state_dict()
    found, wanted = read_settings(directory), read_settings(base)
    if (found.robot, found.embodiment, found.objective) != (wanted.robot, wanted.embodiment, wanted.objective):
        raise ValueError(f"{directory}: expected robot, embodiment and objective of {base}, found others")
    return stored_network(directory, wanted.norm_stat, learner.config.rdt, LoraSettings()).state_dict()


def _token_meanings(directory: Path) -> tuple[Any, ...]:
    """What a SpatialVLA's tokens stand for."""
    processor = read_processor(directory)
    edges = {axis: values.tolist() for axis, values in processor.grid.edges.items()}
    return processor.settings, processor.statistics, edges


def compose(options: ComposeOptions) -> dict[str, Any]:
    """Compose a policy; what `compose.json` holds.

    Raises:
        FileNotFoundError: no such policy, dataset or weights.
        ValueError: policies or demonstrations that do not fit each other.
    """
    base = find_policy(options.base)
    tuned = [find_policy(str(one)) for one in options.tuned]
    learner, _ = stored_learner(
        base,
        (options.dataset,),
        options.output / "work",
        options.batch_size,
        options.validation_episodes,
        VALIDATION_FRAMES,
        options.threads,
        options.seed,
    )
    start = {name: value.detach().clone() for name, value in learner.model.state_dict().items()}
    states = [tuned_state(learner, base, one) for one in tuned]
    vectors = [TaskVector.from_state_dicts(start, state) for state in states]
    moved = [
        name
        for name, parameter in learner.model.named_parameters()
        if any(bool(one.deltas[name].any()) for one in vectors)
    ]
    if not moved:
        raise ValueError(f"tuned: expected policies that differ from {base}, found the same weights")
    composer = AnisotropicComposer(
        learner.model, vectors, options.granularity, options.partitions, moved, seed=options.seed
    )
    batches = TrainingBatches(learner, learner.training, options.batch_size, options.steps, options.seed)
    told = TrainingBatches(learner, learner.held_out, options.batch_size, HELD_OUT_BATCHES, options.seed + 1)
    measured = [told[number] for number in range(len(told))]

    @torch.no_grad()
    def held_out_loss(network: nn.Module) -> float:
        return sum(float(learner.loss(network, batch)) for batch in measured) / len(measured)

    learner.model.eval()
    losses = {"base": held_out_loss(learner.model)}
    for directory, state in zip(tuned, states, strict=True):
        learner.model.load_state_dict(state)
        losses[str(directory)] = held_out_loss(learner.model)
    if options.budget is not None:
        select_blocks(composer, learner.loss, [batches[number] for number in range(BLOCK_BATCHES)], options.budget)
    learn_composition(
        composer,
        learner.loss,
        batches,
        options.lr,
        options.weight_decay,
        options.steps,
        select=lambda one: -held_out_loss(one),
    )
    losses["composed"] = held_out_loss(composer)
    learner.model.load_state_dict(composer.merged_state_dict())
    learner.save(learner.model, options.output / POLICY_DIRECTORY, "cpu")
    return _written(options, composer, losses, [str(one) for one in tuned])


def compose_encoder(options: ComposeOptions) -> dict[str, Any]:
    """Compose an encoder; what `compose.json` holds. Errors as of `compose_encoders`."""
    made = compose_encoders(
        Path(options.base),
        options.tuned,
        open_frames(options.dataset),
        options.label,
        options.granularity,
        options.partitions,
        options.steps,
        options.lr,
        options.batch_size,
        options.validation_episodes,
        options.seed,
    )
    made.encoder.save(options.output / ENCODER_DIRECTORY)
    return _written(options, made.composer, made.losses, [str(one) for one in options.tuned])


def _written(
    options: ComposeOptions, composer: AnisotropicComposer, losses: Mapping[str, float], tuned: Sequence[str]
) -> dict[str, Any]:
    composer.save(options.output)
    coef = composer.coef.detach()
    summary = {
        "base": options.base,
        "tuned": list(tuned),
        "dataset": str(options.dataset),
        "granularity": options.granularity,
        "coefficients": coef.numel(),
        "kept": int(composer.kept.sum()),
        "blocks": composer.blocks,
        "mean_coefficient": coef.flatten(1).mean(dim=1).tolist(),
        "held_out_loss": dict(losses),
    }
    write_json(options.output / SUMMARY, summary)
    return summary


def is_encoder(directory: Path) -> bool:
    """Whether an encoder lies there, or a run that trained one."""
    return any((directory / part / ENCODER_FILE).is_file() for part in ("", ENCODER_DIRECTORY))


def main(args: Sequence[str] | None = None) -> int:
    """Compose from the command line; returns its exit code."""
    options = tyro.cli(ComposeOptions, args=args, description=__doc__)
    expect_empty(options.output)
    torch.set_num_threads(options.threads)
    try:
        summary = compose_encoder(options) if is_encoder(Path(options.base)) else compose(options)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, loss in summary["held_out_loss"].items():
        print(f"{name}: held-out loss {loss:.4f}")
    print(f"{summary['coefficients']} coefficients; {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

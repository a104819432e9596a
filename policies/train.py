"""Train a policy on demonstrations.

    python -m policies.train --policy spatialvla --dataset DIR [DIR ...] --output RUN

or `--policy rdt`, which docs/rdt.md describes. RUN then holds `policy/` (what `load_policy` loads, with averaged
weights, and `train_config.json`), `metrics.jsonl`, `loss.png` and the state from which `--resume` continues exactly.

On several GPUs the same command runs under accelerate; `--batch-size` counts per GPU and `--accumulation` multiplies:

    accelerate launch --multi_gpu --num_processes 4 -m policies.train --policy spatialvla --dataset DIR --output RUN

A small network also trains faster in a process per core than in one process with as many threads:

    torchrun --nproc_per_node 2 -m policies.train --threads 1 --mixed-precision bf16 ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
import tyro

from policies.rdt.learner import RDTLearner
from policies.spatialvla.learner import SpatialVLALearner
from policies.train_config import TrainConfig
from representation.training import TrainingLoop, check_output, new_accelerator

LEARNERS: dict[str, type[SpatialVLALearner] | type[RDTLearner]] = {"spatialvla": SpatialVLALearner, "rdt": RDTLearner}


def new_run(config: TrainConfig) -> TrainingLoop:
    """Read the demonstrations, and build or load what is trained.

    Raises:
        ValueError: a dataset is damaged, or does not fit the arguments.
    """
    accelerator = new_accelerator(config)
    return TrainingLoop(config, LEARNERS[config.policy](config, accelerator), accelerator)


def check_adapters(config: TrainConfig) -> None:
    """Refuse adapters that cannot be.

    Raises:
        ValueError: they have no policy to adapt, or would train tables that the policy lacks.
    """
    if config.lora.rank and config.initial is None:
        raise ValueError("--lora.rank: expected --initial, the policy to adapt, found none")
    if config.lora.train_tables and config.policy != "spatialvla":
        raise ValueError(f"--lora.train-tables: expected --policy spatialvla, found {config.policy}")


def check_text_table(config: TrainConfig) -> None:
    """Refuse a word on the table of words where it has no effect.

    Raises:
        ValueError: the policy has no such table, or adapters are trained instead of its weights.
    """
    if config.train_text_table is not None and (config.policy != "spatialvla" or config.lora.rank):
        raise ValueError(
            f"--train-text-table: expected --policy spatialvla without adapters, found {config.policy} "
            f"with --lora.rank {config.lora.rank}"
        )


def check_augment(config: TrainConfig) -> None:
    """Refuse SpatialVLA's changes of pictures for another policy.

    Raises:
        ValueError: the policy is not a SpatialVLA.
    """
    if config.augment and config.policy != "spatialvla":
        raise ValueError(f"--augment: expected --policy spatialvla, found {config.policy}; RDT has --rdt.augment")


def check_dataset_key(config: TrainConfig) -> None:
    """Refuse statistics by dataset for another policy.

    Raises:
        ValueError: the policy is not a SpatialVLA.
    """
    if config.dataset_key is not None and config.policy != "spatialvla":
        raise ValueError(f"--dataset-key: expected --policy spatialvla, found {config.policy}")


def check_checkpointing(config: TrainConfig) -> None:
    """Refuse to compute layers again for another policy.

    Raises:
        ValueError: the policy is not a SpatialVLA.
    """
    if config.checkpointing and config.policy != "spatialvla":
        raise ValueError(f"--checkpointing: expected --policy spatialvla, found {config.policy}")


def check_vision(config: TrainConfig) -> None:
    """Refuse a pretrained encoder where none can be used.

    Raises:
        ValueError: the policy has a tower of its own, or takes over that of the policy to start from.
    """
    if config.rdt.vision_encoder is not None and (config.policy != "rdt" or config.initial is not None):
        start = "a fresh policy" if config.initial is None else str(config.initial)
        raise ValueError(f"--vision-encoder: expected a fresh policy of --policy rdt, found {config.policy}, {start}")


def check_history(config: TrainConfig) -> None:
    """Refuse a history of joints where none can be used.

    Raises:
        ValueError: another policy than RDT.
    """
    if config.rdt.history_steps and config.policy != "rdt":
        raise ValueError(f"--rdt.history-steps: expected --policy rdt, found {config.policy}")


def main(args: Sequence[str] | None = None) -> int:
    """Train from the command line.

    Returns:
        Exit code: 0 after the training, 2 where it could not begin.
    """
    config = tyro.cli(TrainConfig, args=args, description=__doc__)
    try:
        check_adapters(config)
        check_text_table(config)
        check_augment(config)
        check_dataset_key(config)
        check_checkpointing(config)
        check_vision(config)
        check_history(config)
        check_output(config)
        config.output.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(config.threads)
        run = new_run(config)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    run.train()
    run.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())

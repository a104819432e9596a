"""Which statistics normalise which dataset, and a warning where they are of another scale than its actions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policies.spatialvla.compatibility import compare_statistics, format_compatibility, format_misfit
from policies.spatialvla.processor import SpatialVLAProcessor
from policies.training_data import Columns
from representation.data.lerobot_dataset import LeRobotDataset


def statistics_keys(
    dataset_key: str | None, datasets: Sequence[LeRobotDataset], processor: SpatialVLAProcessor | None
) -> tuple[str, ...] | None:
    """Of each dataset, the name of the statistics that normalise it; None where all have those of the policy.

    Args:
        dataset_key: what `--dataset-key` says.
        datasets: those that are learned from.
        processor: of the policy to start from, or None for a fresh one.

    Raises:
        ValueError: `--dataset-key` names none of the datasets, two have one name, or the policy to start from has no
            statistics of one.
    """
    if dataset_key is None:
        return None
    names = tuple(dataset.root.resolve().name for dataset in datasets)
    if dataset_key not in names or len(set(names)) != len(names):
        raise ValueError(
            f"--dataset-key: expected one of the datasets' directories, each of another name, found "
            f"{dataset_key!r} and {list(names)}"
        )
    missing = [] if processor is None else sorted(set(names) - set(processor.statistics))
    if processor is not None and missing:
        raise ValueError(
            f"--dataset-key: expected statistics of {list(names)} in the policy to start from, found "
            f"{list(processor.statistics)}"
        )
    return names


def warn_of_other_scale(
    initial: Path,
    datasets: Sequence[LeRobotDataset],
    columns: Columns,
    training: NDArray[np.int64],
    processor: SpatialVLAProcessor,
    keys: tuple[str, ...] | None,
) -> None:
    """Say on the error output which datasets do not fit the statistics, and so the bins, of a policy.

    Args:
        initial: the policy to start from.
        datasets: those of `columns`.
        columns: their actions.
        training: numbers of the frames that are learned from.
        processor: the policy's.
        keys: see `statistics_keys`.
    """
    for number, dataset in enumerate(datasets):
        actions = columns.actions[training[columns.dataset[training] == number]]
        key = processor.settings.dataset_key if keys is None else keys[number]
        own = compare_statistics(actions, {key: processor.statistics[key]})[0]
        if own.fits:
            continue
        print(
            f"warning: {dataset.root}: its actions do not fit the statistics {key!r} of the policy to start from: "
            f"{format_misfit(own)}. Training in bins of another scale ruins a policy; first run python -m "
            f"policies.spatialvla.fit_grids --dataset {dataset.root} --policy {initial} --output DIR, and take "
            "DIR/policy as --initial.",
            format_compatibility(compare_statistics(actions, processor.statistics)),
            sep="\n",
            file=sys.stderr,
        )

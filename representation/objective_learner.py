"""`ObjectiveLearner`: an `Objective` and its frames as what `training.TrainingLoop` trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.data.batches import split_frames
from representation.data.frames import LABEL, Frames
from representation.embedding import embed
from representation.probes import knn_probe
from representation.training import LoopConfig

PROBED_TRAINING_FRAMES = 2000


class ObjectiveLearner:
    """Trains on whole episodes and measures on others: the loss, its parts, and the nearest neighbours' labels.

    Args:
        config: of the loop.
        objective: an `Objective` that is an `nn.Module`.
        frames: all of them.
    """

    product = "encoder"
    weights = None

    def __init__(self, config: LoopConfig, objective: Any, frames: Frames) -> None:
        self.model: nn.Module = objective
        self._frames, self._seed = frames, config.seed
        generator = np.random.default_rng(config.seed)
        self.training, held_out = split_frames(frames, config.validation_episodes, generator)
        # Not in order: a batch of neighbours from one episode would be no fair contrast.
        self.held_out: NDArray[np.int64] = generator.permutation(held_out)[: config.validation_frames]
        self._probed = generator.permutation(self.training)[:PROBED_TRAINING_FRAMES]

    def batch(self, frames: NDArray[np.int64], generator: torch.Generator) -> Mapping[str, Tensor]:
        """See `Objective.batch`."""
        return self.model.batch(self._frames, frames, generator)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Total loss of a batch."""
        return model(batch).total

    @torch.no_grad()
    def validate(self, model: nn.Module, batch_size: int) -> dict[str, float]:
        """`loss` and its parts on held-out frames, in batches of one size, and `probe/knn` of the labels if known."""
        device, generator = next(model.parameters()).device, torch.Generator().manual_seed(self._seed)
        found: list[dict[str, float]] = []
        for start in range(0, max(1, len(self.held_out) - batch_size + 1), batch_size):
            rows = self.held_out[start : start + batch_size]
            batch = {name: value.to(device) for name, value in model.batch(self._frames, rows, generator).items()}
            loss = model(batch)
            found.append({"loss": float(loss.total)} | {f"error/{k}": float(v) for k, v in loss.parts.items()})
        measures = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
        if LABEL in self._frames.columns:
            labels = self._frames.columns[LABEL]
            train, test = (
                (embed(model.encoder, self._frames, rows, batch_size), labels[rows])
                for rows in (self._probed, self.held_out)
            )
            measures["probe/knn"] = knn_probe(train, test, LABEL).score
        return measures

    def save(self, model: nn.Module, directory: Path, device: str) -> None:
        """Write the encoder."""
        model.encoder.save(directory)

"""The protocol of classification for an encoder that stays as it is, on the vectors that it has given already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.selection.benchx.classification import ClassificationProbe, ClassificationRecipe, train_probe
from representation.selection.benchx.outcome import Outcome
from representation.selection.benchx.runner import SEARCH_SEED, small_config

SEARCH_LRS, EPOCHS = (3e-3, 3e-2), 30


class GivenVectors(nn.Module):
    """A `FeatureBackend` whose pictures are vectors (B, D) already.

    Args:
        embed_dim: numbers D of a vector.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.embed_dim = embed_dim

    def forward_features(self, images: Tensor) -> Tensor:
        """The vectors as they are."""
        return images

    def feature_pyramid(self, images: Tensor) -> list[Tensor]:
        """The vectors as maps (B, D, 1, 1) of one place."""
        return [images[:, :, None, None]]


def fit_frozen(
    features: NDArray,
    labels: NDArray[np.int64],
    splits: tuple[NDArray, NDArray, NDArray],
    recipe: ClassificationRecipe | None = None,
    search_lrs: Sequence[float] = SEARCH_LRS,
    seed: int = 0,
) -> Outcome:
    """Train a probe on vectors of a frozen encoder at the learning rate that is best on the validation rows.

    Rates are searched with a seed of their own, and pictures are not cropped at random, since they are encoded once.

    Args:
        features: (N, D).
        labels: classes (N,) from 0.
        splits: rows to train on, to validate and to test with; the last are looked at once, in the end.
        recipe: of the training; that of `small_config` with `EPOCHS` if None.
        search_lrs: that are tried; that of the recipe if empty.
        seed: of the head and the order; not `SEARCH_SEED`.

    Raises:
        ValueError: the seed is that of the search; or a part has one class only.
    """
    if seed == SEARCH_SEED:
        raise ValueError(f"seed: expected another than {SEARCH_SEED}, with which learning rates are searched")
    recipe = replace(recipe or replace(small_config().classification, epochs=EPOCHS), freeze=True)
    inputs = torch.from_numpy(np.asarray(features, np.float32))

    def fitted(one: ClassificationRecipe, number: int) -> Outcome:
        backend, classes = GivenVectors(inputs.shape[1]), int(labels.max()) + 1
        probe = ClassificationProbe(backend, classes, one.norm, one.dropout, one.pooling, one.freeze, number)
        generator = torch.Generator().manual_seed(number)
        return train_probe(probe, inputs.__getitem__, inputs.__getitem__, labels, splits, one, generator)

    tried = [replace(recipe, lr=lr) for lr in search_lrs]
    if tried:
        recipe = tried[int(np.argmax([fitted(one, SEARCH_SEED).validation for one in tried]))]
    return fitted(recipe, seed)

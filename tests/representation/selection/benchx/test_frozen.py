from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from representation.selection.benchx import Cases, fit_frozen, small_config
from representation.selection.benchx import frozen as module
from representation.selection.benchx.classification import fit_classification
from representation.selection.benchx.picture_transforms import PictureTransform
from representation.selection.benchx.runner import SEARCH_SEED

SPLITS = (np.arange(60), np.arange(60, 90), np.arange(90, 120))
RECIPE = replace(small_config().classification, epochs=12, warmup_steps=2, batch_size=16)


def clusters(noise=0.3, count=120):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    return np.eye(3, 8)[labels] + noise * rng.normal(size=(count, 8)), labels


class Flat(nn.Module):
    """A backend that has learned nothing, which gives small pictures as vectors."""

    embed_dim = 12

    def forward_features(self, images):
        return images.flatten(1)


def test_vectors_are_told_apart_and_noise_is_not():
    x, y = clusters()
    clear, again = (fit_frozen(x, y, SPLITS, RECIPE, seed=3) for _ in range(2))
    assert clear.measure == "f1"
    assert clear.value > 0.9
    assert clear == again
    assert fit_frozen(np.random.default_rng(1).normal(size=x.shape), y, SPLITS, RECIPE).value < 0.6


def test_the_rate_is_chosen_on_the_validation_rows_with_a_seed_of_its_own(monkeypatch):
    x, y = clusters()
    seen, inner = [], module.train_probe

    def watched(probe, training, measuring, labels, splits, recipe, generator):
        found = inner(probe, training, measuring, labels, splits, recipe, generator)
        seen.append((recipe.lr, generator.initial_seed(), found))
        return found

    monkeypatch.setattr(module, "train_probe", watched)
    found = fit_frozen(x, y, SPLITS, RECIPE, search_lrs=(1e-9, 1e-2), seed=5)
    assert [one[:2] for one in seen] == [(1e-9, SEARCH_SEED), (1e-2, SEARCH_SEED), (1e-2, 5)]
    assert seen[0][2].validation < seen[1][2].validation
    assert found == seen[2][2]
    assert found.value > fit_frozen(x, y, SPLITS, replace(RECIPE, lr=1e-9), search_lrs=()).value
    with pytest.raises(ValueError, match="seed: expected another than 1042"):
        fit_frozen(x, y, SPLITS, RECIPE, seed=SEARCH_SEED)


def test_it_is_the_frozen_probe_of_pictures_that_are_not_cropped():
    rng, y = np.random.default_rng(0), np.arange(120) % 2
    images = rng.integers(0, 100, (120, 1, 2, 2, 3)) + 100 * y[:, None, None, None, None]
    cases = Cases(images.astype(np.uint8), labels=y, names=("dark", "bright"))
    recipe = replace(RECIPE, freeze=True, pictures=PictureTransform(2, 1.0, normalise=False))
    with torch.no_grad():
        vectors = Flat().forward_features(recipe.pictures.measuring(cases.images[:, 0], False)).numpy()
    ours = fit_frozen(vectors, y, SPLITS, recipe, search_lrs=(), seed=1).metrics
    assert ours == pytest.approx(fit_classification(Flat(), cases, SPLITS, recipe, seed=1).metrics, abs=0.05)

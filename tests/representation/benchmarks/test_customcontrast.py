from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.benchmarks.claims import BenchOptions
from representation.benchmarks.customcontrast import Settings, halves, run, scores, trained
from representation.data.frames import Frames
from representation.pretraining.customcontrast import Config

SMALL = Config(vision_dim=8, text_dim=8, width=8, n_scales=2, codes_per_scale=1, depth=1, heads=1)


def pure_colours():
    """Four objects of two classes that are the whole picture, six times each; the background is the class."""
    objects = np.repeat(np.arange(4), 6)
    colours = np.array([[250, 0, 0], [120, 120, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
    images = np.broadcast_to(colours[objects][:, None, None], (24, 64, 64, 3)).copy()
    label = objects // 2
    columns = {"label": label, "rotation": np.tile([0.0, 0, 0, 1], (24, 1))}
    columns["background"] = label[:, None] * np.array([1.0, 0.5, 0.2])
    return Frames(
        images, objects, columns, {"label": ("one", "other")}, ["a one" if n == 0 else "an other" for n in label]
    )


def test_the_halves_are_views_of_the_same_objects():
    frames = pure_colours()
    stored, asked = halves(frames)
    assert frames.episode[stored].tolist() == frames.episode[asked].tolist() == np.repeat(np.arange(4), 3).tolist()
    assert not set(stored) & set(asked)


def test_equal_pictures_are_known_again_and_their_background_is_read(tmp_path):
    frames = pure_colours()
    encoder = trained(SMALL, frames, Settings(steps=1, subjects=4), 0).encoder
    assert not encoder.training
    with torch.no_grad():
        found = scores(encoder, frames)
    assert found["instance"] == found["class"] == found["probe"] == 1.0
    assert found["background"] > 0.9
    with pytest.raises(FileNotFoundError, match=r"python -m sim\.subject_views"):
        run(BenchOptions(data=tmp_path / "renders"))

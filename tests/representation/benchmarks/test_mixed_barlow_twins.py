from __future__ import annotations

import numpy as np
import pytest

from representation.benchmarks import mixed_barlow_twins
from representation.benchmarks.claims import BenchOptions
from representation.data.frames import Frames, write_frames


@pytest.fixture
def frames():
    """Noise that is said to show two things."""
    images = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(12) % 2
    return Frames(images, np.arange(12), {"label": labels}, {"label": ("one", "other")})


@pytest.fixture(autouse=True)
def few_frames(monkeypatch):
    monkeypatch.setattr(mixed_barlow_twins, "FRAMES", 8)
    monkeypatch.setattr(mixed_barlow_twins, "FRAME_BATCH", 4)


def test_both_curves_begin_with_one_encoder_and_part_by_the_mixtures(frames, monkeypatch):
    vectors = []

    def kept(encoder, part):
        vectors.append(encoder.encode(part.pixels(np.arange(len(part)))).detach().numpy())
        return vectors[-1]

    monkeypatch.setattr(mixed_barlow_twins, "embed", kept)
    curves = mixed_barlow_twins.run_frames(0, frames, 1)
    assert {name: list(curve) for name, curve in curves.items()} == {"mixed": [1], "plain": [1]}
    first, last = vectors[0], vectors[2]  # of the training frames
    assert first.shape == last.shape == (8, 128)
    assert not np.allclose(first, last, atol=1e-4)
    vectors.clear()
    monkeypatch.setattr(mixed_barlow_twins, "LAMBDA_REG", 0.0)
    mixed_barlow_twins.run_frames(0, frames, 1)
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-4)


def test_digits_have_five_seeds_at_least_and_curves_of_renders_are_told(frames, tmp_path):
    write_frames(frames, tmp_path)
    claims = mixed_barlow_twins.run(BenchOptions(seeds=2, scale=0.03, data=tmp_path))
    assert [len(claim.ours) for claim in claims] == [5, 5, 2]
    assert [claim.least for claim in claims] == [-0.005, -0.005, 0.0]

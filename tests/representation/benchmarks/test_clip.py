from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from representation.benchmarks import clip
from representation.data.frames import LABEL, Frames

COLORS, SHAPES, SIZES = ("red", "white"), ("egg", "cube", "ball"), ("small", "large")
SENTENCES = ("a {size} {color} {shape}", "there is a {shape}, {size} and {color}")


@pytest.fixture(scope="module")
def frames():
    kinds = np.array(list(itertools.product(range(2), range(3), range(2))) * 4)
    names = {"color": COLORS, "shape": SHAPES, "scale": SIZES, LABEL: tuple(map(str, range(6)))}
    columns = {"color": kinds[:, 0], "shape": kinds[:, 1], "scale": kinds[:, 2], LABEL: kinds[:, 0] * 3 + kinds[:, 1]}
    texts = [
        SENTENCES[row // 12 % 2].format(color=COLORS[c], shape=SHAPES[s], size=SIZES[z])
        for row, (c, s, z) in enumerate(kinds)
    ]
    images = np.random.default_rng(0).integers(0, 255, (len(kinds), 32, 32, 3), dtype=np.uint8)
    return Frames(images, np.arange(len(kinds)), columns, names, texts)


def test_the_sentences_of_the_frames_are_found(frames):
    assert clip.templates_of(frames) == sorted(SENTENCES)


def test_each_colour_is_left_out_once_with_a_shape_of_its_own(frames):
    for seed in range(5):
        left_out = clip.left_out_pairs(frames, seed)
        assert sorted(left_out // 3) == [0, 1]
        assert len(set(left_out % 3)) == 2


def test_only_first_pictures_of_seen_pairs_are_trained_on(frames):
    training, tested = clip.split(frames, np.array([1, 5]))
    assert not set(frames.columns[LABEL][training]) & {1, 5}
    assert sorted([*training, *tested]) == list(range(48))
    assert training.max() < 3 * 12  # three of the four pictures of each combination
    assert len(training) == 4 * 2 * 3


def test_a_pair_is_the_unit_mean_of_its_sentences(frames):
    encoder = clip.new_clip(frames, 0).encoder.eval()
    vectors = clip.pair_vectors(encoder, frames, list(SENTENCES))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6), atol=1e-6, rtol=0)
    with torch.no_grad():
        own = encoder.encode_texts([s.format(color="white", shape="egg", size=z) for s in SENTENCES for z in SIZES])
    torch.testing.assert_close(vectors[3], torch.nn.functional.normalize(own.mean(dim=0), dim=0))

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from policies.rdt.encoder_tower import EncoderTower
from representation.checkpoint import CONFIG_FILE
from representation.data.frames import SEGMENTATION, Frames
from representation.interface import ThingFinder
from representation.pretraining.segmentation import Config, load, new, summed_up
from representation.registry import load_encoder

KINDS = ("other", "red", "blue")
SIZE = 32


def squares(count: int = 96, seed: int = 0) -> tuple[Frames, np.ndarray]:
    """A red and a blue square of 6 pixels on grey, sometimes no blue one; and the middles (N, 2, 2) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    images = np.full((count, SIZE, SIZE, 3), 128, np.uint8) + rng.integers(-9, 9, (count, SIZE, SIZE, 3)).astype(
        np.uint8
    )
    shown, middles = np.zeros((count, SIZE, SIZE), np.uint8), np.full((count, 2, 2), np.nan)
    for index in range(count):
        for kind, color in ((1, (210, 30, 30)), (2, (30, 30, 210))):
            left, top = rng.integers(0, 11) + (16 if kind == 2 else 0), rng.integers(0, 26)
            if kind == 2 and index % 4 == 0:
                continue
            images[index, top : top + 6, left : left + 6] = color
            shown[index, top : top + 6, left : left + 6] = kind
            middles[index, kind - 1] = (2 * (np.array([left, top]) + 3) - SIZE) / SIZE
    return Frames(images, np.arange(count), {SEGMENTATION: shown}, {SEGMENTATION: KINDS}), middles


def test_a_map_is_summed_up_as_the_moments_of_its_places():
    shares = torch.zeros(1, 2, 4, 8)
    shares[0, 0, 1, 2], shares[0, 0, 1, 3], shares[0, 0, 2, 2] = 1.0, 0.5, 0.5
    told = summed_up(shares)[0]
    x, y, w = np.array([-3, -1, -3]) / 8, np.array([-1, -1, 1]) / 4, np.array([0.5, 0.25, 0.25])
    mean_x, mean_y = w @ x, w @ y
    sure = 2 / 2.5
    expected = [
        mean_x,
        mean_y,
        np.sqrt(w @ (x - mean_x) ** 2),
        np.sqrt(w @ (y - mean_y) ** 2),
        w @ (x * y) - mean_x * mean_y,
    ]
    assert told[0].tolist() == pytest.approx([sure, np.sqrt(2 / 32), *(sure * np.array(expected))], abs=1e-4)
    assert told[1].tolist() == pytest.approx([0.0, 1e-3, 0, 0, 0, 0, 0], abs=1e-6)


def test_places_are_found_more_finely_than_the_map_and_absence_is_told():
    frames, _ = squares()
    objective = new(Config(resolution=SIZE, channels=(8, 16, 16), jitter=0.0), frames, seed=0)
    optimizer = torch.optim.AdamW(objective.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        loss = objective(objective.batch(frames, np.arange(len(frames)), generator))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    fresh, middles = squares(64, seed=1)
    with torch.no_grad():
        found = objective.encoder.eval().find(fresh.pixels(np.arange(64))).numpy()
    there = ~np.isnan(middles[..., 0])
    sure = found[:, 1:, 0]
    assert sure[there].min() > 0.5
    assert sure[~there].max() < 0.3
    places = found[:, 1:, 2:4] / sure[..., None]
    pixels = np.abs(places - middles)[there] * SIZE / 2
    assert np.median(pixels) < 1, "of the 4 pixels of a place of the map"


def test_an_encoder_keeps_its_kinds_and_is_a_policys_tower_with_a_token_for_each(tmp_path):
    frames, _ = squares(8)
    encoder = new(Config(resolution=SIZE), frames, seed=0).encoder.eval()
    encoder.save(tmp_path)
    again = load_encoder(tmp_path)
    assert again.config == encoder.config
    assert again.config.kinds == KINDS
    assert isinstance(again, ThingFinder)
    tower = EncoderTower.from_directory(tmp_path, SIZE)
    assert (tower.tokens_per_image, tower.width) == (3, 7)
    pixels = frames.pixels(np.arange(8))
    torch.testing.assert_close(tower(2 * pixels - 1).flatten(1), encoder.encode(pixels), atol=1e-5, rtol=1e-5)
    features, matters = encoder.dense(pixels)
    assert features.shape == (8, 48, 8, 8)
    assert matters.shape == (8, 8, 8)
    content = json.loads((tmp_path / CONFIG_FILE).read_text())
    del content["config"]["kinds"]
    (tmp_path / CONFIG_FILE).write_text(json.dumps(content))
    with pytest.raises(ValueError, match="expected the configuration of a segmentation encoder"):
        load(tmp_path)


def test_frames_without_kinds_or_with_others_are_refused():
    frames, _ = squares(8)
    with pytest.raises(ValueError, match=r"expected \['segmentation'\]"):
        new(Config(), Frames(frames.images, frames.episode), seed=0)
    with pytest.raises(ValueError, match=r"kinds: expected \['other', 'green'\], found"):
        new(Config(kinds=("other", "green")), frames, seed=0)
    few = Frames(frames.images, frames.episode, frames.columns, {SEGMENTATION: KINDS[:2]})
    with pytest.raises(ValueError, match="segmentation: expected a number below 2"):
        new(Config(), few, seed=0)
    with pytest.raises(ValueError, match="resolution: expected a multiple of 4, found 30"):
        Config(resolution=30)

from __future__ import annotations

import numpy as np
import pytest
import torch

from policies.rdt import augmentation
from policies.rdt.augmentation import add_state_noise, augment, augment_pictures, corrupt, jitter_colours


def smooth_picture():
    rows, columns = np.mgrid[:48, :64]
    return np.stack([rows * 4, columns * 3, 255 - rows - columns], axis=-1).clip(0, 255).astype(np.uint8)


def test_state_noise_of_40_db_is_a_hundredth_of_the_standard_deviation():
    std = torch.tensor([0.0, 1.0, 3.0]).expand(20000, 3)
    noise = add_state_noise(torch.zeros(20000, 1, 3), std, torch.Generator().manual_seed(0))
    torch.testing.assert_close(noise.std(dim=(0, 1)), torch.tensor([0.0, 0.01, 0.03]), rtol=0.03, atol=0)
    with pytest.raises(ValueError, match=r"std: expected \(B, n\)"):
        add_state_noise(torch.zeros(2, 1, 3), torch.ones(3), torch.Generator())


def test_half_of_the_present_pictures_change_and_missing_ones_stay():
    source = np.stack([np.pad(smooth_picture(), ((8, 8), (0, 0), (0, 0)), constant_values=127)] * 600)
    present = np.arange(600) % 2 == 0
    augmented = augment_pictures(source, present, np.random.default_rng(0))
    changed = (augmented != source).any(axis=(1, 2, 3))
    assert not changed[~present].any()
    assert 120 < changed.sum() < 180
    assert (source[0] == source[1]).all()


def test_the_padding_of_a_square_picture_stays_as_it_is():
    source = np.pad(smooth_picture(), ((8, 8), (0, 0), (0, 0)), constant_values=127)[None].repeat(40, axis=0)
    augmented = augment_pictures(source, np.ones(40, bool), np.random.default_rng(0), probability=1.0)
    assert (augmented[:, :8] == 127).all()
    assert (augmented[:, -8:] == 127).all()
    assert (augmented[:, 8:-8] != source[:, 8:-8]).any(axis=(1, 2, 3)).sum() > 35


def test_a_third_each_is_coloured_corrupted_and_both(monkeypatch):
    done = []
    monkeypatch.setattr(augmentation, "jitter_colours", lambda picture, _: done.append("colour") or picture)
    monkeypatch.setattr(augmentation, "corrupt", lambda picture, _: done.append("corrupt") or picture)
    generator = np.random.default_rng(0)
    counts = {}
    for _ in range(1500):
        done.clear()
        augment(smooth_picture(), generator)
        counts[tuple(done)] = counts.get(tuple(done), 0) + 1
    assert counts.keys() == {("colour",), ("corrupt",), ("colour", "corrupt")}
    assert max(abs(count - 500) for count in counts.values()) < 80


@pytest.mark.parametrize("change", [augment, jitter_colours, corrupt])
def test_changes_keep_shape_and_type_vary_and_depend_on_the_generator_alone(change):
    source = smooth_picture()
    results = [change(source, np.random.default_rng(seed)) for seed in range(60)]
    assert all(result.shape == source.shape and result.dtype == np.uint8 for result in results)
    assert len({result.tobytes() for result in results}) > 55
    for seed in range(60):
        np.testing.assert_array_equal(results[seed], change(source, np.random.default_rng(seed)))
    np.testing.assert_array_equal(source, smooth_picture())


def test_colours_stay_within_their_ranges():
    grey = np.full((8, 8, 3), 100, np.uint8)
    levels = [jitter_colours(grey, np.random.default_rng(seed)).mean() for seed in range(400)]
    assert 69 <= min(levels) < 75
    assert 125 < max(levels) <= 131
    red = np.full((8, 8, 3), (200, 20, 20), np.uint8)
    turned = np.array([jitter_colours(red, np.random.default_rng(seed))[0, 0] for seed in range(100)], float)
    assert (turned[:, 0] - turned[:, 1:].max(axis=1) > 50).all()
    assert np.abs(turned[:, 1] - turned[:, 2]).max() > 10


def test_noise_has_its_scale_and_blur_keeps_the_mean():
    grey = np.full((64, 64, 3), 128, np.uint8)
    noisy = [augmentation._add_noise(grey, np.random.default_rng(seed)).astype(float) for seed in range(100)]
    spreads = [picture.std() for picture in noisy]
    assert max(spreads) < 12.75 * 1.6
    assert np.mean(spreads) > 4
    alike = sum(bool((picture == picture[..., :1]).all()) for picture in noisy)
    assert 30 < alike < 70
    for blur in (augmentation._blur, augmentation._motion_blur):
        source = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        for seed in range(40):
            blurred = blur(source, np.random.default_rng(seed)).astype(float)
            assert abs(blurred.mean() - source.mean()) < 4
            assert blurred.std() <= source.std()

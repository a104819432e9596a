from __future__ import annotations

import numpy as np
import pytest

from representation.data.statistics import QUANTILES, array_statistics, histogram_statistics, merge_statistics


def test_histogram_gives_the_statistics_of_the_pixels():
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (2, 10_000))
    counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels])
    stats = histogram_statistics(counts, np.arange(256) / 255, count=7)
    for name, expected in (
        ("min", pixels.min(1)),
        ("max", pixels.max(1)),
        ("mean", pixels.mean(1)),
        ("std", pixels.std(1)),
        *((q, np.quantile(pixels, share, axis=1, method="inverted_cdf")) for q, share in QUANTILES.items()),
    ):
        np.testing.assert_allclose(stats[name], (expected / 255).reshape(2, 1, 1), err_msg=name)
    assert stats["count"].tolist() == [7]


def test_a_channel_without_pixels_has_zero_statistics_and_no_weight():
    empty = histogram_statistics(np.zeros((1, 4), np.int64), np.arange(4.0), count=0)
    assert all(np.all(value == 0) for value in empty.values())
    full = histogram_statistics(np.array([[0, 0, 2, 2]]), np.arange(4.0), count=4)
    merged = merge_statistics([empty, full])
    for name in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(merged[name], full[name], err_msg=name)


def test_merging_gives_the_statistics_of_everything():
    generator = np.random.default_rng(1)
    parts = [generator.normal(size=(n, 3)) for n in (5, 50, 11)]
    merged, whole = (
        merge_statistics([array_statistics(part) for part in parts]),
        array_statistics(np.concatenate(parts)),
    )
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(merged[name], whole[name], err_msg=name)


def test_nothing_has_no_statistics():
    with pytest.raises(ValueError, match="at least one row"):
        array_statistics(np.empty((0, 3)))

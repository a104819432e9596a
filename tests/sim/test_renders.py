from __future__ import annotations

import numpy as np
import pytest

from sim.renders import COLORS, FACTORS, SHAPES, SIZES, main, render


def test_renders_hold_every_combination_alike_and_say_what_they_show():
    frames = render(1, 32, seed=0)
    assert len(frames) == len(COLORS) * len(SHAPES) * len(SIZES)
    kinds = np.stack([frames.columns[name] for name in ("color", "shape", "scale")], axis=1)
    assert len(np.unique(kinds, axis=0)) == len(frames)
    for k in (0, 7, 40):
        for name in ("color", "shape", "scale"):
            assert frames.names[name][frames.columns[name][k]] in frames.texts[k]
    again = render(1, 32, seed=0)
    np.testing.assert_array_equal(again.images, frames.images)
    assert not np.array_equal(render(1, 32, seed=1).images, frames.images)


def test_the_color_is_that_of_the_picture():
    frames = render(1, 32, seed=0)
    reds = frames.images[(frames.columns["color"] == 0) & (frames.columns["scale"] == 1)].astype(float)
    blues = frames.images[(frames.columns["color"] == 2) & (frames.columns["scale"] == 1)].astype(float)
    warm = lambda pictures: (pictures[..., 0] - pictures[..., 2]).max(axis=(1, 2))  # noqa: E731
    assert warm(reds).min() > 60
    assert np.median(warm(blues)) < 40


def test_clouds_are_those_of_the_objects():
    frames = render(1, 96, seed=0, points=200)
    points = frames.columns["points"]
    assert points.shape == (60, 200, 3)
    distance = np.linalg.norm(points - points.mean(axis=1, keepdims=True), axis=2).max(axis=1)
    assert distance.max() < 0.08  # no table among them
    large = frames.columns["scale"] == 1
    assert np.median(distance[large]) > 1.3 * np.median(distance[~large])
    np.testing.assert_array_equal(frames.images, render(1, 96, seed=0).images)


def test_only_what_is_named_varies():
    frames = render(2, 32, seed=0, vary=("color", "position"))
    assert len(frames) == 2 * len(COLORS)
    np.testing.assert_array_equal(np.bincount(frames.columns["color"]), 2)
    assert np.ptp(frames.columns["position"], axis=0).min() > 0.02
    for name in ("shape", "scale", "turn", "light", "camera"):
        assert not np.ptp(frames.columns[name], axis=0).any(), name
    assert all("large" in text and "cube" in text for text in frames.texts)
    alike = render(3, 32, seed=0, vary=("turn",))
    assert len(alike) == 3
    assert not np.array_equal(alike.images[0], alike.images[1])  # the turn shows
    everything = render(1, 32, seed=0, vary=FACTORS)
    np.testing.assert_array_equal(everything.images, render(1, 32, seed=0).images)


def test_what_cannot_vary_is_named(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"vary: expected some of color, shape, .*, found color, yaw"):
        render(1, 32, seed=0, vary=("color", "yaw"))
    with pytest.raises(ValueError, match="found none"):
        render(1, 32, seed=0, vary=())
    with pytest.raises(SystemExit):
        main(["--output", str(tmp_path / "renders"), "--vary", "color", "yaw"])
    said = capsys.readouterr().err
    assert "yaw" in said
    assert "turn" in said
    assert not (tmp_path / "renders").exists()

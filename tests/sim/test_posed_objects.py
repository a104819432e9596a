from __future__ import annotations

import numpy as np
import pytest

from sim.posed_objects import PosedObject, draw_part, posed_objects


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    found = PosedObject([draw_part(rng) for _ in range(4)], 32)
    yield found
    found.close()


def test_every_factor_shows_and_the_same_ones_give_the_same_picture(scene):
    factors = np.array([0.3, -0.5, 0.8, 0.2, 0.5, 1.0, 0.7])

    def picture(values):
        return scene.picture(values[:3], values[3], values[4:])

    first = picture(factors)
    for number in range(7):
        other = factors.copy()
        other[number] += 0.3
        assert (picture(other) != first).any(), number
    np.testing.assert_array_equal(picture(factors), first)


def test_the_hue_of_the_light_changes_pixels_and_not_what_they_show(scene):
    angles, shown, pictures = np.array([0.3, -0.5, 0.8]), [], []
    for hue in (0.1, 0.6):
        pictures.append(scene.picture(angles, 0.2, np.array([0.5, 1.0, hue])))
        shown.append(scene._renderer.render_geoms(scene._data, "eye"))
    assert (pictures[0] != pictures[1]).any()
    np.testing.assert_array_equal(*shown)
    assert len(np.unique(shown[0])) > 2  # the floor and several parts
    scene.picture(-angles, 0.2, np.array([0.5, 1.0, 0.1]))
    assert (scene._renderer.render_geoms(scene._data, "eye") != shown[0]).any()


def test_views_of_an_object_are_its_episode():
    frames = posed_objects(classes=2, instances=2, views=3, size=16, seed=0)
    assert frames.episode.tolist() == np.repeat(np.arange(4), 3).tolist()
    assert frames.columns["label"].tolist() == np.repeat([0, 1, 0, 1], 3).tolist()
    np.testing.assert_allclose(np.linalg.norm(frames.columns["rotation"], axis=1), 1)

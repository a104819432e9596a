from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sim.subject_views import KINDS, SubjectOptions, SubjectScene, drawn_subject, subject_views


def test_views_of_an_object_are_its_episode_and_differ_in_all_but_the_object():
    frames = subject_views(classes=2, instances=2, views=3, size=32, seed=0)
    assert frames.episode.tolist() == np.repeat(np.arange(4), 3).tolist()
    assert frames.columns["label"].tolist() == np.repeat([0, 0, 1, 1], 3).tolist()
    assert [frames.texts[0], frames.texts[-1]] == ["a mug", "a bottle"]
    np.testing.assert_allclose(np.linalg.norm(frames.columns["rotation"], axis=1), 1)
    assert len(np.unique(frames.columns["background"].round(3), axis=0)) == len(frames)
    mask = frames.columns["mask"]
    assert ((mask.mean(axis=(1, 2)) > 0.02) & (mask.mean(axis=(1, 2)) < 0.6)).all()
    around = frames.images[5][~mask[5]].mean(axis=0) / 255
    np.testing.assert_allclose(frames.columns["background"][5], around, atol=1e-6)
    again = subject_views(classes=2, instances=2, views=3, size=32, seed=0)
    np.testing.assert_array_equal(again.images, frames.images)


def test_the_rotation_is_that_of_the_optical_frame():
    # A long box along x, seen by a camera that drew its place: its length lies in the picture as the rotation says.
    geoms = '<geom type="capsule" size="0.04 0.4" quat="0.7071068 0 0.7071068 0" rgba="1 1 1 1"/>'
    scene = SubjectScene(geoms, 96)
    rng = np.random.default_rng(1)
    for _ in range(4):
        _, mask, quaternion = scene.view(rng)
        along = Rotation.from_quat(quaternion).as_matrix()[:2, 0]
        rows, columns = np.nonzero(mask)
        places = np.stack([columns, rows], axis=1) - (columns.mean(), rows.mean())
        seen = np.linalg.svd(places, full_matrices=False)[2][0]
        if np.linalg.norm(along) > 0.6:  # perspective bends what comes towards the camera
            assert abs(seen @ along) / np.linalg.norm(along) > 0.95
    scene.close()


def test_instances_of_a_kind_differ_and_unknown_numbers_are_refused(tmp_path):
    first, second = (drawn_subject("mug", np.random.default_rng(seed)) for seed in range(2))
    assert first.count("<geom") == second.count("<geom") == len(KINDS["mug"])
    assert first != second
    with pytest.raises(ValueError, match="expected 1 to 10"):
        SubjectOptions(tmp_path, classes=11)

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sim.object_clouds import CloudScene, object_clouds, part_normals
from sim.posed_objects import draw_part


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    found = CloudScene([draw_part(rng) for _ in range(4)], 64)
    yield found
    found.close()


def surface(kind, places, size):
    """0 on the surface of a geom, larger outside."""
    x, y, z = places
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return max(abs(x) - size[0], abs(y) - size[1], abs(z) - size[2])
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        return np.linalg.norm(places / size) - 1
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return max(np.hypot(x, y) - size[0], abs(z) - size[1])
    return np.linalg.norm([x, y, z - np.clip(z, -size[1], size[1])]) - size[0]


@pytest.mark.parametrize("kind", ["BOX", "ELLIPSOID", "CYLINDER", "CAPSULE"])
def test_normals_are_gradients_of_the_surface(kind):
    kind = getattr(mujoco.mjtGeom, f"mjGEOM_{kind}")
    rng, size = np.random.default_rng(0), np.array([0.2, 0.3, 0.25])
    for way in rng.normal(size=(20, 3)):
        near, far = 0.0, 2.0
        for _ in range(60):  # the place on the surface along a ray
            middle = (near + far) / 2
            near, far = (middle, far) if surface(kind, middle * way, size) < 0 else (near, middle)
        place = near * way
        steps = 1e-6 * np.eye(3)
        slope = np.array([surface(kind, place + s, size) - surface(kind, place - s, size) for s in steps])
        (normal,) = part_normals(kind, size, place[None])
        np.testing.assert_allclose(normal, slope / np.linalg.norm(slope), atol=1e-4)


def test_clouds_lie_at_the_pose_and_normals_face_the_camera(scene):
    for rotation in (Rotation.identity(), Rotation.from_euler("xyz", (0.4, -1.0, 2.0))):
        _, view = scene.view(rotation)
        np.testing.assert_allclose(view["pose"][:3], (0, 0, 0.5), atol=1e-9)
        assert np.linalg.norm(view["points"] - view["pose"][:3], axis=1).max() < 0.15
        facing = (view["normals"] * view["points"]).sum(axis=1)
        assert (facing < 0.02).mean() > 0.98
        np.testing.assert_allclose(np.linalg.norm(view["normals"], axis=1), 1)
        np.testing.assert_allclose(np.linalg.norm(view["approach"]), 1)


def test_the_approach_is_fixed_to_the_object_and_its_points_are_too(scene):
    found = []
    for rotation in (Rotation.identity(), Rotation.from_euler("z", 0.2)):
        _, view = scene.view(rotation)
        pose = Rotation.from_quat(view["pose"][3:])
        found.append((pose.inv().apply(view["approach"]), pose.inv().apply(view["points"] - view["pose"][:3])))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-9)
    nearest = [np.linalg.norm(found[0][1] - place, axis=1).min() for place in found[1][1]]
    assert np.median(nearest) < 0.004


def test_half_of_the_views_are_upright():
    frames = object_clouds(classes=2, instances=1, views=4, points=32, size=48, seed=0)
    assert frames.episode.tolist() == [0] * 4 + [1] * 4
    assert frames.columns["freedom"].tolist() == [0, 1] * 4
    assert frames.columns["points"].shape == frames.columns["normals"].shape == (8, 32, 3)
    assert frames.columns["pose"].shape == (8, 7)
    up = [Rotation.from_quat(pose[3:]).apply((0, 0, 1)) for pose in frames.columns["pose"]]
    np.testing.assert_allclose(up[0], up[2], atol=1e-6)
    assert np.abs(up[1] - up[0]).max() > 0.01
    others = object_clouds(classes=2, instances=1, views=2, points=32, size=48, seed=0, variant=1)
    handles = [
        Rotation.from_quat(one.columns["pose"][0, 3:]).inv().apply(one.columns["approach"][0])
        for one in (frames, others)
    ]
    assert 1e-4 < np.abs(handles[0] - handles[1]).max() < 0.5

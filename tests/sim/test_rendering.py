from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from PIL import Image

from policies.spatialvla.ego3d import backproject_patches, transform_points
from sim import rendering
from sim.rendering import DEPTH_UNIT, PROFILES, OffscreenRenderer, choose_gl_backend, intrinsics, quantise_depth

GOLDEN = Path(__file__).parent / "golden"
SIZE = 224
FOVY = 42.0
BOX_CENTRE, BOX_HALF = np.array([0.06, -0.04, 0.03]), np.array([0.04, 0.03, 0.03])
SCENE = f"""
<mujoco>
  <statistic extent="1"/>
  <visual><map znear="0.01" zfar="12"/></visual>
  <worldbody>
    <light type="directional" dir="-0.3 0.4 -1" diffuse="0.6 0.6 0.6"/>
    <geom name="table" type="box" size="0.6 0.6 0.02" pos="0 0 -0.02" rgba="0.6 0.55 0.5 1"/>
    <geom name="box" type="box" size="0.04 0.03 0.03" pos="0.06 -0.04 0.03" rgba="0.8 0.1 0.1 1"/>
    <geom name="ball" type="sphere" size="0.04" pos="-0.12 0.1 0.04" rgba="0.1 0.2 0.8 1"/>
    <geom name="can" type="cylinder" size="0.03 0.05" pos="0.02 0.16 0.05" rgba="0.1 0.6 0.2 1"/>
    <camera name="oblique" pos="0.7 0 0.6" xyaxes="0 1 0 -0.6 0 0.8" fovy="{FOVY}"/>
    <camera name="above" pos="0 0 1.2" fovy="{FOVY}"/>
    <camera name="sky" pos="0 0 1" xyaxes="1 0 0 0 -1 0" fovy="{FOVY}"/>
  </worldbody>
</mujoco>
"""


@pytest.fixture(scope="module")
def scene():
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


@pytest.fixture(scope="module")
def pictures(scene):
    model, data = scene
    taken = {}
    for profile in PROFILES:
        with OffscreenRenderer(model, SIZE, SIZE, profile) as renderer:
            taken[profile] = {name: renderer.render(data, name) for name in ("oblique", "above", "sky")}
    return taken


def camera_pose(scene, name: str) -> np.ndarray:
    """(4, 4) world from the optical frame (x right, y down, z forward)."""
    _, data = scene
    pose = np.eye(4)
    pose[:3, :3] = data.camera(name).xmat.reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
    pose[:3, 3] = data.camera(name).xpos
    return pose


def back_project(depth: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """(H, W, 3) world points of the pixels' centres."""
    matrix = intrinsics(FOVY, SIZE, SIZE)
    column, row = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    rays = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(matrix).T
    return (rays * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]


@pytest.mark.parametrize("profile", PROFILES)
def test_picture_matches_the_golden_image(pictures, profile):
    rgb, _ = pictures[profile]["oblique"]
    golden = np.asarray(Image.open(GOLDEN / f"oblique_{profile}.png"))
    difference = np.abs(rgb.astype(int) - golden.astype(int))
    assert difference.mean() < 2.0
    assert np.mean(difference.max(axis=-1) > 24) < 0.01


def test_only_the_quality_profile_casts_shadows(pictures):
    fast, quality = (pictures[profile]["oblique"][0].astype(int) for profile in ("fast", "quality"))
    darker = (fast - quality).min(axis=-1) > 15
    assert 0.005 < darker.mean() < 0.2


@pytest.mark.parametrize("camera", ["oblique", "above"])
def test_depth_is_the_same_in_both_profiles(pictures, camera):
    np.testing.assert_array_equal(pictures["fast"][camera][1], pictures["quality"][camera][1])


def test_pixels_of_the_table_back_project_onto_it(pictures, scene):
    points = back_project(pictures["fast"]["oblique"][1], camera_pose(scene, "oblique"))
    height = points[..., 2][np.isfinite(points[..., 2])]
    assert height.min() > -2e-4
    assert np.mean(height < 2e-4) > 0.9


def test_a_box_corner_back_projects_within_five_millimetres(pictures, scene):
    corner = BOX_CENTRE + BOX_HALF * (1, 1, 1)
    pose = camera_pose(scene, "oblique")
    seen = intrinsics(FOVY, SIZE, SIZE) @ (pose[:3, :3].T @ (corner - pose[:3, 3]))
    column, row = (seen[:2] / seen[2]).astype(int)
    points = back_project(pictures["fast"]["oblique"][1], pose)[row - 1 : row + 2, column - 1 : column + 2]
    assert np.linalg.norm(points - corner, axis=-1).min() < 0.005


FOOT, TOP = [(1, 1, -1), (1, -1, -1)], [(1, 1, 1), (1, -1, 1), (-1, 1, 1), (-1, -1, 1)]


@pytest.mark.parametrize(
    ("reso", "corner", "limit"),
    [(2, corner, 0.02) for corner in FOOT]
    + [(2, corner, 0.024) for corner in TOP]
    + [(7, corner, 0.02) for corner in FOOT + TOP],
)
def test_the_patch_that_shows_a_box_corner_has_a_point_near_it(pictures, scene, reso, corner, limit):
    """Every corner that the camera sees, 0.8 m away.

    Two centimetres are aimed at. They hold with cells of 2 pixels, and where the table meets the box. The cells of the
    released policy, 7 pixels or 21 mm, miss them by up to 3 mm at the top, where a cell's mean depth is half the
    table's behind: 19.7 to 23.1 mm.
    """
    place = BOX_CENTRE + BOX_HALF * corner
    pose, matrix = camera_pose(scene, "oblique"), intrinsics(FOVY, SIZE, SIZE)
    depth = torch.from_numpy(pictures["fast"]["oblique"][1])[None]
    points = backproject_patches(depth, torch.from_numpy(matrix), patch=14, reso=reso)
    seen = matrix @ (pose[:3, :3].T @ (place - pose[:3, 3]))
    column, row = (seen[:2] / seen[2] // 14).astype(int)
    world = transform_points(points, torch.from_numpy(pose[None]).float())[0, row * (SIZE // 14) + column]
    assert np.linalg.norm(world.reshape(-1, 3).numpy() - place, axis=1).min() < limit


def test_the_middle_of_a_box_seen_from_above_is_found_within_a_millimetre(pictures, scene):
    points = back_project(pictures["fast"]["above"][1], camera_pose(scene, "above"))
    top = np.abs(points[..., 2] - 2 * BOX_HALF[2]) < 5e-4
    near_box = np.linalg.norm(points[..., :2] - BOX_CENTRE[:2], axis=-1) < 0.06
    face = points[top & near_box]
    np.testing.assert_allclose(0.5 * (face.min(axis=0) + face.max(axis=0))[:2], BOX_CENTRE[:2], atol=2.5e-3)
    np.testing.assert_allclose(face.mean(axis=0)[:2], BOX_CENTRE[:2], atol=1.5e-3)


def test_picture_is_upright(pictures):
    rgb, _ = pictures["fast"]["above"]
    red = np.argwhere(rgb[..., 0].astype(int) - rgb[..., 1] > 60).mean(axis=0)
    assert red[0] > SIZE / 2, "the box lies at negative y, so below the middle of a picture whose up is +y"
    assert red[1] > SIZE / 2, "the box lies at positive x, so right of the middle"


def test_depth_beyond_the_range_is_nan(pictures):
    assert np.isnan(pictures["fast"]["sky"][1]).all()


def test_depth_survives_sixteen_bit_storage_bit_for_bit(pictures):
    depth = pictures["fast"]["oblique"][1]
    known = depth[np.isfinite(depth)]
    stored = np.rint(known / np.float32(DEPTH_UNIT)).astype(np.uint16)
    np.testing.assert_array_equal(stored.astype(np.float32) * np.float32(DEPTH_UNIT), known)


def test_quantised_depth_survives_storage_over_the_whole_range():
    steps = np.arange(1, 30001)
    depth = quantise_depth(steps * DEPTH_UNIT)
    np.testing.assert_array_equal(depth, steps.astype(np.uint16).astype(np.float32) * np.float32(DEPTH_UNIT))
    assert np.isnan(quantise_depth(np.array([0.0, 3.0002, np.inf]))).all()


def test_model_arrays_may_change_between_frames(scene):
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with OffscreenRenderer(model, 64, 64) as renderer:
        before, _ = renderer.render(data, "above")
        model.geom("box").rgba = (0.1, 0.8, 0.1, 1.0)
        model.geom("ball").type = mujoco.mjtGeom.mjGEOM_BOX
        model.geom("ball").size = (0.05, 0.05, 0.05)
        mujoco.mj_forward(model, data)
        after, _ = renderer.render(data, "above")
    with OffscreenRenderer(model, 64, 64) as fresh:
        expected, _ = fresh.render(data, "above")
    assert (before != after).any()
    np.testing.assert_array_equal(after, expected)


def test_renderers_of_different_sizes_do_not_disturb_each_other(scene):
    model, data = scene
    with OffscreenRenderer(model, 48, 32) as small, OffscreenRenderer(model, 96, 64, "quality") as large:
        first = small.render(data, "oblique")
        large.render(data, "oblique")
        again = small.render(data, "oblique")
    assert first[0].shape == (32, 48, 3)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


def test_the_model_is_left_as_it_was(scene):
    model, _ = scene
    before = model.vis.global_.offwidth, model.vis.quality.offsamples, model.vis.quality.shadowsize
    with OffscreenRenderer(model, 32, 32, "quality"):
        pass
    assert before == (model.vis.global_.offwidth, model.vis.quality.offsamples, model.vis.quality.shadowsize)


def test_intrinsics_put_the_principal_point_in_the_middle():
    matrix = intrinsics(90.0, 640, 480)
    np.testing.assert_allclose(matrix, [[240.0, 0.0, 320.0], [0.0, 240.0, 240.0], [0.0, 0.0, 1.0]])


def test_unknown_camera_is_refused_with_the_cameras_that_there_are(scene):
    model, data = scene
    with (
        OffscreenRenderer(model, 32, 32) as renderer,
        pytest.raises(ValueError, match="oblique, above, sky, found 'wrist'"),
    ):
        renderer.render(data, "wrist")


def test_every_pixel_tells_its_geom_and_pictures_are_as_before(scene):
    model, data = scene
    with OffscreenRenderer(model, SIZE, SIZE) as renderer:
        before, _ = renderer.render(data, "above")
        geoms = renderer.render_geoms(data, "above")
        after, _ = renderer.render(data, "above")
        np.testing.assert_array_equal(renderer.render_geoms(data, "sky"), -1)
    np.testing.assert_array_equal(before, after)
    assert {model.geom(number).name for number in np.unique(geoms) if number >= 0} == {"table", "box", "ball", "can"}
    blue = before[..., 2] > before[..., 0].astype(int) + 40
    assert ((geoms == model.geom("ball").id) != blue).mean() < 1e-3, "but for the darkest of its rim"


def test_unknown_profile_is_refused(scene):
    with pytest.raises(ValueError, match="expected one of fast, quality, found 'ultra'"):
        OffscreenRenderer(scene[0], 32, 32, "ultra")


def test_a_closed_renderer_says_so(scene):
    model, data = scene
    renderer = OffscreenRenderer(model, 32, 32)
    renderer.close()
    renderer.close()
    with pytest.raises(RuntimeError, match="found closed"):
        renderer.render(data, "above")


def test_a_foreign_backend_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(ValueError, match="expected one of egl, osmesa or unset, found 'glfw'"):
        choose_gl_backend()


def test_a_machine_without_opengl_is_told_what_to_install(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering, "_PROBE", "raise ImportError('no {backend} here')")
    with pytest.raises(RuntimeError, match=r"egl: ImportError: no egl here.*apt-get install libegl1"):
        choose_gl_backend()


def test_rendering_in_a_forked_process_is_refused_rather_than_hanging(scene, monkeypatch):
    monkeypatch.setattr(rendering, "_process_with_gl", os.getpid() + 1)
    with pytest.raises(RuntimeError, match="spawn"):
        OffscreenRenderer(scene[0], 32, 32)


def test_backend_is_found_even_when_mujoco_was_imported_first():
    program = (
        "import mujoco; from sim.rendering import OffscreenRenderer;"
        "m = mujoco.MjModel.from_xml_string('<mujoco><worldbody><camera name=\"c\"/></worldbody></mujoco>');"
        "d = mujoco.MjData(m); mujoco.mj_forward(m, d);"
        "print(OffscreenRenderer(m, 8, 8).render(d, 'c')[0].shape)"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.stdout.strip() == "(8, 8, 3)", result.stderr

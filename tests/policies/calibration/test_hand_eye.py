from __future__ import annotations

import numpy as np
import pytest

from policies.calibration.closed_form import solve_ax_xb
from policies.calibration.hand_eye import calibrate_hand_eye, carriers
from policies.calibration.pose_diversity import check_determined, distance, missing
from tests.policies.calibration.synthetic import (
    BOARD,
    MATRIX,
    MOUNT,
    NO_DISTORTION,
    PLACE,
    pose,
    random_camera_from_board,
    views,
)

SETUPS = ("eye_in_hand", "eye_to_hand")


def calibrate(setup, made):
    return calibrate_hand_eye(BOARD, made, MATRIX, NO_DISTORTION, setup)


@pytest.mark.parametrize("setup", SETUPS)
def test_exact_views_give_the_exact_mount(setup):
    rng = np.random.default_rng(0)
    made = views(setup, [random_camera_from_board(rng) for _ in range(8)])
    result = calibrate(setup, made)
    np.testing.assert_allclose(result.parent_from_camera, MOUNT, atol=1e-6)
    np.testing.assert_allclose(result.board_pose, PLACE, atol=1e-6)
    assert result.rms_px < 1e-3
    assert result.residual_mm.max() < 1e-2


def test_the_closed_form_is_exact_without_noise():
    rng = np.random.default_rng(1)
    seen = np.array([random_camera_from_board(rng) for _ in range(6)])
    poses = np.array([view.base_from_tool for view in views("eye_to_hand", list(seen))])
    mount, place = solve_ax_xb(carriers(poses, "eye_to_hand"), seen)
    np.testing.assert_allclose(mount, MOUNT, atol=1e-9)
    np.testing.assert_allclose(place, PLACE, atol=1e-9)


def test_a_bad_corner_does_not_matter():
    rng = np.random.default_rng(2)
    made = views("eye_in_hand", [random_camera_from_board(rng) for _ in range(10)])
    made[3].detection.pixels[7] += 8.0
    metres, degrees = distance(calibrate("eye_in_hand", made).parent_from_camera, MOUNT)
    assert metres < 1e-4
    assert degrees < 0.02


def turned(axis: tuple[float, float, float], count: int = 10) -> np.ndarray:
    return np.array(
        [pose(tuple(np.multiply(axis, angle)), (0.01 * angle, 0, 0)) for angle in np.linspace(-30, 30, count)]
    )


@pytest.mark.parametrize(
    ("poses", "words"),
    [
        (np.array([pose((0, 0, 0), (0.1 * i, 0.05 * i**2, 0)) for i in range(10)]), "translations only"),
        (turned((0.0, 1.0, 0.0)), "one axis only"),
        (turned((0.6, 0.0, 0.8)), "one axis only"),
        (turned((1.0, 0.0, 0.0), count=4), "at least 6, found 4"),
    ],
)
def test_poses_that_do_not_determine_the_mount_are_refused_by_reason(poses, words):
    with pytest.raises(ValueError, match=words):
        check_determined(poses)


def test_the_calibration_itself_refuses_them():
    turn_about_sight = [pose((0, 0, angle), (-0.1, -0.07, 0.4)) for angle in range(-40, 40, 8)]
    with pytest.raises(ValueError, match="one axis only"):
        calibrate("eye_in_hand", views("eye_in_hand", turn_about_sight))


def test_a_board_that_moved_is_refused():
    rng = np.random.default_rng(3)
    made = views("eye_in_hand", [random_camera_from_board(rng) for _ in range(10)])
    for view in made[:5]:
        view.base_from_tool[:3, 3] += (0.1, 0.0, 0.0)
    with pytest.raises(ValueError, match="what should stand still did"):
        calibrate("eye_in_hand", made)


def test_the_guide_names_the_axes_that_are_missing():
    lacks = missing(turned((0.0, 0.0, 1.0)))
    assert any("x axis (0 of 30 degrees" in lack for lack in lacks)
    assert not any("z axis" in lack for lack in lacks)
    assert "30 more poses" in lacks
    assert len(missing(np.empty((0, 4, 4)))) == 4
    rng = np.random.default_rng(4)
    made = views("eye_in_hand", [random_camera_from_board(rng) for _ in range(20)])
    poses = np.array([view.base_from_tool for view in made])
    assert missing(poses, wanted=20) == []
    assert missing(poses, wanted=21) == ["1 more poses"]

from __future__ import annotations

import cv2
import numpy as np
import pytest

from policies.calibration.intrinsics import CameraIntrinsics
from policies.calibration.joint_track import JointTrack
from policies.calibration.sessions import HandEyeSession, IntrinsicsSession
from policies.execution.kinematics import Kinematics
from policies.robots import get_robot
from tests.policies.calibration.synthetic import BOARD, MATRIX, NO_DISTORTION, SIZE

SPEC = get_robot("panda")
KINEMATICS = Kinematics(SPEC)


def picture(shift: int = 0, blur: float = 0.6) -> np.ndarray:
    """The board, seen straight on, grey around it."""
    image = np.full(SIZE, 128, np.uint8)
    board = BOARD.picture(70)
    image[30 : 30 + board.shape[0], 20 + shift : 20 + shift + board.shape[1]] = board
    return np.repeat(cv2.GaussianBlur(image, (0, 0), blur)[:, :, None], 3, axis=2)


def track(q: np.ndarray, speed: float = 0.0, until: float = 2.0) -> JointTrack:
    made = JointTrack(10.0)
    for stamp in np.arange(0.0, until, 0.02):
        made.add(stamp, q + speed * stamp)
    return made


@pytest.fixture
def session() -> HandEyeSession:
    lens = CameraIntrinsics(MATRIX, NO_DISTORTION, SIZE)
    return HandEyeSession(BOARD, KINEMATICS, "wrist", "tcp", "eye_in_hand", 0.1, lens)


def test_a_sharp_picture_of_a_resting_arm_is_taken_once(session):
    verdict = session.offer(picture(), 1.0, track(SPEC.home))
    assert verdict.accepted, verdict.reason
    again = session.offer(picture(), 1.5, track(SPEC.home))
    assert not again.accepted
    assert "too near to pose 1 (0 mm, 0.0 degrees)" in again.reason
    elsewhere = SPEC.home.copy()
    elsewhere[6] += np.deg2rad(10)
    assert session.offer(picture(), 1.0, track(elsewhere)).accepted
    assert "38 more poses" in session.missing()


def test_fewer_poses_may_be_asked_for():
    lens = CameraIntrinsics(MATRIX, NO_DISTORTION, SIZE)
    session = HandEyeSession(BOARD, KINEMATICS, "wrist", "tcp", "eye_in_hand", 0.1, lens, wanted_poses=7)
    assert "7 more poses" in session.missing()


@pytest.mark.parametrize(
    ("image", "joints", "words"),
    [
        (picture(blur=2.4), track(SPEC.home), "blurred"),
        (np.full((*SIZE, 3), 128, np.uint8), track(SPEC.home), "board is not seen"),
        (picture(), track(SPEC.home, speed=0.1), "the arm moves (0.04"),
        (picture(), track(SPEC.home, until=1.1), "at one of the ends"),
        (picture()[:400], track(SPEC.home), "expected images of (480, 640)"),
    ],
)
def test_what_is_refused_is_refused_by_reason(session, image, joints, words):
    verdict = session.offer(image, 1.0, joints)
    assert not verdict.accepted
    assert words in verdict.reason


def test_a_session_without_enough_views_gives_no_result_but_keeps_what_it_has(session, tmp_path):
    session.offer(picture(), 1.0, track(SPEC.home))
    with pytest.raises(ValueError, match="at least 6, found 1"):
        session.finish(tmp_path)
    assert (tmp_path / "views" / "000.png").is_file()
    assert not (tmp_path / "parameters.yaml").exists()


def test_a_lens_is_seen_from_everywhere():
    session = IntrinsicsSession(BOARD, "wrist")
    assert session.offer(picture(), 0.0, JointTrack(0.0)).accepted
    assert "too near to view 1" in session.offer(picture(shift=5), 0.0, JointTrack(0.0)).reason
    assert session.offer(picture(shift=60), 0.0, JointTrack(0.0)).accepted
    assert {"13 more views", "4 more views with the board tilted by 15 degrees or more"} <= set(session.missing())

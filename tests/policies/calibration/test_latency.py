from __future__ import annotations

import numpy as np
import pytest

from policies.calibration.latency import estimate_latency
from tests.policies.calibration.synthetic import pose, project

RATE_HZ = 30.0


def joint(time: np.ndarray) -> np.ndarray:
    return 0.15 * np.sin(2 * np.pi * 0.4 * time)


def recording(latency: float, noise_px: float = 0.2, amplitude: float = 1.0):
    """A camera that looks at a board while a joint turns it, in stamps that are late."""
    rng = np.random.default_rng(5)
    captured = np.arange(1.0, 14.0, 1 / RATE_HZ) + rng.normal(0, 1e-3, int(13 * RATE_HZ))
    detections = []
    for time in captured:
        angle = amplitude * joint(time)
        view = project(pose((0, 0, np.rad2deg(angle)), (-0.1, -0.07, 0.4)))
        detections.append(type(view)(view.ids, view.pixels + rng.normal(0, noise_px, view.pixels.shape)))
    joint_stamps = np.arange(0.0, 15.0, 0.01)
    positions = np.stack([np.full_like(joint_stamps, 0.3), joint(joint_stamps)], axis=1)
    return captured + latency, detections, joint_stamps, positions


@pytest.mark.parametrize("latency", [-0.05, 0.0, 0.0123, 0.08, 0.31])
def test_a_known_latency_is_found_within_a_millisecond(latency):
    estimate = estimate_latency(*recording(latency))
    assert estimate.latency_s == pytest.approx(latency, abs=1e-3)
    assert estimate.explained > 0.999
    assert estimate.explained >= estimate.explained_unshifted


def test_too_little_motion_is_refused():
    with pytest.raises(ValueError, match="expected corners that move"):
        estimate_latency(*recording(0.05, amplitude=0.01))


def test_a_motion_that_the_joints_do_not_explain_is_refused():
    stamps, detections, joint_stamps, positions = recording(0.05)
    order = np.random.default_rng(0).permutation(len(detections))
    with pytest.raises(ValueError, match="move one joint only"):
        estimate_latency(stamps, [detections[i] for i in order], joint_stamps, positions)


def test_too_few_images_and_joints_that_do_not_cover_them_are_refused():
    stamps, detections, joint_stamps, positions = recording(0.05)
    with pytest.raises(ValueError, match="at least 30 images"):
        estimate_latency(stamps[:10], detections[:10], joint_stamps, positions)
    with pytest.raises(ValueError, match="expected joint states from"):
        estimate_latency(stamps + 100.0, detections, joint_stamps, positions)
    with pytest.raises(ValueError, match="turns back"):
        estimate_latency(stamps, detections, joint_stamps, positions * 0)

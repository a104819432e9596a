from __future__ import annotations

import numpy as np
import pytest

from policies.execution.kinematics import Kinematics, rotation_from_rpy, rpy_from_rotation
from policies.interface import ActionChunk
from policies.robots import get_robot

SPEC = get_robot("panda")


@pytest.fixture(scope="module")
def kinematics():
    return Kinematics(SPEC)


def angle_between(a, b):
    return np.arccos(np.clip((np.trace(a[:3, :3].T @ b[:3, :3]) - 1) / 2, -1, 1))


def reachable(rng):
    """Joint positions in the middle four fifths of the ranges."""
    middle, half = (SPEC.lower + SPEC.upper) / 2, (SPEC.upper - SPEC.lower) / 2
    return middle + 0.8 * half * rng.uniform(-1, 1, 8)


def test_inverse_returns_to_a_pose_near_the_seed(kinematics):
    rng = np.random.default_rng(0)
    for _ in range(50):
        q = reachable(rng)
        pose = kinematics.forward(q)
        found = kinematics.inverse(pose, q + rng.uniform(-0.1, 0.1, 8) * [1, 1, 1, 1, 1, 1, 1, 0])
        np.testing.assert_allclose(kinematics.forward(found)[:3, 3], pose[:3, 3], atol=1e-4)
        assert angle_between(kinematics.forward(found), pose) < 1e-3


def test_inverse_crosses_the_workspace_from_home(kinematics):
    rng = np.random.default_rng(1)
    for _ in range(50):
        pose = kinematics.forward(SPEC.home)
        pose[:3, 3] = rng.uniform([0.3, -0.35, 0.02], [0.65, 0.35, 0.5])
        pose[:3, :3] = rotation_from_rpy([0, 0, rng.uniform(-1, 1)]) @ pose[:3, :3]
        q = kinematics.inverse(pose, SPEC.home)
        assert (q >= SPEC.lower).all()
        assert (q <= SPEC.upper).all()
        np.testing.assert_allclose(kinematics.forward(q)[:3, 3], pose[:3, 3], atol=1e-4)


def test_inverse_of_a_pose_out_of_reach_stays_within_the_limits(kinematics):
    pose = kinematics.forward(SPEC.home)
    pose[:3, 3] = [2.0, 0.0, 0.5]
    q = kinematics.inverse(pose, SPEC.home)
    assert (q >= SPEC.lower).all()
    assert (q <= SPEC.upper).all()
    assert kinematics.forward(q)[0, 3] > 0.7


def test_inverse_is_bit_equal_whatever_was_solved_before(kinematics):
    pose = kinematics.forward(SPEC.home)
    pose[:3, 3] += [0.03, -0.02, 0.01]
    first = kinematics.inverse(pose, SPEC.home)
    kinematics.inverse(kinematics.forward(reachable(np.random.default_rng(2))), SPEC.home)
    np.testing.assert_array_equal(kinematics.inverse(pose, SPEC.home), first)
    np.testing.assert_array_equal(Kinematics(SPEC).inverse(pose, SPEC.home), first)


def test_delta_rows_add_up_along_the_base_axes(kinematics):
    step = np.array([0.02, -0.01, 0.015, 0.05, -0.04, 0.1, 0.5])
    chunk = kinematics.to_joint_chunk(ActionChunk(3.0, 0.1, "cartesian_delta", np.tile(step, (4, 1))), SPEC.home)
    assert (chunk.kind, chunk.stamp, chunk.dt) == ("joint", 3.0, 0.1)
    expected = kinematics.forward(SPEC.home)
    for row in chunk.rows:
        expected[:3, 3] += step[:3]
        expected[:3, :3] = rotation_from_rpy(step[3:6]) @ expected[:3, :3]
        found = kinematics.forward(row)
        np.testing.assert_allclose(found[:3, 3], expected[:3, 3], atol=2e-5)
        assert angle_between(found, expected) < 2e-4
    np.testing.assert_allclose(chunk.rows[:, 7], 0.02)


def test_joint_rows_are_as_sure_as_the_ones_they_come_from(kinematics):
    sure, tokens = np.array([0.5, 0.25]), np.log([[0.5, 1.0, 1.0], [0.5, 0.5, 1.0]])
    chunk = kinematics.to_joint_chunk(
        ActionChunk(0.0, 0.1, "cartesian_delta", np.zeros((2, 7)), sure, tokens), SPEC.home
    )
    assert (chunk.confidence, chunk.token_log_probs) == (pytest.approx(sure), pytest.approx(tokens))


def test_absolute_rows_are_reached(kinematics):
    rows = np.array([[0.5, 0.1, 0.2, np.pi, 0.0, 0.2, 1.0], [0.5, 0.12, 0.18, np.pi, 0.0, 0.3, 0.0]])
    chunk = kinematics.to_joint_chunk(ActionChunk(0.0, 0.1, "cartesian_absolute", rows), SPEC.home)
    for row, target in zip(chunk.rows, rows, strict=True):
        np.testing.assert_allclose(kinematics.forward(row)[:3, 3], target[:3], atol=2e-5)
        np.testing.assert_allclose(kinematics.forward(row)[:3, :3], rotation_from_rpy(target[3:6]), atol=2e-4)
    np.testing.assert_allclose(chunk.rows[:, 7], [0.04, 0.0])


def test_rotation_from_rpy_turns_about_fixed_axes():
    np.testing.assert_allclose(rotation_from_rpy([np.pi / 2, 0, 0]) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    # Roll first, then yaw about the axis that did not move.
    np.testing.assert_allclose(rotation_from_rpy([np.pi / 2, 0, np.pi / 2]) @ [0, 0, 1], [1, 0, 0], atol=1e-12)


def test_rows_after_one_that_is_not_finite_are_not_finite(kinematics):
    rows = np.zeros((3, 7))
    rows[1, 2] = np.nan
    chunk = kinematics.to_joint_chunk(ActionChunk(0.0, 0.1, "cartesian_delta", rows), SPEC.home)
    assert np.isfinite(chunk.rows[0]).all()
    assert np.isnan(chunk.rows[1:]).all()


def test_frames_are_bodies_and_sites(kinematics):
    hand, tool = kinematics.frame(SPEC.home, "hand"), kinematics.frame(SPEC.home, "tcp")
    np.testing.assert_allclose((np.linalg.inv(hand) @ tool)[:3, 3], [0, 0, 0.1034], atol=1e-12)
    np.testing.assert_allclose(kinematics.frame(SPEC.home, "link0"), np.eye(4))
    with pytest.raises(ValueError, match="expected a site or body of panda, found 'elbow'"):
        kinematics.frame(SPEC.home, "elbow")


def test_wrong_joint_count_and_non_finite_targets_are_refused(kinematics):
    with pytest.raises(ValueError, match="expected 8 joint positions"):
        kinematics.forward(np.zeros(7))
    with pytest.raises(ValueError, match="expected a finite"):
        kinematics.inverse(np.full((4, 4), np.nan), SPEC.home)


def test_roll_pitch_yaw_come_back_from_their_rotation():
    generator = np.random.default_rng(0)
    for rpy in generator.uniform(-1.5, 1.5, (50, 3)):
        np.testing.assert_allclose(rpy_from_rotation(rotation_from_rpy(rpy)), rpy, atol=1e-12)


def test_paths_are_told_of_every_arm():
    spec = get_robot("aloha")
    kinematics = Kinematics(spec)
    rows = np.tile(spec.home, (3, 1))
    rows[:, spec.arms[1].joints[0]] += [0.0, 0.1, 0.2]
    paths = kinematics.tool_paths(rows)
    assert paths.shape == (2, 3, 3)
    np.testing.assert_allclose(paths[0], paths[0, :1].repeat(3, 0), atol=1e-9)
    np.testing.assert_array_equal(paths[1, 2], kinematics.forward(rows[2], 1)[:3, 3])
    assert np.linalg.norm(paths[1, 2] - paths[1, 0]) > 0.01
    assert kinematics.tool_paths(rows[:0]).shape == (2, 0, 3)

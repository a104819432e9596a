from __future__ import annotations

import numpy as np
import pytest

from policies.execution.camera_pose import camera_pose
from policies.execution.frame_tree import FrameError, FrameTree
from policies.execution.kinematics import Kinematics, rotation_from_rpy
from policies.robots import get_robot
from policies.robots.camera_mount import CameraMount

SPEC = get_robot("panda")
RNG = np.random.default_rng(0)


def pose(*position: float, rpy: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation_from_rpy(rpy), position
    return matrix


def random_pose() -> np.ndarray:
    return pose(*RNG.normal(size=3), rpy=tuple(RNG.uniform(-1, 1, 3)))


def test_a_lookup_goes_up_to_the_common_frame_and_down_again():
    tree, steps = FrameTree(), [random_pose() for _ in range(4)]
    tree.set_fixed("world", "base", steps[0])
    tree.set_fixed("base", "arm", steps[1])
    tree.set_fixed("arm", "camera", steps[2])
    tree.set_fixed("base", "table", steps[3])
    expected = np.linalg.inv(steps[3]) @ steps[1] @ steps[2]
    np.testing.assert_allclose(tree.lookup("table", "camera", 0.0), expected, atol=1e-12)
    np.testing.assert_allclose(tree.lookup("camera", "table", 5.0), np.linalg.inv(expected), atol=1e-12)
    np.testing.assert_array_equal(tree.lookup("world", "base", 0.0), steps[0])
    np.testing.assert_array_equal(tree.lookup("arm", "arm", 0.0), np.eye(4))


def test_a_moving_frame_is_interpolated_and_never_extrapolated():
    tree = FrameTree()
    tree.add_moving("base", "cart", 1.0, pose(0, 0, 0))
    tree.add_moving("base", "cart", 2.0, pose(1, 0, 0, rpy=(0, 0, np.pi / 2)))
    np.testing.assert_allclose(tree.lookup("base", "cart", 1.25), pose(0.25, 0, 0, rpy=(0, 0, np.pi / 8)), atol=1e-12)
    np.testing.assert_array_equal(tree.lookup("base", "cart", 2.0)[:3, 3], [1, 0, 0])
    for stamp in (0.99, 2.01, np.nan):
        with pytest.raises(FrameError, match=r"poses of 'cart': expected a stamp from 1\.000000 s to 2\.000000 s"):
            tree.lookup("base", "cart", stamp)


def test_within_the_tolerance_the_nearest_value_stands_for_what_is_beyond():
    tree = FrameTree(tolerance_s=0.1)
    tree.add_moving("base", "cart", 1.0, pose(1, 0, 0))
    tree.add_moving("base", "cart", 2.0, pose(2, 0, 0))
    assert tree.lookup("base", "cart", 0.95)[0, 3] == 1.0
    assert tree.lookup("base", "cart", 2.05)[0, 3] == 2.0
    with pytest.raises(FrameError):
        tree.lookup("base", "cart", 2.2)


def test_old_poses_are_forgotten_and_stamps_that_jump_back_begin_anew():
    tree = FrameTree(history_length=3)
    for stamp in range(5):
        tree.add_moving("base", "cart", float(stamp), pose(stamp, 0, 0))
    with pytest.raises(FrameError, match=r"from 2\.0"):
        tree.lookup("base", "cart", 1.5)
    tree.add_moving("base", "cart", 1.0, pose(7, 0, 0))
    assert tree.lookup("base", "cart", 1.0)[0, 3] == 7.0
    with pytest.raises(FrameError):
        tree.lookup("base", "cart", 3.0)


def test_moving_frames_are_where_they_go_again_after_their_motion_was_forgotten():
    tree = FrameTree()
    tree.add_moving("base", "cart", 1.0, pose(1, 0, 0))
    tree.clear_motion()
    assert "cart" in tree
    with pytest.raises(FrameError, match="poses of 'cart': expected at least one"):
        tree.lookup("base", "cart", 1.0)
    tree.add_moving("base", "cart", 2.0, pose(2, 0, 0))
    assert tree.lookup("base", "cart", 2.0)[0, 3] == 2.0
    assert not tree.is_fixed("cart")


def test_a_camera_on_the_hand_is_where_the_kinematics_put_it_to_the_last_bit():
    kinematics = Kinematics(SPEC)
    tree, mount = FrameTree(kinematics), CameraMount("hand", np.array([0.05, 0, 0.03]), np.array([0.0, 0.6, 0.0, 0.8]))
    tree.set_fixed("hand", "wrist_optical_frame", mount.pose)
    tree.set_fixed("world", SPEC.base_frame, pose(0, 0, 0.7))
    tree.add_joints(1.0, SPEC.home)
    tree.add_joints(2.0, SPEC.home + 0.1)
    found = tree.lookup(SPEC.base_frame, "wrist_optical_frame", 2.0)
    np.testing.assert_array_equal(found, camera_pose(kinematics, SPEC.home + 0.1, mount))
    between = camera_pose(kinematics, SPEC.home + 0.05, mount)
    np.testing.assert_allclose(tree.lookup(SPEC.base_frame, "wrist_optical_frame", 1.5), between, atol=1e-12)
    np.testing.assert_allclose(tree.lookup("world", "tcp", 1.0)[2, 3], 0.35 + 0.7, atol=1e-4)


def test_what_is_fixed_needs_no_joints_and_what_moves_says_that_it_lacks_them():
    tree = FrameTree(Kinematics(SPEC))
    tree.set_fixed(SPEC.base_frame, "front_optical_frame", pose(1, 0, 0.5))
    assert tree.lookup(SPEC.base_frame, "front_optical_frame", 9.0)[0, 3] == 1.0
    with pytest.raises(FrameError, match="joint positions: expected at least one"):
        tree.lookup(SPEC.base_frame, "tcp", 0.0)
    tree.add_joints(1.0, SPEC.home)
    tree.lookup(SPEC.base_frame, "tcp", 1.0)
    tree.clear_motion()
    with pytest.raises(FrameError, match="joint positions"):
        tree.lookup(SPEC.base_frame, "tcp", 1.0)


def test_what_is_unknown_or_not_connected_is_named():
    tree = FrameTree()
    tree.set_fixed("a", "b", pose(0, 0, 0))
    tree.set_fixed("c", "d", pose(0, 0, 0))
    with pytest.raises(FrameError, match="found 'e'"):
        tree.lookup("a", "e", 0.0)
    with pytest.raises(FrameError, match="'b' and 'd': expected a common root, found 'a' and 'c'"):
        tree.lookup("b", "d", 0.0)


def test_what_would_make_no_tree_is_refused():
    tree = FrameTree(Kinematics(SPEC))
    tree.set_fixed("a", "b", pose(0, 0, 0))
    tree.set_fixed("b", "c", pose(0, 0, 0))
    with pytest.raises(FrameError, match="expected no cycle, found a -> c -> b -> a"):
        tree.set_fixed("c", "a", pose(0, 0, 0))
    with pytest.raises(FrameError, match="'c': expected the parent 'b', found 'a'"):
        tree.set_fixed("a", "c", pose(0, 0, 0))
    with pytest.raises(FrameError, match="'c': expected one that moves"):
        tree.add_moving("b", "c", 0.0, pose(0, 0, 0))
    with pytest.raises(FrameError, match="'hand': expected one that is not of the robot"):
        tree.set_fixed("a", "hand", pose(0, 0, 0))
    with pytest.raises(FrameError, match="expected no cycle, found link0 -> tcp -> link0"):
        tree.set_fixed("tcp", SPEC.base_frame, pose(0, 0, 0))
    for bad in (np.eye(3), 2 * np.eye(4), np.full((4, 4), np.nan), np.diag([1.0, 1, -1, 1])):
        with pytest.raises(FrameError, match="pose of 'x': expected a"):
            tree.set_fixed("a", "x", bad)
    assert "x" not in tree

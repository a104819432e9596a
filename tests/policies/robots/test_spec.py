from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from policies.robots import get_robot


def test_unknown_robot_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"expected one of .*aloha, .*panda.* or a \.yaml file, found 'ur5'"):
        get_robot("ur5")


def test_gripper_opening_and_position_are_inverse():
    spec = get_robot("panda")
    assert spec.gripper_positions([1.0]) == 0.04
    assert spec.gripper_positions([-3.0]) == 0.0
    positions = spec.home.copy()
    positions[spec.grippers] = spec.gripper_positions([0.3])
    assert spec.gripper_openings(positions) == pytest.approx([0.3])


def test_joints_of_two_arms_come_arm_after_arm():
    spec = get_robot("aloha")
    assert [spec.joint_names[joint] for joint in spec.grippers] == ["left/left_finger", "right/left_finger"]
    assert [arm.name for arm in spec.arms] == ["left_arm", "right_arm"]
    np.testing.assert_array_equal(spec.arm_joints, [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12])
    np.testing.assert_allclose(spec.gripper_openings(spec.home), [1.0, 1.0])
    with pytest.raises(ValueError, match="arms: expected the joints 0 to 13"):
        dataclasses.replace(spec, arms=spec.arms[:1])


def test_limits_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="read-only"):
        get_robot("panda").lower[0] = 0.0


def test_limits_of_another_length_are_refused():
    with pytest.raises(ValueError, match="max_jerk: expected 8 finite values"):
        dataclasses.replace(get_robot("panda"), max_jerk=np.ones(7))

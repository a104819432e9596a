from __future__ import annotations

import numpy as np
import pytest

from policies.rdt.embodiment import EMBODIMENTS
from policies.rdt.unified_space import SIZE, SLOTS, extract, fill, rotation_from_6d, rotation_to_6d, slots_of

AXES = ("x", "y", "z")
PARTS = [
    *((f"arm_joint_{i}_pos", i) for i in range(10)),
    *((f"gripper_joint_{i}_pos", 10 + i) for i in range(5)),
    ("gripper_open", 10),
    *((f"arm_joint_{i}_vel", 15 + i) for i in range(10)),
    *((f"gripper_joint_{i}_vel", 25 + i) for i in range(5)),
    ("gripper_open_vel", 25),
    *((f"eef_pos_{a}", 30 + i) for i, a in enumerate(AXES)),
    *((f"eef_angle_{i}", 33 + i) for i in range(6)),
    *((f"eef_vel_{a}", 39 + i) for i, a in enumerate(AXES)),
    *((f"eef_angular_vel_{a}", 42 + i) for i, a in enumerate(("roll", "pitch", "yaw"))),
]


def test_every_name_means_its_slot():
    expected = {"base_vel_x": 100, "base_vel_y": 101, "base_angular_vel": 102}
    for name, slot in PARTS:
        expected |= {name: slot, f"right_{name}": slot, f"left_{name}": 50 + slot}
    assert expected == SLOTS


@pytest.mark.parametrize(
    "names",
    [
        EMBODIMENTS["aloha_agilex"].names,
        EMBODIMENTS["franka_joint"].names,
        (*EMBODIMENTS["franka_eef"].names, "base_vel_x", "base_vel_y"),
    ],
)
def test_what_is_filled_in_comes_out_again(names):
    values = np.random.default_rng(0).normal(size=(3, len(names))).astype(np.float32)
    vectors, mask = fill(values, names)
    assert (extract(vectors, names) == values).all()
    assert mask.sum() == len(names)
    assert (vectors[:, mask == 0] == 0).all()
    assert vectors.shape == (3, SIZE)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["elbow"], "'elbow'"),
        (["gripper_open", "right_gripper_joint_0_pos"], "gripper_open"),
    ],
)
def test_unknown_and_doubled_names_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        slots_of(names)


def test_another_number_of_values_is_refused():
    with pytest.raises(ValueError, match="expected 1 values"):
        fill(np.zeros(2), ["gripper_open"])
    with pytest.raises(ValueError, match="128"):
        extract(np.zeros(3), ["gripper_open"])


def test_rotations_survive_six_numbers_and_any_six_numbers_are_a_rotation():
    rng = np.random.default_rng(1)
    rotations = rotation_from_6d(rng.normal(size=(1000, 6)))
    assert np.abs(rotations @ np.swapaxes(rotations, -1, -2) - np.eye(3)).max() < 1e-6
    assert np.abs(np.linalg.det(rotations) - 1).max() < 1e-6
    assert np.abs(rotation_from_6d(rotation_to_6d(rotations)) - rotations).max() < 1e-6
    np.testing.assert_array_equal(rotation_to_6d(np.arange(9).reshape(3, 3)), [0, 3, 6, 1, 4, 7])

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from policies.rdt.embodiment import ALOHA, ALOHA_AGILEX, EMBODIMENTS, MANISKILL, PANDA, Embodiment, get_embodiment
from policies.rdt.unified_space import slots_of
from policies.robots import get_robot


def test_the_published_robot_has_its_slots_and_two_gripper_scales():
    assert slots_of(ALOHA_AGILEX.names).tolist() == [50, 51, 52, 53, 54, 55, 60, 0, 1, 2, 3, 4, 5, 10]
    state = np.zeros(14)
    state[[6, 13]] = 4.7908, 4.7888
    vector, _ = ALOHA_AGILEX.state_to_unified(state)
    np.testing.assert_allclose(vector[[60, 10]], 1.0)
    action = ALOHA_AGILEX.action_from_unified(vector)
    np.testing.assert_allclose(action[[6, 13]], [11.8997, 13.9231], rtol=1e-6)


def test_the_ends_of_maniskills_ranges_are_plus_and_minus_one():
    low = np.array(MANISKILL.state_offset) - MANISKILL.state_scale
    vector, mask = MANISKILL.state_to_unified(low)
    np.testing.assert_allclose(vector[mask == 1], -1.0, atol=1e-6)
    np.testing.assert_allclose(low[7], 0.0, atol=1e-9)


def test_maniskills_rows_span_sixteen_steps_at_the_simulators_rate_and_the_network_is_told_another():
    assert (MANISKILL.spacing(64).steps, MANISKILL.control_hz, MANISKILL.told_frequency) == (16, 20.0, 25.0)
    assert (PANDA.spacing(64).steps, PANDA.told_frequency) == (64, 10.0)
    assert replace(PANDA, control_hz=30.0).told_frequency == 30.0
    with pytest.raises(ValueError, match="chunk_steps: expected 2 to the 8 rows of a chunk, found 16"):
        MANISKILL.spacing(8)


@pytest.mark.parametrize("name", sorted(EMBODIMENTS))
def test_commands_come_out_as_they_went_in(name):
    embodiment = EMBODIMENTS[name]
    values = np.random.default_rng(0).uniform(-0.03, 0.03, (4, len(embodiment.names)))
    vectors, _ = embodiment.action_to_unified(values)
    np.testing.assert_allclose(embodiment.action_from_unified(vectors), values, atol=1e-6)


def test_relative_commands_of_arm_joints_are_counted_from_the_state_and_grippers_are_not():
    body = replace(PANDA, relative=True, action_scale=(0.1,) * 7 + (0.04,))
    states = np.random.default_rng(0).uniform(-1, 1, (3, 8))
    commands = states[:, None] + np.linspace(0, 0.2, 5)[:, None]
    commands[..., 7] = 0.04
    vectors, mask = body.action_to_unified(commands, states)
    np.testing.assert_allclose(vectors[..., :7], np.broadcast_to(np.linspace(0, 2, 5)[:, None], (3, 5, 7)), atol=1e-6)
    np.testing.assert_allclose(vectors[..., 10], 1.0)
    np.testing.assert_allclose(body.action_from_unified(vectors, states), commands, atol=1e-6)
    shifted = vectors[0] + body.shift(states[0], states[1])
    np.testing.assert_allclose(body.action_from_unified(shifted, states[1]), commands[0], atol=1e-6)
    assert not body.shift(states[0], states[1])[mask == 0].any()
    assert not PANDA.shift(states[0], states[1]).any()
    with pytest.raises(ValueError, match="panda: expected the state"):
        body.action_to_unified(commands)


def test_degrees_are_refused_by_name():
    with pytest.raises(ValueError, match=r"arm_joint_2_pos.*SI units.*found 90"):
        EMBODIMENTS["franka_joint"].state_to_unified([0, 0, 90, 0, 0, 0, 0, 0])
    with pytest.raises(ValueError, match="found nan"):
        EMBODIMENTS["franka_joint"].state_to_unified([0, 0, np.nan, 0, 0, 0, 0, 0])


def test_a_users_robot_is_read_from_json(tmp_path):
    path = tmp_path / "mine.json"
    mine = Embodiment("mine", ("left_arm_joint_0_pos", "left_gripper_open"), 50.0, state_scale=(1.0, 0.08))
    path.write_text(json.dumps(mine.to_dict()))
    assert get_embodiment(str(path)) == mine


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "colour"),
        ({"names": ["elbow"]}, "elbow"),
        ({"state_scale": [1.0]}, "state_scale: expected 2"),
        ({"state_scale": [1.0, 0.0]}, "other than 0"),
        ({"control_hz": 0}, "control_hz"),
        ({"cameras": ["top"]}, "cameras"),
        ({"kind": "eef"}, "names: expected .*eef_pos_x.* of kind 'eef', found"),
        (
            {"kind": "eef", "names": EMBODIMENTS["franka_eef"].names, "relative": True},
            "relative: expected kind 'joint'",
        ),
    ],
)
def test_a_damaged_json_file_is_refused_by_field(tmp_path, change, message):
    path = tmp_path / "mine.json"
    content = {"name": "mine", "names": ["left_arm_joint_0_pos", "left_gripper_open"], "control_hz": 50.0}
    path.write_text(json.dumps(content | change))
    with pytest.raises(ValueError, match=f"mine.json.*{message}"):
        Embodiment.from_json(path)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="aloha_agilex"):
        get_embodiment("nobody")


def test_the_simulated_pairs_grippers_are_0_closed_and_1_open():
    spec = get_robot("aloha")
    assert ALOHA.control_hz == spec.control_hz
    assert slots_of(ALOHA.names).tolist() == [*range(50, 56), 60, *range(6), 10]
    for ends, expected in ((spec.lower, 0.0), (spec.upper, 1.0)):
        vector, _ = ALOHA.state_to_unified(np.where(np.arange(14) % 7 == 6, ends, 0.0))
        np.testing.assert_allclose(vector[[60, 10]], expected, atol=1e-6)

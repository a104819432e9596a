from __future__ import annotations

import json

import numpy as np
import pytest

from policies.interface import Observation, load_policy
from policies.loading import policy_sha256
from policies.recorded_motion import MAX_RATE, MotionConfig, RecordedMotion
from policies.robots import get_robot

SPEC = get_robot("panda")


def motion(rows=30, loop_start=10):
    positions = np.tile(SPEC.home, (rows, 1))
    positions[:, 0] += 0.02 * np.arange(rows)
    targets = positions.copy()
    targets[:, 7] = 0.0
    return RecordedMotion(MotionConfig("panda", ("front",), 10.0, loop_start), positions, targets)


def seen(policy, stamp, row, offset=0.0):
    positions = policy.positions[row].copy()
    positions[0] += offset
    return Observation(stamp, {}, positions, np.zeros(8), "anything")


def test_the_rows_after_the_arms_place_are_answered():
    policy = motion()
    chunk = policy.act(seen(policy, 5.0, 3))
    assert (chunk.stamp, chunk.dt, chunk.kind) == (5.0, 0.1, "joint")
    np.testing.assert_allclose(chunk.rows, policy.targets[4:20])


def test_the_motion_goes_on_with_the_time_and_round_its_loop():
    policy = motion()
    policy.act(seen(policy, 5.0, 3))
    np.testing.assert_allclose(policy.act(seen(policy, 5.5, 8)).rows[0], policy.targets[9])
    between = policy.act(seen(policy, 5.54, 8)).rows[0]
    np.testing.assert_allclose(between, 0.6 * policy.targets[9] + 0.4 * policy.targets[10])
    rows = policy.act(seen(policy, 7.0, 23)).rows
    places = [24, 25, 26, 27, 28, 29, 10, 11]
    # Back at the start of the loop the arm is led no faster than it may be.
    np.testing.assert_allclose(rows[:6], policy.targets[places[:6]])
    assert (np.abs(rows[6:8, 0] - policy.positions[23, 0]) <= MAX_RATE * np.array([0.7, 0.8]) + 1e-12).all()
    np.testing.assert_allclose(rows[6:8, 0], policy.targets[places[6:], 0])


def test_an_arm_that_was_held_is_found_where_it_is():
    policy = motion()
    policy.act(seen(policy, 5.0, 3))
    np.testing.assert_allclose(policy.act(seen(policy, 6.5, 5)).rows[0], policy.targets[6])


def test_an_arm_that_is_far_away_is_led_at_a_bounded_rate():
    policy = motion()
    measured = seen(policy, 5.0, 3, offset=-1.0)
    rows = policy.act(measured).rows
    steps = np.diff(np.concatenate([[measured.joint_positions[0]], rows[:, 0]]))
    assert (np.abs(steps) <= MAX_RATE / 10 + 1e-12).all()
    assert steps[0] == pytest.approx(MAX_RATE / 10)


def test_reset_forgets_the_place():
    policy = motion()
    policy.act(seen(policy, 5.0, 3))
    policy.reset()
    np.testing.assert_allclose(policy.act(seen(policy, 1.0, 12)).rows[0], policy.targets[13])


def test_it_is_loaded_as_any_policy_is(tmp_path):
    policy = motion()
    policy.save_pretrained(tmp_path)
    loaded = load_policy(str(tmp_path))
    assert isinstance(loaded, RecordedMotion)
    assert loaded.config == policy.config
    np.testing.assert_array_equal(loaded.targets, policy.targets)
    assert len(policy_sha256(str(tmp_path))) == 64


def test_files_that_are_no_motion_are_refused_by_name(tmp_path):
    motion().save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {"loop_start": 30}))
    with pytest.raises(ValueError, match=f"{tmp_path}.*loop_start: expected a row of 30"):
        load_policy(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(content | {"speed": 1}))
    with pytest.raises(ValueError, match="speed"):
        load_policy(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(content))
    (tmp_path / "motion.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=str(tmp_path)):
        load_policy(str(tmp_path))


@pytest.mark.parametrize("rows", [np.zeros((4, 7)), np.full((4, 8), np.nan), np.zeros((0, 8))])
def test_rows_that_do_not_fit_are_refused(rows):
    with pytest.raises(ValueError, match=r"positions: expected \(T, 8\) finite values"):
        RecordedMotion(MotionConfig("panda", (), 10.0, 0), rows, rows)

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from policies.execution.plausibility import depth_mismatch, joints_mismatch, policy_mismatch
from policies.interface import load_policy
from policies.robots import get_robot

SPEC = get_robot("panda")


def policy(**changes):
    return SimpleNamespace(**{"robot": "panda", "control_hz": 10.0, "max_step": np.full(6, 0.03), **changes})


def test_the_shipped_policies_fit_their_robot():
    for name in ("spatialvla_small", "noop", "random"):
        assert policy_mismatch(load_policy(name), name, SPEC) == ""


def test_another_robot_is_named():
    assert policy_mismatch(policy(robot="ur5"), "mine", SPEC) == (
        "policy 'mine': expected one for robot 'panda', found one for 'ur5'"
    )


@pytest.mark.parametrize(
    ("step", "unit"),
    [(np.r_[np.full(3, 30.0), np.full(3, 0.03)], "m/s"), (np.r_[np.full(3, 0.03), np.full(3, 5.0)], "rad/s")],
)
def test_statistics_in_other_units_are_named(step, unit):
    words = policy_mismatch(policy(max_step=step), "mine", SPEC)
    assert "statistics of policy 'mine'" in words
    assert unit in words


def test_joints_in_degrees_are_named():
    assert joints_mismatch(SPEC.home, SPEC) == ""
    assert "joint2" in joints_mismatch(np.degrees(SPEC.home), SPEC)


@pytest.mark.parametrize(("depth", "fits"), [(0.8, True), (800.0, False), (0.0008, False), (np.nan, True)])
def test_depth_in_millimetres_is_named(depth, fits):
    words = depth_mismatch("front", np.full((4, 4), depth, np.float32))
    assert (words == "") == fits
    assert fits or "camera 'front'" in words

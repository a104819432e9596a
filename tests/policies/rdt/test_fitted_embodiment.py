from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from policies.rdt.aloha_demonstrations import AlohaDemonstrations
from policies.rdt.embodiment import ALOHA_AGILEX, PANDA
from policies.rdt.fitted_embodiment import common_embodiments, fit_embodiment, named_embodiments
from policies.robots import get_robot

CAMERAS = ("front", "wrist", "")


def recorded(robot, control_hz, value=0.0):
    """Demonstrations of 20 steps in which every joint but the last, a gripper, moves by 0.1 from a value."""
    spec = get_robot(robot)
    states = np.full((20, len(spec.joint_names)), value)
    states[::2] += 0.1
    states[:, -1] = 0.02
    actions = states + 0.05
    return SimpleNamespace(
        path=Path(f"{robot}{control_hz}"),
        robot=robot,
        control_hz=control_hz,
        steps=SimpleNamespace(states=states, actions=actions, chunks=lambda chosen, rows: actions[chosen, None]),
    )


def aloha():
    """Episodes of ALOHA without their files."""
    data = AlohaDemonstrations.__new__(AlohaDemonstrations)
    data.path, data.steps = Path("episodes"), recorded("aloha", 25).steps
    return data


ALL = [np.arange(20)] * 2


def test_a_fitted_embodiment_fills_the_unit_range_with_the_training_steps_of_all_datasets():
    datasets = [recorded("panda", 10), recorded("panda", 10, value=1.0)]
    body = fit_embodiment(datasets, ALL, CAMERAS)
    values = np.concatenate([data.steps.states for data in datasets])
    vectors, slots = body.state_to_unified(values)
    assert slots.sum() == 8
    joints = vectors[:, :7]
    assert joints.min() == pytest.approx(-1)
    assert joints.max() == pytest.approx(1 - 2 * 0.05 / 1.15)  # actions go on further by 0.05
    spec = get_robot("panda")
    open_hand = np.where(np.arange(8) == 7, spec.upper, values[0])
    assert body.state_to_unified(open_hand)[0][10] == pytest.approx(1.0)
    held_out = fit_embodiment(datasets, [np.arange(20), np.arange(0)], CAMERAS)
    assert held_out.state_scale[0] == pytest.approx(0.075)


def test_relative_chunks_have_two_standard_deviations_as_unit():
    data = recorded("panda", 10)
    data.steps.actions[::2] += 0.1  # in place: the ways from the state are 0.15 and 0.05
    body = fit_embodiment([data], ALL[:1], CAMERAS, relative_rows=4)
    assert body.relative
    np.testing.assert_allclose(body.action_scale[:7], 2 * 0.05)
    assert (body.action_scale[7], body.action_offset[7]) == (body.state_scale[7], body.state_offset[7])
    assert replace(body, relative=False, action_scale=(), action_offset=()) == fit_embodiment([data], ALL[:1], CAMERAS)


def test_each_dataset_keeps_its_own_rate():
    fast, slow = common_embodiments([recorded("panda", 10), recorded("panda", 30)], ALL, CAMERAS, None)
    assert (fast.control_hz, slow.control_hz) == (10, 30)
    assert replace(slow, control_hz=10) == fast
    for found, rate in zip(
        common_embodiments([recorded("panda", 5), recorded("panda", 20)], ALL, CAMERAS, PANDA), (5, 20), strict=True
    ):
        assert found == replace(PANDA, control_hz=rate)


def test_episodes_of_aloha_have_the_published_embodiment_unless_a_policy_has_another():
    assert common_embodiments([aloha()], ALL[:1], CAMERAS, None) == [ALOHA_AGILEX]
    mine = replace(ALOHA_AGILEX, control_hz=50.0)
    assert common_embodiments([aloha(), aloha()], ALL, CAMERAS, mine) == [mine, mine]


def test_datasets_that_do_not_fit_each_other_are_refused():
    with pytest.raises(ValueError, match=r"aloha25: robot: expected panda as in panda10, found aloha"):
        common_embodiments([recorded("panda", 10), recorded("aloha", 25)], ALL, CAMERAS, None)
    with pytest.raises(ValueError, match=r"--rdt\.embodiments: expected one for each dataset"):
        common_embodiments([recorded("aloha", 25), aloha()], ALL, CAMERAS, None)


def test_named_embodiments_may_be_of_several_robots():
    datasets = [recorded("panda", 10), aloha()]
    assert named_embodiments(["panda", "aloha_agilex"], datasets) == [PANDA, ALOHA_AGILEX]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["panda"], "expected one for each of the 2 datasets, found 1"),
        (["panda", "elbow"], "expected one of .* found 'elbow'"),
        (["panda", "panda"], "episodes: embodiment 'panda': expected the 14 joints of aloha, found 8 numbers"),
        (["franka_eef", "aloha_agilex"], "panda10: embodiment 'franka_eef': expected a camera, found none"),
        (["panda", "franka_eef"], "episodes: embodiment 'franka_eef': expected a robot of one arm, found aloha"),
        (["franka_joint", "aloha_agilex"], "panda10: embodiment 'franka_joint': expected a camera, found none"),
    ],
)
def test_named_embodiments_that_do_not_fit_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        named_embodiments(names, [recorded("panda", 10), aloha()])


def test_a_rate_other_than_the_datasets_is_refused():
    with pytest.raises(ValueError, match="control_hz: expected the dataset's 30, found 10"):
        named_embodiments(["panda"], [recorded("panda", 30)])

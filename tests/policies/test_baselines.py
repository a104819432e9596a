from __future__ import annotations

import numpy as np
import pytest

from policies.baselines import MAX_ROTATION_RAD, MAX_TRANSLATION_M, MeanActionPolicy, NoopPolicy, RandomPolicy
from policies.interface import Observation, Policy, load_policy
from policies.robots import get_robot


def observe(opening: float = 0.5) -> Observation:
    spec = get_robot("panda")
    positions = spec.home.copy()
    positions[spec.grippers] = spec.gripper_positions(opening)
    return Observation(2.0, {}, positions, np.zeros_like(positions), "stay")


@pytest.mark.parametrize("policy", [NoopPolicy(), RandomPolicy(), MeanActionPolicy()])
def test_baselines_keep_the_contract(policy):
    assert isinstance(policy, Policy)
    chunk = policy.act(observe())
    assert (chunk.stamp, chunk.dt, chunk.kind) == (2.0, 0.1, "cartesian_delta")
    assert chunk.rows.shape == (policy.chunk_length, 7)
    assert len(policy.act_batch([observe(), observe()])) == 2


def test_noop_keeps_pose_and_hand():
    rows = NoopPolicy().act(observe(opening=0.25)).rows
    assert (rows[:, :6] == 0).all()
    np.testing.assert_allclose(rows[:, 6], 0.25)


def test_random_draws_follow_the_seed_and_stay_within_their_steps():
    policy = RandomPolicy()
    policy.reset(seed=3)
    first = np.stack([policy.act(observe()).rows for _ in range(200)])
    policy.reset(seed=3)
    again = np.stack([policy.act(observe()).rows for _ in range(200)])
    policy.reset(seed=4)
    np.testing.assert_array_equal(first, again)
    assert (policy.act(observe()).rows != first[0]).any()
    assert 0.9 * MAX_TRANSLATION_M < np.abs(first[..., :3]).max() <= MAX_TRANSLATION_M
    assert 0.9 * MAX_ROTATION_RAD < np.abs(first[..., 3:6]).max() <= MAX_ROTATION_RAD
    assert set(first[..., 6].ravel()) == {0.0, 1.0}


def test_the_mean_action_is_that_of_the_shipped_policys_demonstrations_whatever_is_seen():
    policy, shipped = load_policy("mean_action"), load_policy("spatialvla_small")
    mean = shipped.processor.statistics["default"]["action"]["mean"]
    for opening in (0.0, 1.0):
        np.testing.assert_array_equal(policy.act(observe(opening)).rows, np.tile(mean, (4, 1)))
    with pytest.raises(ValueError, match="mean_action: expected robot 'panda' of the demonstrations, found 'aloha'"):
        load_policy("mean_action", robot="aloha")

from __future__ import annotations

import numpy as np
import pytest
import torch

from policies.spatialvla.action_grid import ROTATION_AXES, TRANSLATION_AXES, ActionGrid
from policies.spatialvla.grid_adaptation import adapt_grid, adapt_table, bin_centers
from tests.policies.spatialvla.conftest import TINY_BINS, make_policy
from tests.policies.spatialvla.test_action_grid import stats_of

OLD = ActionGrid.from_gaussian(stats_of("pretraining"), min_sigma=0.5)
NEW = ActionGrid.from_gaussian(stats_of("bridge"))


def smooth_table(grid, rng_seed, width=8):
    """A table that is a smooth function of the bins' centres, different for each group of axes."""
    rng = np.random.default_rng(rng_seed)
    parts = []
    for axes in (TRANSLATION_AXES, ROTATION_AXES):
        centres = np.stack(np.meshgrid(*(bin_centers(grid, a) for a in axes), indexing="ij"), -1).reshape(-1, 3)
        parts.append(np.sin(centres @ rng.normal(size=(3, width)) + rng.normal(size=width)))
    parts.append(rng.normal(size=(2, width)))
    return torch.from_numpy(np.concatenate(parts))


def error(table, truth):
    return float((table - truth)[:-2].abs().mean())


@pytest.mark.parametrize("seed", range(3))
def test_interpolation_is_far_better_than_keeping_the_table_and_the_published_one_is_not(seed):
    old, truth = smooth_table(OLD, seed), smooth_table(NEW, seed)
    keeping = error(old, truth)
    assert error(adapt_table(old, OLD, NEW), truth) <= 0.2 * keeping


def test_published_interpolation_is_worse_than_keeping_the_table():
    old, truth = smooth_table(OLD, 0), smooth_table(NEW, 0)
    assert error(adapt_table(old, OLD, NEW, mode="reference"), truth) > error(old, truth)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_grid_gives_the_same_table_bit_for_bit(dtype):
    table = smooth_table(OLD, 0).to(dtype)
    assert torch.equal(adapt_table(table, OLD, OLD), table)
    assert torch.equal(adapt_table(table, OLD, OLD, periodic_phi=True), table)


def test_gripper_rows_stay():
    table = smooth_table(OLD, 0)
    assert torch.equal(adapt_table(table, OLD, NEW)[-2:], table[-2:])


def test_across_the_seam_of_phi_periodic_interpolation_is_closer():
    def periodic_table(grid):
        centres = np.stack(np.meshgrid(*(bin_centers(grid, a) for a in TRANSLATION_AXES), indexing="ij"), -1)
        phi = centres.reshape(-1, 3)[:, 1]
        rest = np.zeros((sum(grid.slot_sizes[1:]), 2))
        return torch.from_numpy(np.concatenate([np.stack([np.sin(phi), np.cos(phi)], 1), rest]))

    old, truth = periodic_table(OLD), periodic_table(NEW)
    assert error(adapt_table(old, OLD, NEW, periodic_phi=True), truth) < error(adapt_table(old, OLD, NEW), truth)


def test_both_tables_of_a_model_are_adapted_and_stay_in_step():
    policy = make_policy()
    model, old = policy.model, policy.processor.grid
    new = ActionGrid.uniform(TINY_BINS)
    begin = model.config.action_token_begin_idx
    inputs, outputs = model.spatial_embed_tokens.weight.clone(), model.language_model.lm_head.weight.clone()
    adapt_grid(model, old, new)
    torch.testing.assert_close(model.spatial_embed_tokens.weight, adapt_table(inputs, old, new))
    torch.testing.assert_close(model.language_model.lm_head.weight[begin:], adapt_table(outputs[begin:], old, new))
    assert torch.equal(model.language_model.lm_head.weight[:begin], outputs[:begin])
    assert torch.equal(model.language_model.model.embed_tokens.weight[begin:], model.spatial_embed_tokens.weight)


def test_another_number_of_bins_is_refused():
    policy = make_policy()
    with pytest.raises(ValueError, match="expected the bins of the model"):
        adapt_grid(policy.model, policy.processor.grid, ActionGrid.uniform())

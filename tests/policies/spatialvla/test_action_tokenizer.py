from __future__ import annotations

import numpy as np
import pytest

from policies.spatialvla.action_grid import AXIS_RANGES, ActionGrid
from policies.spatialvla.action_tokenizer import SpatialActionTokenizer


@pytest.mark.parametrize("name", ["uniform_full", "bridge_sigma0_full"])
def test_ids_and_decoded_actions_equal_the_reference(goldens, name):
    numbers = np.load(goldens / "action_tokenizer.npz")
    grid = ActionGrid({axis: numbers[f"{name}.edges.{axis}_bins"] for axis in AXIS_RANGES})
    tokenizer = SpatialActionTokenizer(grid, begin_id=257153)
    np.testing.assert_array_equal(tokenizer.encode(numbers["actions"]) - 257153, numbers[f"{name}.rel_ids"])
    decoded = tokenizer.decode(numbers[f"{name}.rel_ids"] + 257153)
    np.testing.assert_allclose(decoded, numbers[f"{name}.decoded"], atol=1e-9)


def test_slots_of_the_released_grid_lie_where_the_release_has_them():
    tokenizer = SpatialActionTokenizer(ActionGrid.uniform(), begin_id=257153)
    assert tokenizer.vocabulary_size == 8194
    assert tokenizer.slot_ranges() == ((257153, 261249), (261249, 265345), (265345, 265347))
    assert tokenizer.token_names()[-1] == "<ACTION08193>"


def test_an_id_outside_its_slot_is_clipped_into_it():
    tokenizer = SpatialActionTokenizer(ActionGrid.uniform(), begin_id=100)
    first_of_each = np.array([start for start, _ in tokenizer.slot_ranges()])
    np.testing.assert_array_equal(tokenizer.decode([0, 0, 0]), tokenizer.decode(first_of_each))

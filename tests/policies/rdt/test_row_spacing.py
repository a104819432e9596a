from __future__ import annotations

import numpy as np
import pytest

from policies.rdt.row_spacing import RowSpacing

MANISKILL = RowSpacing(64, 16)


def test_sixteen_commands_become_sixty_four_rows_as_numpy_interpolates():
    commands = np.random.default_rng(0).normal(size=(2, 16, 3))
    rows = MANISKILL.to_rows(commands)
    places = np.linspace(0, 15, 64)
    expected = [[np.interp(places, np.arange(16), joint) for joint in one.T] for one in commands]
    np.testing.assert_allclose(rows, np.swapaxes(expected, 1, 2), atol=1e-12)


def test_steady_commands_come_back_and_every_fourth_row_is_slower():
    commands = np.arange(16.0)[:, None] * [1.0, -2.0]
    rows = MANISKILL.to_rows(commands)
    np.testing.assert_allclose(MANISKILL.to_steps(rows), commands, atol=1e-12)
    np.testing.assert_allclose(rows[::4, 0], 4 * 15 / 63 * np.arange(16), atol=1e-12)


def test_rows_and_steps_are_counted_into_each_other():
    assert [MANISKILL.rows_within(steps) for steps in (0, 1, 2, 3, 16)] == [0, 1, 5, 9, 64]
    assert [MANISKILL.steps_within(rows) for rows in (0, 1, 4, 5, 9, 63, 64)] == [0, 1, 1, 2, 3, 15, 16]
    same = RowSpacing(8, 8)
    assert [same.rows_within(n) for n in range(9)] == [same.steps_within(n) for n in range(9)] == list(range(9))


def test_later_rows_repeat_the_last():
    spacing, rows = RowSpacing(7, 3), np.arange(7.0)[:, None]
    np.testing.assert_allclose(spacing.later(rows, 1)[:, 0], [3, 4, 5, 6, 6, 6, 6])


@pytest.mark.parametrize(("rows", "steps"), [(8, 1), (8, 9), (8, 0)])
def test_numbers_that_cannot_be_are_refused(rows, steps):
    with pytest.raises(ValueError, match=f"found {steps}"):
        RowSpacing(rows, steps)

from __future__ import annotations

import numpy as np

from policies.rdt.position_tables import grid_table, language_table, token_table


def test_the_second_action_has_its_modality_and_its_row():
    row = token_table(64, 8)[4]
    np.testing.assert_allclose(row[:4], [0.141120, 0.993253, 0.812649, 0.508536], atol=1e-6)
    np.testing.assert_allclose(row[32:36], [0.841471, 0.533168, 0.310984, 0.176892], atol=1e-6)


def test_an_image_has_its_time_and_its_camera_and_no_place_within_it():
    table = grid_table(64, (2, 3, -4))
    assert table.shape == (24, 64)
    second_camera = table[4:8]
    np.testing.assert_allclose(second_camera[:, :16], 0.0)
    np.testing.assert_allclose(second_camera[:, 16:32], 1.0)
    np.testing.assert_allclose(second_camera[:, 32:34], [[0.841471, 0.533168]] * 4, atol=1e-6)


def test_axes_of_one_place_leave_their_width_to_the_others():
    np.testing.assert_allclose(grid_table(64, (1, 3, -4))[4, :2], [np.sin(1.0), np.sin(10000 ** (-1 / 32))], atol=1e-6)
    assert not grid_table(64, (1, 1, -4)).any()


def test_language_tokens_all_have_the_code_of_place_zero():
    np.testing.assert_array_equal(language_table(64, 5), [[0.0] * 32 + [1.0] * 32] * 5)

from __future__ import annotations

import numpy as np

from representation.data.depth import decode_depth, encode_depth


def test_every_depth_on_the_grid_comes_back_bit_equal():
    codes = np.arange(65536, dtype=np.uint16)
    depth = decode_depth(codes)
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(encode_depth(depth), codes)
    np.testing.assert_array_equal(depth[1:], (np.arange(1, 65536) / 10_000).astype(np.float32))
    assert np.isnan(depth[0])


def test_depths_that_cannot_be_known_become_unknown():
    depth = np.array([np.nan, np.inf, -np.inf, 0.0, -1.0, 7.0, 0.00004], np.float32)
    assert encode_depth(depth).tolist() == [0] * 7


def test_rounding_is_to_the_nearest_tenth_of_a_millimetre():
    depth = np.random.default_rng(0).uniform(0.1, 6.5, 10_000).astype(np.float32)
    assert np.abs(decode_depth(encode_depth(depth)) - depth).max() < 0.51e-4

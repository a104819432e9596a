from __future__ import annotations

import numpy as np
import pytest

from policies.calibration.joint_track import JointTrack


def track(stamps) -> JointTrack:
    made = JointTrack(10.0)
    for stamp in stamps:
        made.add(stamp, np.array([stamp, -2 * stamp]))
    return made


def test_positions_are_interpolated_at_both_ends():
    found = track(np.arange(0.0, 1.0, 0.05)).between(0.12, 0.23)
    np.testing.assert_allclose(found[:, 0], [0.12, 0.15, 0.20, 0.23])
    np.testing.assert_allclose(found[:, 1], -2 * found[:, 0])


def test_gaps_and_times_outside_are_refused():
    gap = track([0.0, 0.05, 0.5, 0.55])
    with pytest.raises(ValueError, match=r"apart, found 0\.450 s"):
        gap.between(0.02, 0.52)
    with pytest.raises(ValueError, match="at one of the ends"):
        gap.between(0.52, 0.6)


def test_the_past_is_forgotten_and_a_jump_back_clears():
    made = track(np.arange(0.0, 30.0, 0.05))
    assert made.arrays()[0][0] >= made.newest - 10.0
    made.add(1.0, np.zeros(2))
    assert made.newest == 1.0
    assert len(made.arrays()[0]) == 1

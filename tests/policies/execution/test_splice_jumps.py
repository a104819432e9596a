from __future__ import annotations

import numpy as np
import pytest

from policies.execution.splice_jumps import KEPT, SpliceJumps
from policies.execution.trajectory import JointState, JointTrajectory, Motion
from policies.robots import get_robot

SPEC = get_robot("panda")
STILL = np.zeros(8)


def plan(stamp, offset, gripper=0.0):
    """Knots at 0.1 s, 0.2 s and 0.3 s that rest at home but for the first joint and the gripper."""
    positions = np.tile(SPEC.home, (3, 1))
    positions[:, 0] += offset
    positions[:, SPEC.grippers[0]] += gripper
    return JointTrajectory(stamp, np.array([0.1, 0.2, 0.3]), positions, np.zeros((3, 8)))


def test_a_jump_is_the_distance_of_the_first_knot_to_come_from_the_running_motion():
    jumps = SpliceJumps(SPEC)
    assert jumps.newest() == []
    rising = JointTrajectory(0.0, np.array([1.0]), SPEC.home[None] + [[0.4] + [0.0] * 7], np.zeros((1, 8)))
    running = Motion(rising, JointState(0.0, SPEC.home, STILL))
    # Of 0.2 s, 0.3 s and 0.4 s the second is the first after the take-over; there the running one is at 0.4 * 0.216.
    jumps.add(running, plan(0.1, 0.3, gripper=-0.04), 0.25)
    jumps.add(running, plan(0.1, 0.0), 5.0)  # is over before it takes over
    assert jumps.newest() == [pytest.approx(0.3 - 0.4 * 0.216)]
    assert jumps.newest() == [pytest.approx(0.3 - 0.4 * 0.216)], "asking forgets nothing"


def test_only_the_newest_are_kept():
    jumps = SpliceJumps(SPEC)
    running = Motion(plan(0.0, 0.0), JointState(0.0, SPEC.home, STILL))
    for place in range(KEPT + 5):
        jumps.add(running, plan(0.1, 1e-3 * place), 0.1)
    assert len(jumps.newest()) == KEPT
    assert max(jumps.newest()) == pytest.approx(1e-3 * (KEPT + 4))

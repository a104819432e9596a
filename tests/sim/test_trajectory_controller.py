from __future__ import annotations

import numpy as np
import pytest

from policies.execution.trajectory import JointTrajectory
from policies.robots import get_robot
from sim.trajectory_controller import TrajectoryController

SPEC = get_robot("panda")
HOME = SPEC.home


@pytest.fixture
def controller():
    controller = TrajectoryController(SPEC)
    controller.reset(HOME, 1.0)
    return controller


def trajectory(stamp, times, offsets, velocities=None):
    """Knots at home plus an offset in every joint."""
    positions = HOME + np.asarray(offsets, dtype=float)[:, None]
    velocities = np.zeros(len(times)) if velocities is None else np.asarray(velocities, dtype=float)
    return JointTrajectory(stamp, times, positions, np.tile(velocities[:, None], (1, 8)))


def test_holds_after_reset(controller):
    q, qd = controller.sample(7.0)
    np.testing.assert_array_equal(q, HOME)
    np.testing.assert_array_equal(qd, np.zeros(8))


def test_replacement_starts_from_the_desired_state(controller):
    controller.accept(trajectory(1.0, [0.4], [0.2]), 1.0)
    before = controller.sample(1.2)
    controller.accept(trajectory(1.2, [0.3], [-0.1]), 1.2)
    after = controller.sample(1.2)
    np.testing.assert_allclose(after[0], before[0], atol=1e-12)
    np.testing.assert_allclose(after[1], before[1], atol=1e-12)
    assert (before[1] > 0.5).all()


def test_stops_at_the_last_knot_and_holds(controller):
    controller.accept(trajectory(1.0, [0.1, 0.2], [0.1, 0.15], [0.75, 0.0]), 1.0)
    np.testing.assert_allclose(controller.sample(1.1)[1], 0.75, atol=1e-9)
    q, qd = controller.sample(1.2)
    np.testing.assert_allclose(q, HOME + 0.15)
    np.testing.assert_array_equal(qd, np.zeros(8))
    np.testing.assert_array_equal(controller.sample(50.0)[0], q)


def test_zero_stamp_starts_on_arrival(controller):
    controller.accept(trajectory(0.0, [0.2], [0.1]), 5.0)
    np.testing.assert_allclose(controller.sample(5.1)[0], HOME + 0.05)
    np.testing.assert_allclose(controller.sample(5.2)[0], HOME + 0.1)


def test_late_stamp_shortens_the_first_segment(controller):
    controller.accept(trajectory(1.0, [0.2], [0.1]), 1.15)
    np.testing.assert_allclose(controller.sample(1.15)[0], HOME)
    np.testing.assert_allclose(controller.sample(1.175)[0], HOME + 0.05)
    np.testing.assert_allclose(controller.sample(1.2)[0], HOME + 0.1)


def test_empty_trajectory_cancels_and_holds_where_it_is(controller):
    controller.accept(trajectory(1.0, [0.4], [0.2]), 1.0)
    desired = controller.sample(1.2)[0]
    controller.accept(None, 1.2)
    q, qd = controller.sample(1.3)
    np.testing.assert_array_equal(q, desired)
    np.testing.assert_array_equal(qd, np.zeros(8))


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (JointTrajectory(1.0, [0.1], np.zeros((1, 7)), np.zeros((1, 7))), "expected 8 joints, found 7"),
        (trajectory(1.0, [0.1], [0.0], [0.1]), "expected to end at rest"),
        (trajectory(0.5, [0.1], [0.0]), "expected to end after 1.05 s"),
        (trajectory(1.0, [0.1], [np.nan]), "expected finite"),
    ],
)
def test_refused_trajectory_leaves_the_running_one(controller, refused, message):
    controller.accept(trajectory(1.0, [0.2], [0.1]), 1.0)
    with pytest.raises(ValueError, match=message):
        controller.accept(refused, 1.05)
    np.testing.assert_allclose(controller.sample(1.2)[0], HOME + 0.1)


def test_use_before_reset_is_an_error():
    with pytest.raises(RuntimeError, match=r"expected reset\(\)"):
        TrajectoryController(SPEC).sample(0.0)

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from policies.execution.chunk_scheduler import ChunkScheduler
from policies.execution.kinematics import Kinematics
from policies.execution.trajectory import JointTrajectory
from policies.interface import ActionChunk
from policies.robots import get_robot
from policies.robots.model import load_robot_spec
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


def test_tool_follows_a_straight_line_at_30_cm_per_second_within_2_mm(controller):
    model = load_robot_spec(get_robot("panda")).compile()
    data = mujoco.MjData(model)
    kinematics = Kinematics(SPEC)
    pose = kinematics.forward(HOME)
    pose[:3, 3] = start = np.array([0.35, -0.25, 0.25])
    direction = np.array([0.2, 0.5, -0.15]) / np.linalg.norm([0.2, 0.5, -0.15])
    steps = 0.03 * np.array([1 / 3, 2 / 3, *([1.0] * 14), 2 / 3, 1 / 3, 0.0, 0.0])
    rows = [kinematics.inverse(pose, HOME)]
    for travelled in np.cumsum(steps):
        pose[:3, 3] = start + travelled * direction
        rows.append(kinematics.inverse(pose, rows[-1]))
    chunk = ActionChunk(1.0, 0.1, "joint", np.array(rows[1:]))
    data.qpos[:8], data.qpos[8] = rows[0], rows[0][7]
    controller.reset(rows[0], 1.0)
    controller.accept(ChunkScheduler(SPEC).plan(chunk, rows[0], 1.0), 1.0)
    lead = model.actuator_biasprm[:7, 2] / model.actuator_biasprm[:7, 1]
    errors = []
    for tick in range(1000):
        q, qd = controller.sample(1.0 + 0.002 * (tick + 1))
        data.ctrl[:7] = q[:7] + lead * qd[:7]
        data.ctrl[7] = 255 * q[7] / 0.04
        mujoco.mj_step(model, data)
        mujoco.mj_kinematics(model, data)
        errors.append(np.linalg.norm(data.site("tcp").xpos - kinematics.forward(q)[:3, 3]))
    assert max(errors) < 2e-3
    assert errors[-1] < 1e-4


def test_use_before_reset_is_an_error():
    with pytest.raises(RuntimeError, match=r"expected reset\(\)"):
        TrajectoryController(SPEC).sample(0.0)

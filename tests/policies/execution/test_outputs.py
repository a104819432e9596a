from __future__ import annotations

import numpy as np
import pytest

from policies.execution.kinematics import Kinematics
from policies.execution.outputs import ToolTwists, forward_commands
from policies.execution.trajectory import JointState
from policies.robots import get_drivers, get_robot


@pytest.mark.parametrize("name", ["panda", "aloha"])
def test_each_controller_gets_the_positions_of_its_arm(name):
    spec = get_robot(name)
    desired = JointState(0.0, np.arange(len(spec.joint_names), dtype=float), np.zeros(len(spec.joint_names)))
    commands = forward_commands(get_drivers(name), desired)
    assert len(commands) == len(get_drivers(name).controllers)
    for controller, positions in zip(get_drivers(name).controllers, commands, strict=True):
        np.testing.assert_array_equal(positions, desired.positions[list(controller.joints)])


@pytest.mark.parametrize("name", ["panda", "aloha"])
def test_twists_are_the_derivative_of_the_tools_poses(name):
    spec, rng, step = get_robot(name), np.random.default_rng(0), 1e-6
    kinematics, twists = Kinematics(spec), ToolTwists(spec, get_drivers(name))
    for _ in range(5):
        q = spec.home + rng.uniform(-0.2, 0.2, len(spec.home))
        v = rng.normal(size=len(spec.home))
        for arm, twist in enumerate(twists.sample(JointState(0.0, q, v))):
            before, after = kinematics.forward(q - step * v, arm), kinematics.forward(q + step * v, arm)
            np.testing.assert_allclose(twist[:3], (after[:3, 3] - before[:3, 3]) / (2 * step), atol=1e-6)
            turn = (after[:3, :3] - before[:3, :3]) / (2 * step) @ kinematics.forward(q, arm)[:3, :3].T
            np.testing.assert_allclose(twist[3:], [turn[2, 1], turn[0, 2], turn[1, 0]], atol=1e-6)


def test_servo_grippers_keep_their_positions():
    spec = get_robot("aloha")
    desired = JointState(0.0, spec.home, np.zeros(14))
    np.testing.assert_array_equal(ToolTwists(spec, get_drivers("aloha")).grippers(desired), spec.home[spec.grippers])

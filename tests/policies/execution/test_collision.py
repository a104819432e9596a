from __future__ import annotations

import numpy as np
import pytest

from policies.execution.arm_gateway import ArmGateway, GatewayConfig
from policies.execution.collision import CollisionChecker, CollisionConfig
from policies.execution.gateway_states import GatewayState
from policies.execution.kinematics import Kinematics
from policies.execution.trajectory import JointState, JointTrajectory, Motion
from policies.robots import get_robot

PANDA, ALOHA = get_robot("panda"), get_robot("aloha")
# The hand is folded back onto the forearm.
FOLDED = PANDA.home - np.array([0.0, 0.0, 0.0, 0.0, 0.0, 2.05, 0.0, 0.0])


@pytest.fixture(scope="module")
def panda():
    return CollisionChecker(PANDA)


@pytest.fixture(scope="module")
def aloha():
    return CollisionChecker(ALOHA)


def way(begin, end, seconds=1.0):
    begin, end = np.asarray(begin, dtype=float), np.asarray(end, dtype=float)
    still = np.zeros_like(begin)
    return Motion(JointTrajectory(0.0, [seconds], end[None], still[None]), JointState(0.0, begin, still))


def reached(height):
    """The panda's tool points down, at a height in metres over the table."""
    kinematics = Kinematics(PANDA)
    pose = kinematics.forward(PANDA.home)
    pose[2, 3] = height
    return kinematics.inverse(pose, PANDA.home)


def turned(spec, q, joint, angle):
    q = np.array(q)
    q[spec.joint_names.index(joint)] += angle
    return q


def test_fingers_may_reach_the_table_and_close(panda):
    low = reached(0.005)
    assert panda.first_collision(way(PANDA.home, low)) is None
    closed = low.copy()
    closed[7] = 0.0
    assert panda.first_collision(way(low, closed)) is None


def test_the_hand_in_the_table_is_named_with_its_time(panda):
    found = panda.first_collision(way(PANDA.home, turned(PANDA, PANDA.home, "joint2", 1.0), seconds=2.0))
    assert "table" in found.bodies
    assert found.distance < panda.config.margin_m
    assert 0.0 < found.time < 2.0
    assert str(found).startswith(f"collision: {found.bodies[0]} and {found.bodies[1]} come to ")
    assert str(found).endswith(f"after {found.time:.3f} s")


def test_a_table_elsewhere_counts_where_it_is():
    high = CollisionChecker(PANDA, CollisionConfig(table_height_m=0.25))
    found = high.first_collision(way(PANDA.home, reached(0.1)))
    assert "table" in found.bodies


def test_an_arm_that_folds_into_itself_is_found(panda):
    found = panda.first_collision(way(PANDA.home, FOLDED))
    assert found.bodies == ("link5", "hand")


def test_two_arms_that_meet_are_found_and_alone_each_passes(aloha):
    left = turned(ALOHA, turned(ALOHA, ALOHA.home, "left/waist", 0.0), "left/shoulder", 0.9)
    both = turned(ALOHA, left, "right/shoulder", 0.9)
    both = turned(ALOHA, turned(ALOHA, both, "left/elbow", -0.6), "right/elbow", -0.6)
    found = aloha.first_collision(way(ALOHA.home, both))
    assert found is not None
    assert {body.split("/")[0] for body in found.bodies} == {"left", "right"}
    alone = both.copy()
    right = slice(7, 14)
    alone[right] = ALOHA.home[right]
    assert aloha.first_collision(way(ALOHA.home, alone)) is None


def test_from_a_collision_it_may_part_but_not_go_deeper(panda):
    inside = turned(PANDA, PANDA.home, "joint2", 1.0)
    deeper = turned(PANDA, inside, "joint2", 0.1)
    assert panda.first_collision(way(inside, PANDA.home)) is None
    assert panda.first_collision(way(inside, deeper)) is not None


def test_checked_configurations_lie_within_the_resolution(panda):
    times, positions = panda._configurations(way(PANDA.home, FOLDED))
    assert times[[0, -1]] == pytest.approx([0.0, 1.0])
    fastest = 15 / 8 * np.abs(FOLDED - PANDA.home).max() * 0.01  # between two samples
    assert np.abs(np.diff(positions, axis=0)).max() <= panda.config.resolution + fastest


def test_the_gateway_refuses_a_chunk_that_collides_and_names_why():
    def answer(config):
        gateway = ArmGateway(PANDA, GatewayConfig(collision=config))
        gateway.on_joint_state(10.0, PANDA.home, np.zeros(8), 10.0)
        return gateway, gateway.on_trajectory(trajectory, 10.0)

    times = np.arange(1, 21) / 10
    s = (times / times[-1])[:, None]
    way_down = reached(0.1) - PANDA.home
    positions = PANDA.home + (3 * s**2 - 2 * s**3) * way_down
    trajectory = JointTrajectory(10.0, times, positions, (6 * s - 6 * s**2) / times[-1] * way_down)
    gateway, refused = answer(CollisionConfig(table_height_m=0.3))
    assert refused.rejected
    assert refused.reason.startswith("collision: table and hand come to ")
    assert gateway.counters["collisions"] == 1
    assert gateway.state is GatewayState.HOLDING
    for config in (CollisionConfig(), CollisionConfig(enabled=False, table_height_m=0.3)):
        assert not answer(config)[1].rejected


def test_a_gripper_with_one_moving_finger_may_close_and_touch_the_table_and_its_arm_may_not():
    spec = get_robot("so101")
    checker, kinematics = CollisionChecker(spec), Kinematics(spec)
    closed = spec.home.copy()
    closed[spec.grippers] = spec.lower[spec.grippers]
    assert checker.first_collision(way(spec.home, closed)) is None
    pose = kinematics.forward(spec.home)
    pose[2, 3] = 0.005
    low = kinematics.inverse(pose, spec.home)
    assert kinematics.forward(low)[2, 3] < 0.02
    assert checker.first_collision(way(spec.home, low)) is None
    found = checker.first_collision(way(spec.home, turned(spec, spec.home, "shoulder_lift", 1.5), seconds=2.0))
    assert "table" in found.bodies


@pytest.mark.parametrize("robot", ["panda", "fr3", "ur5e", "xarm7", "so101", "aloha"])
def test_every_preset_has_a_gateway_that_checks_collisions(robot):
    spec = get_robot(robot)
    assert CollisionChecker(spec).first_collision(way(spec.home, spec.home)) is None

from __future__ import annotations

import numpy as np
import pytest

from policies.execution.arm_gateway import ArmGateway
from policies.execution.gateway_states import GatewayState
from policies.execution.joystick import JoyLayout
from policies.execution.kinematics import Kinematics
from policies.execution.teleoperation import Teleoperation, TeleoperationConfig
from policies.robots import get_robot
from sim.trajectory_controller import TrajectoryController

ROBOT = get_robot("panda")
LAYOUT = JoyLayout()
CONFIG = TeleoperationConfig()
PERIOD = CONFIG.period_s


def joy(deadman: bool = True, buttons: tuple[int, ...] = (), **deflections: float) -> tuple[list[float], list[int]]:
    axes, pressed = [0.0] * LAYOUT.most_axes, [0] * LAYOUT.most_buttons
    for name, value in deflections.items():
        axes[getattr(LAYOUT, name)] = value
    for button in (*buttons, *([LAYOUT.deadman] if deadman else [])):
        pressed[button] = 1
    return axes, pressed


class Arm:
    """Teleoperation, gateway and controller in a loop of exact periods."""

    def __init__(self, robot=ROBOT) -> None:
        self.robot = robot
        self.teleoperation = Teleoperation(robot, CONFIG)
        self.gateway = ArmGateway(robot)
        self.controller = TrajectoryController(robot)
        self.now = 100.0
        self.controller.reset(robot.home, self.now)
        self.path: list[np.ndarray] = []
        self.sent: list = []
        self.scales: list[str] = []

    @property
    def positions(self) -> np.ndarray:
        return self.controller.sample(self.now)[0]

    def run(self, seconds: float, message=None) -> None:
        """`message` comes once a period; None: nothing comes."""
        for _ in range(round(seconds / PERIOD)):
            positions, velocities = self.controller.sample(self.now)
            self.gateway.on_joint_state(self.now, positions, velocities, self.now)
            if message is not None:
                self.teleoperation.on_joy(*message, self.now)
            trajectory = self.teleoperation.step(positions, self.now, self.now)
            if trajectory is not None:
                self.sent.append(trajectory)
                command = self.gateway.on_trajectory(trajectory, self.now)
                assert not command.rejected, command.reason
                self.scales.append(command.reason)
                self.controller.accept(command.trajectory, self.now)
            for _ in range(5):
                self.path.append(self.controller.sample(self.now)[0])
                self.now += PERIOD / 5

    def tool(self, arm: int = 0) -> np.ndarray:
        return Kinematics(self.robot).forward(self.positions, arm)


def test_the_tool_moves_along_the_deflection_at_its_speed():
    arm = Arm()
    before = arm.tool()
    arm.run(1.0, joy(forward=1.0, left=-0.5))
    way = arm.tool()[:3, 3] - before[:3, 3]
    driven = CONFIG.speed_m_s * (1.0 - CONFIG.ramp_s / 2)
    np.testing.assert_allclose(way, [driven, -0.5 * CONFIG.speed_m_s * (1.0 - CONFIG.ramp_s / 4), 0.0], atol=0.01)
    np.testing.assert_allclose(arm.tool()[:3, :3], before[:3, :3], atol=0.01)
    assert set(arm.scales) == {""}, "expected no trajectory to be slowed or shortened by the safety filter"


def test_a_turn_turns_the_tool_about_the_axis_of_the_base():
    arm = Arm()
    before = arm.tool()
    arm.run(1.0, joy(yaw=1.0))
    turn = arm.tool()[:3, :3] @ before[:3, :3].T
    angle = np.arctan2(turn[1, 0], turn[0, 0])
    assert angle == pytest.approx((1.0 - CONFIG.ramp_s / 2) * CONFIG.turn_rad_s, abs=0.04)
    np.testing.assert_allclose(turn[2, :2], 0.0, atol=0.01)
    np.testing.assert_allclose(arm.tool()[:3, 3], before[:3, 3], atol=0.005)


def test_every_trajectory_is_short_and_ends_in_a_stop():
    arm = Arm()
    arm.run(0.5, joy(forward=1.0))
    for trajectory in arm.sent:
        assert not trajectory.velocities[-1].any()
        assert trajectory.times[-1] < 0.5


def test_nothing_moves_without_the_deadman_button():
    arm = Arm()
    arm.run(0.5, joy(deadman=False, forward=1.0))
    assert arm.sent == []
    assert "deadman" in arm.teleoperation.reason


@pytest.mark.parametrize("end", [joy(deadman=False, forward=1.0), None], ids=["released", "silent"])
def test_the_arm_stops_and_holds_when_the_button_is_released_or_the_joystick_falls_silent(end):
    arm = Arm()
    arm.run(0.6, joy(forward=1.0))
    moving, sent = arm.tool()[0, 3], len(arm.sent)
    arm.run(1.0, end)
    silence = CONFIG.joy_timeout_s / PERIOD
    assert len(arm.sent) - sent <= (1 if end else silence + 2), "expected one stop after the end"
    rest = arm.tool()[0, 3]
    assert rest - moving < CONFIG.speed_m_s * (CONFIG.joy_timeout_s + 0.3)
    arm.run(0.5, end)
    assert arm.tool()[0, 3] == pytest.approx(rest, abs=1e-6)
    count = len(arm.sent)
    arm.run(0.5, end)
    assert len(arm.sent) == count


def test_motion_is_smooth():
    arm = Arm()
    arm.run(1.0, joy(forward=1.0))
    speeds = np.linalg.norm(np.diff([Kinematics(ROBOT).forward(q)[:3, 3] for q in arm.path], axis=0), axis=1)
    steady = speeds[len(speeds) // 2 :] / (PERIOD / 5)
    assert np.abs(steady - CONFIG.speed_m_s).max() < 0.2 * CONFIG.speed_m_s


def test_the_gripper_closes_and_opens_while_its_button_is_held():
    arm = Arm()
    arm.run(0.5, joy(buttons=(LAYOUT.close_gripper,)))
    closed = ROBOT.gripper_openings(arm.positions)[0]
    assert 0.3 < closed < 0.7
    arm.run(1.0, joy(buttons=(LAYOUT.open_gripper,)))
    assert ROBOT.gripper_openings(arm.positions)[0] > 0.95


def test_the_target_stays_near_an_arm_that_does_not_move():
    teleoperation = Teleoperation(ROBOT, CONFIG)
    kinematics = Kinematics(ROBOT)
    for step in range(100):
        now = step * PERIOD
        teleoperation.on_joy(*joy(forward=1.0), now)
        trajectory = teleoperation.step(ROBOT.home, now, now)
    ahead = kinematics.forward(trajectory.positions[0])[:3, 3] - kinematics.forward(ROBOT.home)[:3, 3]
    assert np.linalg.norm(ahead) < CONFIG.leash_m + CONFIG.speed_m_s * PERIOD


def test_the_target_stays_in_the_workspace():
    arm = Arm()
    arm.run(4.0, joy(forward=1.0))
    assert arm.tool()[0, 3] <= ROBOT.arms[0].workspace_high[0] + 1e-3
    assert arm.gateway.state is GatewayState.MOVING


def test_where_the_arm_is_nearly_stretched_joints_slow_the_tool_down_and_nothing_is_left_to_the_gateway():
    arm = Arm()
    arm.run(6.0, joy(forward=1.0))
    assert set(arm.scales) == {""}, "expected no trajectory to be slowed or shortened by the safety filter"
    speeds = np.abs(np.diff(arm.path, axis=0)) / (PERIOD / 5)
    assert (speeds.max(axis=0) < 0.6 * ROBOT.max_velocity).all()


def test_leading_begins_anew_where_the_arm_was_stopped():
    teleoperation = Teleoperation(ROBOT, CONFIG)
    elsewhere = ROBOT.home + 0.3 * np.eye(8)[0]
    for now, positions in ((0.0, ROBOT.home), (PERIOD, ROBOT.home), (2 * PERIOD, elsewhere)):
        teleoperation.on_joy(*joy(left=1.0), now)
        trajectory = teleoperation.step(positions, now, now)
    np.testing.assert_allclose(trajectory.positions[0], elsewhere, atol=0.02)


def test_two_arms_are_led_in_turns():
    arm = Arm(get_robot("aloha"))
    left, right = arm.tool(0), arm.tool(1)
    arm.run(0.5, joy(up=1.0))
    assert arm.tool(0)[2, 3] - left[2, 3] > 0.03
    np.testing.assert_allclose(arm.tool(1), right, atol=1e-6)
    arm.run(0.5, joy(deadman=False))
    arm.run(0.05, joy(deadman=False, buttons=(LAYOUT.next_arm,)))
    arm.run(0.5, joy(deadman=False))
    assert arm.teleoperation.arm == 1
    left = arm.tool(0)
    arm.run(0.5, joy(up=1.0))
    assert arm.tool(1)[2, 3] - right[2, 3] > 0.03
    np.testing.assert_allclose(arm.tool(0), left, atol=1e-6)


def test_a_message_of_another_joystick_is_refused_and_counts_as_silence():
    teleoperation = Teleoperation(ROBOT, CONFIG)
    with pytest.raises(ValueError, match="expected at least 8 axes and 10 buttons, found 2 and 3"):
        teleoperation.on_joy([0.0] * 2, [1] * 3, 0.0)
    axes, buttons = joy(forward=np.nan)
    with pytest.raises(ValueError, match="finite"):
        teleoperation.on_joy(axes, buttons, 0.0)
    assert teleoperation.step(ROBOT.home, 0.0, 0.0) is None

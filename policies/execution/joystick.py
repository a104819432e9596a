"""How the axes and buttons of sensor_msgs/Joy are used: one layout for teleoperation and for marking episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PRESSED = 0.5


@dataclass(frozen=True, slots=True)
class JoyLayout:
    """Places in `Joy.axes` and `Joy.buttons`; the defaults suit a gamepad of the Xbox kind under `joy_node`.

    Attributes:
        forward: axis along x of the base frame.
        left: axis along y.
        up: axis along z.
        roll: axis of rotation about x.
        pitch: axis of rotation about y.
        yaw: axis of rotation about z.
        deadman: button that must be held for any motion.
        close_gripper: button.
        open_gripper: button.
        next_arm: button that passes the stick to the next arm.
        start: button that starts an episode.
        success: button.
        failure: button.
        discard: button.
    """

    forward: int = 1
    left: int = 0
    up: int = 4
    roll: int = 6
    pitch: int = 7
    yaw: int = 3
    deadman: int = 4
    close_gripper: int = 5
    open_gripper: int = 1
    next_arm: int = 9
    start: int = 7
    success: int = 0
    failure: int = 2
    discard: int = 6

    @property
    def axes(self) -> tuple[int, ...]:
        """Places of the six axes of the twist: x, y, z, roll, pitch, yaw."""
        return (self.forward, self.left, self.up, self.roll, self.pitch, self.yaw)

    @property
    def most_axes(self) -> int:
        """Least number of axes that a message must have."""
        return max(self.axes) + 1

    @property
    def most_buttons(self) -> int:
        """Least number of buttons that a message must have."""
        names = ("deadman", "close_gripper", "open_gripper", "next_arm", "start", "success", "failure", "discard")
        return max(getattr(self, name) for name in names) + 1


class ButtonPresses:
    """Tells when a button goes down: a button that stays down is one press."""

    def __init__(self) -> None:
        self._down: set[int] | None = None

    def add(self, buttons: Sequence[int]) -> set[int]:
        """Places of the buttons that were up in the message before; none in the first message."""
        down = {place for place, value in enumerate(buttons) if value > PRESSED}
        pressed = set() if self._down is None else down - self._down
        self._down = down
        return pressed

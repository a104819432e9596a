"""How the axes and buttons of sensor_msgs/Joy are used: one layout for teleoperation and for marking episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

PRESSED = 0.5
PLACES = (0, 255)


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

    forward: int = field(default=1, metadata={"range": PLACES})
    left: int = field(default=0, metadata={"range": PLACES})
    up: int = field(default=4, metadata={"range": PLACES})
    roll: int = field(default=6, metadata={"range": PLACES})
    pitch: int = field(default=7, metadata={"range": PLACES})
    yaw: int = field(default=3, metadata={"range": PLACES})
    deadman: int = field(default=4, metadata={"range": PLACES})
    close_gripper: int = field(default=5, metadata={"range": PLACES})
    open_gripper: int = field(default=1, metadata={"range": PLACES})
    next_arm: int = field(default=9, metadata={"range": PLACES})
    start: int = field(default=7, metadata={"range": PLACES})
    success: int = field(default=0, metadata={"range": PLACES})
    failure: int = field(default=2, metadata={"range": PLACES})
    discard: int = field(default=6, metadata={"range": PLACES})

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

"""`KeyboardJoystick`: characters of a terminal to the axes and buttons of a joystick.

A terminal tells of no release. A key counts as held for `HOLD_S` after its character; while it stays down the terminal
repeats it faster than that, after a pause of its own in which the arm stops. Keys that move the arm hold the deadman
button as well.
"""

from __future__ import annotations

from policies.execution.joystick import JoyLayout

HOLD_S = 0.15
HELP = """w/s forward, back   a/d left, right   r/f up, down
u/o roll   i/k pitch   j/l yaw   z/x close, open the gripper   Tab next arm
Enter start   y success   n failure   Backspace discard   Ctrl-C quit"""
_AXES = {
    "w": ("forward", 1.0),
    "s": ("forward", -1.0),
    "a": ("left", 1.0),
    "d": ("left", -1.0),
    "r": ("up", 1.0),
    "f": ("up", -1.0),
    "u": ("roll", -1.0),
    "o": ("roll", 1.0),
    "i": ("pitch", 1.0),
    "k": ("pitch", -1.0),
    "j": ("yaw", 1.0),
    "l": ("yaw", -1.0),
}
_GRIPPER = {"z": "close_gripper", "x": "open_gripper"}
_BUTTONS = {
    "\t": "next_arm",
    "\n": "start",
    "\r": "start",
    "y": "success",
    "n": "failure",
    "\x7f": "discard",
    "\b": "discard",
}


class KeyboardJoystick:
    """Remembers which keys are down.

    Args:
        layout: places of axes and buttons.
    """

    def __init__(self, layout: JoyLayout | None = None) -> None:
        self._layout = layout or JoyLayout()
        self._pressed_at: dict[str, float] = {}

    def press(self, key: str, now: float) -> None:
        """Take a character that came at `now`, seconds of a steady clock; unknown ones are passed over."""
        if key in _AXES or key in _GRIPPER or key in _BUTTONS:
            self._pressed_at[key] = now

    def read(self, now: float) -> tuple[list[float], list[int]]:
        """Axes and buttons at `now`, as sensor_msgs/Joy holds them."""
        axes, buttons = [0.0] * self._layout.most_axes, [0] * self._layout.most_buttons
        for key, at in self._pressed_at.items():
            if now - at > HOLD_S:
                continue
            if key in _AXES:
                name, value = _AXES[key]
                axes[getattr(self._layout, name)] = value
            else:
                buttons[getattr(self._layout, _GRIPPER.get(key) or _BUTTONS[key])] = 1
            if key in _AXES or key in _GRIPPER:
                buttons[self._layout.deadman] = 1
        return axes, buttons

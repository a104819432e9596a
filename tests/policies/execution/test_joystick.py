from __future__ import annotations

import pytest

from policies.execution.joystick import ButtonPresses, JoyLayout
from policies.execution.keyboard_joystick import HOLD_S, KeyboardJoystick

LAYOUT = JoyLayout()


def test_a_button_that_stays_down_is_one_press():
    presses = ButtonPresses()
    assert presses.add([0, 1]) == set(), "what was down before the first message is no press"
    assert presses.add([1, 1]) == {0}
    assert presses.add([1, 1]) == set()
    presses.add([0, 0])
    assert presses.add([1, 0]) == {0}


@pytest.mark.parametrize(("key", "axis", "value"), [("w", "forward", 1), ("d", "left", -1), ("l", "yaw", -1)])
def test_a_key_of_the_keyboard_deflects_an_axis_and_holds_the_deadman_button(key, axis, value):
    keyboard = KeyboardJoystick()
    keyboard.press(key, 1.0)
    axes, buttons = keyboard.read(1.0 + HOLD_S / 2)
    assert axes[getattr(LAYOUT, axis)] == value
    assert sum(map(abs, axes)) == 1
    assert buttons[LAYOUT.deadman] == 1


def test_a_key_is_released_when_it_is_not_repeated():
    keyboard = KeyboardJoystick()
    keyboard.press("w", 1.0)
    axes, buttons = keyboard.read(1.0 + 1.01 * HOLD_S)
    assert (any(axes), any(buttons)) == (False, False)


@pytest.mark.parametrize(
    ("key", "button"), [("\n", "start"), ("y", "success"), ("n", "failure"), ("\x7f", "discard"), ("\t", "next_arm")]
)
def test_marks_do_not_hold_the_deadman_button(key, button):
    keyboard = KeyboardJoystick()
    keyboard.press(key, 1.0)
    _, buttons = keyboard.read(1.0)
    assert [place for place, value in enumerate(buttons) if value] == [getattr(LAYOUT, button)]


def test_other_keys_do_nothing():
    keyboard = KeyboardJoystick()
    for key in ("\x1b", "[", "A", "é"):
        keyboard.press(key, 1.0)
    axes, buttons = keyboard.read(1.0)
    assert (any(axes), any(buttons)) == (False, False)

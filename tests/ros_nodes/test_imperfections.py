from __future__ import annotations

import pytest

from ros_nodes.imperfections import NONE, Imperfections

CAMERAS = ("front", "wrist")


def test_by_default_nothing_is_wrong():
    assert Imperfections() == NONE
    NONE.check_cameras(())


@pytest.mark.parametrize("name", ["latency_s", "jitter_s", "late_camera_s", "command_latency_s"])
@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_a_time_below_zero_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected >= 0 s, found {value}"):
        Imperfections(**{name: value})


@pytest.mark.parametrize("name", ["image_loss", "joint_state_loss"])
def test_a_share_above_one_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{name}: expected a share from 0 to 1, found 1.5"):
        Imperfections(**{name: 1.5})


@pytest.mark.parametrize(
    ("name", "value"), [("late_camera", "side"), ("stopped_cameras", ("front", "side")), ("frozen_cameras", ("side",))]
)
def test_a_camera_that_is_not_there_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"{name}: expected some of \['front', 'wrist'\], found 'side'"):
        Imperfections(**{name: value}).check_cameras(CAMERAS)

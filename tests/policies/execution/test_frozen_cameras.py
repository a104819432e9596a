from __future__ import annotations

import numpy as np

from policies.execution.frozen_cameras import MOVED_RAD, FrozenCameras
from policies.interface import CameraView, Observation
from policies.robots import get_robot

SPEC = get_robot("panda")


def seen(turn, gripper=0.0, **brightness):
    positions = SPEC.home.copy()
    positions[0] += turn
    positions[7] = gripper
    views = {
        name: CameraView(np.full((4, 4, 3), value, np.uint8), np.ones((4, 4), np.float32), np.eye(3), np.eye(4))
        for name, value in brightness.items()
    }
    return Observation(0.0, views, positions, np.zeros(8), "anything")


def test_pictures_that_stay_the_same_while_the_arm_moves_are_told_by_camera():
    watch = FrozenCameras(SPEC)
    for k in range(4):
        assert watch.look(seen(k * MOVED_RAD / 4, front=7, wrist=k)) == ""
    told = watch.look(seen(1.1 * MOVED_RAD, front=7, wrist=9))
    assert "camera 'front'" in told
    assert "0.22 rad" in told


def test_an_arm_at_rest_makes_no_camera_frozen():
    watch = FrozenCameras(SPEC)
    assert not any(watch.look(seen(0.0, gripper=0.01 * k, front=7)) for k in range(4))


def test_a_way_to_and_fro_between_two_different_pictures_counts_anew():
    watch = FrozenCameras(SPEC)
    told = [watch.look(seen(0.3 * k, front=k)) for k in range(5)]
    assert not any(told)


def test_what_came_before_is_forgotten():
    watch = FrozenCameras(SPEC)
    watch.look(seen(0.0, front=7))
    watch.clear()
    assert watch.look(seen(1.0, front=7)) == ""

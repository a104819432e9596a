from __future__ import annotations

from dataclasses import replace

import numpy as np

from policies.execution.frozen_cameras import CARRIED_M, MOVED_RAD, FrozenCameras
from policies.interface import CameraView, Observation
from policies.robots import get_robot

SPEC, ALOHA = get_robot("panda"), get_robot("aloha")


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


def test_a_camera_that_is_carried_along_is_told_at_once():
    watch, observation = FrozenCameras(SPEC), seen(0.0, wrist=7)
    watch.look(observation)
    moved = np.eye(4)
    moved[0, 3] = 1.1 * CARRIED_M
    view = replace(observation.cameras["wrist"], base_from_camera=moved)
    assert "it went 0.06 m" in watch.look(replace(observation, cameras={"wrist": view}))


def test_the_wrist_of_an_arm_that_rests_may_see_the_same_while_another_moves():
    watch, spec = FrozenCameras(ALOHA), ALOHA
    views = seen(0.0, left_wrist=7).cameras
    home, one, both = spec.home, spec.home.copy(), spec.home.copy()
    one[list(spec.arms[1].joints)] += 0.5
    both[spec.arm_joints] += 0.5
    told = [watch.look(Observation(0.0, views, joints, np.zeros(14), "anything")) for joints in (home, one, both)]
    assert told[:2] == ["", ""]
    assert "camera 'left_wrist'" in told[2]


def test_what_came_before_is_forgotten():
    watch = FrozenCameras(SPEC)
    watch.look(seen(0.0, front=7))
    watch.clear()
    assert watch.look(seen(1.0, front=7)) == ""

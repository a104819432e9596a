from __future__ import annotations

import numpy as np
import pytest

from policies.execution.observation_sync import ObservationSynchronizer, SyncConfig

SIZE = (4, 6)
INTRINSICS = np.array([[5.0, 0, 3], [0, 5, 2], [0, 0, 1]])


def pose(camera: str, stamp: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = stamp
    return matrix


def make_sync(cameras=("front",), **config) -> ObservationSynchronizer:
    sync = ObservationSynchronizer(cameras, SyncConfig(**config), pose)
    sync.instruction = "push"
    return sync


def make_tolerant(cameras=("front", "wrist")) -> ObservationSynchronizer:
    sync = ObservationSynchronizer(cameras, SyncConfig(max_age_s=0.5), pose, may_lack_cameras=True)
    sync.instruction = "push"
    return sync


def make_looking_back(cameras=("front",), **config) -> ObservationSynchronizer:
    sync = ObservationSynchronizer(cameras, SyncConfig(**config), pose, looks_back_s=0.1)
    sync.instruction = "push"
    return sync


def add_camera(sync, camera, stamp, value=0, now=0.0, parts=("color", "depth", "info")):
    if "color" in parts:
        sync.add_color(camera, stamp, np.full((*SIZE, 3), value, np.uint8), now)
    if "depth" in parts:
        sync.add_depth(camera, stamp, np.full(SIZE, value, np.float32), now)
    if "info" in parts:
        sync.add_intrinsics(camera, stamp, INTRINSICS, SIZE, now)


def add_joints(sync, stamp, value=0.0, now=0.0) -> bool:
    return sync.add_joints(stamp, np.full(3, value), np.zeros(3), now)


def test_observation_is_complete_only_with_every_part():
    sync = make_sync(("front", "wrist"))
    add_camera(sync, "front", 1.0)
    add_joints(sync, 1.0)
    add_camera(sync, "wrist", 1.0, parts=("color", "info"))
    assert sync.take(now=0.0) is None
    add_camera(sync, "wrist", 1.0, parts=("depth",))
    observation = sync.take(now=0.0)
    assert observation.stamp == 1.0
    assert set(observation.cameras) == {"front", "wrist"}
    assert observation.instruction == "push"


def test_observation_waits_for_an_instruction():
    sync = make_sync()
    sync.instruction = None
    add_camera(sync, "front", 1.0)
    add_joints(sync, 1.0)
    assert sync.take(now=0.0) is None
    assert sync.missing(now=0.0) == ["instruction never came"]


def test_an_observation_that_is_not_wanted_is_over_and_is_not_made():
    sync = make_sync()
    add_camera(sync, "front", 1.0)
    add_joints(sync, 1.0)
    asked = []
    assert sync.take(0.0, lambda stamp: asked.append(stamp)) is None
    assert asked == [1.0]
    assert sync.take(0.0) is None
    assert sync.statuses()["front/color"].dropped == 0


def test_millimetres_become_metres():
    sync = make_sync()
    add_camera(sync, "front", 1.0, parts=("color", "info"))
    sync.add_depth("front", 1.0, np.array([[0] + [1500] * 5] * 4, np.uint16), 0.0)
    add_joints(sync, 1.0)
    depth = sync.take(0.0).cameras["front"].depth
    assert depth.dtype == np.float32
    assert np.isnan(depth[:, 0]).all()
    assert depth[:, 1:] == pytest.approx(1.5)


def test_observation_is_handed_out_once():
    sync = make_sync()
    add_camera(sync, "front", 1.0)
    add_joints(sync, 1.0)
    assert sync.take(now=0.0) is not None
    assert sync.take(now=0.0) is None


def test_newest_complete_set_wins_and_the_older_one_counts_as_dropped():
    sync = make_sync(max_lag_s=1.0)
    for stamp in (1.0, 2.0, 3.0):
        add_joints(sync, stamp, value=stamp)
        add_camera(
            sync, "front", stamp, value=int(stamp), parts=("color", "depth", "info") if stamp < 3 else ("color",)
        )
    observation = sync.take(now=0.0)
    assert observation.stamp == 2.0
    assert observation.cameras["front"].rgb[0, 0, 0] == 2
    statuses = sync.statuses()
    assert statuses["front/color"].dropped == 1
    assert statuses["front/depth"].dropped == 1
    assert statuses["joint_states"].dropped == 0


def test_nearest_joint_state_is_joined_and_its_skew_measured():
    sync = make_sync(max_skew_s=0.02)
    for stamp in (0.985, 0.995, 1.006):
        add_joints(sync, stamp, value=stamp)
    add_camera(sync, "front", 1.0)
    observation = sync.take(now=0.0)
    assert observation.joint_positions[0] == 0.995
    assert observation.cameras["front"].base_from_camera[0, 3] == 1.0, "expected the camera's place at its picture"
    assert sync.statuses()["joint_states"].skew_s == pytest.approx(-0.005)


def test_parts_too_far_apart_are_not_joined():
    sync = make_sync(max_skew_s=0.02)
    add_joints(sync, 0.97)
    add_camera(sync, "front", 1.0)
    assert sync.take(now=0.0) is None
    add_joints(sync, 1.021)
    assert sync.take(now=0.0) is None


def test_zero_skew_joins_equal_stamps_only():
    sync = make_sync(max_skew_s=0.0)
    add_joints(sync, 1.0)
    add_camera(sync, "front", 1.0 + 1e-9)
    assert sync.take(now=0.0) is None
    add_camera(sync, "front", 1.1)
    add_joints(sync, 1.1)
    assert sync.take(now=0.0).stamp == 1.1


@pytest.mark.parametrize("first", ["joints", "camera"])
def test_stamps_that_jump_back_clear_the_future_whatever_comes_first(first):
    sync = make_sync(max_skew_s=0.0)
    add_joints(sync, 5.0)
    add_camera(sync, "front", 5.0, value=5)
    if first == "joints":
        assert add_joints(sync, 0.0, value=0.0)
        assert sync.take(now=0.0) is None
        add_camera(sync, "front", 0.0, value=7)
    else:
        add_camera(sync, "front", 0.0, value=7)
        assert sync.take(now=0.0) is None
        add_joints(sync, 0.0)
    observation = sync.take(now=0.0)
    assert observation.stamp == 0.0
    assert observation.cameras["front"].rgb[0, 0, 0] == 7
    assert sync.rewinds == 1
    assert sync.take(now=0.0) is None


def test_same_stamp_published_anew_is_a_new_observation_without_old_parts():
    sync = make_sync(max_skew_s=0.0)
    add_joints(sync, 0.0, value=1.0)
    add_camera(sync, "front", 0.0, value=1)
    assert sync.take(now=0.0) is not None
    add_camera(sync, "front", 0.0, value=2)
    assert sync.take(now=0.0) is None
    add_joints(sync, 0.0, value=2.0)
    observation = sync.take(now=0.0)
    assert (observation.joint_positions[0], observation.cameras["front"].rgb[0, 0, 0]) == (2.0, 2)


def test_missing_names_what_stopped():
    sync = make_sync(max_age_s=0.5)
    add_joints(sync, 1.0, now=10.0)
    add_camera(sync, "front", 1.0, now=9.0, parts=("color",))
    missing = sync.missing(now=10.1)
    assert missing == ["front/color last came 1.10 s ago", "front/depth never came", "front/info never came"]


def test_sizes_that_differ_name_the_camera():
    sync = make_sync()
    add_joints(sync, 1.0)
    add_camera(sync, "front", 1.0, parts=("color", "info"))
    sync.add_depth("front", 1.0, np.zeros((2, 3), np.float32), 0.0)
    with pytest.raises(ValueError, match=r"camera 'front'.*\(4, 6\), \(2, 3\)"):
        sync.take(now=0.0)
    assert sync.take(now=0.0) is None


def test_without_cameras_each_joint_state_is_an_observation():
    sync = make_sync(cameras=())
    add_joints(sync, 1.0)
    assert sync.take(now=0.0).stamp == 1.0
    assert sync.take(now=0.0) is None


def test_buffer_stays_bounded():
    sync = make_sync(buffer_length=4)
    for i in range(20):
        add_camera(sync, "front", float(i), parts=("color",))
    assert sync.statuses()["front/color"].received == 20
    assert sync.statuses()["front/color"].dropped == 16


def test_joint_states_of_1_khz_are_kept_for_pictures_that_are_slow_to_come():
    sync = make_sync(max_skew_s=0.0, buffer_length=4, max_age_s=0.5, max_lag_s=1.0)
    for millisecond in range(2000):
        add_joints(sync, millisecond / 1000, value=millisecond)
    for late in (0.4, 0.6):
        add_camera(sync, "front", (1999 - 1000 * late) / 1000)
        observation = sync.take(now=0.0)
        assert (observation is None) == (late > 0.5)
        assert observation is None or observation.joint_positions[0] == 1599


def test_pictures_that_come_long_after_their_stamp_are_not_used_and_named():
    sync = make_sync(max_skew_s=0.0, max_lag_s=0.2)
    for tenth in range(11):
        add_joints(sync, tenth / 10)
    add_camera(sync, "front", 0.7)
    assert sync.take(now=0.0) is None
    assert sync.lagging() == ["camera 'front' is 0.30 s behind the joint states (at most 0.2 s)"]
    assert sync.statuses()["front/color"].lag_s == pytest.approx(0.3)
    add_camera(sync, "front", 0.9)
    assert sync.take(now=0.0).stamp == 0.9
    assert not sync.lagging()


def test_a_joint_state_that_comes_out_of_order_takes_its_place():
    sync = make_sync(max_skew_s=0.02)
    for stamp, value in ((1.00, 0), (1.02, 2), (1.01, 1), (1.02, 3)):
        add_joints(sync, stamp, value=value)
    add_camera(sync, "front", 1.02)
    assert sync.take(now=0.0).joint_positions[0] == 3


def test_a_late_camera_is_joined_with_the_joints_of_its_capture():
    sync = ObservationSynchronizer(("front", "wrist"), SyncConfig(max_skew_s=0.0), pose, {"wrist": 0.25})
    sync.instruction = "push"
    add_joints(sync, 1.0, value=0.5)
    add_joints(sync, 1.25, value=0.9)
    add_camera(sync, "front", 1.0, value=1)
    add_camera(sync, "wrist", 1.0, value=2)
    assert sync.take(now=0.0) is None, "that picture is of 0.75 s"
    add_camera(sync, "wrist", 1.25, value=3)
    observation = sync.take(now=0.0)
    assert observation.stamp == 1.0
    assert observation.joint_positions[0] == 0.5
    assert observation.cameras["wrist"].rgb[0, 0, 0] == 3
    assert sync.statuses()["wrist/color"].skew_s == 0.0


def test_a_camera_is_gone_without_once_it_has_not_come_for_long():
    sync = make_tolerant()
    for camera in ("front", "wrist"):
        add_camera(sync, camera, 1.0, now=1.0)
    add_joints(sync, 1.0, now=1.0)
    assert set(sync.take(now=1.0).cameras) == {"front", "wrist"}
    add_camera(sync, "front", 1.4, now=1.4)
    add_joints(sync, 1.4, now=1.4)
    assert sync.take(now=1.4) is None
    assert sync.take(now=1.6).cameras.keys() == {"front"}
    assert (sync.lost_cameras(now=1.6), sync.missing(now=1.6)) == (["wrist"], [])
    add_camera(sync, "wrist", 1.7, now=1.7)
    assert sync.lost_cameras(now=1.7) == []


def test_a_camera_without_depth_is_gone_without_and_another_one_gives_the_stamps():
    sync = make_tolerant()
    for stamp in (1.0, 1.6):
        add_camera(sync, "front", stamp, now=stamp, parts=("color", "info"))
        add_camera(sync, "wrist", stamp, now=stamp)
        add_joints(sync, stamp, now=stamp)
    assert sync.lost_cameras(now=1.6) == ["front"]
    observation = sync.take(now=1.6)
    assert (observation.stamp, observation.cameras.keys()) == (1.6, {"wrist"})


def test_a_camera_that_never_came_is_waited_for_first():
    sync = make_tolerant()
    add_camera(sync, "front", 1.0, now=1.0)
    add_joints(sync, 1.0, now=1.0)
    assert sync.take(now=1.3) is None
    add_camera(sync, "front", 1.6, now=1.6)
    add_joints(sync, 1.6, now=1.6)
    assert sync.take(now=1.6).cameras.keys() == {"front"}
    sync.clear()
    assert sync.lost_cameras(now=9.0) == []


def test_without_any_camera_nothing_is_seen_and_all_of_them_are_missing():
    sync = make_tolerant(("front",))
    add_camera(sync, "front", 1.0, now=1.0)
    add_joints(sync, 2.0, now=2.0)
    assert sync.take(now=2.0) is None
    assert sync.missing(now=2.0) == [f"front/{part} last came 1.00 s ago" for part in ("color", "depth", "info")]


def test_a_policy_that_needs_all_its_cameras_waits_for_them():
    sync = make_sync(("front", "wrist"), max_age_s=0.5)
    add_camera(sync, "front", 1.0, now=1.0)
    add_joints(sync, 1.0, now=1.0)
    assert sync.take(now=9.0) is None
    assert "wrist/color never came" in sync.missing(now=9.0)


def level(observation, camera="front"):
    """Grey level of the picture of one step before; None where there is none."""
    return None if camera not in observation.earlier else int(observation.earlier[camera][0, 0, 0])


def test_the_picture_of_one_step_before_is_found_though_an_observation_was_made_of_it():
    sync = make_looking_back()
    found = []
    for stamp in (1.0, 1.035, 1.066, 1.1, 1.135):
        add_camera(sync, "front", stamp, value=int(1000 * stamp - 900))
        add_joints(sync, stamp)
        found.append(level(sync.take(now=0.0)))
    assert found == [None, None, 100, 100, 135]
    assert sync.without_earlier == 2
    assert {status.dropped for status in sync.statuses().values()} == {0}


def test_a_picture_that_no_observation_was_made_of_serves_as_the_one_before_and_is_not_unused():
    sync = make_looking_back(("front", "wrist"), max_skew_s=0.0)
    for step in range(3):
        for camera in ("front", "wrist"):
            add_camera(sync, camera, 0.1 * step, value=step, parts=("color",))
    for camera in ("front", "wrist"):
        add_camera(sync, camera, 0.3, value=3)
    add_joints(sync, 0.3)
    observation = sync.take(now=0.0)
    assert (level(observation), level(observation, "wrist")) == (2, 2)
    assert observation.cameras["front"].rgb[0, 0, 0] == 3
    assert sync.statuses()["front/color"].dropped == 2


def test_a_picture_too_far_from_one_step_before_is_none_and_neither_is_that_of_now():
    sync = make_looking_back(max_skew_s=0.08)
    for stamp, value in ((1.0, 1), (1.16, 2)):
        add_camera(sync, "front", stamp, value=value)
        add_joints(sync, stamp)
        assert level(sync.take(now=0.0)) is None
    late = ObservationSynchronizer(("front", "wrist"), SyncConfig(max_skew_s=0.08), pose, looks_back_s=0.1)
    late.instruction = "push"
    add_camera(late, "front", 1.07, value=1)
    add_camera(late, "wrist", 1.0, value=2)
    add_joints(late, 1.05)
    assert late.take(now=0.0).earlier == {}


def test_a_camera_that_stands_still_has_no_picture_before_while_another_one_has():
    sync = make_looking_back(("front", "wrist"))
    for step in (0, 5, 6):
        for camera in ("front", "wrist"):
            if (camera, step) != ("wrist", 5):
                add_camera(sync, camera, 0.1 * step, value=step)
    add_joints(sync, 0.6)
    assert {name: int(rgb[0, 0, 0]) for name, rgb in sync.take(now=0.0).earlier.items()} == {"front": 5}


@pytest.mark.parametrize("how", ["stamps jump back", "another episode", "cleared"])
def test_the_first_observation_of_an_episode_has_no_picture_before(how):
    sync = make_looking_back(max_skew_s=0.0)
    add_camera(sync, "front", 0.1, value=1)
    add_camera(sync, "front", 0.2, value=2)
    if how == "another episode":
        sync.forget_earlier()
    if how == "cleared":
        sync.clear()
    stamp = 0.15 if how == "stamps jump back" else 0.25
    add_camera(sync, "front", stamp, value=3)
    add_joints(sync, stamp)
    assert level(sync.take(now=0.0)) is None
    add_camera(sync, "front", stamp + 0.1, value=4)
    add_joints(sync, stamp + 0.1)
    assert level(sync.take(now=0.0)) == 3


def test_a_late_cameras_picture_before_is_that_of_its_capture():
    sync = ObservationSynchronizer(("front",), SyncConfig(max_skew_s=0.0), pose, {"front": 0.25}, looks_back_s=0.1)
    sync.instruction = "push"
    add_camera(sync, "front", 1.25, value=1)
    add_camera(sync, "front", 1.375, value=2)
    add_joints(sync, 1.125)
    assert level(sync.take(now=0.0)) == 1


def test_who_does_not_look_back_is_shown_the_present_alone():
    sync = make_sync()
    for stamp in (1.0, 1.1):
        add_camera(sync, "front", stamp)
        add_joints(sync, stamp)
    assert sync.take(now=0.0).earlier == {}
    assert sync.without_earlier == 0

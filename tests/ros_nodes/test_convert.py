from __future__ import annotations

import array
import time

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image

from policies.execution.trajectory import JointTrajectory
from policies.robots.camera_mount import CameraMount
from ros_nodes import convert

NAMES = ("a", "b", "c")


def raw_image(encoding: str, pixels: np.ndarray, padding: int = 0, big: bool = False) -> Image:
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    rows = np.hstack([rows, np.full((height, padding), 99, np.uint8)])
    message = Image(height=height, width=width, encoding=encoding, step=rows.shape[1], is_bigendian=int(big))
    message.data = array.array("B", rows.tobytes())
    return message


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_stamps_survive_any_number_of_trips(rng):
    wall = rng.uniform(1.7e9, 1.9e9, 200)
    simulated = rng.integers(0, 10**13, 200) / 1e9
    for value in (*wall, *simulated, 0.0):
        assert convert.seconds(convert.to_time(value)) == value


def test_equal_stamps_are_equal_floats_and_whole_nanoseconds():
    assert convert.seconds(Time(sec=3, nanosec=300_000_000)) == 3_300_000_000 / 1e9
    assert convert.to_time(0.30000000000000004).nanosec == 300_000_000
    assert convert.to_time(1.9999999999) == Time(sec=2, nanosec=0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_stamp_must_be_finite(value):
    with pytest.raises(ValueError, match="finite"):
        convert.to_time(value)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [("rgb8", (0, 1, 2)), ("bgr8", (2, 1, 0)), ("rgba8", (0, 1, 2)), ("bgra8", (2, 1, 0)), ("mono8", (0, 0, 0))],
)
def test_every_colour_encoding_gives_rgb(rng, encoding, order, padding):
    channels = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}[encoding]
    pixels = rng.integers(0, 256, (3, 5, channels), dtype=np.uint8)
    rgb = convert.rgb_from_image(raw_image(encoding, pixels, padding))
    np.testing.assert_array_equal(rgb, pixels[:, :, list(order)])
    assert rgb.flags.c_contiguous


@pytest.mark.parametrize("big", [False, True])
def test_depth_in_millimetres_becomes_metres_with_nan_for_zero(big):
    pixels = np.array([[0, 1500], [65535, 1]], dtype=">u2" if big else "<u2")
    depth = convert.depth_from_image(raw_image("16UC1", pixels, padding=4, big=big))
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [[np.nan, 1.5], [65.535, 0.001]], rtol=1e-6)


@pytest.mark.parametrize("big", [False, True])
def test_depth_in_metres_is_exact_and_infinity_unknown(big):
    pixels = np.array([[1.25, np.inf], [np.nan, 0.3]], dtype=">f4" if big else "<f4")
    depth = convert.depth_from_image(raw_image("32FC1", pixels, big=big))
    np.testing.assert_array_equal(depth, np.array([[1.25, np.nan], [np.nan, 0.3]], np.float32))


def test_images_survive_the_trip_bit_for_bit(rng):
    rgb = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    depth = rng.random((7, 9), dtype=np.float32)
    depth[2, 3] = np.nan
    np.testing.assert_array_equal(convert.rgb_from_image(convert.image_from_rgb(rgb, 1.5, "f")), rgb)
    message = convert.image_from_depth(depth, 1.5, "f")
    assert (message.encoding, message.step, message.header.frame_id) == ("32FC1", 36, "f")
    np.testing.assert_array_equal(convert.depth_from_image(message), depth)


def test_writing_a_frame_takes_no_visible_time(rng):
    rgb = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    durations = []
    for _ in range(5):
        start = time.perf_counter()
        convert.image_from_rgb(rgb, 0.0, "f")
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.02  # element by element it is 0.15 s


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoding": "yuv422"}, "found 'yuv422'"),
        ({"step": 10}, "step of at least 15"),
        ({"height": 4}, "expected 60 bytes"),
        ({"height": 0}, "at least one pixel"),
        ({"data": array.array("B")}, "found 0"),
    ],
)
def test_malformed_images_are_refused(rng, change, words):
    message = raw_image("rgb8", rng.integers(0, 256, (3, 5, 3), dtype=np.uint8))
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ValueError, match=words):
        convert.rgb_from_image(message)


def test_depth_refuses_a_colour_encoding(rng):
    with pytest.raises(ValueError, match=r"32FC1.*16UC1.*'rgb8'"):
        convert.depth_from_image(raw_image("rgb8", rng.integers(0, 256, (3, 5, 3), dtype=np.uint8)))


def test_camera_info_round_trip_is_exact():
    matrix = np.array([[193.98333, 0, 112.1], [0, 194.1, 111.9], [0, 0, 1]])
    message = convert.camera_info_from_intrinsics(matrix, (224, 320), 2.0, "optical")
    found, size = convert.intrinsics_from_camera_info(message)
    np.testing.assert_array_equal(found, matrix)
    assert size == (224, 320)
    assert message.p[3] == 0.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": np.zeros(9)}, "calibrated"),
        ({"d": [0.1, 0.0, 0.0, 0.0, 0.0]}, "rectified"),
        ({"binning_x": 2}, "binning"),
    ],
)
def test_cameras_without_a_usable_calibration_are_refused(change, words):
    message = convert.camera_info_from_intrinsics(np.diag([5.0, 5.0, 1.0]), (4, 6), 0.0, "f")
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ValueError, match=words):
        convert.intrinsics_from_camera_info(message)


def make_trajectory(rng) -> JointTrajectory:
    return JointTrajectory(12.1, np.array([0.1, 0.2, 0.3]), rng.normal(size=(3, 3)), rng.normal(size=(3, 3)))


def test_trajectory_round_trip_is_exact(rng):
    trajectory = make_trajectory(rng)
    back = convert.trajectory_from_message(convert.message_from_trajectory(trajectory, NAMES), NAMES)
    assert back.stamp == trajectory.stamp
    for name in ("times", "positions", "velocities"):
        np.testing.assert_array_equal(getattr(back, name), getattr(trajectory, name))


def test_permuted_trajectory_is_put_in_order(rng):
    trajectory = make_trajectory(rng)
    message = convert.message_from_trajectory(trajectory, NAMES)
    message.joint_names = ["c", "a", "b"]
    back = convert.trajectory_from_message(message, NAMES)
    np.testing.assert_array_equal(back.positions, trajectory.positions[:, [1, 2, 0]])


def test_trajectory_keeps_what_is_not_finite_for_the_safety_filter(rng):
    message = convert.message_from_trajectory(make_trajectory(rng), NAMES)
    message.points[1].positions[0] = float("nan")
    assert np.isnan(convert.trajectory_from_message(message, NAMES).positions[1, 0])


def test_malformed_trajectories_are_refused(rng):
    def refuse(words: str, **change: object) -> None:
        message = convert.message_from_trajectory(make_trajectory(rng), NAMES)
        for name, value in change.items():
            setattr(message, name, value)
        with pytest.raises(ValueError, match=words):
            convert.trajectory_from_message(message, NAMES)

    refuse(r"missing \['c'\]", joint_names=["a", "b", "x"])
    refuse("each joint once", joint_names=["a", "b", "b"])
    refuse(r"found also \['d'\]", joint_names=["a", "b", "c", "d"])
    refuse("at least one point", points=[])
    message = convert.message_from_trajectory(make_trajectory(rng), NAMES)
    message.points[2].velocities = []
    with pytest.raises(ValueError, match="3 and 0 in point 2"):
        convert.trajectory_from_message(message, NAMES)
    message = convert.message_from_trajectory(make_trajectory(rng), NAMES)
    message.points[2].time_from_start = convert.to_duration(0.2)
    with pytest.raises(ValueError, match="strictly increasing"):
        convert.trajectory_from_message(message, NAMES)


def test_camera_mount_round_trip_is_exact(rng):
    quaternion = rng.normal(size=4)
    mount = CameraMount("hand", rng.normal(size=3), quaternion / np.linalg.norm(quaternion))
    message = convert.transform_from_mount(mount, 1.5, "wrist_optical_frame")
    back = convert.mount_from_transform(message)
    assert (back.parent_frame, message.child_frame_id) == ("hand", "wrist_optical_frame")
    np.testing.assert_array_equal(back.position, mount.position)
    np.testing.assert_array_equal(back.quaternion_xyzw, mount.quaternion_xyzw)


def test_malformed_camera_mounts_are_refused():
    mount = CameraMount("hand", np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))
    message = convert.transform_from_mount(mount, 0.0, "f")
    message.transform.rotation.w = 0.5
    with pytest.raises(ValueError, match="norm 1"):
        convert.mount_from_transform(message)
    message = convert.transform_from_mount(mount, 0.0, "f")
    message.header.frame_id = ""
    with pytest.raises(ValueError, match="parent frame"):
        convert.mount_from_transform(message)

from __future__ import annotations

import numpy as np
import pytest

from representation.data.bag_messages import encode, make
from representation.data.bag_writer import BagTopic, BagWriter
from representation.data.lerobot_writer import LeRobotWriter
from representation.dynamics.hamiltonian_meta.joint_readings import (
    JOINT_STATE,
    EvenReadings,
    ReadingBreakError,
    read_bag,
    read_dataset,
)

NAMES = ("finger", "swing")


def write_bag(path, stamps, swing) -> None:
    """Joint states of a finger that stands still, and of a joint with positions and velocities (T, 2)."""
    writer = BagWriter(path)
    for topic in ("/joint_states", "/tools/joint_states"):
        writer.add_topic(BagTopic(topic, JOINT_STATE))
    for stamp, (position, velocity) in zip(stamps, swing, strict=True):
        whole, rest = divmod(round(stamp * 1e9), 10**9)
        header = make(
            "std_msgs/msg/Header", stamp=make("builtin_interfaces/msg/Time", sec=whole, nanosec=rest), frame_id=""
        )
        for topic, found in (("/joint_states", ("finger",)), ("/tools/joint_states", NAMES)):
            values = {"finger": (0.04, 0.0), "swing": (position, velocity)}
            positions, velocities = np.array([values[name] for name in found]).T.copy()
            message = make(
                JOINT_STATE,
                header=header,
                name=list(found),
                position=positions,
                velocity=velocities,
                effort=np.zeros(0),
            )
            writer.write(topic, encode(message, JOINT_STATE), round(stamp * 1e9), round(stamp * 1e9))
    writer.close()


def write_dataset(path, swing, fps=100.0, named=True) -> None:
    """The same as an episode of a LeRobot dataset."""
    names = {"names": list(NAMES)} if named else {}
    features = {
        key: {"dtype": "float32", "shape": (2,), **names} for key in ("observation.state", "observation.velocity")
    }
    writer = LeRobotWriter(path, fps, features)
    for position, velocity in swing:
        state, speed = np.array([0.04, position], np.float32), np.array([0.0, velocity], np.float32)
        writer.add_frame({"observation.state": state, "observation.velocity": speed}, "swing")
    writer.save_episode()
    writer.finalize()


def swings(times):
    return np.stack([0.4 * np.cos(6 * times), -2.4 * np.sin(6 * times)], axis=1)


def test_uneven_stamps_give_readings_at_even_times():
    rng = np.random.default_rng(0)
    stamps = 5.0 + np.cumsum(rng.uniform(0.002, 0.01, 300))
    readings = EvenReadings(0.01, max_gap_s=0.1)
    for stamp, (position, velocity) in zip(stamps, swings(stamps), strict=True):
        readings.add(stamp, [position], [velocity])
    window = readings.window(0, readings.count)
    times = stamps[0] + 0.01 * np.arange(readings.count)
    assert times[-1] == pytest.approx(stamps[-1], abs=0.0101)
    np.testing.assert_allclose(window.positions[:, 0], swings(times)[:, 0], atol=3e-4)
    np.testing.assert_allclose(window.velocities[:, 0], swings(times)[:, 1], atol=2e-3)
    assert readings.stamp(7) == pytest.approx(times[7])


@pytest.mark.parametrize("later", [0.2, 0.0, -1.0])
def test_a_jump_of_stamps_begins_anew(later):
    readings = EvenReadings(0.01, max_gap_s=0.1)
    for place in range(20):
        readings.add(0.01 * place, [0.0], [0.0])
    with pytest.raises(ReadingBreakError, match=r"expected one up to 0\.1 s after the last"):
        readings.add(0.19 + later, [1.0], [0.0])
    assert readings.count == 1
    with pytest.raises(ValueError, match="expected finite numbers"):
        readings.add(0.2 + later, [np.nan], [0.0])
    assert readings.count == 1


def test_bags_and_datasets_give_the_same_joint(tmp_path):
    times = 0.01 * np.arange(60)
    swing = swings(times)
    write_bag(tmp_path / "bag", 100 + times, swing)
    write_dataset(tmp_path / "dataset", swing)
    from_bag = read_bag(tmp_path / "bag", ["swing"], "/tools/joint_states", 0.01)
    from_dataset = read_dataset(tmp_path / "dataset", 0, ["swing"])
    assert from_dataset.dt == from_bag.dt == 0.01
    for window in (from_bag, from_dataset):
        count = len(window.positions)
        assert count >= 59
        np.testing.assert_allclose(window.positions[:, 0], swing[:count, 0], atol=1e-6)
        np.testing.assert_allclose(window.velocities[:, 0], swing[:count, 1], atol=1e-5)


def test_recordings_without_the_joint_or_its_velocity_are_refused(tmp_path):
    swing = swings(0.01 * np.arange(20))
    write_bag(tmp_path / "bag", 0.01 * np.arange(20), swing)
    with pytest.raises(ValueError, match=r"expected 1 to .* readings of swing on /joint_states, found 0"):
        read_bag(tmp_path / "bag", ["swing"], "/joint_states", 0.01)
    stamps = 0.01 * np.arange(20)
    stamps[10:] += 1.0
    write_bag(tmp_path / "gap", stamps, swing)
    with pytest.raises(ValueError, match=r"expected one up to 0\.1 s after the last"):
        read_bag(tmp_path / "gap", ["swing"], "/tools/joint_states", 0.01)
    write_dataset(tmp_path / "unnamed", swing, named=False)
    with pytest.raises(ValueError, match="expected the joints swing"):
        read_dataset(tmp_path / "unnamed", 0, ["swing"])
    features = {"observation.state": {"dtype": "float32", "shape": (1,), "names": ["swing"]}}
    writer = LeRobotWriter(tmp_path / "still", 100.0, features)
    writer.add_frame({"observation.state": np.zeros(1, np.float32)}, "swing")
    writer.save_episode()
    writer.finalize()
    with pytest.raises(ValueError, match=r"expected observation\.velocity"):
        read_dataset(tmp_path / "still", 0, ["swing"])


@pytest.mark.parametrize("began", [0.0, 1000.01, 1017.37, 1_795_815_233.17])
def test_readings_at_their_period_are_all_counted_whatever_their_stamps_are_rounded_to(began):
    readings = EvenReadings(0.01, max_gap_s=0.1)
    for k in range(500):
        readings.add(round(began + k * 0.01, 6), [0.1 * k], [0.0])
        assert readings.count == k + 1
    np.testing.assert_allclose(readings.window(0, 500).positions[:, 0], 0.1 * np.arange(500), atol=1e-3)

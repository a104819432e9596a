from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from policies.benchmarks.sensor_bag import FOCAL_PX, START_S, SensorBag
from policies.calibration.files import write_parameters
from policies.data.bag_episodes import BagEpisodes, EpisodeFrame
from policies.data.convert import ConvertConfig, convert, main
from policies.execution.kinematics import Kinematics
from policies.execution.observation_sync import SyncConfig
from policies.execution.trajectory import JointState, JointTrajectory, Motion
from policies.interface import ActionChunk
from policies.robots import get_drivers, get_robot
from policies.spatialvla.needed_inputs import NeededInputs
from policies.training_data import open_datasets, read_columns
from representation.data.bag_writer import BagWriter
from representation.data.lerobot_dataset import LeRobotDataset
from tests.representation.data.v3_conformance import check

ROBOT = get_robot("panda")
HEIGHT, WIDTH = 24, 32
JOINT_PERIOD, CAMERA_PERIOD = 0.01, 0.05
TURN = 0.02  # rad that the base joint is led further in a control period


def colour(number: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), 10 + 5 * number, np.uint8)


def depth(number: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH), 500 + number, np.uint16)


class Recording:
    """A bag whose arm turns at constant speed as soon as it is commanded to."""

    bag_type = SensorBag

    def __init__(self, folder: Path, cameras: tuple[str, ...] = ("front",), transforms: str = "") -> None:
        self.writer = BagWriter(folder)
        self.bag = self.bag_type(self.writer, ROBOT)
        self.cameras = cameras
        self.time = 0.0
        self.tick = 0
        self.pictures = 0
        self.bag.text("/instruction", "turn", 0.0)
        for camera in cameras:
            self.bag.mount(camera, 0.0, transforms)

    def positions(self, time: float) -> np.ndarray:
        found = ROBOT.home.copy()
        found[0] += TURN * time * 10
        return found

    def tell_joints(self) -> None:
        self.bag.joints(self.positions(self.time), self.time)

    def run(self, seconds: float, camera_period: float = CAMERA_PERIOD, command: bool = True) -> None:
        for _ in range(round(seconds / JOINT_PERIOD)):
            self.tell_joints()
            if self.tick % round(camera_period / JOINT_PERIOD) == 0:
                for camera in self.cameras:
                    self.bag.picture(camera, colour(self.pictures % 40), depth(self.pictures % 40), self.time)
                self.pictures += 1
            if command and self.tick % 10 == 0:
                self.bag.command(self.plan(), self.time)
            self.tick += 1
            self.time = self.tick * JOINT_PERIOD

    def plan(self) -> JointTrajectory:
        """What leads the arm along its way for three control periods, and stops it."""
        times = 0.1 * np.arange(1, 5)
        positions = np.stack([self.positions(self.time + due) for due in times])
        velocities = np.zeros_like(positions)
        velocities[:-1, 0] = 10 * TURN
        return JointTrajectory(self.time, times, positions, velocities)

    def episode(self, event: str | None, seconds: float = 1.0, **options) -> None:
        self.bag.mark("start", "turn", self.time)
        self.run(seconds, **options)
        if event is not None:
            self.bag.mark(event, "turn", self.time)

    def close(self) -> Path:
        self.writer.close()
        return self.writer.folder


def settings(tmp_path: Path, *bags: Path, **options) -> ConvertConfig:
    return ConvertConfig(bags, tmp_path / "dataset", cameras=("front",), **options)


def test_marked_episodes_become_a_dataset_that_follows_the_published_format(tmp_path):
    recording = Recording(tmp_path / "bag")
    recording.run(0.3)
    recording.episode("success", 1.0)
    recording.run(0.2)
    recording.episode("discard", 0.5)
    recording.episode("failure", 0.5)
    recording.episode("success", 0.6)
    report = convert(settings(tmp_path, recording.close()))
    assert (report.episodes, report.frames) == (2, 10 + 6)
    assert [reason.split(": ")[1] for reason in report.left_out] == ["marked as discard", "marked as failure"]
    assert report.problems == []
    pytest.importorskip("pandas")
    check(tmp_path / "dataset")
    first, second = LeRobotDataset(tmp_path / "dataset")
    assert first["next.success"].tolist() == [False] * 9 + [True]
    assert set(second["task"]) == {"turn"}
    np.testing.assert_allclose(np.diff(first["observation.state"][:, 0]), TURN, atol=1e-6)
    # 20 pictures a second, 10 frames: every second picture, with its own depth.
    levels = first["observation.images.front"].mean((1, 2, 3))
    np.testing.assert_allclose(np.diff(levels), 10, atol=1.5)
    np.testing.assert_allclose(np.diff(first["observation.depth.front"][:, 0, 0]), 0.002, atol=1e-5)


def test_a_commanded_action_leads_from_the_observed_pose_to_the_command_one_period_later(tmp_path):
    recording = Recording(tmp_path / "bag")
    recording.episode("success", 1.0)
    convert(settings(tmp_path, recording.close()))
    (episode,) = LeRobotDataset(tmp_path / "dataset")
    kinematics = Kinematics(ROBOT)
    for state, action in zip(episode["observation.state"][:-1], episode["action"][:-1], strict=True):
        chunk = ActionChunk(0.0, 0.1, "cartesian_delta", action[None].astype(np.float64))
        reached = kinematics.to_joint_chunk(chunk, state.astype(np.float64)).rows[0]
        assert abs(kinematics.forward(reached)[:3, 3] - expected_pose(kinematics, state)[:3, 3]).max() < 1e-4
        assert abs(kinematics.forward(reached)[:3, :3] - expected_pose(kinematics, state)[:3, :3]).max() < 1e-3
        assert action[6] == pytest.approx(1.0)


def expected_pose(kinematics: Kinematics, state: np.ndarray) -> np.ndarray:
    target = state.astype(np.float64)
    target[0] += TURN
    return kinematics.forward(target)


def test_training_reads_what_was_converted(tmp_path):
    recording = Recording(tmp_path / "bag")
    recording.episode("success", 1.0)
    convert(settings(tmp_path, recording.close()))
    needs = NeededInputs(depth=True, intrinsics=True, camera_pose=True, joints=True)
    columns = read_columns(open_datasets([tmp_path / "dataset"]), "front", needs, Kinematics(ROBOT).forward)
    assert columns.actions.shape == (10, 7)
    assert set(columns.instructions) == {"turn"}
    assert columns.intrinsics[0, 0, 0] == FOCAL_PX


class RecordingOfACart(Recording):
    """A cart, whose place `/tf` tells at a third of the joints' rate, carries the camera along the base's x axis."""

    def tell_joints(self) -> None:
        super().tell_joints()
        if self.tick % 3 == 0:
            self.bag.mount("front", self.time, "/tf", x=self.cart(self.time))

    def cart(self, time: float) -> float:
        return 0.5 + 0.2 * time


def test_a_camera_may_be_carried_by_a_frame_that_moves(tmp_path):
    recording = RecordingOfACart(tmp_path / "bag", transforms="/tf")
    recording.episode("success", 0.8)
    report = convert(settings(tmp_path, recording.close()))
    assert report.problems == []
    (episode,) = LeRobotDataset(tmp_path / "dataset")
    places = np.reshape(episode["observation.camera.front.base_from_camera"], (-1, 4, 4))[:, 0, 3]
    times = (episode["observation.state"][:, 0] - ROBOT.home[0]) / (10 * TURN)
    # A picture may come before the next pose of the cart: then the nearest one stands for it.
    np.testing.assert_allclose(places, recording.cart(times), atol=0.2 * 3 * JOINT_PERIOD)
    assert np.ptp(places) > 0.1


class BagOfTheLeft(SensorBag):
    def send_message(self, topic: str, kind: str, time: float, message: object) -> None:
        super().send_message(f"/left{topic}", kind, time, message)


class RecordingOfTheLeft(Recording):
    bag_type = BagOfTheLeft


def test_mounts_may_come_as_static_transforms_in_the_robots_namespace_too(tmp_path):
    poses = []
    for number, (kind, topic, namespace) in enumerate(
        ((Recording, "", ""), (Recording, "/tf_static", ""), (RecordingOfTheLeft, "/tf_static", "left"))
    ):
        recording = kind(tmp_path / f"bag{number}", transforms=topic)
        recording.episode("success", 0.3)
        folder = tmp_path / f"dataset{number}"
        convert(ConvertConfig((recording.close(),), folder, cameras=("front",), namespace=namespace))
        poses.append(LeRobotDataset(folder).episode(0)["observation.camera.front.base_from_camera"])
    np.testing.assert_array_equal(poses[0], poses[1])
    np.testing.assert_array_equal(poses[0], poses[2])


def test_a_calibration_file_places_cameras_and_takes_their_latency_off_the_stamps(tmp_path):
    recording = Recording(tmp_path / "bag")
    recording.episode("success", 1.0)
    calibration, latency = tmp_path / "parameters.yaml", 0.1
    mount = {"camera.front.parent_frame": "hand", "camera.front.position": [0.0, 0.0, 0.1]}
    write_parameters(calibration, "policy_node", {**mount, "camera.front.latency_s": latency})
    words = [str(recording.close()), "--cameras", "front", "--output", str(tmp_path / "dataset")]
    assert main([*words, "--calibration", str(calibration)]) == 0
    (episode,) = LeRobotDataset(tmp_path / "dataset")
    kinematics = Kinematics(ROBOT)
    # The pictures of the first 0.1 s show what was before the recording.
    assert len(episode["task"]) == 9
    pictures = (episode["observation.images.front"].mean((1, 2, 3)) - 10) / 5
    for number, state, pose in zip(
        pictures, episode["observation.state"], episode["observation.camera.front.base_from_camera"], strict=True
    ):
        taken = CAMERA_PERIOD * round(number) - latency
        np.testing.assert_allclose(state, recording.positions(taken), atol=1e-6)
        hand = kinematics.frame(state.astype(np.float64), "hand")
        np.testing.assert_allclose(np.reshape(pose, (4, 4))[:3, 3], hand[:3, 3] + 0.1 * hand[:3, 2], atol=1e-6)


@pytest.mark.parametrize("name", ["wrist", None])
def test_a_calibration_that_is_not_there_or_of_another_camera_is_an_error(tmp_path, name, capsys):
    calibration = tmp_path / "parameters.yaml"
    if name is not None:
        write_parameters(calibration, "policy_node", {f"camera.{name}.latency_s": 0.1})
    words = [str(tmp_path), "--cameras", "front", "--output", str(tmp_path / "dataset")]
    assert main([*words, "--calibration", str(calibration)]) == 1
    assert f"error: {calibration}: expected" in capsys.readouterr().err


class RecordingInParts(Recording):
    """The gripper tells its joint by itself, at a fifth of the arm's rate, that of the camera."""

    def tell_joints(self) -> None:
        self.bag.joints(self.positions(self.time), self.time, slice(0, -1))
        if self.tick % 5 == 0:
            self.bag.joints(self.positions(self.time), self.time, slice(-1, None))


def test_joint_states_in_parts_give_the_same_dataset(tmp_path):
    episodes = []
    for kind in (Recording, RecordingInParts):
        recording = kind(tmp_path / kind.__name__)
        recording.episode("success", 1.0)
        folder = tmp_path / f"dataset{kind.__name__}"
        convert(ConvertConfig((recording.close(),), folder, cameras=("front",)))
        episodes.append(LeRobotDataset(folder).episode(0))
    whole, parts = episodes
    count = len(parts["task"])
    assert count >= len(whole["task"]) - 1  # of the last picture, only the arm's joints came
    np.testing.assert_allclose(parts["observation.state"], whole["observation.state"][:count], atol=1e-6)


def test_failures_are_kept_when_asked_for_and_are_no_success(tmp_path):
    recording = Recording(tmp_path / "bag")
    recording.episode("failure", 0.5)
    convert(settings(tmp_path, recording.close(), keep_failures=True))
    (episode,) = LeRobotDataset(tmp_path / "dataset")
    assert not episode["next.success"].any()


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (lambda r: r.episode(None), "unfinished"),
        (lambda r: r.episode("success", 0.1), "expected at least 2 observations, found 1"),
        (lambda r: r.episode("success", camera_period=0.07), r"expected frames at 10 Hz, found 7.14 Hz"),
        (lambda r: r.episode("success", command=False), "expected commands for the arm, found none"),
        (lambda r: r.run(1.0), "no episode is marked"),
    ],
    ids=["unfinished", "short", "rate", "no-commands", "unmarked"],
)
def test_without_an_episode_to_keep_the_reason_is_told_and_no_dataset_left(tmp_path, record, reason, capsys):
    recording = Recording(tmp_path / "bag")
    record(recording)
    with pytest.raises(ValueError, match=reason):
        convert(settings(tmp_path, recording.close()))
    assert not (tmp_path / "dataset").exists()


def test_an_episode_with_a_gap_is_left_out(tmp_path):
    recording = Recording(tmp_path / "bag")
    recording.episode("success", 0.5)
    recording.bag.mark("start", "turn", recording.time)
    recording.run(0.3)
    recording.tick += 100  # nothing is recorded for a second
    recording.time = recording.tick * JOINT_PERIOD
    recording.run(0.3)
    recording.bag.mark("success", "turn", recording.time)
    report = convert(settings(tmp_path, recording.close()))
    assert report.episodes == 1
    assert "no gap over 0.5 s, found 1.1" in report.left_out[0]


def test_without_commands_the_measured_way_is_the_action(tmp_path):
    recording = Recording(tmp_path / "bag")
    recording.episode("success", 0.5, command=False)
    convert(settings(tmp_path, recording.close(), actions="measured"))
    (episode,) = LeRobotDataset(tmp_path / "dataset")
    assert np.abs(episode["action"][:-1, :3]).max() > 0.005


def test_a_bag_that_was_cut_off_gives_its_whole_episodes(tmp_path):
    recording = Recording(tmp_path / "bag")
    recording.episode("success", 0.5)
    # Much that is different follows, so that half of the file still holds the first episode.
    for _ in range(10):
        recording.episode("success", 0.5)
    folder = recording.close()
    content = recording.writer.path.read_bytes()
    recording.writer.path.write_bytes(content[: len(content) // 2])
    report = convert(settings(tmp_path, folder))
    assert 1 <= report.episodes < 10
    assert "ends in the middle of a record" in report.problems[0]


def test_a_damaged_bag_is_an_error_and_leaves_no_dataset(tmp_path):
    recording = Recording(tmp_path / "bag")
    recording.episode("success", 1.0)
    recording.episode("success", 1.0)
    folder = recording.close()
    content = bytearray(recording.writer.path.read_bytes())
    for place in range(len(content) * 3 // 4, len(content) * 3 // 4 + 200):
        content[place] ^= 0xFF
    recording.writer.path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bag_0\.mcap: expected an MCAP file"):
        convert(settings(tmp_path, folder))
    assert not (tmp_path / "dataset").exists()


def test_malformed_messages_are_counted_by_topic_with_the_reason(tmp_path):
    recording = Recording(tmp_path / "bag")
    recording.bag.text("/joint_states_text", "x", 0.0)
    recording.bag.send("/camera/front/extrinsics", "geometry_msgs/msg/TransformStamped", 0.0, **_bad_mount())
    recording.episode("success", 0.5)
    report = convert(settings(tmp_path, recording.close()))
    (problem,) = report.problems
    assert "/camera/front/extrinsics: 1 messages refused" in problem
    assert "expected the parent frame" in problem


def _bad_mount() -> dict:
    from representation.data.bag_messages import make

    stamp = make("builtin_interfaces/msg/Time", sec=0, nanosec=0)
    zero = make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
    turn = make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
    return {
        "header": make("std_msgs/msg/Header", stamp=stamp, frame_id=""),
        "child_frame_id": "",
        "transform": make("geometry_msgs/msg/Transform", translation=zero, rotation=turn),
    }


def test_several_bags_become_one_dataset(tmp_path):
    bags = []
    for name in ("one", "two"):
        recording = Recording(tmp_path / name)
        recording.episode("success", 0.5)
        bags.append(recording.close())
    assert convert(settings(tmp_path, *bags)).episodes == 2


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert main([str(tmp_path / "nothing"), "--output", str(tmp_path / "dataset")]) == 1
    assert "expected a bag directory" in capsys.readouterr().err


def test_stamps_that_jump_back_end_the_running_episode(tmp_path):
    recording = Recording(tmp_path / "bag")
    recording.episode(None, 0.5)
    recording.tick, recording.time = 0, 0.0
    recording.run(0.5)
    recording.bag.mark("success", "turn", recording.time)
    recording.episode("success", 0.5)
    report = convert(settings(tmp_path, recording.close()))
    assert report.episodes == 1
    assert "stamps jumped back" in report.left_out[0]


def test_frames_follow_the_command_as_the_controller_does(tmp_path):
    recording = Recording(tmp_path / "bag")
    recording.run(0.2, command=False)
    plan = recording.plan()
    recording.bag.mark("start", "turn", recording.time)
    recording.bag.command(plan, recording.time)
    sent_at = recording.time - JOINT_PERIOD  # the newest joint state's stamp
    recording.run(0.4, command=False)
    recording.bag.mark("success", "turn", recording.time)
    folder = recording.close()
    entries = BagEpisodes(folder, ROBOT, get_drivers(ROBOT.name), ("front",), SyncConfig(), 10.0)
    frames = [entry for entry in entries if isinstance(entry, EpisodeFrame)]
    start = JointState(sent_at, recording.positions(sent_at), np.zeros_like(ROBOT.home))
    motion = Motion(plan, start)
    assert len(frames) == 4
    for entry in frames:
        due = entry.observation.stamp - START_S + 0.1
        np.testing.assert_allclose(entry.target, motion.at(due).positions, atol=1e-6)

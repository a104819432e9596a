from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from representation.data import lerobot_writer, video
from representation.data.checksums import verify
from representation.data.lerobot_dataset import LeRobotDataset
from representation.data.lerobot_writer import LeRobotWriter
from tests.representation.data.lerobot_samples import FEATURES, FPS, make_frames, record, write_v30
from tests.representation.data.v3_conformance import check


def test_layout_is_that_of_format_3(tmp_path):
    write_v30(tmp_path, (5, 3))
    info = json.loads((tmp_path / "meta/info.json").read_text())
    assert (info["codebase_version"], info["total_episodes"], info["total_frames"]) == ("v3.0", 2, 8)
    assert (info["total_tasks"], info["splits"], info["robot_type"]) == (2, {"train": "0:2"}, "arm")
    assert "observation.depth.front" not in info["features"], "the stock reader would look for it"
    episodes = pq.read_table(tmp_path / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert episodes[1]["dataset_from_index"] == 5
    assert episodes[1]["dataset_to_index"] == 8
    assert episodes[1]["tasks"] == ["task 1"]
    assert episodes[1]["videos/observation.images.front/from_timestamp"] == 0.5
    assert episodes[1]["videos/observation.images.front/to_timestamp"] == 0.8
    assert np.shape(episodes[1]["stats/observation.images.front/mean"]) == (3, 1, 1)
    data = pq.read_table(tmp_path / "data/chunk-000/file-000.parquet")
    assert data["index"].to_pylist() == list(range(8))
    assert str(data.schema.field("observation.state").type) == "fixed_size_list<element: float>[3]"
    assert str(data.schema.field("next.success").type) == "bool"
    assert not (tmp_path / ".staging").exists()


@pytest.mark.parametrize("file_megabytes", [200, 1e-6], ids=["one file", "a file an episode"])
def test_a_second_reader_of_the_published_format_finds_nothing_to_complain_about(tmp_path, file_megabytes):
    pytest.importorskip("pandas")
    write_v30(tmp_path, (5, 3, 7), file_megabytes=file_megabytes)
    check(tmp_path)


def test_tasks_are_the_index_that_pandas_restores(tmp_path):
    pandas = pytest.importorskip("pandas")
    write_v30(tmp_path, (2, 2))
    tasks = pandas.read_parquet(tmp_path / "meta/tasks.parquet")
    assert tasks.loc["task 1"].task_index == 1
    assert list(tasks.columns) == ["task_index"]


def test_joined_video_has_every_frame_at_its_time(tmp_path):
    write_v30(tmp_path, (5, 3, 7))
    with av.open(str(tmp_path / "videos/observation.images.front/chunk-000/file-000.mp4")) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(15) / FPS, atol=1e-6)


def test_statistics_are_those_of_the_data(tmp_path):
    write_v30(tmp_path, (5, 3, 7), file_megabytes=1e-6)
    dataset = LeRobotDataset(tmp_path)
    actions = dataset.load_episodes(["action"])["action"]
    stats = dataset.stats["action"]
    np.testing.assert_allclose(stats["mean"], actions.mean(0))
    np.testing.assert_allclose(stats["q99"], np.quantile(actions, 0.99, axis=0))
    assert stats["count"] == [15]
    frames = [frame for episode, length in enumerate((5, 3, 7)) for frame in make_frames(episode, length)]
    pixels = np.stack([frame["observation.images.front"] for frame in frames]) / 255
    np.testing.assert_allclose(np.ravel(dataset.stats["observation.images.front"]["std"]), pixels.std((0, 1, 2)))
    depth = np.stack([frame["observation.depth.front"] for frame in frames])
    np.testing.assert_allclose(np.ravel(dataset.stats["observation.depth.front"]["mean"]), np.nanmean(depth), 1e-6)


def test_a_discarded_episode_leaves_nothing(tmp_path):
    writer = LeRobotWriter(tmp_path, FPS, FEATURES)
    record(writer, 0)
    for frame in make_frames(9, 4):
        writer.add_frame(frame, "bad")
    writer.discard_episode()
    record(writer, 1)
    writer.finalize()
    assert [episode["task"][0] for episode in LeRobotDataset(tmp_path)] == ["task 0", "task 1"]


KILLED = """
import os, signal, sys
from tests.representation.data.v3_conformance import check
from tests.representation.data.lerobot_samples import *
writer = LeRobotWriter(sys.argv[1], FPS, FEATURES, "arm", file_megabytes=float(sys.argv[2]))
record(writer, 0); record(writer, 1); record(writer, 2)
for frame in make_frames(3, 4):
    writer.add_frame(frame, "task 1")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("file_megabytes", [200, 1e-6], ids=["staged", "joined"])
def test_a_killed_recording_continues_after_its_last_whole_episode(tmp_path, file_megabytes):
    root = tmp_path / "set"
    command = [sys.executable, "-c", KILLED, str(root), str(file_megabytes)]
    repository = Path(__file__).parents[3]
    killed = subprocess.run(command, cwd=repository, env={**os.environ, "PYTHONPATH": str(repository)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    writer = LeRobotWriter.resume(root)
    assert writer.num_episodes == 3
    record(writer, 3)
    writer.finalize()
    for number, episode in enumerate(LeRobotDataset(root)):
        expected = np.stack([frame["observation.state"] for frame in make_frames(number, 5)])
        np.testing.assert_array_equal(episode["observation.state"], expected)
    assert number == 3
    assert verify(root) > 0


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """Two episodes that are saved but not yet joined."""
    root = tmp_path_factory.mktemp("staged") / "set"
    writer = LeRobotWriter(root, FPS, FEATURES)
    record(writer, 0)
    record(writer, 1)
    return root


@pytest.mark.parametrize(
    ("owner", "step", "survived"),
    [
        (video, "join_videos", 0),
        (video, "join_videos", 1),
        (lerobot_writer, "write_table", 0),
        (lerobot_writer, "write_table", 1),
        (lerobot_writer, "write_table", 2),
        (lerobot_writer, "write_json", 0),
        (lerobot_writer, "write_json", 1),
        (lerobot_writer, "write_checksums", 0),
    ],
)
def test_a_kill_at_any_step_of_joining_loses_no_episode(staged, tmp_path, monkeypatch, owner, step, survived):
    root = shutil.copytree(staged, tmp_path / "set")
    original, calls = getattr(owner, step), []

    def killed(*args, **kwargs):
        calls.append(args)
        if len(calls) > survived:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        resumed = LeRobotWriter.resume(root)
        patch.setattr(owner, step, killed)
        with pytest.raises(KeyboardInterrupt):
            resumed.finalize()
    LeRobotWriter.resume(root).finalize()
    assert [episode["episode_index"][0] for episode in LeRobotDataset(root)] == [0, 1]
    assert verify(root) > 0


def test_a_finished_dataset_can_be_continued(tmp_path):
    write_v30(tmp_path, (5, 3))
    writer = LeRobotWriter.resume(tmp_path)
    record(writer, 2, 7)
    writer.finalize()
    dataset = LeRobotDataset(tmp_path)
    assert [len(episode["task"]) for episode in dataset] == [5, 3, 7]
    assert dataset.stats["action"]["count"] == [15]
    assert verify(tmp_path) > 0


def test_a_fast_dataset_stays_fast_when_it_is_continued_and_shows_the_same_pictures(tmp_path):
    write_v30(tmp_path / "small", (5, 3))
    writer = LeRobotWriter(tmp_path / "fast", FPS, FEATURES, fast=True)
    record(writer, 0, 5)
    writer.finalize()
    writer = LeRobotWriter.resume(tmp_path / "fast")
    record(writer, 1, 3)
    writer.finalize()
    for one, other in zip(LeRobotDataset(tmp_path / "fast"), LeRobotDataset(tmp_path / "small"), strict=True):
        here, there = (episode["observation.images.front"].astype(int) for episode in (one, other))
        assert np.abs(here - there).mean() < 2
        assert one["observation.depth.front"].tobytes() == other["observation.depth.front"].tobytes()
    info = json.loads((tmp_path / "fast/meta/info.json").read_text())
    assert info["features"]["observation.images.front"]["info"]["video.preset"] == "ultrafast"
    assert info["depth_features"]["observation.depth.front"]["info"]["codec"] == "ffvhuff"
    assert len(list((tmp_path / "fast" / "depth").rglob("*.avi"))) == 2


def test_an_interrupted_dataset_says_how_to_complete_it(tmp_path):
    record(LeRobotWriter(tmp_path, FPS, FEATURES), 0)
    with pytest.raises(ValueError, match=r"resume\(root\)\.finalize\(\)"):
        LeRobotDataset(tmp_path)
    LeRobotWriter.resume(tmp_path).finalize()
    assert len(LeRobotDataset(tmp_path)) == 1


def test_an_existing_dataset_is_not_overwritten(tmp_path):
    write_v30(tmp_path, (2,))
    with pytest.raises(ValueError, match="resume"):
        LeRobotWriter(tmp_path, FPS, FEATURES)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("observation.images.front", np.zeros((24, 32, 3), np.float32), "expected uint8"),
        ("observation.images.front", np.zeros((32, 24, 3), np.uint8), "expected shape"),
        ("observation.depth.front", np.zeros((24, 32), np.uint16), "expected float32 metres"),
        ("observation.state", np.array([0, np.nan, 0], np.float32), "expected finite"),
        ("observation.state", np.array(["a", "b", "c"]), "expected float32"),
        ("next.success", np.array([0.5]), "expected bool"),
        ("extra", 1.0, "expected keys"),
    ],
)
def test_frames_that_do_not_fit_are_refused(tmp_path, key, value, message):
    writer = LeRobotWriter(tmp_path, FPS, FEATURES)
    with pytest.raises(ValueError, match=message):
        writer.add_frame(make_frames(0, 1)[0] | {key: value}, "task")
    with pytest.raises(ValueError, match="at least one frame"):
        writer.save_episode()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"index": {"dtype": "int64", "shape": (1,)}}, "the writer fills"),
        ({"x": {"dtype": "complex64", "shape": (1,)}}, "number type"),
        ({"x": {"dtype": "float32", "shape": (2, 2)}}, r"expected \(n,\)"),
        ({"a/b": {"dtype": "float32", "shape": (1,)}}, "keys"),
    ],
)
def test_features_that_cannot_be_written_are_refused(tmp_path, features, message):
    with pytest.raises(ValueError, match=message):
        LeRobotWriter(tmp_path, FPS, features)


def test_checksums_tell_altered_missing_and_added_files(tmp_path):
    write_v30(tmp_path, (2,))
    count = verify(tmp_path)
    assert count == 7
    data = tmp_path / "data/chunk-000/file-000.parquet"
    content = data.read_bytes()
    data.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"altered: data/chunk-000/file-000\.parquet"):
        verify(tmp_path)
    data.unlink()
    (tmp_path / "extra.txt").write_text("x")
    with pytest.raises(ValueError, match=r"missing: data.*; not listed: extra\.txt"):
        verify(tmp_path)

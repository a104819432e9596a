from __future__ import annotations

import contextlib
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from representation.data import untrusted_files
from representation.data.lerobot_dataset import LeRobotDataset
from tests.representation.data.lerobot_samples import (
    HEIGHT,
    WIDTH,
    make_frames,
    write_plain_video,
    write_v21,
    write_v30,
)

LENGTHS = (5, 3, 7)
DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.front/chunk-000/file-000.mp4"
DEPTH = "depth/observation.depth.front/chunk-000/file-000"


@pytest.fixture(scope="module", params=[False, True], ids=["small", "fast"])
def pristine(tmp_path_factory, request):
    path = tmp_path_factory.mktemp("pristine") / "set"
    write_v30(path, LENGTHS, fast=request.param)
    return path


@pytest.fixture
def root(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "set")


def change_info(root, **changes):
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_table(root, relative, change):
    table = pq.read_table(root / relative)
    pq.write_table(change(table), root / relative)


def replace_column(name, values):
    return lambda table: table.set_column(table.column_names.index(name), name, values(table))


def read_all(root):
    return list(LeRobotDataset(root))


def check_episode(episode, number):
    frames = make_frames(number, LENGTHS[number])
    for key in ("observation.state", "action"):
        np.testing.assert_array_equal(episode[key], np.stack([frame[key] for frame in frames]))
    depth = np.stack([frame["observation.depth.front"] for frame in frames])
    assert episode["observation.depth.front"].tobytes() == depth.tobytes()
    colors = np.stack([frame["observation.images.front"] for frame in frames]).astype(int)
    assert np.abs(episode["observation.images.front"] - colors).mean() < 3
    assert episode["task"] == [f"task {number % 2}"] * LENGTHS[number]
    assert episode["next.success"].tolist() == [False] * (LENGTHS[number] - 1) + [True]
    np.testing.assert_allclose(episode["timestamp"], np.arange(LENGTHS[number]) / 10)


def test_episodes_come_back_as_written_in_any_order(root):
    dataset = LeRobotDataset(root)
    assert (len(dataset), dataset.num_frames, dataset.tasks) == (3, 15, ["task 0", "task 1"])
    for number in (0, 1, 2, 1, 0, 2):
        check_episode(dataset.episode(number), number)


def test_episodes_come_back_when_spread_over_several_files(tmp_path):
    write_v30(tmp_path / "set", LENGTHS, file_megabytes=1e-6)
    assert (tmp_path / "set/data/chunk-000/file-002.parquet").exists()
    for number, episode in enumerate(LeRobotDataset(tmp_path / "set")):
        check_episode(episode, number)


def test_bulk_loading_joins_the_asked_episodes(root):
    dataset = LeRobotDataset(root)
    loaded = dataset.load_episodes(["action", "observation.images.front"], [2, 0])
    assert loaded["episode_index"].tolist() == [2] * 7 + [0] * 5
    np.testing.assert_array_equal(loaded["action"][7:], dataset.episode(0)["action"])
    np.testing.assert_array_equal(
        loaded["observation.images.front"][:7], dataset.episode(2)["observation.images.front"]
    )


def test_version_2_1_is_read(tmp_path):
    write_v21(tmp_path / "old")
    dataset = LeRobotDataset(tmp_path / "old")
    first, second = dataset
    assert second["task"] == ["stack the cups"] * 6
    np.testing.assert_array_equal(second["observation.state"], np.arange(12, 30, dtype=np.float32).reshape(6, 3))
    assert first["observation.images.top"].shape == (4, HEIGHT, WIDTH, 3)
    assert np.abs(first["observation.images.top"].astype(int) - 40).max() < 3
    assert np.abs(second["observation.images.top"].astype(int) - 80).max() < 3


def test_unknown_episode_and_key_are_named(root):
    dataset = LeRobotDataset(root)
    with pytest.raises(ValueError, match=r"expected an episode in \[0, 3\), found 3"):
        dataset.episode(3)
    with pytest.raises(ValueError, match=r"found \['observation.images.rear'\]"):
        dataset.episode(0, ["observation.images.rear"])


@pytest.mark.parametrize(
    "template",
    [
        "/etc/passwd",
        "../{chunk_index:03d}.parquet",
        "data/../../x-{file_index}.parquet",
        "data/{chunk_index.__class__}",
        "data/{chunk_index:999999999d}",
        "data/{secret}",
        "data/{0}",
        "data/{",
        "data\\..\\x",
        7,
    ],
)
def test_hostile_path_templates_are_refused(root, template):
    change_info(root, data_path=template)
    with pytest.raises(ValueError, match=r"path template|leaves it"):
        read_all(root)


def test_links_out_of_the_dataset_are_refused(root, tmp_path):
    outside = tmp_path / "outside.parquet"
    (root / DATA).rename(outside)
    os.symlink(outside, root / DATA)
    with pytest.raises(ValueError, match=r"file-000\.parquet: expected a file inside .*found a link"):
        read_all(root)


def test_pipes_are_refused_without_waiting_for_a_writer(root):
    (root / VIDEO).unlink()
    os.mkfifo(root / VIDEO)
    with pytest.raises(ValueError, match="regular file"):
        read_all(root)


@pytest.mark.parametrize("relative", ["meta/info.json", "meta/tasks.parquet", EPISODES, DATA, VIDEO, DEPTH])
@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage"])
def test_damaged_files_are_named(root, relative, damage):
    (path,) = root.glob(f"{relative}*")
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else os.urandom(len(content)))
    with pytest.raises(ValueError, match=relative.replace(".", r"\.")):
        read_all(root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebase_version": "v9.0"}, "codebase_version"),
        ({"fps": 0}, "fps"),
        ({"fps": "10"}, "fps"),
        ({"total_episodes": -1}, "total_episodes"),
        ({"total_episodes": 2}, "expected 2 episodes"),
        ({"total_frames": 99}, "expected 99 frames"),
        ({"features": []}, "features"),
        ({"features": {"../x": {"dtype": "video", "shape": [1, 1, 3]}}}, "keys"),
        ({"features": {"x": {"dtype": "video", "shape": [10**9, 10**9, 3]}}}, "shape"),
        ({"features": {"x": {"dtype": "float32", "shape": [-1]}}}, "shape"),
        ({"features": {"x": {"dtype": "float32", "shape": [10**12]}}}, "shape"),
        ({"features": {"x": {"dtype": "float32", "shape": [1]}}}, "timestamp"),
        ({"video_path": None}, "video_path"),
    ],
)
def test_wrong_info_fields_are_named(root, changes, message):
    change_info(root, **changes)
    with pytest.raises(ValueError, match=message):
        read_all(root)


@pytest.mark.parametrize("text", ["[]", "{", "NaN", '{"fps": Infinity}', "[" * 100_000, "\ud800"])
def test_info_that_is_no_json_object_is_refused(root, text):
    (root / "meta/info.json").write_text(text, errors="surrogatepass")
    with pytest.raises(ValueError, match=r"meta/info\.json"):
        LeRobotDataset(root)


def test_size_limits_hold(root, monkeypatch):
    monkeypatch.setattr(untrusted_files, "MAX_PARQUET_ROWS", 10)
    with pytest.raises(ValueError, match=r"file-000\.parquet: expected at most 10 rows, found 15"):
        read_all(root)
    monkeypatch.setattr(untrusted_files, "MAX_JSON_BYTES", 10)
    with pytest.raises(ValueError, match=r"info\.json: expected at most 10 bytes"):
        LeRobotDataset(root)


def test_a_parquet_file_that_unpacks_to_much_more_is_refused(root, monkeypatch):
    monkeypatch.setattr(untrusted_files, "MAX_PARQUET_BYTES", 100_000)
    change_table(root, DATA, replace_column("index", lambda t: pa.array(["x" * 50_000] * len(t))))
    with pytest.raises(ValueError, match="expected at most 100000 bytes"):
        read_all(root)


def fixed(values, width):
    return pa.FixedSizeListArray.from_arrays(pa.array(values), width)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("action", lambda t: fixed(np.full(30, np.nan), 2), "expected finite numbers, found"),
        ("action", lambda t: fixed(np.zeros(45), 3), "shape"),
        ("action", lambda t: fixed(np.zeros(30, np.float32), 2), "expected float64, found float32"),
        ("action", lambda t: pa.array([None] * 15, pa.list_(pa.float64(), 2)), "missing values"),
        ("action", lambda t: pa.array(["a"] * 15), "expected float64, found string"),
        ("task_index", lambda t: pa.array(np.full(15, 9)), "task_index: expected 0 to 1"),
        ("episode_index", lambda t: pa.array(np.full(15, 1)), "expected rows of episode 0"),
    ],
)
def test_wrong_columns_are_named_with_file_and_episode(root, name, values, message):
    change_table(root, DATA, replace_column(name, values))
    with pytest.raises(ValueError, match=message) as caught:
        read_all(root)
    assert DATA in str(caught.value)


def test_missing_column_is_named(root):
    change_table(root, DATA, lambda table: table.drop_columns(["action"]))
    with pytest.raises(ValueError, match=r"expected columns \['action'\]"):
        read_all(root)


@pytest.mark.parametrize("name", ["dataset_from_index", "length", "data/file_index", "episode_index"])
@pytest.mark.parametrize("value", [-1, 2**50, None])
def test_wrong_episode_index_is_refused(root, name, value):
    change_table(root, EPISODES, replace_column(name, lambda t: pa.array([value] * len(t), pa.int64())))
    with pytest.raises(ValueError, match=r"meta/episodes|rows"):
        read_all(root)


@pytest.mark.parametrize("start", [1e30, -1.0, float("nan"), 1000.0])
def test_wrong_video_times_are_refused(root, start):
    key = "videos/observation.images.front/from_timestamp"
    change_table(root, EPISODES, replace_column(key, lambda t: pa.array([start] * len(t))))
    with pytest.raises(ValueError, match=r"from_timestamp|file-000\.mp4"):
        read_all(root)


def test_video_of_another_size_is_refused(root):
    write_plain_video(root / VIDEO, 15, 100, height=48, width=64)
    with pytest.raises(ValueError, match=r"file-000\.mp4: expected frames of 24 x 32, found 48 x 64"):
        read_all(root)


def test_video_with_too_few_frames_is_refused(root):
    write_plain_video(root / VIDEO, 14, 100)
    with pytest.raises(ValueError, match=r"file-000\.mp4: expected frame 14"):
        read_all(root)


def test_playlists_posing_as_videos_open_nothing(root, tmp_path):
    (root / VIDEO).write_text(f"ffconcat version 1.0\nfile {tmp_path}/secret.mp4\n")
    write_plain_video(tmp_path / "secret.mp4", 15, 100)
    with pytest.raises(ValueError, match=r"file-000\.mp4: expected a mp4 video"):
        read_all(root)


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_is_harmless_or_a_value_error(root, seed):
    generator = np.random.default_rng(seed)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path = files[generator.integers(len(files))]
    content = bytearray(path.read_bytes())
    for position in generator.integers(len(content), size=8):
        content[position] = generator.integers(256)
    path.write_bytes(content)
    # Any other kind of error fails the test.
    with contextlib.suppress(ValueError):
        read_all(root)

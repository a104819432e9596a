import json

import numpy as np
import pytest

from representation.checkpoint import save_config
from representation.data.frames import Frames, write_frames
from representation.data.lerobot_writer import LeRobotWriter
from representation.pretraining import mochi
from representation.select import SelectOptions, classes_of, main

WORDS = ("--threads", "1", "--frames", "90", "--scores", "tmi", "logme", "ped_logme", "knn", "--by", "logme")


def colored(count=100):
    """Pictures of three noisy colours, with tasks, and a place that nothing numbers."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    images = np.eye(3)[labels][:, None, None] * 120 + rng.uniform(0, 120, (count, 16, 16, 3))
    names = {"label": ("red", "green", "blue")}
    columns = {"label": labels, "place": rng.random(count), "done": labels > 0}
    texts = [f"take the {names['label'][label]} one" for label in labels]
    return Frames(images.astype(np.uint8), np.arange(count), columns, names, texts)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Frames in `data`, and in `pool` two encoders, one of them a run's, and what is none of pictures."""
    folder, frames = tmp_path_factory.mktemp("select"), colored()
    write_frames(frames, folder / "data")
    for number, inner in ((0, "a/encoder"), (1, "b")):
        config = mochi.Config(resolution=16, width=16 + number)
        mochi.new(config, frames, number).encoder.save(folder / "pool" / inner)
    save_config("mbat_vsa", {}, folder / "pool" / "broken")
    return folder


def test_the_pool_is_ranked_beside_baselines_and_the_truth_is_told(place, tmp_path, capsys):
    words = ["--data", str(place / "data"), "--pool", str(place / "pool"), "--output", str(tmp_path / "out"), *WORDS]
    more = ["--scores", "tmi", "logme", "ped_logme", "knn", "benchx", "--truth-steps", "3", "--held-out", "0.4"]
    assert main([*words, *more]) == 0
    printed = capsys.readouterr()
    assert "not ranked" in printed.err
    content = json.loads((tmp_path / "out" / "ranking.json").read_text())
    rows = {row["name"]: row for row in content["encoders"]}
    assert set(rows) == {f"{place}/pool/a", f"{place}/pool/b", "raw pixels", "untrained"}
    values = [row["scores"]["logme"]["value"] for row in content["encoders"]]
    assert values == sorted(values, reverse=True)
    assert rows["raw pixels"]["parameters"] == 0
    assert rows["raw pixels"]["scores"]["benchx"]["value"] > 0.5
    assert all(row["scores"]["benchx"]["seconds"] > 0 for row in rows.values())
    assert rows[f"{place}/pool/b"]["width"] == 17
    assert all(0 <= row["truth"]["accuracy"] <= 1 and row["rms"] > 0 and row["clamped"] == 0 for row in rows.values())
    assert set(content["agreement"]) == {"tmi", "logme", "ped_logme", "knn", "benchx", "parameters", "random"}
    assert content["classes"] == ["red", "green", "blue"]
    assert content["frames"] == 90
    assert content["seconds"]["fine_tuning"] > 0
    for name in (*rows, "weighted tau", "clamped", "seconds", "PED rescales vectors by those of the labelled frames"):
        assert name in printed.out


def test_named_encoders_and_their_layers_are_ranked_by_tasks_and_general_frames(place, tmp_path, capsys):
    words = ["--data", str(place / "data"), "--encoders", str(place / "pool" / "a"), "--output", str(tmp_path / "out")]
    words += ["--column", "texts", "--layers", "layers.0", "--general", str(place / "data"), *WORDS]
    assert main(words) == 0
    content = json.loads((tmp_path / "out" / "ranking.json").read_text())
    names = [row["name"] for row in content["encoders"]]
    assert set(names) >= {f"{place}/pool/a:layers.0", "untrained:layers.0", "raw pixels"}
    assert "raw pixels:layers.0" not in names
    assert content["agreement"] is None
    assert content["general"] == str(place / "data")
    assert content["classes"][0] == "take the blue one"
    assert "not ranked" not in capsys.readouterr().err


def write_episodes(root, count=10, frames=4):
    """A LeRobot dataset of two tasks, whose number stands in a column, one cube being red and the other blue."""
    features = {
        "task.number": {"dtype": "int64", "shape": (1,)},
        "observation.state": {"dtype": "float32", "shape": (2,)},
    }
    features["observation.images.top"] = {"dtype": "video", "shape": (32, 32, 3)}
    writer, rng = LeRobotWriter(root, 10, features), np.random.default_rng(0)
    for episode in range(count):
        task = episode % 2
        for _ in range(frames):
            picture = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            picture[8:24, 8:24, 2 * task] = 220
            values = {"task.number": np.array([7 + task]), "observation.state": rng.random(2, np.float32)}
            writer.add_frame({**values, "observation.images.top": picture}, ("take red", "take blue")[task])
        writer.save_episode()
    writer.finalize()


@pytest.mark.parametrize(("column", "classes"), [("task.number", ["7", "8"]), ("texts", ["take blue", "take red"])])
def test_a_lerobot_dataset_is_labelled_by_a_column_or_by_its_tasks(place, tmp_path, column, classes):
    write_episodes(tmp_path / "data")
    words = ["--data", str(tmp_path / "data"), "--encoders", str(place / "pool" / "a"), "--column", column]
    assert main([*words, "--output", str(tmp_path / "out"), *WORDS]) == 0
    content = json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert (content["classes"], content["frames"]) == (classes, 40)
    rows = {row["name"]: row for row in content["encoders"]}
    assert rows["raw pixels"]["scores"]["knn"]["value"] == 1.0


def test_classes_are_named_and_columns_that_number_nothing_refused():
    frames = colored(9)
    assert classes_of(frames, "done")[1] == ("False", "True")
    with pytest.raises(ValueError, match=r"--column: expected one of \['label', 'done', 'texts'\], found 'place'"):
        classes_of(frames, "place")


def test_wrong_words_end_the_command_with_what_was_expected(place, tmp_path, capsys):
    words = ["--data", str(place / "data"), "--output", str(tmp_path / "out")]
    one = ["--encoders", str(place / "pool" / "a")]
    for more, told in (
        (["--encoders", str(place / "pool" / "broken")], "error: "),
        (["--pool", str(tmp_path / "none")], "--pool: expected encoders below"),
        ([*one, "--layers", "layers.99"], "--layers: expected some of layers"),
        ([*one, "--frames", "2"], "labels: expected"),
    ):
        assert main([*words, *more]) == 1
        assert told in capsys.readouterr().err
    with pytest.raises(ValueError, match="--by: expected one of"):
        SelectOptions(data=place, output=tmp_path, by="leep")

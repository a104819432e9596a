"""What `sim.collect` writes, in the commands of the lower floors that read it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from policies import onboard
from representation import select
from representation.data.documents import documents
from representation.data.frames import open_frames
from representation.pretraining import mochi
from sim.collect import CollectConfig, collect
from sim.tasks import TASKS


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("collected") / "reach"
    collect(CollectConfig(task="reach", output=root, episodes=6, size=32, cameras=("front",), noisy=False))
    return root


@pytest.fixture(scope="module")
def encoder(collected: Path) -> Path:
    place = collected.parent / "mochi"
    config = mochi.Config(resolution=16, width=16)
    mochi.new(config, open_frames(collected), 0).encoder.save(place)
    return place


def test_what_numbers_something_is_a_column_and_the_index_is_none(collected: Path) -> None:
    frames = open_frames(collected)
    columns = frames.columns
    assert set(columns["collection.task"]) == {list(TASKS).index("reach")}
    assert columns["next.success"].dtype == bool
    assert not {"index", "frame_index", "episode_index", "task_index"} & set(columns)
    (document,) = documents(frames, np.array([0]))
    assert set(document) == {"task", "observation", "action", "next"}


def test_encoders_are_ranked_by_a_column_of_a_collection(
    collected: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"--encoders {encoder} --data {collected} --threads 1 --scores tmi logme --by logme".split()
    assert select.main([*words, "--column", "next.success", "--output", str(tmp_path / "done")]) == 0
    content = json.loads((tmp_path / "done" / "ranking.json").read_text())
    assert {row["name"] for row in content["encoders"]} == {str(encoder), "raw pixels", "untrained"}
    assert content["classes"] == ["False", "True"]
    assert select.main([*words, "--column", "collection.index", "--output", str(tmp_path / "episodes")]) == 1
    assert "expected samples of at least 5 episodes, found 1" in capsys.readouterr().err


def test_a_robot_is_let_in_from_collected_demonstrations(collected: Path, encoder: Path, tmp_path: Path) -> None:
    words = f"--dataset {collected} --encoder {encoder} --image-size 32 --every 1 --hidden 16 --threads 1"
    onboard.main([*words.split(), "--steps", "2", "--output", str(tmp_path / "few")])
    onboard.main([*words.split(), "--steps", "100", "--output", str(tmp_path / "many")])
    few, many = (json.loads((tmp_path / name / "onboard.json").read_text())["panda"] for name in ("few", "many"))
    assert many["tool_m"] < 0.7 * few["tool_m"]

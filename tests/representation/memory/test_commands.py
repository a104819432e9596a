"""The commands over a dataset, from adding to export."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest

from representation.checkpoint import encoder_key
from representation.data.frames import write_frames
from representation.memory import sources
from representation.memory.__main__ import main
from representation.memory.episode_memory import EpisodeMemory
from representation.memory.filters import Filter
from representation.memory.hits_page import write_hits_page
from representation.memory.mbat_vsa import JSONEncoder
from representation.memory.pictures import Pictures
from representation.memory.schema import EPISODES, FRAMES, EncoderColumns, Row
from representation.memory.search import Hit
from representation.registry import load_encoder, module_of
from tests.representation.data.lerobot_samples import make_frames, write_v30
from tests.representation.test_pretrain import colored


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Frames of coloured walls, and encoders of pictures with texts and of JSON."""
    place, frames, module = tmp_path_factory.mktemp("place"), colored(), module_of("clip")
    write_frames(frames, place / "data")
    config = module.Config(embed_dim=32, vision_width=8, text_width=16, text_layers=1, text_heads=2)
    module.new(config, frames, 0).encoder.eval().save(place / "clip")
    JSONEncoder().save(place / "states")
    image = frames.images[6]
    cv2.imwrite(str(place / "wanted.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return place


def run(capsys, *words) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def test_a_dataset_is_added_searched_shown_exported_and_deleted(place, tmp_path, capsys):
    memory, clip, states = tmp_path / "memory", place / "clip", place / "states"
    add = ("add", memory, "--encoders", clip, states, "--data", place / "data", "--prefix", "8", "--signs")
    assert "64 frames added, 64 in all" in run(capsys, *add)
    assert "0 frames added, 64 in all" in run(capsys, *add)
    shown = run(capsys, "show", memory)
    assert f"{encoder_key(clip)}: 64 vectors, 32 numbers of image, prefix 8, signs" in shown
    assert f"{place / 'data'} : 16 episodes" in shown

    search = ("search", memory, "--json", "--k", "5", "--encoder")
    found = json.loads(run(capsys, *search, clip, "--image", place / "wanted.png", "--html", tmp_path / "hits.html"))
    assert (found[0]["episode"], found[0]["frame"]) == (1, 2)
    assert found[0]["similarity"] == pytest.approx(1, abs=1e-4)
    page = (tmp_path / "hits.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 5
    assert "http" not in page
    found = json.loads(run(capsys, *search, states, "--state", '{"task": "a green wall"}'))
    assert {hit["task"] for hit in found} == {"a green wall"}
    for mode in ("funnel", "signs"):
        assert len(json.loads(run(capsys, *search, clip, "--text", "a red wall", "--mode", mode))) == 5
    like = ("search", memory, "--json", "--key", encoder_key(clip), "--like", found[0]["id"])
    assert json.loads(run(capsys, *like))[0]["id"] == found[0]["id"]
    episodes = json.loads(run(capsys, *search, clip, "--image", place / "wanted.png", "--episodes"))
    assert {hit["length"] for hit in episodes} == {4}
    assert "a green wall" in run(capsys, "show", memory, "--id", found[0]["id"])

    assert "64 frames, 16 episodes" in run(capsys, "export", memory, "--output", tmp_path / "out")
    assert "compacted" in run(capsys, "compact", memory)
    assert "16 rows deleted" in run(capsys, "delete", memory, "--where.task", "a red wall")
    assert EpisodeMemory(memory).count(FRAMES) == 48


def test_an_interrupted_dataset_goes_on_where_it_was(place, tmp_path, monkeypatch):
    memory = EpisodeMemory(tmp_path / "memory", create=True)
    encoder = load_encoder(place / "clip")
    memory.register(EncoderColumns("clip_x", "image", encoder.width))
    options = sources.SourceOptions(place / "data")
    monkeypatch.setattr(sources, "COMMIT_ROWS", 16)
    real, calls = memory.add, []

    def dying(table, rows, vectors):
        calls.append(table)
        if len(calls) == 4:  # frames of the second batch are there, their episodes are not
            raise KeyboardInterrupt
        real(table, rows, vectors)

    monkeypatch.setattr(memory, "add", dying)
    with pytest.raises(KeyboardInterrupt):
        sources.remember(memory, options, {"clip_x": encoder})
    assert (memory.count(FRAMES), memory.count(EPISODES)) == (32, 4)
    monkeypatch.setattr(memory, "add", real)
    assert sources.remember(memory, options, {"clip_x": encoder}) == 48
    assert (memory.count(FRAMES), memory.count(EPISODES)) == (64, 16)
    rows, vectors = memory.vectors(EPISODES, "clip_x", Filter(episodes=(3,)))
    _, frames = memory.vectors(FRAMES, "clip_x", Filter(episodes=(3,)))
    assert rows[0].length == len(frames) == 4
    np.testing.assert_allclose(vectors[0], frames.mean(axis=0), atol=1e-6)


def test_rows_of_a_lerobot_dataset_lead_back_to_their_pictures(place, tmp_path, capsys):
    write_v30(tmp_path / "lerobot")
    add = ("add", tmp_path / "memory", "--encoders", place / "clip", place / "states", "--data", tmp_path / "lerobot")
    assert "15 frames added" in run(capsys, *add)
    memory = EpisodeMemory(tmp_path / "memory")
    (row,) = [row for row in memory.rows(FRAMES, Filter(episodes=(1,))) if row.frame == 2]
    assert (row.camera, row.task, row.time) == ("front", "task 1", pytest.approx(0.2))
    truth = make_frames(1, 3)[2]
    np.testing.assert_allclose(json.loads(row.state)["observation"]["state"], truth["observation.state"], rtol=1e-6)
    picture = Pictures().of(row).astype(int)
    assert abs(picture - truth["observation.images.front"]).mean() < 10
    with pytest.raises(ValueError, match="expected frame 9, found 3 frames"):
        Pictures().of(dataclasses.replace(row, frame=9))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("show", "{nowhere}"), "expected a memory, found none"),
        (("search", "{nowhere}", "--text", "x"), "expected a memory, found none"),
        (("search", "{nowhere}"), "query: expected one of image, text"),
        (("add", "{nowhere}", "--encoders", "{clip}", "--data", "{nowhere}"), "expected frames.json"),
        (("add", "{data}", "--encoders", "{clip}", "--data", "{data}"), "found something else"),
        (("add", "{nowhere}", "--encoders", "{data}", "--data", "{data}"), "expected an encoder"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_begun(place, tmp_path, capsys, words, reason):
    names = {"nowhere": tmp_path / "nowhere", "clip": place / "clip", "data": place / "data"}
    assert main([word.format(**names) for word in words]) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_a_page_tells_of_pictures_that_are_gone_and_escapes_what_it_shows(tmp_path):
    row = Row(str(tmp_path / "gone"), "", 0, 0, 0.0, 1, "<script>alert(1)</script>", '{"a": "</pre>"}')
    write_hits_page(tmp_path / "page.html", "text: <b>", [Hit(row, 0.5)])
    page = (tmp_path / "page.html").read_text()
    assert "expected the source of a picture" in page
    assert "<script>" not in page
    assert "<b>&lt;" not in page.split("<main>")[0]
    assert page.count("</pre>") == 1

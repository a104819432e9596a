from __future__ import annotations

import json

import numpy as np
import pytest

from representation.memory import live_memory
from representation.memory.episode_memory import EpisodeMemory
from representation.memory.live_memory import LiveMemory, Named
from representation.memory.mbat_vsa import JSONConfig, JSONEncoder
from representation.memory.schema import EPISODES, FRAMES, EncoderColumns
from representation.vector_text import from_text, to_text

SEEN = EncoderColumns("seen_1", "json", 64, prefix=8)


@pytest.fixture
def live(tmp_path):
    memory = EpisodeMemory(tmp_path / "memory", create=True)
    memory.register(SEEN)
    encoder = JSONEncoder(JSONConfig(dim=64))
    return LiveMemory(memory, Named(SEEN.key, encoder), Named(SEEN.key, encoder), "bag"), memory


def percept(stamp: object, seed: int = 0, **changes: object) -> str:
    vector = np.random.default_rng(seed).normal(size=64).astype(np.float32)
    return json.dumps({"stamp": stamp, "encoder": SEEN.key, "camera": "front", "vector": to_text(vector)} | changes)


def test_vectors_come_back_from_text():
    vector = np.random.default_rng(0).normal(size=7).astype(np.float32)
    np.testing.assert_array_equal(from_text(to_text(vector)), vector)
    for text in (7, None, "?", "AAA=", "A" * 2_000_000):
        with pytest.raises(ValueError, match="vector: expected base64"):
            from_text(text)


def test_percepts_are_rows_of_their_episode(live):
    live, memory = live
    live.begin("push")
    for number in range(6):
        live.take(percept(10.0 + number, number))
    live.take(percept(15.0, 5))  # the same frame again
    assert (live.flush(), live.flush(), memory.count(FRAMES)) == (6, 0, 6)
    live.begin("pull")
    live.take(percept(20.0, 9))
    live.end()
    pushed, pulled = sorted(memory.rows(EPISODES), key=lambda row: row.time)
    assert (pushed.task, pushed.episode, pushed.time) == ("push", 10 * 10**9, 10.0)
    assert (pulled.task, pulled.length) == ("pull", 1)
    assert {(row.episode, row.source) for row in memory.rows(FRAMES)} == {(10 * 10**9, "bag"), (20 * 10**9, "bag")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "expected JSON"),
        ("[1]", "expected a JSON object"),
        (percept(1.0, encoder="seen_2"), "expected percepts of seen_1, found 'seen_2'"),
        (percept("soon"), "stamp: expected seconds"),
        (percept(True), "stamp: expected seconds"),
        (percept(float("inf")), "stamp: expected seconds"),
        (percept(1.0, camera=3), "camera: expected a name"),
        (percept(1.0, vector="AAAAAA=="), r"expected \(N, 64\)|base64"),
        (percept(1.0, vector=to_text(np.zeros(64, np.float32))), "not all 0"),
    ],
)
def test_bad_percepts_are_refused_and_leave_nothing(live, text, words):
    live, memory = live
    with pytest.raises(ValueError, match=words):
        live.take(text)
    assert live.waiting == live.flush() == memory.count(FRAMES) == 0


def test_what_was_just_seen_is_found_before_it_is_committed(live):
    live, _ = live
    live.take(percept(1.0, 1))
    answer = json.loads(live.answer(json.dumps({"id": 4, "now": True, "mode": "funnel"})))
    assert answer["id"] == 4
    assert answer["hits"][0]["time"] == 1.0
    assert json.loads(live.answer('{"state": {"a": 1}}'))["hits"][0]["time"] == 1.0
    assert "expected an encoder of pictures and texts" in json.loads(live.answer('{"text": "x"}'))["error"]


def test_what_waits_while_the_memory_is_out_of_reach_is_committed_afterwards(live, monkeypatch):
    live, memory = live
    live.begin("push")
    live.take(percept(1.0, 1))

    def out_of_reach(*_):
        raise ConnectionError("s3://fleet/arm: expected frames of a memory, found: nobody answers")

    with monkeypatch.context() as outage:
        outage.setattr(memory, "add", out_of_reach)
        for commit in (live.flush, lambda: live.begin("pull")):
            with pytest.raises(ConnectionError, match="nobody answers"):
                commit()
        live.take(percept(2.0, 2))
        assert "nobody answers" in json.loads(live.answer('{"now": true}'))["error"]
        assert (live.waiting, memory.count(FRAMES), memory.count(EPISODES)) == (2, 0, 0)
        outage.setattr(live_memory, "MAX_WAITING", 2)
        with pytest.raises(ValueError, match="found 2 that wait for it"):
            live.take(percept(3.0, 3))
    live.end()
    assert {(row.time, row.task) for row in memory.rows(FRAMES)} == {(1.0, "push"), (2.0, "pull")}
    assert {(row.task, row.length) for row in memory.rows(EPISODES)} == {("push", 1), ("pull", 1)}

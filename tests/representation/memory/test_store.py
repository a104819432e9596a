"""A memory on an object store and with a server, each of which is another process here."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest

from representation.benchmarks.memory_kills import survive
from representation.memory.__main__ import main
from representation.memory.episode_memory import EpisodeMemory
from representation.memory.export import export
from representation.memory.filters import Filter
from representation.memory.memory_vectors import MemoryVectors
from representation.memory.schema import EPISODES, FRAMES, ROW_SCHEMA, EncoderColumns, Row
from representation.memory.search import SearchOptions
from representation.memory.store import API_KEY_VARIABLE, Store
from tests.representation.memory.served import OBJECT_STORE, SERVER, free_port, make_bucket, started, to_object_store

ENCODER = EncoderColumns("a_1", "image", 32, prefix=8, signs=True)
OTHER = EncoderColumns("b_1", "image", 16)
WRITER = """
import sys
import numpy as np
from tests.representation.memory.test_store import *
memory = EpisodeMemory(sys.argv[1], create=True)
memory.register(ENCODER)
for number in range(4):
    memory.add(FRAMES, frames(25, f"{sys.argv[2]} {number}"), {ENCODER.key: directions(25, seed=number)})
"""


def frames(count: int, source: str = "here") -> list[Row]:
    return [Row(source, "front", i // 10, i % 10, 0.1 * (i % 10), 1, "push") for i in range(count)]


def directions(count: int, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


@pytest.fixture(scope="module", params=["object store", "server"])
def fleet(request, tmp_path_factory):
    """Address under which memories may be made."""
    port = free_port()
    if request.param == "server":
        process = started(SERVER, port, str(tmp_path_factory.mktemp("served")))
        yield f"http://127.0.0.1:{port}"
    else:
        process = started(OBJECT_STORE, port)
        make_bucket(port, "fleet")
        with pytest.MonkeyPatch.context() as environment:
            for name, value in to_object_store(port).items():
                environment.setenv(name, value)
            yield "s3://fleet/memories"
    process.kill()
    process.wait()


def test_a_memory_lives_there_as_in_a_directory(fleet, tmp_path):
    address = f"{fleet}/arm"
    with pytest.raises(FileNotFoundError, match="arm: expected a memory, found none"):
        EpisodeMemory(address)
    there, here = (EpisodeMemory(place, create=True) for place in (address, tmp_path / "here"))
    query = directions(1, seed=9)[0]
    for memory in (there, here):
        memory.register(ENCODER)
        memory.add(FRAMES, frames(300), {ENCODER.key: directions(300)})
        memory.add(EPISODES, frames(1), {ENCODER.key: directions(1)})
        memory.index(FRAMES, ENCODER.key, "signs")
        memory.register(OTHER)
        memory.add(FRAMES, frames(40), {OTHER.key: directions(40, 16)})
        memory.delete(Filter(source="here", episodes=(1,)))
        memory.compact(timedelta(hours=1))
    opened = EpisodeMemory(address)
    assert opened.encoders(FRAMES) == {ENCODER.key: ENCODER, OTHER.key: OTHER}
    assert (opened.count(FRAMES), opened.count(FRAMES, key=OTHER.key), opened.count(EPISODES)) == (290, 30, 1)
    for mode in ("exact", "funnel"):
        options = SearchOptions(k=20, mode=mode, shortlist=300)
        assert opened.search(FRAMES, ENCODER.key, query, options) == here.search(FRAMES, ENCODER.key, query, options)
    hits = opened.search(FRAMES, ENCODER.key, query, SearchOptions(k=5, mode="signs", cells=17))
    assert {hit.row.id for hit in hits} <= {row.id for row in here.rows(FRAMES)}
    opened.forget(OTHER.key)
    assert set(EpisodeMemory(address).encoders(EPISODES)) == {ENCODER.key}
    assert export(opened, tmp_path / "out") == {FRAMES: 290, EPISODES: 1}
    assert pq.read_table(tmp_path / "out" / "frames.parquet").num_rows == 290
    assert opened.size() > 290 * 32 * 4


def test_two_memories_there_hold_what_is_theirs(fleet):
    first, second = (EpisodeMemory(f"{fleet}/{name}", create=True) for name in ("one", "two"))
    first.register(ENCODER)
    first.add(FRAMES, frames(10), {ENCODER.key: directions(10)})
    assert second.encoders(FRAMES) == {}
    assert (first.count(FRAMES), second.count(FRAMES)) == (10, 0)


def test_arms_write_at_once_and_nothing_of_theirs_is_lost(fleet):
    address = f"{fleet}/shared"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, address, name]) for name in ("left", "right")]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    memory = EpisodeMemory(address)
    assert memory.count(FRAMES, key=ENCODER.key) == memory.count(FRAMES) == 200


def test_who_makes_it_late_finds_what_others_made_and_filled_meanwhile(fleet, tmp_path, monkeypatch):
    for address in (f"{fleet}/late", str(tmp_path / "late")):
        first = EpisodeMemory(address, create=True)
        first.register(ENCODER)
        first.add(FRAMES, frames(10), {ENCODER.key: directions(10)})
        with monkeypatch.context() as earlier:
            earlier.setattr(Store, "tables", lambda _: set())
            earlier.setattr(Store, "is_foreign", False)
            late = EpisodeMemory(address, create=True)
        late.register(ENCODER)
        late.add(FRAMES, frames(10, "there"), {ENCODER.key: directions(10)})
        assert first.count(FRAMES, key=ENCODER.key) == late.count(FRAMES) == 20


def test_kills_lose_no_committed_row_there(fleet):
    found = survive(f"{fleet}/killed", 2, np.random.default_rng(0))
    assert found.committed >= 100
    assert (found.lost, found.halves) == (0, 0)


def test_what_else_is_there_is_no_memory(fleet):
    other = Store(f"{fleet}/notes")
    other.begin()
    other.create("letters", ROW_SCHEMA.empty_table())
    for create in (False, True):
        with pytest.raises(ValueError, match="notes: expected a memory, found something else"):
            EpisodeMemory(f"{fleet}/notes", create)
    assert other.tables() == {"letters"}


def test_commands_and_upgrades_take_an_address(fleet, capsys):
    address = f"{fleet}/asked"
    memory = EpisodeMemory(address, create=True)
    memory.register(ENCODER)
    memory.add(FRAMES, frames(30), {ENCODER.key: directions(30)})
    assert main(["show", address]) == 0
    assert f"{address}: " in capsys.readouterr().out
    assert main(["search", address, "--like", frames(30)[7].id, "--key", ENCODER.key, "--k", "1"]) == 0
    assert frames(30)[7].id in capsys.readouterr().out
    found = MemoryVectors.read(address, ENCODER.key)
    assert found.rows == frames(30)
    np.testing.assert_array_equal(found.vectors, directions(30))


@pytest.mark.parametrize("place", ["http://127.0.0.1:{}/arm", "s3://fleet/arm"])
def test_a_place_that_does_not_answer_is_named(place, monkeypatch, capsys):
    address = place.format(free_port())
    for name, value in to_object_store(free_port()).items():
        monkeypatch.setenv(name, value)
    assert main(["show", address]) == 1
    assert f"error: {address}: expected its tables of a memory, found" in capsys.readouterr().err


@pytest.mark.parametrize(
    "address", ["ftp://there/arm", "s3://bucket", "http://127.0.0.1:2333/", "s3://me:secret@bucket/arm", "http:///arm"]
)
def test_addresses_that_name_no_memory_are_refused(address):
    with pytest.raises(ValueError, match=r"expected (a directory, or an address|\w+://HOST/NAME)") as refused:
        EpisodeMemory(address, create=True)
    assert "secret" not in str(refused.value)


def test_a_server_is_shown_the_key(monkeypatch):
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    assert "header.x-api-key" not in str(Store("https://there/arm")._options)
    monkeypatch.setenv(API_KEY_VARIABLE, "secret")
    assert Store("https://there/arm")._options["namespace_client_properties"]["header.x-api-key"] == "secret"

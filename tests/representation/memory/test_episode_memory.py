from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from representation.benchmarks.memory_kills import survive
from representation.checkpoint import encoder_key
from representation.memory.episode_memory import MARK, MARK_TABLE, EpisodeMemory
from representation.memory.export import export
from representation.memory.filters import Filter
from representation.memory.schema import EPISODES, FRAMES, ROW_SCHEMA, EncoderColumns, Row, encoders_of
from representation.memory.search import MODES, SearchOptions
from representation.memory.store import Store

A = EncoderColumns("a_1", "image", 32, prefix=8, signs=True)
B = EncoderColumns("b_1", "json", 16)


def some_rows(count: int, source: str = "here") -> list[Row]:
    tasks = ("push the cube", "it's 100 % of a_b; DROP TABLE frames --")
    return [Row(source, "front", i // 10, i % 10, 0.1 * (i % 10), 1, tasks[i // 10 % 2]) for i in range(count)]


def directions(count: int, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


@pytest.fixture
def memory(tmp_path):
    memory = EpisodeMemory(tmp_path / "memory", create=True)
    memory.register(A)
    return memory


def test_exact_search_is_that_of_plain_cosines(memory):
    vectors, query = directions(100), directions(1, seed=1)[0]
    memory.add(FRAMES, some_rows(100), {A.key: vectors})
    hits = memory.search(FRAMES, A.key, query, SearchOptions(k=7))
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    best = np.argsort(-cosines)[:7]
    assert [hit.row for hit in hits] == [some_rows(100)[place] for place in best]
    np.testing.assert_allclose([hit.similarity for hit in hits], cosines[best], atol=1e-5)


def test_the_funnel_sorts_its_shortlist_by_the_whole_vectors(memory):
    vectors, query = directions(100), directions(1, seed=1)[0]
    memory.add(FRAMES, some_rows(100), {A.key: vectors})
    everything = memory.search(FRAMES, A.key, query, SearchOptions(k=5, mode="funnel", shortlist=100))
    exact = memory.search(FRAMES, A.key, query, SearchOptions(k=5))
    assert [hit.row for hit in everything] == [hit.row for hit in exact]
    prefix = vectors[:, :8] @ query[:8] / np.linalg.norm(vectors[:, :8], axis=1)
    shortlist = np.argsort(-prefix)[:10]
    whole = vectors @ query / np.linalg.norm(vectors, axis=1)
    expected = shortlist[np.argsort(-whole[shortlist])][:5]
    found = memory.search(FRAMES, A.key, query, SearchOptions(k=5, mode="funnel", shortlist=10))
    assert [hit.row for hit in found] == [some_rows(100)[place] for place in expected]


def test_signs_are_compared_bit_by_bit(memory):
    vectors, query = directions(60), directions(1, seed=1)[0]
    memory.add(FRAMES, some_rows(60), {A.key: vectors})
    hits = memory.search(FRAMES, A.key, query, SearchOptions(k=60, mode="signs"))
    same = {row.id: float(((v > 0) == (query > 0)).mean()) for row, v in zip(some_rows(60), vectors, strict=True)}
    assert [hit.similarity for hit in hits] == pytest.approx(sorted(same.values(), reverse=True))
    assert all(hit.similarity == pytest.approx(same[hit.row.id]) for hit in hits)


def test_an_index_finds_nearly_what_is_there_and_what_comes_after_it(memory):
    vectors = directions(600)
    memory.add(FRAMES, some_rows(600), {A.key: vectors})
    with pytest.raises(ValueError, match="expected an index"):
        memory.search(FRAMES, A.key, vectors[0], SearchOptions(mode="approximate"))
    for mode in ("approximate", "funnel", "signs"):
        memory.index(FRAMES, A.key, mode)
    late = [Row("late", "front", 0, 0, 0.0)]
    memory.add(FRAMES, late, {A.key: directions(1, seed=5)})
    memory.compact(timedelta(hours=1))
    for mode in MODES:
        options = SearchOptions(k=1, mode=mode, cells=5)
        found = [memory.search(FRAMES, A.key, vector, options)[0].row.id for vector in vectors[:20]]
        assert found == [row.id for row in some_rows(20)], mode
        assert memory.search(FRAMES, A.key, directions(1, seed=5)[0], options)[0].row == late[0], mode


def test_filters_are_values_and_never_text_of_a_query(memory):
    rows = some_rows(40)
    memory.add(FRAMES, rows, {A.key: directions(40)})
    odd = [row for row in rows if row.task.startswith("it's")]
    for where, expected in (
        (Filter(task=odd[0].task), odd),
        (Filter(task_contains="DROP table"), odd),
        (Filter(task="' OR 1=1 --"), []),
        (Filter(source="x' OR '1'='1"), []),
        (
            Filter(episodes=(1, 2), after=0.25, before=0.55),
            [r for r in rows if r.episode in (1, 2) and 2 < r.frame < 6],
        ),
        (Filter(ids=(rows[3].id, "'")), [rows[3]]),
        (Filter(camera="wrist"), []),
    ):
        found = memory.search(FRAMES, A.key, directions(1)[0], SearchOptions(k=100), where)
        assert {hit.row.id for hit in found} == {row.id for row in expected}, where
        assert memory.count(FRAMES, where) == len(expected)


def test_a_second_encoder_stands_beside_the_first_and_does_not_find_what_it_did_not_see(memory):
    rows = some_rows(30)
    memory.add(FRAMES, rows, {A.key: directions(30)})
    memory.register(B)
    memory.add(FRAMES, rows[:10], {B.key: directions(10, 16)})
    assert (memory.count(FRAMES), memory.count(FRAMES, key=A.key), memory.count(FRAMES, key=B.key)) == (30, 30, 10)
    assert len(memory.search(FRAMES, B.key, directions(1, 16)[0], SearchOptions(k=100))) == 10
    again, vectors = memory.vectors(FRAMES, A.key)
    order = [[row.id for row in again].index(row.id) for row in rows]
    np.testing.assert_array_equal(vectors[order], directions(30))
    assert EpisodeMemory(memory.address).encoders(EPISODES) == {A.key: A, B.key: B}
    with pytest.raises(ValueError, match="as it was registered"):
        memory.register(EncoderColumns("b_1", "json", 8))


def test_adding_twice_keeps_one_and_deleting_needs_a_condition(memory):
    for seed in (0, 3):
        memory.add(FRAMES, some_rows(20), {A.key: directions(20, seed=seed)})
        memory.add(EPISODES, [Row("here", "front", 1, 0, 0.0, 10)], {A.key: directions(1)})
    assert memory.count(FRAMES) == 20
    assert memory.search(FRAMES, A.key, directions(20, seed=3)[4])[0].similarity == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="expected a condition"):
        memory.delete(Filter())
    assert memory.delete(Filter(source="here", episodes=(1,))) == 11
    assert {row.episode for row in memory.rows(FRAMES)} == {0}


def test_an_encoder_is_forgotten_and_the_rows_stay(memory):
    memory.register(B)
    memory.add(FRAMES, some_rows(10), {A.key: directions(10), B.key: directions(10, 16)})
    memory.forget(A.key)
    assert set(memory.encoders(FRAMES)) == set(memory.encoders(EPISODES)) == {B.key}
    assert not [name for name in memory.schema(FRAMES).names if A.key in name]
    assert len(memory.search(FRAMES, B.key, directions(1, 16)[0])) == memory.count(FRAMES) == 10
    with pytest.raises(ValueError, match="expected vectors of one of"):
        memory.forget(A.key)


def test_what_does_not_fit_is_refused(memory):
    row = some_rows(1)
    for vectors, words in (
        (directions(1, 31), r"expected \(N, 32\)"),
        (np.full((1, 32), np.nan), "finite"),
        (np.zeros((1, 32)), "not all 0"),
        (directions(2), "expected 1, one for each row"),
    ):
        with pytest.raises(ValueError, match=words):
            memory.add(FRAMES, row, {A.key: vectors})
    with pytest.raises(ValueError, match="found 'c_1'"):
        memory.add(FRAMES, row, {"c_1": directions(1)})
    with pytest.raises(ValueError, match="some twice"):
        memory.add(FRAMES, row * 2, {A.key: directions(2)})
    with pytest.raises(ValueError, match="key of small letters"):
        EncoderColumns("x` FROM", "image", 8)
    with pytest.raises(ValueError, match="k: expected 1"):
        SearchOptions(k=0)
    memory.register(B)
    with pytest.raises(ValueError, match="registered with prefix"):
        memory.search(FRAMES, B.key, directions(1, 16)[0], SearchOptions(mode="funnel"))
    assert memory.count(FRAMES) == 0


def test_missing_foreign_and_damaged_memories_are_named(memory, tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a memory, found none"):
        EpisodeMemory(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for create in (False, True):
        with pytest.raises(ValueError, match="found something else"):
            EpisodeMemory(tmp_path / "other", create)
    memory.add(FRAMES, some_rows(50), {A.key: directions(50)})
    place = tmp_path / "memory"
    for file in (place / "frames.lance" / "data").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"memory: expected frames of a memory, found"):
        EpisodeMemory(place).search(FRAMES, A.key, directions(1)[0])
    for file in (place / "frames.lance" / "_versions").glob("*.manifest"):
        file.write_bytes(b"junk" * 8)
    with pytest.raises(ValueError, match=r"memory: expected frames of a memory, found"):
        EpisodeMemory(place)
    Store(str(place)).open(MARK_TABLE).update(values={"version": 99})
    with pytest.raises(ValueError, match=r"expected .*'version': 2.*found .*99"):
        EpisodeMemory(place)


def test_what_was_killed_while_it_was_made_is_finished(tmp_path):
    for made in range(3):
        place = tmp_path / f"made_{made}"
        store = Store(str(place))
        for name, content in ((MARK_TABLE, pa.Table.from_pylist([MARK])), (FRAMES, ROW_SCHEMA.empty_table()))[:made]:
            store.create(name, content)
        finished = EpisodeMemory(place, create=True)
        assert (finished.count(FRAMES), finished.count(EPISODES)) == (0, 0)


def test_export_holds_rows_vectors_and_encoders(memory, tmp_path):
    memory.add(FRAMES, some_rows(30), {A.key: directions(30)})
    assert export(memory, tmp_path / "out") == {FRAMES: 30, EPISODES: 0}
    table = pq.read_table(tmp_path / "out" / "frames.parquet")
    order = np.argsort([row.id for row in some_rows(30)])
    table = table.sort_by("id")
    np.testing.assert_array_equal(np.stack(table.column("vector_a_1").to_pylist()), directions(30)[order])
    assert encoders_of(table.schema) == {A.key: A}


def test_a_version_is_a_digest_of_all_files(tmp_path):
    (tmp_path / "encoder.json").write_text('{"system": "clip", "config": {}}')
    first = encoder_key(tmp_path)
    assert first.startswith("clip_")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    second = encoder_key(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert len({first, second, encoder_key(tmp_path)}) == 3


def test_a_reader_sees_whole_commits_while_another_process_writes(memory):
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.representation.memory.test_episode_memory import *\n"
        "memory = EpisodeMemory(Path(sys.argv[1]))\n"
        "for i in range(12):\n"
        "    memory.add(FRAMES, some_rows(25, f's{i}'), {A.key: directions(25, seed=i)})\n"
    )
    seen = []
    with subprocess.Popen([sys.executable, "-c", code, memory.address]) as writer:
        while writer.poll() is None:
            seen.append(memory.count(FRAMES))
            for hit in memory.search(FRAMES, A.key, directions(1)[0], SearchOptions(k=300)):
                assert hit.row.source.startswith("s")
    assert writer.returncode == 0
    assert all(count % 25 == 0 for count in seen)
    assert seen == sorted(seen)
    assert memory.count(FRAMES) == 300


def test_kills_lose_no_committed_row(tmp_path):
    found = survive(tmp_path / "memory", 3, np.random.default_rng(0))
    assert found.committed >= 150
    assert (found.lost, found.halves) == (0, 0)

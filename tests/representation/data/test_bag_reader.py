from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
from mcap.data_stream import RecordBuilder
from mcap.records import Chunk

from representation.data import bag_reader
from representation.data.bag_messages import decode, encode, make
from representation.data.bag_reader import BagReader
from representation.data.bag_writer import BagTopic, BagWriter
from tests.representation.data.endless_recording import PICTURE_BYTES, record_without_end

STRING = "std_msgs/msg/String"
JOY = "sensor_msgs/msg/Joy"
KILLS = 20
PATIENCE_S = 30.0


def text(value: str) -> bytes:
    return encode(make(STRING, data=value), STRING)


def write_bag(folder: Path, count: int = 200, compression: str = "lz4") -> Path:
    writer = BagWriter(folder, compression)
    writer.add_topic(BagTopic("/text", STRING))
    for number in range(count):
        writer.write("/text", text(f"{number} " + "x" * 2000), number, number)
    writer.close()
    return writer.path


def numbers(path: Path) -> list[int]:
    reader = BagReader(path)
    return [int(decode(message.data, message.type).data.split()[0]) for message in reader.messages({"/text"})]


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_messages_come_back_in_order(tmp_path, compression):
    reader = BagReader(write_bag(tmp_path / "bag", compression=compression))
    messages = list(reader.messages())
    assert [message.log_ns for message in messages] == list(range(200))
    assert {(message.topic, message.type) for message in messages} == {("/text", STRING)}
    assert reader.cut == ""


def test_files_of_a_bag_are_read_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9):
        write_bag(tmp_path / f"part_{number}", count=number)
        (tmp_path / f"part_{number}" / f"part_{number}_0.mcap").rename(tmp_path / f"all_{number}.mcap")
    assert [file.name for file in BagReader(tmp_path).files] == ["all_9.mcap", "all_10.mcap"]


def test_a_recorder_that_is_killed_at_any_moment_leaves_a_bag_without_gaps(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.representation.data.endless_recording"])
    generator = np.random.default_rng(int.from_bytes(os.urandom(4)))
    cuts = 0
    for kill in range(KILLS):
        folder = tmp_path / f"bag{kill}"
        process = context.Process(target=record_without_end, args=(str(folder),), daemon=True)
        process.start()
        file = folder / f"{folder.name}_0.mcap"
        limit = time.monotonic() + PATIENCE_S
        while not (file.exists() and file.stat().st_size > PICTURE_BYTES):
            assert time.monotonic() < limit, "expected a recording to begin"
            time.sleep(0.002)
        time.sleep(generator.uniform(0.0, 0.2))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        reader = BagReader(folder)
        messages = list(reader.messages())
        found = [int(decode(message.data, STRING).data.split()[0]) for message in messages if message.topic == "/text"]
        assert found, f"kill {kill}: expected messages, found none in {file.stat().st_size} bytes"
        assert found == list(range(len(found))), f"kill {kill}: expected every message up to the last"
        cuts += bool(reader.cut)
        # Noise does not shrink: but for the last chunk, all that is in the file is read.
        assert sum(len(message.data) for message in messages) > file.stat().st_size - 2 * PICTURE_BYTES
    assert cuts == KILLS, "expected files without an end: were they killed?"


def test_a_cut_file_gives_all_before_the_cut(tmp_path):
    whole = write_bag(tmp_path / "bag", count=400).read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole[: len(whole) // 2])
    found = numbers(cut)
    assert 0 < len(found) < 400
    assert found == list(range(len(found)))


def test_every_length_of_a_file_is_readable(tmp_path):
    whole = write_bag(tmp_path / "bag", count=40).read_bytes()
    cut = tmp_path / "cut.mcap"
    for length in range(0, len(whole), 37):
        cut.write_bytes(whole[:length])
        found = numbers(cut)
        assert found == list(range(len(found)))


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_random_damage_is_harmless_or_a_value_error(tmp_path, compression):
    whole = write_bag(tmp_path / "bag", count=60, compression=compression).read_bytes()
    damaged = tmp_path / "damaged.mcap"
    refused = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        content = bytearray(whole)
        for place in generator.integers(0, len(content), generator.integers(1, 6)):
            content[place] = generator.integers(0, 256)
        damaged.write_bytes(content)
        try:
            for message in BagReader(damaged).messages():
                decode(message.data, message.type)
        except ValueError:
            refused += 1
    assert refused > 20


def test_a_file_of_another_kind_is_refused_by_name(tmp_path):
    path = tmp_path / "picture.mcap"
    path.write_bytes(b"\x89PNG" + bytes(100))
    with pytest.raises(ValueError, match=r"picture\.mcap: expected an MCAP file"):
        list(BagReader(path).messages())
    with pytest.raises(ValueError, match="found none"):
        BagReader(tmp_path / "nothing")


def test_a_chunk_that_unpacks_to_more_than_it_says_is_refused(tmp_path):
    bomb = Chunk("lz4", lz4.frame.compress(bytes(50_000_000)), 0, 0, 0, 100)
    path = write_bag(tmp_path / "bag", count=1)
    builder = RecordBuilder()
    bomb.write(builder)
    path.write_bytes(path.read_bytes()[: 8 + 9 + 4 + 4 + len("ros2") + _library_bytes(path)] + builder.end())
    with pytest.raises(ValueError, match="expected 100 bytes, found 101"):
        list(BagReader(path).messages())


def _library_bytes(path: Path) -> int:
    content = path.read_bytes()
    return int.from_bytes(content[8 + 9 + 4 + 4 : 8 + 9 + 8 + 4], "little")


def test_a_record_that_claims_to_be_huge_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(bag_reader, "MAX_RECORD_BYTES", 1000)
    with pytest.raises(ValueError, match="exceeds limit 1000"):
        list(BagReader(write_bag(tmp_path / "bag")).messages())


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", STRING),
        (b"\x00\x01\x00\x00\xff\xff\xff\xff", STRING),
        (text("long enough") + bytes(50), STRING),
        (b"\x00\x01\x00\x00" + bytes(8), JOY),
        (b"\x00\x07\x00\x00" + bytes(8), STRING),
        (text("x"), "my_msgs/msg/Secret"),
    ],
    ids=["empty", "huge-string", "too-long", "too-short", "encoding", "type"],
)
def test_bytes_that_are_no_such_message_are_refused(data, kind):
    with pytest.raises(ValueError, match="expected"):
        decode(data, kind)


def test_random_bytes_are_no_message():
    generator = np.random.default_rng(0)
    whole = encode(make(JOY, header=_header(), axes=np.zeros(6, np.float32), buttons=np.zeros(4, np.int32)), JOY)
    for _ in range(300):
        content = bytearray(whole)
        content[generator.integers(0, len(content))] = generator.integers(0, 256)
        try:
            decode(bytes(content), JOY)
        except ValueError as error:
            assert JOY in str(error)  # noqa: PT017


def _header():
    return make("std_msgs/msg/Header", stamp=make("builtin_interfaces/msg/Time", sec=1, nanosec=2), frame_id="stick")

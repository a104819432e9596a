from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from representation.data.bag_messages import encode, make
from representation.data.bag_reader import BagReader
from representation.data.bag_recorder import BagRecorder, RecorderConfig
from representation.data.bag_writer import BagTopic

STRING = "std_msgs/msg/String"
MEGABYTE = 2**20
PATIENCE_S = 20.0
REPOSITORY = Path(__file__).resolve().parents[3]


def text(size: int) -> bytes:
    return encode(make(STRING, data="x" * size), STRING)


def wait_for(condition) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_what_is_handed_over_is_in_the_bag(tmp_path):
    recorder = BagRecorder(tmp_path / "bag", RecorderConfig(min_free_mb=1))
    recorder.add_topic(BagTopic("/text", STRING))
    for number in range(100):
        recorder.write("/text", text(1000), number, number)
    assert recorder.close()
    status = recorder.status
    assert (status.messages, status.dropped, status.waiting, status.ended) == (100, 0, 0, "closed")
    reader = BagReader(tmp_path / "bag")
    assert sum(1 for _ in reader.messages()) == 100
    assert not reader.cut


def test_recording_stops_in_order_before_the_disk_is_full(tmp_path):
    free = [100 * MEGABYTE]
    recorder = BagRecorder(tmp_path / "bag", RecorderConfig("none", min_free_mb=50), lambda folder: free[0])
    recorder.add_topic(BagTopic("/text", STRING))
    recorder.write("/text", text(1000), 1, 1)
    wait_for(lambda: recorder.status.messages == 1)
    free[0] = 49 * MEGABYTE
    recorder.write("/text", text(1000), 2, 2)
    wait_for(lambda: recorder.status.ended)
    assert "expected 52 MB free, found 51 MB" in recorder.status.ended
    recorder.write("/text", text(1000), 3, 3)
    assert recorder.close()
    reader = BagReader(tmp_path / "bag")
    assert [message.log_ns for message in reader.messages()] == [1, 2]
    assert not reader.cut, "expected a whole file with index"
    assert (tmp_path / "bag" / "metadata.yaml").exists()


def test_a_full_disk_is_refused_at_the_start(tmp_path):
    with pytest.raises(ValueError, match="expected 52 MB free, found 0 MB"):
        BagRecorder(tmp_path / "bag", RecorderConfig(min_free_mb=50), lambda folder: 0)


def test_a_disk_that_is_too_slow_loses_messages_and_says_how_many(tmp_path):
    slow, looked = threading.Event(), threading.Event()

    def look(folder: Path) -> int:
        if looked.is_set():
            slow.wait(PATIENCE_S)
        looked.set()
        return 10**12

    recorder = BagRecorder(tmp_path / "bag", RecorderConfig(max_waiting_mb=1, min_free_mb=1), look)
    recorder.add_topic(BagTopic("/text", STRING))
    for number in range(10):
        recorder.write("/text", text(300_000), number, number)
    assert recorder.status.dropped >= 6
    recorder.write("/text", text(1000), 10, 10)
    slow.set()
    assert recorder.close()
    assert recorder.status.messages + recorder.status.dropped == 11
    *_, last = BagReader(tmp_path / "bag").messages()
    assert last.log_ns == 10, "a small message, such as a mark, is not dropped for large ones"


LIMITED = """
import resource, signal, sys, time
from pathlib import Path
from tests.representation.data.test_bag_recorder import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE, MEGABYTE))
recorder = BagRecorder(Path(sys.argv[1]), RecorderConfig("none", min_free_mb=1))
recorder.add_topic(BagTopic("/text", STRING))
for number in range(40):
    recorder.write("/text", text(100_000), number, number)
wait_for(lambda: recorder.status.ended)
recorder.close()
print(recorder.status.ended)
"""


def test_a_write_that_fails_ends_the_recording_with_the_reason_and_keeps_what_was_written(tmp_path):
    folder = tmp_path / "bag"
    command = [sys.executable, "-c", LIMITED, str(folder)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "File too large" in result.stdout
    assert "no index" in result.stdout
    assert [message.log_ns for message in BagReader(folder).messages()] == list(range(10))

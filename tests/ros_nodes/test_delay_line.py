from __future__ import annotations

import threading

import pytest

from ros_nodes.delay_line import DelayLine

PATIENCE_S = 20.0


@pytest.fixture
def line():
    line = DelayLine(failed=lambda error: None)
    yield line
    line.stop()


class Done:
    """Collects what was run, and in which thread."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.threads: list[str] = []
        self._changed = threading.Condition()

    def job(self, name: str):
        def run() -> None:
            with self._changed:
                self.names.append(name)
                self.threads.append(threading.current_thread().name)
                self._changed.notify_all()

        return run

    def wait(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.names) >= count, PATIENCE_S), f"only {self.names}"
        return self.names


def test_without_delay_a_job_runs_at_once_in_the_callers_thread_and_no_thread_is_started(line):
    done = Done()
    line.send("joints", 0.0, done.job("a"))
    assert done.names == ["a"]
    assert done.threads == [threading.current_thread().name]
    assert not line.running


def test_jobs_run_in_the_order_in_which_they_are_due(line):
    done = Done()
    line.send("camera", 1.0, done.job("late"))
    line.send("joints", 0.5, done.job("early"))
    assert done.wait(2) == ["early", "late"]


def test_no_job_overtakes_another_of_its_stream(line):
    done = Done()
    line.send("joints", 0.5, done.job("first"))
    line.send("joints", 0.0, done.job("second"))
    line.send("camera", 0.0, done.job("other stream"))
    assert done.names == ["other stream"]
    assert done.wait(3) == ["other stream", "first", "second"]


def test_what_a_job_raises_is_told_and_the_line_goes_on():
    told, done = [], Done()
    line = DelayLine(told.append)
    line.send("joints", 0.01, lambda: 1 / 0)
    line.send("joints", 0.01, done.job("next"))
    done.wait(1)
    assert [type(error) for error in told] == [ZeroDivisionError]
    line.stop()


def test_a_full_line_drops_and_counts():
    done = Done()
    line = DelayLine(failed=lambda error: None, capacity=2)
    for name in "abc":
        line.send("joints", 0.5, done.job(name))
    assert line.dropped == 1
    assert done.wait(2) == ["a", "b"]
    line.stop()


def test_stop_ends_the_thread_and_drops_what_waits():
    done = Done()
    line = DelayLine(failed=lambda error: None)
    line.send("joints", 3600.0, done.job("never"))
    line.stop()
    line.send("joints", 0.0, done.job("after the end"))
    assert done.names == []
    assert "delay line" not in [thread.name for thread in threading.enumerate()]

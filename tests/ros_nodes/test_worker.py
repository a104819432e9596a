from __future__ import annotations

import threading

import pytest

from ros_nodes.worker import Worker

PATIENCE_S = 10.0


@pytest.fixture
def worker():
    worker = Worker("test", lambda: None)
    yield worker
    worker.stop(PATIENCE_S)


def test_a_job_runs_in_another_thread(worker):
    worker.submit(threading.get_ident)
    outcome = worker.wait(PATIENCE_S)
    assert outcome.error is None
    assert outcome.value != threading.get_ident()


def test_of_the_waiting_jobs_only_the_newest_runs(worker):
    started, release = threading.Event(), threading.Event()
    worker.submit(lambda: (started.set(), release.wait(PATIENCE_S), "first")[-1])
    assert started.wait(PATIENCE_S)
    assert worker.submit(lambda: "second") is False
    assert worker.submit(lambda: "third") is True
    release.set()
    assert [worker.wait(PATIENCE_S).value, worker.wait(PATIENCE_S).value] == ["first", "third"]
    assert worker.collect() == []


def test_an_exception_comes_back_and_the_thread_lives_on(worker):
    worker.submit(lambda: 1 / 0)
    assert isinstance(worker.wait(PATIENCE_S).error, ZeroDivisionError)
    worker.submit(lambda: "alive")
    assert worker.wait(PATIENCE_S).value == "alive"


def test_drain_drops_the_waiting_job_and_waits_for_the_running_one(worker):
    started, release = threading.Event(), threading.Event()
    ran = []
    worker.submit(lambda: (started.set(), release.wait(PATIENCE_S)))
    assert started.wait(PATIENCE_S)
    worker.submit(lambda: ran.append("waiting job"))
    assert not worker.drain(0.01)
    release.set()
    assert worker.drain(PATIENCE_S)
    assert worker.stop(PATIENCE_S)
    assert ran == []


def test_notify_is_called_after_each_job():
    done = threading.Semaphore(0)
    worker = Worker("test", done.release)
    worker.submit(lambda: "value")
    assert done.acquire(timeout=PATIENCE_S)
    assert [outcome.value for outcome in worker.collect()] == ["value"]
    assert worker.stop(PATIENCE_S)


def test_stop_tells_whether_the_thread_ended():
    worker = Worker("test", lambda: None)
    started, release = threading.Event(), threading.Event()
    worker.submit(lambda: (started.set(), release.wait(PATIENCE_S)))
    assert started.wait(PATIENCE_S)
    assert not worker.stop(0.01)
    release.set()
    assert worker.stop(PATIENCE_S)

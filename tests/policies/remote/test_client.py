"""`RemotePolicy` against a server that fails, is late, or answers what was not asked."""

from __future__ import annotations

import http
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response
from websockets.sync.server import ServerConnection, serve

from policies.interface import Continuation, looks_back
from policies.remote.client import ContinuingRemotePolicy, connect_policy, served_sha256
from policies.remote.credentials import TOKEN, TOKEN_FILE
from policies.remote.frames import Frame, decode, encode
from policies.remote.messages import SUBPROTOCOL, chunks_frame
from policies.remote.serving import PolicyServer
from policies.remote.session import PolicyPool, Session
from tests.policies.remote.samples import TOKEN as SECRET
from tests.policies.remote.samples import Breaking, equal, observation, pool, same

MARGIN_S = 2.0  # what a busy machine may take beyond a limit


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.delenv(TOKEN_FILE, raising=False)


@contextmanager
def scripted(answers: Callable[[Frame], Iterable[bytes | str]], welcome: bytes | None = None) -> Iterator[str]:
    """The address of a server that welcomes as it should and then answers as the script says."""

    def handle(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            connection.send(Session(pool()).welcome() if welcome is None else welcome)
            for message in connection:
                for answer in answers(decode(message)):
                    connection.send(answer)

    with listening(handle, subprotocols=[SUBPROTOCOL]) as address:
        yield f"{address}?limit_s=5"


@contextmanager
def listening(handle: Callable[[ServerConnection], None], **options: Any) -> Iterator[str]:
    """The address of a server that is none of ours."""
    with serve(handle, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    thread.join()


def answer_to(request: Frame, rows: np.ndarray | None = None, seed: int = 0) -> bytes:
    """A chunk for the observation of `seed`."""
    chunk = Breaking().act(observation(seed))
    return encode(chunks_frame(request.request, [chunk if rows is None else replace(chunk, rows=rows)]))


@contextmanager
def within(limit_s: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < limit_s + MARGIN_S


def test_a_remote_policy_answers_as_the_one_that_is_served():
    policy = Breaking()
    seen, goes_on = [], Continuation(2, "blend", 1.0)
    act = policy.act
    policy.act = lambda each: (seen.append(each), act(each))[1]
    policy.looks_back = True
    before = {"wrist": observation(0).cameras["wrist"].rgb}
    with PolicyServer(PolicyPool([policy], "breaking", "ab" * 32)) as server:
        remote = connect_policy(server.url)
        assert isinstance(remote, ContinuingRemotePolicy)
        assert (remote.robot, remote.cameras, remote.control_hz) == ("panda", ("front", "wrist"), 10.0)
        assert (remote.chunk_length, remote.instructions, remote.max_step) == (4, (), None)
        assert looks_back(remote)
        remote.reset(7)
        first = remote.act(replace(observation(1), earlier=before))
        batch = remote.act_batch([observation(seed) for seed in (2, 3)])
        last = remote.act_on(observation(4), goes_on)
        assert served_sha256(server.url) == "ab" * 32
        remote.close()
    assert policy.seeds == [None, 7]
    assert policy.continuations == [goes_on]
    for seed, (each, chunk) in enumerate(zip(seen, [first, *batch, last], strict=True), 1):
        assert same(each, replace(observation(seed), earlier=before if seed == 1 else {}))
        assert equal(chunk.rows, act(each).rows)


@pytest.mark.parametrize("error", [ValueError("no such camera"), RuntimeError("out of memory")])
def test_what_the_policy_raises_is_raised_here_and_the_episode_is_lost_until_reset(error):
    policy = Breaking()
    policy.error = error
    with PolicyServer(pool(policy)) as server:
        remote = connect_policy(server.url)
        with pytest.raises(type(error), match=str(error)):
            remote.act(observation())
        with pytest.raises(RuntimeError, match=f"the episode was lost, reset begins another: .*{error}"):
            remote.act(observation())
        remote.reset()
        assert remote.act(observation()).stamp == observation().stamp


def test_a_late_answer_is_an_error_within_the_limit_and_dropped_when_it_comes():
    policy = Breaking()
    with PolicyServer(pool(policy)) as server:
        remote = connect_policy(f"{server.url}?limit_s=0.3")
        policy.go.clear()
        with within(0.3), pytest.raises(TimeoutError, match=r"expected an answer within 0\.3 s"):
            remote.act(observation(1))
        with pytest.raises(RuntimeError, match="the episode was lost"):
            remote.act(observation(1))
        policy.go.set()
        remote.reset(3)
        assert remote.act(observation(2)).stamp == observation(2).stamp
        assert policy.seeds == [None, 3]


def test_an_answer_to_an_older_request_is_dropped():
    stale = encode(chunks_frame(1, [Breaking().act(observation(9))]))

    def answer(request: Frame) -> list[bytes]:
        return [stale, answer_to(request)] if request.request > 1 else [answer_to(request)]

    with scripted(answer) as address:
        remote = connect_policy(address)
        assert [remote.act(observation()).stamp for _ in range(3)] == [observation().stamp] * 3
        remote.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda request: b"garbage", "message"),
        (lambda request: "text", "expected bytes, found str"),
        (lambda request: answer_to(Frame("", request.request + 1)), "expected the answer to request 1"),
        (lambda request: Session(pool()).welcome(), "expected the answer to request 1"),
        (lambda request: encode(Frame("done", request.request)), "expected chunks, found 'done'"),
        (lambda request: encode(chunks_frame(request.request, [])), "expected the observations' stamps"),
        (lambda request: answer_to(request, seed=5), "expected the observations' stamps"),
        (lambda request: answer_to(request, np.zeros((3, 8))), r"expected 4 rows, found \[3\]"),
        (lambda request: encode(Frame("error", request.request, {"error": "tired", "message": ""})), "error: expected"),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error_and_ends_the_connection(answer, words):
    with scripted(lambda request: [answer(request)]) as address:
        remote = connect_policy(address)
        with pytest.raises(ValueError, match=f"policy server.*{words}"):
            remote.act(observation())
        with pytest.raises(RuntimeError, match="the episode was lost"):
            remote.act(observation())


def test_rows_that_are_no_numbers_come_as_they_are_for_the_safety_filter_to_refuse():
    with scripted(lambda request: [answer_to(request, np.full((4, 8), np.nan))]) as address:
        assert np.isnan(connect_policy(address).act(observation()).rows).all()


def test_a_server_that_stops_in_mid_request_is_an_error_at_once_and_reset_finds_the_next_one():
    policy = Breaking()
    server = PolicyServer(pool(policy))
    remote = connect_policy(f"{server.url}?limit_s=20")
    policy.go.clear()
    stopping = threading.Thread(target=lambda: policy.asked.wait(10) and server.close())
    stopping.start()
    with within(2.0), pytest.raises(ConnectionError, match="policy server"):
        remote.act(observation())
    with pytest.raises(RuntimeError, match="the episode was lost"):
        remote.act(observation())
    policy.go.set()
    stopping.join()
    with pytest.raises(OSError, match="policy server"):
        remote.reset()
    with PolicyServer(pool(policy), port=urlsplit(server.url).port):
        remote.reset(5)
        assert remote.act(observation()).stamp == observation().stamp


def test_a_server_that_was_restarted_between_episodes_is_found_by_the_next_reset():
    with PolicyServer(pool()) as server:
        remote = connect_policy(server.url)
        remote.reset()
    with PolicyServer(pool(), port=urlsplit(server.url).port):
        remote.reset()
        assert remote.act(observation()).stamp == observation().stamp


def test_another_policy_behind_the_same_address_is_refused():
    class Other(Breaking):
        robot = "ur5e"

    with PolicyServer(pool()) as server:
        remote = connect_policy(server.url)
    with PolicyServer(pool(Other()), port=urlsplit(server.url).port):
        for _ in range(2):
            with pytest.raises(ValueError, match=r"expected .*robot='panda'.* found .*robot='ur5e'"):
                remote.reset()
        with pytest.raises(RuntimeError, match="reset begins another"):
            remote.act(observation())


def test_a_client_that_is_used_no_more_makes_room_for_another():
    with PolicyServer(pool()) as server:
        first = connect_policy(server.url)
        first.reset()
        second = connect_policy(f"{server.url}?limit_s=5")
        with pytest.raises(ConnectionRefusedError, match="busy: every policy of this server serves another client"):
            second.reset()
        del first
        second.reset()
        assert second.act(observation()).stamp == observation().stamp


def test_what_greets_as_no_policy_server_does_is_refused():
    other = scripted(lambda _: [], welcome=encode(Frame("done", 0)))
    with other as address, pytest.raises(ValueError, match="expected welcome, found 'done'"):
        connect_policy(address)
    with listening(lambda _: None) as address, pytest.raises(ValueError, match=f"expected {SUBPROTOCOL}, found None"):
        connect_policy(address)


def test_a_server_that_says_nothing_is_an_error_within_the_limit():
    end = threading.Event()
    with listening(lambda _: end.wait(10) and None, subprotocols=[SUBPROTOCOL]) as address:
        with within(0.3), pytest.raises(ConnectionError, match="policy server"):
            connect_policy(f"{address}?limit_s=0.3")
        end.set()
    mute = socket.create_server(("127.0.0.1", 0))
    with mute, within(0.3), pytest.raises(ConnectionError, match="policy server"):
        connect_policy(f"ws://127.0.0.1:{mute.getsockname()[1]}?limit_s=0.3")


@pytest.mark.parametrize("target", ["ws://127.0.0.1:{port}/", "gopher://nowhere"])
def test_a_redirection_is_not_followed_and_takes_no_token_elsewhere(monkeypatch, target):
    monkeypatch.setenv(TOKEN, SECRET)
    seen = []

    def redirect(connection: ServerConnection, request: object) -> Response:
        seen.append(request)
        response = connection.respond(http.HTTPStatus.FOUND, "elsewhere\n")
        response.headers["Location"] = target.format(port=connection.local_address[1])
        return response

    elsewhere = listening(lambda _: None, process_request=redirect)
    with elsewhere as address, pytest.raises(ValueError, match="policy server ws:"):
        connect_policy(address)
    assert len(seen) == 1

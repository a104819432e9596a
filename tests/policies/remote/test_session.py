from __future__ import annotations

import pytest

from policies.baselines import NoopPolicy
from policies.interface import Continuation
from policies.remote import session as session_module
from policies.remote.frames import Frame, decode, encode
from policies.remote.messages import chunks_frame, read_chunks, read_error, read_welcome, request_frame, reset_frame
from policies.remote.session import Session
from tests.policies.remote.samples import Breaking, damaged, equal, observation, pool

ACT = encode(request_frame(4, [observation()]))


def test_requests_are_answered_by_what_the_policy_answers():
    policy = Breaking()
    session = Session(pool(policy))
    assert decode(session.answer(encode(reset_frame(3, 11)))) == Frame("done", 3, {}, [])
    (chunk,) = read_chunks(decode(session.answer(ACT)))
    assert equal(chunk.rows, policy.act(observation()).rows)
    goes_on = Continuation(2, "blend", 1.0)
    session.answer(encode(request_frame(5, [observation()], continuation=goes_on)))
    batch = [observation(seed) for seed in range(3)]
    answer = decode(session.answer(encode(request_frame(6, batch, batch=True))))
    assert [chunk.stamp for chunk in read_chunks(answer)] == [each.stamp for each in batch]
    assert policy.seeds == [None, 11]
    assert policy.continuations == [goes_on]
    assert not session.over


def test_the_welcome_describes_the_policy():
    description, max_step = read_welcome(decode(Session(pool()).welcome()))
    assert (description.robot, description.cameras, description.continues) == ("panda", ("front", "wrist"), True)
    assert max_step is None
    assert not read_welcome(decode(Session(pool(NoopPolicy())).welcome()))[0].continues


def test_a_policy_that_cannot_go_on_is_not_asked_to():
    session = Session(pool(NoopPolicy()))
    answer = decode(session.answer(encode(request_frame(1, [observation()], continuation=Continuation(1)))))
    assert read_error(answer)[0] == "malformed"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [(ValueError("no camera"), "refused", "no camera"), (MemoryError("full"), "failed", "MemoryError: full")],
)
def test_what_the_policy_raises_is_answered_and_the_session_goes_on(error, kind, message):
    policy = Breaking()
    policy.error = error
    session = Session(pool(policy))
    answer = decode(session.answer(ACT))
    assert answer.request == 4
    assert read_error(answer) == (kind, message)
    assert decode(session.answer(ACT)).kind == "chunks"


def test_a_second_session_is_busy_until_the_first_ends_and_begins_without_its_memory(monkeypatch):
    monkeypatch.setattr(session_module, "PATIENCE_S", 0.01)
    policy = Breaking()
    policies = pool(policy)
    first, second = Session(policies), Session(policies)
    second.welcome()
    assert decode(first.answer(ACT)).kind == "chunks"
    assert read_error(decode(second.answer(ACT)))[0] == "busy"
    first.close()
    first.close()
    assert decode(second.answer(ACT)).kind == "chunks"
    assert policy.seeds == [None, None]
    assert read_error(decode(Session(policies).answer(ACT)))[0] == "busy"


def test_a_policy_that_cannot_begin_is_not_lost_to_the_next_request(monkeypatch):
    monkeypatch.setattr(session_module, "PATIENCE_S", 0.01)
    policy = Breaking()
    session = Session(pool(policy))
    with monkeypatch.context() as broken:
        broken.setattr(policy, "reset", lambda seed=None: 1 / 0)
        assert read_error(decode(session.answer(ACT)))[0] == "failed"
    assert decode(session.answer(ACT)).kind == "chunks"


def test_two_policies_serve_two_sessions_each_its_own():
    one, other = Breaking(), Breaking()
    policies = pool(one, other)
    sessions = Session(policies), Session(policies)
    for seed, session in enumerate(sessions):
        session.answer(encode(reset_frame(1, seed)))
    assert (one.seeds, other.seeds) == ([None, 0], [None, 1])


@pytest.mark.parametrize(
    "data",
    [
        "text",
        b"",
        encode(Frame("shutdown", 1)),
        encode(Frame("act", 1)),
        encode(chunks_frame(1, [])),
    ],
)
def test_what_cannot_be_read_ends_the_session_and_touches_no_policy(data):
    policies = pool()
    session = Session(policies)
    assert read_error(decode(session.answer(data)))[0] == "malformed"
    assert session.over
    assert decode(Session(policies).answer(ACT)).kind == "chunks"


def test_damaged_requests_are_always_answered():
    policies = pool()
    kinds = set()
    requests = (ACT, encode(reset_frame(1, 5)), encode(request_frame(2, [observation()], "png", batch=True)))
    for request in requests:
        for data in damaged(request, 400):
            session = Session(policies)
            answer = decode(session.answer(data))
            kinds.add(read_error(answer)[0] if answer.kind == "error" else answer.kind)
            session.close()
    assert {"malformed", "chunks"} <= kinds <= {"malformed", "refused", "chunks", "done"}
    assert decode(Session(policies).answer(ACT)).kind == "chunks"

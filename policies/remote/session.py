"""`Session`: the server's side of one connection, from the bytes of a request to the bytes of its answer."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Sequence
from typing import cast

from policies.interface import ContinuingPolicy, Policy, looks_back
from policies.remote.frames import Frame, decode, encode
from policies.remote.messages import (
    Description,
    ErrorKind,
    chunks_frame,
    error_frame,
    read_request,
    read_reset,
    welcome_frame,
)

# A client that reconnects may come before its old connection has given its policy back.
PATIENCE_S = 1.0
_LOG = logging.getLogger(__name__)


class PolicyPool:
    """The policies of a server, all the same; each serves one session at a time and keeps that session's episode.

    Args:
        policies: at least one.
        name: of the policy.
        sha256: of its files; None for a policy without weights.
    """

    def __init__(self, policies: Sequence[Policy], name: str, sha256: str | None) -> None:
        first = policies[0]
        self.description = Description(
            policy=name,
            sha256=sha256 or "",
            robot=first.robot,
            cameras=tuple(first.cameras),
            control_hz=float(first.control_hz),
            chunk_length=int(first.chunk_length),
            instructions=tuple(getattr(first, "instructions", ())),
            continues=isinstance(first, ContinuingPolicy),
            looks_back=looks_back(first),
        )
        self.max_step = getattr(first, "max_step", None)
        self._free: queue.SimpleQueue[Policy] = queue.SimpleQueue()
        for policy in policies:
            self._free.put(policy)

    def borrow(self) -> Policy | None:
        """A policy that nobody uses, without memory of an episode; None if there is none."""
        try:
            policy = self._free.get(timeout=PATIENCE_S)
        except queue.Empty:
            return None
        try:
            policy.reset()
        except Exception:
            self.give_back(policy)
            raise
        return policy

    def give_back(self, policy: Policy) -> None:
        """End a `borrow`."""
        self._free.put(policy)


class Session:
    """Answers the requests of one client. Whatever the client sends, it raises nothing.

    The session takes a policy with its first request, so that a client which only wants to know what is served disturbs
    nobody, and keeps it until `close`.

    Args:
        pool: where its policy comes from.

    Attributes:
        over: whether the client sent what cannot be read; nothing that it sends later can be trusted.
    """

    def __init__(self, pool: PolicyPool) -> None:
        self.over = False
        self._pool = pool
        self._policy: Policy | None = None

    def welcome(self) -> bytes:
        """What the client is told first."""
        return encode(welcome_frame(self._pool.description, self._pool.max_step))

    def answer(self, data: object) -> bytes:
        """Answer one message."""
        request = 0
        try:
            frame = decode(data)
            request = frame.request
            work = self._understood(frame)
        except ValueError as error:
            self.over = True
            return self._refusal(request, "malformed", error)
        try:
            if self._policy is None:
                self._policy = self._pool.borrow()
            if self._policy is None:
                return encode(error_frame(request, "busy", "every policy of this server serves another client"))
            return encode(work(self._policy))
        except ValueError as error:
            return self._refusal(request, "refused", error)
        except Exception as error:
            _LOG.exception("the policy failed")
            return self._refusal(request, "failed", error)

    def close(self) -> None:
        """Give the policy back."""
        if self._policy is not None:
            self._pool.give_back(self._policy)
            self._policy = None

    def _understood(self, frame: Frame) -> Callable[[Policy], Frame]:
        """What a request wants done with the policy."""
        if frame.kind == "reset":
            seed = read_reset(frame)
            return lambda policy: _reset(policy, seed, frame.request)
        if frame.kind not in ("act", "act_batch", *(["act_on"] if self._pool.description.continues else [])):
            raise ValueError(f"kind: expected a request that policy answers, found {frame.kind!r:.40}")
        observations, continuation = read_request(frame)
        if frame.kind == "act_batch":
            return lambda policy: chunks_frame(frame.request, policy.act_batch(observations))
        if continuation is None:
            return lambda policy: chunks_frame(frame.request, [policy.act(observations[0])])
        return lambda policy: chunks_frame(
            frame.request, [cast(ContinuingPolicy, policy).act_on(observations[0], continuation)]
        )

    def _refusal(self, request: int, kind: ErrorKind, error: Exception) -> bytes:
        _LOG.warning("%s: %s", kind, error)
        return encode(
            error_frame(request, kind, f"{type(error).__name__}: {error}" if kind == "failed" else str(error))
        )


def _reset(policy: Policy, seed: int | None, request: int) -> Frame:
    policy.reset(seed)
    return Frame("done", request)

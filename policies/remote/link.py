"""`Link`: a client's connection to a policy server: numbered requests, each answered within the limit or not at all."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from policies.remote.address import Address
from policies.remote.credentials import client_token, is_loopback
from policies.remote.frames import MAX_MESSAGE_BYTES, Frame, decode, encode
from policies.remote.messages import (
    CLOSE_LIMIT_S,
    PING_INTERVAL_S,
    SUBPROTOCOL,
    Description,
    read_error,
    read_welcome,
)

ERRORS = {"malformed": ValueError, "busy": ConnectionRefusedError, "refused": ValueError, "failed": RuntimeError}
_LOG = logging.getLogger(__name__)


class Link:
    """One server, over one connection after the other.

    Args:
        address: the server; it is connected to at once.

    Attributes:
        images: how colour images are sent.
        description: what the server offers.
        max_step: (6,) largest translations (m) and rotations (rad) of a row, or None where the server does not say.

    Raises:
        OSError: no server there, or none that lets us in within the limit: another token, another version.
        ValueError: what is there is no policy server.
    """

    def __init__(self, address: Address) -> None:
        self.images = address.images
        self._address = address
        self._connection: ClientConnection | None = None
        self._request = 0
        self._lost = ""
        self.description, self.max_step = self._connect()

    def next_request(self) -> int:
        """The number of a new request."""
        self._request += 1
        return self._request

    def begin(self) -> None:
        """Begin an episode: what was lost is forgotten, and a lost connection replaced."""
        if self._connection is not None and self._connection.state is not State.OPEN:
            self.close()
        if self._connection is None:
            description, _ = self._connect()
            if description != self.description:
                self.close()
                raise ValueError(f"policy server: expected {self.description}, found {description}")
        self._lost = ""

    def ask(self, request: Frame) -> Frame:
        """Send a request and wait for its answer."""
        if self._lost or self._connection is None:
            raise RuntimeError(f"policy server: the episode was lost, reset begins another: {self._lost or 'closed'}")
        data = encode(request)
        try:
            answer = self._exchange(self._connection, data, request.request)
        except TimeoutError as error:
            # The server may only be slow: its answer is dropped when it comes.
            self._lost = f"expected an answer within {self._address.limit_s:g} s, found none"
            raise TimeoutError(f"policy server {self._address.url}: {self._lost}") from error
        except (ConnectionClosed, OSError) as error:
            raise self.broken(ConnectionError(f"policy server {self._address.url}: {error}")) from error
        except ValueError as error:
            raise self.broken(ValueError(f"policy server: {error}")) from error
        if answer.kind == "error":
            self._raise_error(answer)
        return answer

    def broken(self, error: Exception) -> Exception:
        """Note that nothing from this connection can be trusted any more; returns the error."""
        self._lost = str(error)
        if self._connection is not None:
            _cut(self._connection)
            self._connection = None
        return error

    def close(self) -> None:
        """End the connection in order."""
        if self._connection is not None:
            with _cut_after(self._connection, CLOSE_LIMIT_S):
                self._connection.close()
            self._connection = None

    def _connect(self) -> tuple[Description, NDArray[np.float64] | None]:
        address, limit = self._address, time.monotonic() + self._address.limit_s
        parts = urlsplit(address.url)
        token = client_token()
        if token and parts.scheme == "ws" and not is_loopback(parts.hostname):
            _LOG.warning("policy server %s: the token and the images travel unencrypted", address.url)
        try:
            # A socket of our own: with it the library follows no redirection that would take the token elsewhere.
            raw = socket.create_connection((parts.hostname, parts.port), address.limit_s)
            raw.settimeout(None)
            connection = connect(
                address.url,
                sock=raw,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                additional_headers={"Authorization": f"Bearer {token}"} if token else None,
                compression=None,
                user_agent_header=None,
                open_timeout=max(0.0, limit - time.monotonic()),
                ping_interval=PING_INTERVAL_S,
                ping_timeout=PING_INTERVAL_S,
                close_timeout=CLOSE_LIMIT_S,
                max_size=MAX_MESSAGE_BYTES,
                max_queue=1,
                legacy=True,  # a connection, not an iterator over reconnections
            )
        except InvalidStatus as error:
            reason = error.response.body[:200].decode(errors="replace").strip()
            raise ConnectionRefusedError(f"policy server {address.url}: {error}: {reason}") from error
        except (OSError, InvalidHandshake, EOFError) as error:
            raise ConnectionError(f"policy server {address.url}: {error or type(error).__name__}") from error
        except (ValueError, InvalidURI) as error:  # a redirection
            raise ValueError(f"policy server {address.url}: {error}") from error
        self._connection = connection
        try:
            if connection.subprotocol != SUBPROTOCOL:
                raise ValueError(f"version: expected {SUBPROTOCOL}, found {connection.subprotocol}")
            return read_welcome(decode(connection.recv(max(0.0, limit - time.monotonic()))))
        except (ConnectionClosed, OSError) as error:
            raise self.broken(ConnectionError(f"policy server {address.url}: {error}")) from error
        except ValueError as error:
            raise self.broken(ValueError(f"policy server {address.url}: {error}")) from error

    def _exchange(self, connection: ClientConnection, data: bytes, request: int) -> Frame:
        limit = time.monotonic() + self._address.limit_s
        # A peer that reads nothing would block the sending for as long as the kernel is patient.
        with _cut_after(connection, self._address.limit_s):
            connection.send(data)
        while True:
            answer = decode(connection.recv(max(0.0, limit - time.monotonic())))
            if answer.request == request:
                return answer
            if answer.request > request or answer.kind == "welcome":
                raise ValueError(f"expected the answer to request {request}, found that to {answer.request}")
            _LOG.info("policy server: dropped the answer to request %d, which came too late", answer.request)

    def _raise_error(self, answer: Frame) -> None:
        try:
            kind, message = read_error(answer)
        except ValueError as error:
            raise self.broken(ValueError(f"policy server: {error}")) from error
        error = ERRORS[kind](f"policy server {self._address.url}: {kind}: {message}")
        if kind == "malformed":  # the server ends the session
            raise self.broken(error)
        self._lost = str(error)
        raise error


def _cut(connection: ClientConnection) -> None:
    """End a connection at once; whoever waits on it is woken."""
    with suppress(OSError):
        connection.socket.shutdown(socket.SHUT_RDWR)


@contextmanager
def _cut_after(connection: ClientConnection, limit_s: float) -> Iterator[None]:
    timer = threading.Timer(limit_s, _cut, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()

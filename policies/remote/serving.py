"""`PolicyServer`: the socket of a policy server: who may connect, over what, and how it ends.

WebSocket, because messages keep their borders, and TLS and keep-alive are part of it. Token and protocol version are
checked in the opening handshake, before a byte of a message is read.
"""

from __future__ import annotations

import hmac
import logging
import ssl
import threading
from collections.abc import Sequence
from http import HTTPStatus

from websockets.exceptions import ConnectionClosed, NegotiationError
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from policies.remote.credentials import is_loopback
from policies.remote.frames import MAX_MESSAGE_BYTES
from policies.remote.messages import CLOSE_LIMIT_S, PING_INTERVAL_S, SUBPROTOCOL
from policies.remote.session import PolicyPool, Session

HANDSHAKE_LIMIT_S = 5.0
_LOG = logging.getLogger(__name__)


class PolicyServer:
    """Serves policies until it is closed. A context manager.

    Args:
        pool: the policies.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        token: what a client must know; None lets every program of this machine in.
        tls: of `ssl.PROTOCOL_TLS_SERVER` with a certificate; None serves unencrypted.

    Raises:
        ValueError: an address that other machines reach, without a token.
        OSError: the address cannot be had.
    """

    def __init__(
        self,
        pool: PolicyPool,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        local = is_loopback(host)
        if token is None and not local:
            raise ValueError(f"host {host!r}: expected a token for an address that other machines reach, found none")
        if tls is None and not local:
            _LOG.warning("without TLS, who can read the network learns the token and sees the cameras")
        self._pool = pool
        self._token = None if token is None else f"Bearer {token}".encode()
        self._server = serve(
            self._handle,
            host,
            port,
            ssl=tls,
            # A web page in a browser of this machine must not reach the server; browsers always name their origin.
            origins=[None],
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            select_subprotocol=_select_subprotocol,
            process_request=self._refuse_stranger,
            compression=None,
            server_header=None,
            open_timeout=HANDSHAKE_LIMIT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_INTERVAL_S,
            close_timeout=CLOSE_LIMIT_S,
            max_size=MAX_MESSAGE_BYTES,
            max_queue=1,
        )
        address = self._server.socket.getsockname()
        name = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.url = f"{'ws' if tls is None else 'wss'}://{name}:{address[1]}"
        """Where it listens."""
        self._thread = threading.Thread(target=self._server.serve_forever, name="policy_server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more clients, end the sessions, and wait for answers that are being made."""
        self._server.shutdown()
        self._thread.join()

    def __enter__(self) -> PolicyServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refuse_stranger(self, connection: ServerConnection, request: Request) -> Response | None:
        given = request.headers.get_all("Authorization")
        if self._token is None or (len(given) == 1 and hmac.compare_digest(given[0].encode(), self._token)):
            return None
        _LOG.warning("%s: refused, %s token", connection.remote_address[0], "wrong" if given else "no")
        return connection.respond(
            HTTPStatus.UNAUTHORIZED, f"expected the server's token, found {'another' if given else 'none'}\n"
        )

    def _handle(self, connection: ServerConnection) -> None:
        session = Session(self._pool)
        peer = connection.remote_address[0]
        _LOG.info("%s: connected", peer)
        try:
            connection.send(session.welcome())
            for message in connection:
                connection.send(session.answer(message))
                if session.over:
                    break
        except ConnectionClosed as error:
            _LOG.warning("%s: connection lost: %s", peer, error)
        finally:
            session.close()
            _LOG.info("%s: session over", peer)


def _select_subprotocol(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol:
    if SUBPROTOCOL not in offered:
        raise NegotiationError(f"protocol version: expected {SUBPROTOCOL}, found {', '.join(offered)[:200] or 'none'}")
    return Subprotocol(SUBPROTOCOL)

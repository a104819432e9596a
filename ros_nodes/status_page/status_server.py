"""`StatusServer`: the page over HTTP, from threads of its own.

| request | answer |
|---|---|
| GET `/`, `/dashboard.js`, `/dashboard.css` | the page |
| GET `/state` | the board, JSON |
| GET `/camera/<name>` | the newest picture of a camera, JPEG |
| POST `/<button>` | presses a button; JSON with `done` and `message` |

All but the page itself needs the token; see `Access`.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import unquote, urlsplit

from ros_nodes.status_page.access import Access, Refusal

MAX_CONNECTIONS = 32
IDLE_LIMIT_S = 10.0
PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/dashboard.js": ("dashboard.js", "text/javascript; charset=utf-8"),
    "/dashboard.css": ("dashboard.css", "text/css; charset=utf-8"),
}
TOKEN_PLACE = "{{token}}"
HEADERS = {
    "Cache-Control": "no-store",
    # Everything comes from this server, and no other page may show this one and lead clicks to its buttons.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob: data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Pressed:
    """What a button did.

    Attributes:
        done: whether it did what it says.
        message: one sentence for the person who pressed it.
    """

    done: bool
    message: str


@dataclass(frozen=True, slots=True)
class Content:
    """What the page shows and does; all of it is called from the server's threads.

    Attributes:
        state: the board as a document of JSON.
        picture: JPEG of a camera by its name, or None.
        buttons: what each does, by name.
    """

    state: Callable[[], Mapping[str, Any]]
    picture: Callable[[str], bytes | None]
    buttons: Mapping[str, Callable[[], Pressed]]


class StatusServer:
    """Serves from its construction until `close`.

    Args:
        host: name or address to listen on.
        port: port to listen on; 0 takes a free one.
        access: who may use it.
        content: what there is.

    Raises:
        ValueError: the address cannot be had.
    """

    def __init__(self, host: str, port: int, access: Access, content: Content) -> None:
        try:
            self._server = _Server(host, port, access, content)
        except OSError as error:
            text = f"host and port: expected a free address of this machine, found {host}:{port}: {error}"
            raise ValueError(text) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="status page", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = str(self._server.server_address[0]), self._server.server_address[1]
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def close(self) -> None:
        """Stop listening; requests that are being answered end with the process."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, access: Access, content: Content) -> None:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        self.access, self.content = access, content
        self.places = threading.Semaphore(MAX_CONNECTIONS)
        super().__init__(address[:2], _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """What strangers do to a connection is no event of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "polyarm", ""
    timeout = IDLE_LIMIT_S
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """The page, its data, or a refusal."""
        path = urlsplit(self.path).path
        refusal = self._refused() or (None if path in PAGE else self.server.access.refuse_token(self.headers))
        if refusal is not None:
            self._refuse(refusal)
        elif path in PAGE:
            self._send_page(*PAGE[path])
        elif path == "/state":
            self._send_json(self.server.content.state())
        elif path.startswith("/camera/"):
            jpeg = self.server.content.picture(unquote(path.removeprefix("/camera/")))
            if jpeg is None:
                self._refuse(Refusal(HTTPStatus.NOT_FOUND, "camera: expected one with a picture, found none"))
            else:
                self._send(HTTPStatus.OK, "image/jpeg", jpeg)
        else:
            self._refuse(Refusal(HTTPStatus.NOT_FOUND, f"path: expected one of the page's, found {path!r}"))

    def do_POST(self) -> None:
        """Press a button."""
        refusal = self._refused() or self.server.access.refuse_token(self.headers)
        name = urlsplit(self.path).path.removeprefix("/")
        button = self.server.content.buttons.get(name)
        if refusal is not None:
            self._refuse(refusal)
        elif button is None:
            known = ", ".join(self.server.content.buttons)
            self._refuse(Refusal(HTTPStatus.NOT_FOUND, f"button: expected one of {known}, found {name!r}"))
        else:
            pressed = button()
            self._send_json({"done": pressed.done, "message": pressed.message})

    def log_message(self, format: str, *args: Any) -> None:
        """Requests come several times a second; they are not logged."""

    def _refused(self) -> Refusal | None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body: expected none, found one")
        return self.server.access.refuse_host(self.headers)

    def _refuse(self, refusal: Refusal) -> None:
        self.close_connection = True
        self._send_json({"done": False, "message": refusal.reason}, refusal.status)

    def _send_page(self, name: str, kind: str) -> None:
        text = (resources.files(__package__) / "page" / name).read_text(encoding="utf-8")
        if name == "index.html":
            text = text.replace(TOKEN_PLACE, self.server.access.token if self.server.access.given_away else "")
        self._send(HTTPStatus.OK, kind, text.encode())

    def _send_json(self, document: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(status, "application/json", json.dumps(document, separators=(",", ":")).encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **HEADERS}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

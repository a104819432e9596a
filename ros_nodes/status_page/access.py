"""`Access`: which requests the page answers.

Whatever tells of the robot or acts on it needs the token, in the header `Authorization: Bearer ...`. A page of another
site cannot send that header, so it can press no button. On a loopback address the token is made up at the start and
handed to whoever loads the page by a name of this machine: another name that leads here would be another site's (DNS
rebinding). On any other address a person must know it.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from policies.remote.credentials import is_loopback, read_token

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: a status of HTTP and a sentence."""

    status: HTTPStatus
    reason: str


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use the page.

    Attributes:
        token: what requests must carry.
        given_away: whether the page itself brings the token.
        loopback: whether the server listens to its own machine alone.
    """

    token: str
    given_away: bool
    loopback: bool

    @classmethod
    def of(cls, host: str, token_file: str) -> Access:
        """The rules for an address to listen on.

        Args:
            host: name or address.
            token_file: file whose first line is the token; empty for none.

        Raises:
            ValueError: an address that others can reach and no token, a token that is none, or an unknown host.
        """
        try:
            loopback = is_loopback(host)
            token = read_token(Path(token_file)) if token_file else ""
        except OSError as error:
            raise ValueError(f"host {host!r}, token_file {token_file!r}: {error}") from error
        if not token and not loopback:
            raise ValueError(f"token_file: expected a token, because others can reach the host {host!r}, found none")
        return cls(token or secrets.token_urlsafe(32), not token, loopback)

    def refuse_host(self, headers: Mapping[str, str]) -> Refusal | None:
        """Refuse a request under a foreign name, or from a page of another site."""
        host = headers.get("Host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if self.loopback and name not in LOOPBACK_NAMES:
            expected = ", ".join(sorted(LOOPBACK_NAMES))
            return Refusal(HTTPStatus.MISDIRECTED_REQUEST, f"host: expected one of {expected}, found {name!r}")
        origin = headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != host:
            return Refusal(HTTPStatus.FORBIDDEN, f"origin: expected this page's, {host!r}, found {origin!r}")
        return None

    def refuse_token(self, headers: Mapping[str, str]) -> Refusal | None:
        """Refuse a request without the token; the time that it takes tells nothing about the token."""
        scheme, _, found = headers.get("Authorization", "").partition(" ")
        same = hmac.compare_digest(self.token.encode(), found.strip().encode(errors="replace"))
        if scheme.lower() == "bearer" and same:
            return None
        return Refusal(HTTPStatus.UNAUTHORIZED, "token: expected that of the dashboard, found another or none")

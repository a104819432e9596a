"""Tokens that clients must know, and whether an address needs one."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

TOKEN, TOKEN_FILE = "POLYARM_POLICY_TOKEN", "POLYARM_POLICY_TOKEN_FILE"
"""Environment variables with a client's token, or with the path of a file that holds it: every user of a machine can
read the command lines of its processes."""
MIN_TOKEN_CHARACTERS = 16


def client_token() -> str:
    """The token that the environment gives a client; empty if none.

    Raises:
        ValueError, OSError: see `read_token`.
    """
    if path := os.environ.get(TOKEN_FILE):
        return read_token(Path(path))
    token = os.environ.get(TOKEN, "")
    return checked_token(token, TOKEN) if token else ""


def read_token(path: Path) -> str:
    """The token in the first line of a file.

    Raises:
        ValueError: shorter than `MIN_TOKEN_CHARACTERS`, or characters that a header cannot carry.
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        return checked_token(file.readline(4096).strip(), str(path))


def checked_token(token: str, where: str) -> str:
    """The token, if it is one.

    Raises:
        ValueError: see `read_token`; names `where`, not the token.
    """
    if len(token) < MIN_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            f"{where}: expected a token of at least {MIN_TOKEN_CHARACTERS} printable ASCII characters without spaces, "
            f"found {len(token)} characters"
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host: every address that it stands for is a loopback address.

    Raises:
        OSError: the host is unknown.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
    return bool(found) and all(ipaddress.ip_address(entry[4][0].split("%")[0]).is_loopback for entry in found)

from __future__ import annotations

import logging
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from policies.remote import link, serving
from policies.remote.client import connect_policy
from policies.remote.credentials import TOKEN, TOKEN_FILE
from policies.remote.frames import decode
from policies.remote.messages import SUBPROTOCOL, read_error
from policies.remote.serving import PolicyServer
from tests.policies.remote.samples import TOKEN as SECRET
from tests.policies.remote.samples import observation, pool


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.delenv(TOKEN_FILE, raising=False)


@pytest.fixture
def server() -> Iterator[PolicyServer]:
    with PolicyServer(pool()) as server:
        yield server


@pytest.fixture
def closed_server() -> Iterator[PolicyServer]:
    """A server that wants a token."""
    with PolicyServer(pool(), token=SECRET) as server:
        yield server


def enter(server: PolicyServer, version: str = SUBPROTOCOL, **headers: str) -> ClientConnection:
    """Connect without `RemotePolicy`."""
    return connect(
        server.url, subprotocols=[version], additional_headers=headers, proxy=None, close_timeout=1.0, legacy=True
    )


def assert_served(server: PolicyServer) -> None:
    policy = connect_policy(f"{server.url}?limit_s=5")
    assert policy.act(observation()).rows.shape == (4, 8)
    policy.close()


def test_a_client_with_the_token_is_served(closed_server, monkeypatch):
    monkeypatch.setenv(TOKEN, SECRET)
    assert_served(closed_server)


@pytest.mark.parametrize(("token", "found"), [("", "none"), (SECRET[:-1] + "!", "another"), (SECRET + "s", "another")])
def test_a_client_without_the_token_is_refused_and_told_why(closed_server, monkeypatch, token, found):
    monkeypatch.setenv(TOKEN, token)
    with pytest.raises(ConnectionRefusedError, match=f"401: expected the server's token, found {found}") as caught:
        connect_policy(closed_server.url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("header", [f"Basic {SECRET}", SECRET, "Bearer", f"Bearer {SECRET} ", "Bearer \xff"])
def test_only_the_exact_header_lets_in(closed_server, header):
    with socket.create_connection(("127.0.0.1", urlsplit(closed_server.url).port), 5) as raw:
        raw.sendall(
            f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nAuthorization: {header}\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode("latin-1")
        )
        # HTTP knows no space at the end of a header.
        assert raw.recv(12) == (b"HTTP/1.1 101" if header.strip() == f"Bearer {SECRET}" else b"HTTP/1.1 401")


def test_a_client_of_another_version_is_refused_and_told_which_is_expected(server, monkeypatch):
    monkeypatch.setattr(link, "SUBPROTOCOL", "polyarm.policy.v999")
    with pytest.raises(ConnectionRefusedError, match=rf"expected {SUBPROTOCOL}, found polyarm\.policy\.v999"):
        connect_policy(server.url)
    monkeypatch.undo()
    assert_served(server)


def test_a_web_page_is_refused(server):
    for origin in ("https://example.org", "null", server.url.replace("ws", "http")):
        with pytest.raises(InvalidStatus, match="403"):
            enter(server, Origin=origin)
    assert_served(server)


@pytest.mark.parametrize("data", [b"", b"garbage", b"\xff" * 1000, "text"])
def test_garbage_ends_its_session_alone(server, data):
    with enter(server) as client:
        assert decode(client.recv(5)).kind == "welcome"
        client.send(data)
        assert read_error(decode(client.recv(5)))[0] == "malformed"
        with pytest.raises(ConnectionClosed):
            client.recv(5)
    assert_served(server)


def test_too_large_a_message_ends_its_session_alone(monkeypatch):
    monkeypatch.setattr(serving, "MAX_MESSAGE_BYTES", 100_000)
    with PolicyServer(pool()) as server:
        with enter(server) as client:
            client.recv(5)
            client.send(bytes(100_001))
            with pytest.raises(ConnectionClosed) as caught:
                client.recv(5)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1009
        assert_served(server)


def test_who_speaks_no_websocket_keeps_nobody_out(server):
    address = ("127.0.0.1", urlsplit(server.url).port)
    with socket.create_connection(address) as silent, socket.create_connection(address) as babbling:
        babbling.sendall(b"\x16\x03\x01" + bytes(10_000))
        assert_served(server)
        assert silent.fileno() > 0


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::"])
def test_an_address_that_others_reach_needs_a_token(host):
    with pytest.raises(ValueError, match="expected a token for an address that other machines reach"):
        PolicyServer(pool(), host)


def test_serving_others_without_tls_is_warned_of(caplog, monkeypatch):
    monkeypatch.setenv(TOKEN, SECRET)
    with caplog.at_level(logging.WARNING), PolicyServer(pool(), "0.0.0.0", token=SECRET) as server:
        connect_policy(server.url.replace("0.0.0.0", "127.0.0.1")).close()
    assert "without TLS" in caplog.text
    assert SECRET not in caplog.text


def test_a_closed_server_gives_its_port_back(server):
    policy = connect_policy(server.url)
    server.close()
    with pytest.raises(OSError, match=server.url):
        policy.act(observation())
    with PolicyServer(pool(), port=urlsplit(server.url).port) as again:
        assert again.url == server.url
        assert_served(again)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that nobody has signed, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    chain, key = directory / "chain.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(chain), "-days", "2", "-subj", "/CN=localhost"]
    try:
        subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return chain, key


def test_tls_is_trusted_with_its_certificate_and_name_only(certificate, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    monkeypatch.setenv(TOKEN, SECRET)
    with PolicyServer(pool(), token=SECRET, tls=context) as server:
        port = urlsplit(server.url).port
        with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            connect_policy(f"wss://localhost:{port}")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            connect_policy(f"wss://127.0.0.1:{port}")
        with pytest.raises(ConnectionError, match="policy server"):
            connect_policy(f"ws://localhost:{port}?limit_s=2")
        policy = connect_policy(f"wss://localhost:{port}?limit_s=5")
        policy.reset(1)
        assert policy.act(observation()).rows.shape == (4, 8)
        policy.close()

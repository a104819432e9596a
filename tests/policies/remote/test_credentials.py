from __future__ import annotations

from pathlib import Path

import pytest

from policies.remote.credentials import TOKEN, TOKEN_FILE, client_token, is_loopback, read_token
from tests.policies.remote.samples import TOKEN as SECRET


def test_the_token_is_the_first_line_of_its_file(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\nanother line\n")
    assert read_token(file) == SECRET


@pytest.mark.parametrize("text", ["", "tooshort", "a token with spaces", "a-token-with-ümlaut", "x" * 16 + "\0"])
def test_what_is_no_token_is_refused_without_showing_it(tmp_path: Path, text: str):
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"token: expected a token of at least 16 .* found {len(text)}") as caught:
        read_token(file)
    assert not text or text not in str(caught.value)


def test_the_environment_gives_a_client_its_token_and_a_file_comes_first(tmp_path: Path, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.delenv(TOKEN_FILE, raising=False)
    assert client_token() == ""
    monkeypatch.setenv(TOKEN, SECRET)
    assert client_token() == SECRET
    monkeypatch.setenv(TOKEN_FILE, str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError, match="missing"):
        client_token()


def test_only_loopback_addresses_are_loopback():
    assert [is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("", "0.0.0.0", "::", "192.168.0.1")] == [False] * 4

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from policies.interface import load_policy
from policies.loading import policy_sha256
from policies.remote.credentials import TOKEN_FILE
from policies.server import main
from tests.policies.remote.samples import TOKEN, observation


def test_sigterm_ends_the_command_in_order_while_a_client_is_served(tmp_path: Path, monkeypatch, repository):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    monkeypatch.setenv(TOKEN_FILE, str(file))
    command = [sys.executable, "-m", "policies.server", "--policy", "random", "--port", "0", "--token-file", str(file)]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            assert line.startswith("serving random on ws://127.0.0.1:"), server.stderr.read()
            address = line.split()[-1]
            remote, local = load_policy(address), load_policy("random")
            for policy in (remote, local):
                policy.reset(3)
            assert np.array_equal(remote.act(observation()).rows, local.act(observation()).rows)
            assert policy_sha256(address) is None
            server.send_signal(signal.SIGTERM)
            assert server.wait(20) == 0
            log = server.stderr.read()
        finally:
            server.kill()
    assert "127.0.0.1: session over" in log
    assert TOKEN not in log
    assert "Traceback" not in log
    with pytest.raises(OSError, match="policy server"):
        remote.act(observation())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "expected a token for an address that other machines reach"),
        (["--sessions", "0"], "sessions: expected >= 1, found 0"),
        (["--certificate", "chain.pem"], "TLS: expected a certificate and its private key, found only one"),
        (["--private-key", "key.pem"], "TLS: expected a certificate and its private key, found only one"),
        (["--certificate", "no.pem", "--private-key", "no.pem"], "No such file"),
        (["--token-file", "no.token"], "no.token"),
        (["--policy", "nobody"], "policy 'nobody'"),
    ],
)
def test_what_cannot_be_served_is_an_error_of_one_line(capsys, arguments, words):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert main(["--policy", "random", "--port", "0", *arguments]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers

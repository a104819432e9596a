"""`python -m policies.server --policy NAME`: serve a policy to robots that have no GPU of their own.

The robot's side is `load_policy("ws://host:port")`, and so every command and node that takes a policy's name.
"""

from __future__ import annotations

import logging
import signal
import ssl
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from policies.interface import load_policy
from policies.loading import policy_sha256
from policies.remote.credentials import read_token
from policies.remote.serving import PolicyServer
from policies.remote.session import PolicyPool


@dataclass(frozen=True, slots=True)
class Arguments:
    """Serve a policy over the network until SIGINT or SIGTERM.

    Attributes:
        policy: name of a shipped policy, a directory, or a hub id.
        host: address to listen on. Every other one than a loopback address needs a token.
        port: port to listen on; 0 takes a free one.
        token_file: file whose first line clients must know; make it readable to its owner only.
        certificate: PEM file with the certificate chain, for TLS.
        private_key: PEM file with the certificate's key.
        sessions: clients that are served at the same time, each by a policy loaded for it alone; more are refused.
        device: torch device of the policy.
        robot: which robot a policy without weights shall move.
    """

    policy: str
    host: str = "127.0.0.1"
    port: int = 8765
    token_file: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    sessions: int = 1
    device: str = "cpu"
    robot: str = "panda"


def tls_context(arguments: Arguments) -> ssl.SSLContext | None:
    """TLS with the certificate that the arguments name, or None.

    Raises:
        ValueError: one of certificate and key without the other.
        OSError: a file is missing or no such thing.
    """
    if (arguments.certificate is None) != (arguments.private_key is None):
        raise ValueError("TLS: expected a certificate and its private key, found only one of them")
    if arguments.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(arguments.certificate, arguments.private_key)
    return context


def make_server(arguments: Arguments) -> PolicyServer:
    """Load the policies and listen.

    Raises:
        OSError: a file is missing, or the address cannot be had.
        ValueError: an argument, the token or the policy is not as expected; names it.
    """
    if arguments.sessions < 1:
        raise ValueError(f"sessions: expected >= 1, found {arguments.sessions}")
    token = None if arguments.token_file is None else read_token(arguments.token_file)
    tls = tls_context(arguments)
    policies = [load_policy(arguments.policy, arguments.device, arguments.robot) for _ in range(arguments.sessions)]
    pool = PolicyPool(policies, arguments.policy, policy_sha256(arguments.policy))
    return PolicyServer(pool, arguments.host, arguments.port, token, tls)


def main(args: Sequence[str] | None = None) -> int:
    """Serve until a signal comes; returns the exit code."""
    arguments = tyro.cli(Arguments, args=args, prog="python -m policies.server")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # what strangers send is no event of ours
    try:
        server = make_server(arguments)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    print(f"serving {arguments.policy} on {server.url}", flush=True)
    stop.wait()
    for number, handler in before.items():
        signal.signal(number, handler)  # a second signal does not wait for an answer that is being made
    server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

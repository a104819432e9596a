"""A ROS domain for each graph, so that graphs which run at the same time on one machine do not hear each other."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DOMAINS = range(1, 102)
"""Ids that are safe on every system: their ports lie below the ephemeral ones."""


@contextmanager
def own_domain() -> Iterator[int]:
    """Hold a ROS domain id that no other holder on this machine has, and set ROS_DOMAIN_ID to it.

    A ROS_DOMAIN_ID that is set already is taken as it is. Must be entered before rclpy starts.

    Raises:
        RuntimeError: all ids are held.
    """
    if os.environ.get("ROS_DOMAIN_ID"):
        yield int(os.environ["ROS_DOMAIN_ID"])
        return
    first = os.getpid() % len(DOMAINS)
    for domain in (*DOMAINS[first:], *DOMAINS[:first]):
        # Open to every user of the machine: the lock is what counts, and it ends with the process.
        claim = os.open(Path(tempfile.gettempdir()) / f"polyarm_domain_{domain}.lock", os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(claim)
            continue
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        try:
            yield domain
        finally:
            del os.environ["ROS_DOMAIN_ID"]
            os.close(claim)
        return
    raise RuntimeError(f"expected a free ROS domain id in {DOMAINS[0]}..{DOMAINS[-1]}, found all of them held")

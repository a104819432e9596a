"""What every test process needs before its first import of torch or rclpy: few threads and a ROS graph of its own."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
DOMAIN_COUNT = 101  # ids 1..101 stay below the ephemeral ports of Linux


def claim_domain_id() -> tuple[int, int]:
    """Claim a ROS domain id that no other live test process on this machine has.

    Returns:
        The id, and the open lock file that keeps it claimed until this process ends.
    """
    folder = Path(tempfile.gettempdir())
    for attempt in range(DOMAIN_COUNT):
        domain = (os.getpid() + attempt) % DOMAIN_COUNT + 1
        lock = os.open(folder / f"polyarm_test_domain_{domain}.lock", os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return domain, lock
    raise RuntimeError(f"expected a free ROS domain id in 1..{DOMAIN_COUNT}, found all of them claimed")


DOMAIN_ID, _domain_lock = claim_domain_id()
os.environ["ROS_DOMAIN_ID"] = str(DOMAIN_ID)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(REPOSITORY / "ros_nodes" / "config" / "fastdds_shm.xml"))
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the source tree under test."""
    return REPOSITORY


@pytest.fixture(scope="session")
def ros_domain_id() -> int:
    """The ROS domain that this test process and its children have to themselves."""
    return DOMAIN_ID

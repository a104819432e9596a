"""What every test process needs before its first import of torch or rclpy: few threads and a ROS graph of its own."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ros_nodes.domains import own_domain

REPOSITORY = Path(__file__).resolve().parent.parent

# A worker of a parallel run inherits the domain of the process that started it, and needs its own all the same.
os.environ.pop("ROS_DOMAIN_ID", None)
_domain = own_domain()
DOMAIN_ID = _domain.__enter__()
atexit.register(_domain.__exit__, None, None, None)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(REPOSITORY / "ros_nodes" / "config" / "fastdds_shm.xml"))
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"


CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(autouse=True)
def one_thread_and_one_seed() -> None:
    """The same threads and the same random numbers for each test, whatever ran before it in its process."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - scikit-learn and SciPy draw from it where they are given no generator
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """A browser that keeps what pages say on its console and what they ask the network for."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: apt install chromium chromium-driver)")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,900"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the source tree under test."""
    return REPOSITORY


@pytest.fixture(scope="session")
def ros_domain_id() -> int:
    """The ROS domain that this test process and its children have to themselves."""
    return DOMAIN_ID


@pytest.fixture(scope="session")
def source_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy of what a clone holds, to build in: builds leave files beside the sources."""
    target = tmp_path_factory.mktemp("source") / "polyarm"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)
    return target


@pytest.fixture
def check_node_runs(tmp_path: Path) -> Callable[[list[str], str, dict[str, str]], None]:
    """A function that starts a node, waits until the ROS graph shows it, interrupts it and expects exit code 0."""

    def check(command: list[str], node_name: str, environment: dict[str, str]) -> None:
        log = tmp_path / "node.log"
        with log.open("wb") as output:
            node = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for_node(node_name, node, limit_s=60.0)
            node.send_signal(signal.SIGINT)
            code = node.wait(timeout=30)
        finally:
            node.kill()
            node.wait()
        assert code == 0, f"{node_name} ended with {code} after SIGINT:\n{log.read_text()}"

    return check


def wait_for_node(name: str, process: subprocess.Popen[bytes], limit_s: float) -> None:
    """Wait until the graph shows the node `name`.

    Raises:
        AssertionError: the process ended first, or the limit passed.
    """
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context)
    observer = rclpy.create_node("observer", context=context)
    try:
        end = time.monotonic() + limit_s
        while name not in (seen := observer.get_node_names()):
            assert process.poll() is None, f"{name} ended with {process.returncode} before the graph showed it"
            assert time.monotonic() < end, f"expected node {name} in the graph within {limit_s} s, found {seen}"
            time.sleep(0.05)
    finally:
        observer.destroy_node()
        rclpy.shutdown(context=context)

"""`colcon build` without a ROS install gives nodes that run from its install space."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
# `make setup` puts colcon in an environment of its own; a ROS install has it on the path.
COLCON = REPOSITORY / ".venv" / "colcon" / "bin" / "colcon"


@pytest.fixture(scope="module")
def install_space(source_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    colcon = str(COLCON) if COLCON.exists() else shutil.which("colcon")
    if colcon is None:
        pytest.skip("colcon is not installed: run `make setup`")
    workspace = tmp_path_factory.mktemp("workspace")
    build = [colcon, "--log-base", "log", "build", "--base-paths", str(source_copy), "--packages-select", "polyarm"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(build, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return workspace / "install"


def sourced_environment(install_space: Path) -> dict[str, str]:
    """The environment after `source install/setup.bash`, with this test's python first on the path."""
    start = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    start.pop("PYTHONPATH", None)
    script = f'source "{install_space}/local_setup.bash" >/dev/null && env -0'
    printed = subprocess.run(["bash", "-c", script], env=start, capture_output=True, check=True).stdout
    return dict(entry.split("=", 1) for entry in printed.decode().split("\0") if "=" in entry)


def test_the_package_is_laid_out_as_ros2_run_and_ros2_launch_expect(install_space: Path) -> None:
    prefix = install_space / "polyarm"
    assert (prefix / "share/ament_index/resource_index/packages/polyarm").is_file()
    assert (prefix / "share/polyarm/package.xml").is_file()
    assert (prefix / "share/polyarm/launch/sim_eval.launch.py").is_file()
    assert (prefix / "share/polyarm/config/fastdds_shm.xml").is_file()
    executables = {path.name for path in (prefix / "lib/polyarm").iterdir() if os.access(path, os.X_OK)}
    assert {"simulator_node", "policy_node", "arm_gateway_node", "episode_runner_node", "bringup"} <= executables


def test_a_node_runs_from_the_install_space(
    install_space: Path, check_node_runs: Callable[[list[str], str, dict[str, str]], None]
) -> None:
    environment = sourced_environment(install_space)
    assert str(install_space / "polyarm") in environment["AMENT_PREFIX_PATH"]
    node = install_space / "polyarm/lib/polyarm/arm_gateway_node"
    where = [shutil.which("python3", path=environment["PATH"]), "-c", "import ros_nodes; print(ros_nodes.__path__[0])"]
    code = subprocess.run(where, cwd=install_space, env=environment, capture_output=True, text=True, check=True).stdout
    assert install_space in Path(code.strip()).parents, code
    check_node_runs([str(node)], "arm_gateway_node", environment)

"""What pip and ROS read about the package, and what pip makes of it."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import sysconfig
import venv
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import setuptools
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
FLOORS = ("ros_nodes", "sim", "policies", "representation")
NODE_FOLDER = REPOSITORY / "ros_nodes"


@pytest.fixture(scope="module")
def setup_arguments() -> dict[str, Any]:
    """The arguments that setup.py hands to setuptools."""
    captured: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        patch.setattr(setuptools, "setup", captured.update)
        source = (REPOSITORY / "setup.py").read_text()
        namespace: dict[str, Any] = {"__name__": "setup"}
        exec(compile(source, "setup.py", "exec"), namespace)
    return captured


@pytest.fixture(scope="module")
def manifest() -> ElementTree.Element:
    """Root of package.xml."""
    return ElementTree.parse(REPOSITORY / "package.xml").getroot()


def console_scripts(setup_arguments: dict[str, Any]) -> dict[str, str]:
    return dict(re.split(r"\s*=\s*", line) for line in setup_arguments["entry_points"]["console_scripts"])


def third_party_imports(*folders: str) -> dict[str, str]:
    """Top-level modules imported from outside the package and the standard library, each with one file that does."""
    found: dict[str, str] = {}
    for path in (path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            else:
                continue
            for module in (name.split(".")[0] for name in names):
                if module not in sys.stdlib_module_names and module not in FLOORS:
                    found.setdefault(module, str(path.relative_to(REPOSITORY)))
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_setup_py_and_package_xml_agree(setup_arguments: dict[str, Any], manifest: ElementTree.Element) -> None:
    for field, tag in (
        ("name", "name"),
        ("version", "version"),
        ("description", "description"),
        ("license", "license"),
    ):
        assert setup_arguments[field] == manifest.findtext(tag), field
    assert re.fullmatch(r"\d+\.\d+\.\d+", setup_arguments["version"])
    assert manifest.get("format") == "3"
    assert manifest.findtext("export/build_type") == "ament_python"


def test_the_changelog_knows_the_version(setup_arguments: dict[str, Any]) -> None:
    assert f"## [{setup_arguments['version']}]" in (REPOSITORY / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("folder", ["rviz", "foxglove"])
def test_the_layouts_are_installed(folder: str, setup_arguments: dict[str, Any]) -> None:
    files = dict(setup_arguments["data_files"])[f"share/polyarm/{folder}"]
    there = sorted((REPOSITORY / "launch" / folder).iterdir())
    assert there
    assert [Path(name).name for name in files] == [path.name for path in there]


def test_every_console_script_imports(setup_arguments: dict[str, Any]) -> None:
    for script, target in console_scripts(setup_arguments).items():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function)), script


def test_every_node_file_has_a_console_script(setup_arguments: dict[str, Any]) -> None:
    nodes = {
        path.stem
        for path in NODE_FOLDER.glob("*_node.py")
        if any(
            isinstance(statement, ast.FunctionDef) and statement.name == "main"
            for statement in ast.parse(path.read_text()).body
        )
    }
    assert nodes
    assert nodes <= set(console_scripts(setup_arguments))


def test_every_ros_package_in_use_is_a_dependency(manifest: ElementTree.Element) -> None:
    declared = {element.text for element in manifest.findall("exec_depend")}
    used = third_party_imports("ros_nodes", "launch")
    ros = {module for module in used if module.endswith(("_msgs", "_interfaces", "_srvs")) or module == "rclpy"}
    assert "rclpy" in ros
    assert ros <= declared, {module: used[module] for module in ros - declared}


def test_every_third_party_import_is_required_and_pinned(setup_arguments: dict[str, Any]) -> None:
    requirements = [
        *setup_arguments["install_requires"],
        *(line for extra in setup_arguments["extras_require"].values() for line in extra),
    ]
    required = {canonical(re.split(r"[\[<>=! ;]", line)[0]) for line in requirements}
    pins = (REPOSITORY / "constraints.txt").read_text()
    pinned = {canonical(line.split("==")[0]) for line in pins.splitlines() if "==" in line}
    pinned.add("setuptools")  # cannot be: colcon wants an older one than the rest
    providers = metadata.packages_distributions()
    unknown = {}
    for module, path in third_party_imports(*FLOORS, "tests").items():
        if module.endswith(("_msgs", "_interfaces", "_srvs")) or module in ("rclpy", "ament_index_python", "tests"):
            continue  # ours, or declared in package.xml
        distributions = {canonical(name) for name in providers.get(module, [module])}
        if not (distributions & required and distributions & pinned):
            unknown[module] = path
    assert not unknown, f"neither in setup.py nor in constraints.txt: {unknown}"


def test_parameter_files_are_ros_parameters_with_floats_where_the_node_wants_floats() -> None:
    for path in sorted((NODE_FOLDER / "config").glob("*.yaml")):
        document = yaml.safe_load(path.read_text())
        assert isinstance(document, dict), path.name
        assert document, path.name
        for node, body in document.items():
            assert set(body) == {"ros__parameters"}, f"{path.name}: {node} holds {sorted(body)}"


def test_the_dds_profile_has_a_shared_memory_segment_that_holds_camera_frames() -> None:
    root = ElementTree.parse(NODE_FOLDER / "config" / "fastdds_shm.xml").getroot()
    text = {element.tag.rsplit("}", 1)[-1]: element.text for element in root.iter()}
    assert int(text["segment_size"]) >= 32 * 2**20
    assert int(text["maxMessageSize"]) >= 8 * 2**20


@pytest.fixture
def fresh_python(tmp_path: Path) -> Path:
    """Python of a new virtual environment that sees the installed libraries but not the package."""
    folder = tmp_path / "venv"
    venv.create(folder, symlinks=True, with_pip=False)
    paths = sysconfig.get_paths("venv", vars={"base": str(folder), "platbase": str(folder)})
    libraries = sysconfig.get_path("purelib")
    (Path(paths["purelib"]) / "libraries.pth").write_text(f"{libraries}\n")
    return Path(paths["scripts"]) / "python"


@pytest.mark.parametrize("flags", [(), ("--editable",)], ids=["plain", "editable"])
def test_pip_install_gives_working_nodes(
    flags: tuple[str, ...],
    fresh_python: Path,
    source_copy: Path,
    setup_arguments: dict[str, Any],
    check_node_runs: Callable[[list[str], str, dict[str, str]], None],
) -> None:
    pip = [sys.executable, "-m", "pip", "--python", str(fresh_python)]
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed"]
    install = [*pip, "install", "--quiet", *offline, *flags, str(source_copy)]
    result = subprocess.run(install, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr

    executables = fresh_python.parent
    for script in console_scripts(setup_arguments):
        assert os.access(executables / script, os.X_OK), script
    where = "import policies; print(policies.__path__[0])"
    code = subprocess.run([str(fresh_python), "-I", "-c", where], capture_output=True, text=True, check=True).stdout
    code_folder = Path(code.strip())
    expected_root = source_copy if flags else fresh_python.parent.parent
    assert expected_root in code_folder.parents, code_folder
    assert list((code_folder / "robots").rglob("*.xml")), "no robot model was installed"
    if not flags:  # an editable install leaves data files in the source tree
        share = fresh_python.parent.parent / "share"
        assert (share / "ament_index/resource_index/packages/polyarm").is_file()
        assert (share / "polyarm/launch/sim_eval.launch.py").is_file()

    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    check_node_runs([str(executables / "arm_gateway_node")], "arm_gateway_node", environment)

"""Who may import whom, and what nobody may do to load a file."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
# Each floor may import itself and the floors after it.
FLOORS = ("ros_nodes", "sim", "policies", "representation")
ROS_MODULES = frozenset({"ament_index_python", "launch", "launch_ros", "rclpy", "rosidl_runtime_py", "tf2_ros"})

CLOCKS = frozenset({"time", "datetime"})
# Modules of `policies/execution` that may import one; all others take the time as an argument.
MAY_IMPORT_CLOCKS = {
    "policy_runner.py": "measures how long the policy takes; a duration only, by a timer that may be passed in",
    "faulty_policy.py": "sleeps, as the fault that it plays; reads no clock",
    "slow_policy.py": "sleeps until an answer has taken long enough; a duration only, by a timer that may be passed in",
}


def is_ros(module: str) -> bool:
    """Whether a top-level module comes with ROS: a client library, launch, or a message package."""
    return module in ROS_MODULES or module.endswith(("_msgs", "_interfaces", "_srvs"))


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


def imported_modules(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and top-level name of every absolute import, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]


def forbidden_imports(tree: ast.AST, floor: str) -> list[tuple[int, str]]:
    """Imports that a file of `floor` may not have."""
    above = {*FLOORS[: FLOORS.index(floor)], "tests"} if floor in FLOORS else {"tests"}
    ros_free = floor not in ("ros_nodes", "launch")
    found = []
    for line, module in imported_modules(tree):
        if module in above or (ros_free and is_ros(module)):
            found.append((line, module))
        if floor == "ros_nodes" and module in ("launch", "launch_ros"):
            found.append((line, module))
    return found


UNSAFE_CALLS = {
    ("pickle", "load"), ("pickle", "loads"), ("cPickle", "load"), ("dill", "load"), ("dill", "loads"),
    ("cloudpickle", "load"), ("cloudpickle", "loads"), ("joblib", "load"), ("marshal", "loads"), ("shelve", "open"),
    ("yaml", "full_load"), ("yaml", "unsafe_load"), ("pd", "read_pickle"), ("pandas", "read_pickle"),
}  # fmt: skip


def unsafe_loads(tree: ast.AST) -> list[tuple[int, str]]:
    """Calls that may run code hidden in the bytes that they read."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
            found.append((node.lineno, node.func.id))
        if not (isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)):
            continue
        call = (node.func.value.id, node.func.attr)
        keywords = {word.arg: word.value for word in node.keywords}
        weights_only = keywords.get("weights_only")
        allow_pickle = keywords.get("allow_pickle")
        loader = keywords.get("Loader", node.args[1] if len(node.args) > 1 else None)
        unsafe = (
            call in UNSAFE_CALLS
            or (
                call == ("torch", "load")
                and not (isinstance(weights_only, ast.Constant) and weights_only.value is True)
            )
            or (call[1] == "load" and allow_pickle is not None and getattr(allow_pickle, "value", True) is not False)
            or (call == ("yaml", "load") and "SafeLoader" not in (ast.unparse(loader) if loader else ""))
        )
        if unsafe:
            found.append((node.lineno, ".".join(call)))
    return found


@pytest.mark.parametrize("floor", [*FLOORS, "launch"])
def test_a_floor_imports_only_floors_below_it_and_ros_only_where_it_may(floor: str) -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line} imports {module}"
        for path in python_files(floor)
        for line, module in forbidden_imports(ast.parse(path.read_text(), str(path)), floor)
    ]
    assert not found, "\n".join(found)


def test_execution_reads_no_clock() -> None:
    found = {
        path.name
        for path in python_files("policies/execution")
        if CLOCKS & {module for _, module in imported_modules(ast.parse(path.read_text(), str(path)))}
    }
    assert found == set(MAY_IMPORT_CLOCKS)


def test_no_file_is_loaded_in_a_way_that_could_run_it() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line} calls {call}"
        for path in python_files(*FLOORS, "launch")
        for line, call in unsafe_loads(ast.parse(path.read_text(), str(path)))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("floor", "source"),
    [
        ("representation", "import policies.interface"),
        ("policies", "def late():\n    from sim.scene import build"),
        ("sim", "from ros_nodes import convert"),
        ("sim", "import rclpy.node"),
        ("policies", "from trajectory_msgs.msg import JointTrajectory"),
        ("ros_nodes", "from launch import LaunchDescription"),
        ("sim", "from tests.conftest import DOMAIN_ID"),
    ],
)
def test_the_walker_sees_an_import_against_the_arrow(floor: str, source: str) -> None:
    assert forbidden_imports(ast.parse(source), floor)


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pickle.loads(blob)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_the_walker_sees_an_unsafe_load(source: str) -> None:
    assert unsafe_loads(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    ["torch.load(path, weights_only=True)", "yaml.load(text, Loader=yaml.SafeLoader)", "np.load(path)", "model.eval()"],
)
def test_the_walker_accepts_a_safe_load(source: str) -> None:
    assert not unsafe_loads(ast.parse(source))


def test_launch_is_no_package_that_would_hide_the_ros_package_of_that_name() -> None:
    assert not (REPOSITORY / "launch" / "__init__.py").exists()


@pytest.mark.parametrize("floor", FLOORS)
def test_every_folder_with_code_is_a_package_with_a_table_of_contents(floor: str) -> None:
    for folder in {path.parent for path in python_files(floor)}:
        contents = folder / "__init__.py"
        assert contents.is_file(), f"{folder.relative_to(REPOSITORY)} has no __init__.py, so it would not be installed"
        assert ast.get_docstring(ast.parse(contents.read_text())), (
            f"{contents.relative_to(REPOSITORY)} has no docstring"
        )


def test_importing_the_floors_below_ros_needs_no_ros() -> None:
    """The folders' own `__init__` must stay light: a table of contents, not a loader."""
    script = (
        "import sys, policies, representation, sim; "
        "heavy = {'rclpy', 'torch', 'mujoco', 'transformers'} & set(sys.modules); "
        "sys.exit(f'imported {sorted(heavy)}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr

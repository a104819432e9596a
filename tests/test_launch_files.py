"""Launch files name only what exists: checked on their syntax trees, because `launch` itself is not on PyPI."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
LAUNCH_FILES = sorted((REPOSITORY / "launch").glob("*.launch.py"))
COMMON_ARGUMENTS = frozenset({"use_sim_time", "namespace", "params_file", "log_level"})


def console_scripts() -> set[str]:
    tree = ast.parse((REPOSITORY / "setup.py").read_text())
    nodes = next(
        statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "NODES"
    )
    return set(ast.literal_eval(nodes))


def calls(tree: ast.AST, *names: str) -> Iterator[ast.Call]:
    """Calls of functions or classes with one of these names, with or without a module before it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in names:
            yield node


def argument(call: ast.Call, position: int | None, name: str) -> ast.expr | None:
    if position is not None and len(call.args) > position:
        return call.args[position]
    return next((word.value for word in call.keywords if word.arg == name), None)


def constants(tree: ast.Module) -> dict[str, object]:
    """Literals that the file gives names to, at its top level."""
    named: dict[str, object] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                named[statement.targets[0].id] = ast.literal_eval(statement.value)
            except ValueError:
                continue
    return named


def possible_values(expression: ast.expr, tree: ast.Module) -> set[str]:
    """Every string that an expression may stand for: a literal, a named literal, or the variable of a loop over them.

    Raises:
        AssertionError: the expression is computed, so nobody could check it before run time.
    """
    if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
        return {expression.value}
    named = constants(tree)
    if isinstance(expression, ast.Name):
        if isinstance(named.get(expression.id), str):
            return {str(named[expression.id])}
        for loop in ast.walk(tree):
            if isinstance(loop, ast.For | ast.comprehension) and ast.unparse(loop.target) == expression.id:
                items = named.get(ast.unparse(loop.iter)) or ast.literal_eval(loop.iter)
                return set(items)
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            names = [parameter.arg for parameter in function.args.args]
            if expression.id in names:
                given = [
                    argument(call, names.index(expression.id), expression.id) for call in calls(tree, function.name)
                ]
                return set().union(*(possible_values(value, tree) for value in given if value is not None))
    raise AssertionError(f"line {expression.lineno}: '{ast.unparse(expression)}' is computed; name it by a literal")


def problems(source: str) -> list[str]:
    """What a launch file names that does not exist."""
    tree = ast.parse(source)
    found = []
    for call in calls(tree, "Node", "LifecycleNode"):
        for keyword, known in (("package", {"polyarm"}), ("executable", console_scripts())):
            value = argument(call, None, keyword)
            if value is None:
                found.append(f"line {call.lineno}: a node without {keyword}")
            else:
                found += [f"line {call.lineno}: no {keyword} '{v}'" for v in possible_values(value, tree) - known]
        if f"'--enclave', enclave({ast.unparse(argument(call, None, 'executable'))})" not in ast.unparse(call):
            found.append(f"line {call.lineno}: a node without its enclave")
    declared = {v for call in calls(tree, "DeclareLaunchArgument") for v in possible_values(call.args[0], tree)}
    read = {v for call in calls(tree, "LaunchConfiguration") for v in possible_values(call.args[0], tree)}
    found += [f"argument '{name}' is read but not declared" for name in sorted(read - declared)]
    found += [f"argument '{name}' is declared but not read" for name in sorted(declared - read)]
    found += [f"argument '{name}' is missing" for name in sorted(COMMON_ARGUMENTS - declared)]
    for call in calls(tree, "DeclareLaunchArgument"):
        if not argument(call, 2, "description"):
            found.append(f"line {call.lineno}: an argument without a description")
    literals = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    files = {value for value in literals if re.fullmatch(r"[\w./-]+\.(yaml|xml)", value)}
    found += [f"no file '{name}'" for name in sorted(files) if not exists_in_share(name)]
    if "generate_launch_description" not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
        found.append("no function generate_launch_description")
    return found


def exists_in_share(name: str) -> bool:
    return any((REPOSITORY / "ros_nodes" / "config" / tail).is_file() for tail in (name, Path(name).name))


def test_there_is_a_launch_file_for_the_evaluation() -> None:
    assert "sim_eval.launch.py" in {path.name for path in LAUNCH_FILES}


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_a_launch_file_names_only_what_exists(path: Path) -> None:
    assert problems(path.read_text()) == []


GOOD = """
NODES = ("policy_node", "simulator_node")
def generate_launch_description():
    for name in ("use_sim_time", "namespace", "params_file", "log_level"):
        DeclareLaunchArgument(name, default_value="", description="why")
        LaunchConfiguration(name)
    return [Node(package="polyarm", executable=node, ros_arguments=["--enclave", enclave(node)]) for node in NODES]
"""


def test_the_walker_accepts_a_launch_file_in_order() -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (('"policy_node"', '"police_node"'), "no executable 'police_node'"),
        (('package="polyarm"', 'package="polyleg"'), "no package 'polyleg'"),
        (("LaunchConfiguration(name)", 'LaunchConfiguration("speed")'), "argument 'speed' is read but not declared"),
        (('default_value=""', 'default_value="lost.yaml"'), "no file 'lost.yaml'"),
        (("def generate", "def make"), "no function generate_launch_description"),
        ((', description="why"', ""), "an argument without a description"),
        (("enclave(node)", "enclave(other)"), "a node without its enclave"),
    ],
)
def test_the_walker_sees_what_does_not_exist(change: tuple[str, str], problem: str) -> None:
    assert problem in "\n".join(problems(GOOD.replace(*change)))

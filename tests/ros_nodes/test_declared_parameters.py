"""The parameters that the nodes really declare: each has a description, and each number a range."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from ros_nodes.params import attribute_descriptions

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = {path.stem: ast.parse(path.read_text("utf-8")) for path in sorted((REPOSITORY / "ros_nodes").glob("*.py"))}


def calls(module: str, name: str) -> Iterator[ast.Call]:
    """Calls of a function or method of that name in a module of `ros_nodes`."""
    for node in ast.walk(SOURCES[module]):
        if isinstance(node, ast.Call) and (getattr(node.func, "id", None) or getattr(node.func, "attr", None)) == name:
            yield node


def groups(config: type) -> Iterator[type]:
    """A dataclass, and those of its fields."""
    yield config
    for hint in typing.get_type_hints(config).values():
        if dataclasses.is_dataclass(hint):
            yield from groups(hint)


DECLARED = {
    (module, call.args[1].id): getattr(importlib.import_module(f"ros_nodes.{module}"), call.args[1].id)
    for module in SOURCES
    if module != "params"
    for call in calls(module, "declare")
}
CONFIGS = {f"{group.__module__}.{group.__name__}": group for config in DECLARED.values() for group in groups(config)}


def test_every_node_declares_its_parameters_from_dataclasses():
    setup = ast.parse((REPOSITORY / "setup.py").read_text("utf-8"))
    (nodes,) = (
        ast.literal_eval(entry.value)
        for entry in setup.body
        if isinstance(entry, ast.Assign) and entry.targets[0].id == "NODES"
    )
    declaring = {module for module, _ in DECLARED}
    assert {node for node in nodes if node.endswith("_node")} <= declaring
    by_hand = {module for module in SOURCES for _ in calls(module, "declare_parameter")}
    assert by_hand == {"params"}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_has_a_description_and_every_number_a_range_with_its_default(name):
    config = CONFIGS[name]
    texts, hints = attribute_descriptions(config), typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            continue
        assert texts.get(field.name), f"{name}.{field.name}: expected a description in the docstring, found none"
        if {hint, *typing.get_args(hint)} & {int, float}:
            assert "range" in field.metadata, f"{name}.{field.name}: expected a range, found none"
            low, high = field.metadata["range"]
            assert low < high, f"{name}.{field.name}: expected a range, found {low} to {high}"
            if isinstance(field.default, int | float):
                assert low <= field.default <= high, f"{name}.{field.name}: expected a default from {low} to {high}"

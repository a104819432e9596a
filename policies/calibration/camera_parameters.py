"""What calibrations say of a robot's cameras, read from the parameter files that `policy_node` takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from policies.calibration.files import POLICY_NODE
from policies.execution.camera_pose import CameraConfig
from policies.robots.yaml_tree import Tree, read_yaml, shown

_GROUP = "camera"
_FIELDS = {field.name: field for field in fields(CameraConfig)}
_LEVELS = 3  # camera, its name, a field


def read_camera_parameters(
    paths: Sequence[Path], cameras: Sequence[str], namespace: str = ""
) -> dict[str, CameraConfig]:
    """What some ROS parameter files tell `policy_node` of cameras, as `camera.<name>.<field>`; later values win.

    Args:
        paths: the files; each must tell something of one of the cameras.
        cameras: names of the cameras; those of others in the files are left out.
        namespace: of the node.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file is no parameter file, a value is none that the node takes, or a file tells nothing of the
            cameras; names file and parameter.
    """
    found = {camera: CameraConfig() for camera in cameras}
    node = "/" + "/".join(filter(None, (namespace.strip("/"), POLICY_NODE)))
    for path in paths:
        named = set()
        for name, field, value in _parameters(path, node):
            named.add(name)
            if name in found:
                found[name] = replace(found[name], **{field: value})
        if not named & set(cameras):
            others = ", ".join(sorted(named)) or "none"
            raise ValueError(
                f"{path}: expected parameters camera.<name>.* of {node} for {' or '.join(cameras)}, "
                f"found those of cameras: {others}"
            )
    return found


def _parameters(path: Path, node: str) -> Iterator[tuple[str, str, Any]]:
    """Camera, field and value of each camera's parameter that the file has for a node of that full name."""
    for pattern, content in read_yaml(path).items():
        place = f"{path}.{pattern}.ros__parameters"
        parameters = content.get("ros__parameters") if isinstance(content, dict) else None
        if not isinstance(parameters, dict):
            raise ValueError(f"{place}: expected a mapping, found {shown(parameters)}")
        if not _names(str(pattern), node):
            continue
        for key, value in _flat(parameters, ""):
            group, _, name_and_field = key.partition(".")
            name, _, field = name_and_field.rpartition(".")
            if group != _GROUP or not name_and_field:  # of another node
                continue
            if not name or field not in _FIELDS:
                raise ValueError(f"{place}.{key}: expected camera.<name>. and one of {', '.join(_FIELDS)}")
            yield name, field, _value(Tree({key: value}, place), key, field)


def _names(pattern: str, node: str) -> bool:
    """Whether a parameter file's name of nodes, with ROS's wildcards, is that of a node."""
    wildcards = {"/**": "(/[^/]+)*", "/*": "/[^/]+"}
    words = re.split(r"(/\*\*|/\*)", "/" + pattern.lstrip("/"))
    return re.fullmatch("".join(wildcards.get(word) or re.escape(word) for word in words), node) is not None


def _flat(content: Mapping[Any, Any], above: str) -> Iterator[tuple[str, Any]]:
    """Values by dotted name, one by one; names may be dotted, nested, or both."""
    for key, value in content.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and name.count(".") < _LEVELS - 1:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _value(tree: Tree, key: str, field: str) -> Any:
    default = _FIELDS[field].default
    if isinstance(default, str):
        return tree.get_text(key)
    if isinstance(default, tuple):
        return tree.get_numbers(key, len(default))
    value = tree.get_number(key)
    low, high = _FIELDS[field].metadata["range"]
    if not low <= value <= high:
        raise tree.wrong(key, f"a number from {low:g} to {high:g}", value)
    return value

"""ROS parameters declared from frozen dataclasses, so that a setting is written down once.

A field becomes the parameter `<prefix>.<field>`: its type from the annotation (bool, int, float, str, a tuple of one of
these, or a `Literal` of strings), its default from the field, its description from the class docstring's `Attributes:`
section, its range from `field(metadata={"range": (low, high)})`. A field that is itself a dataclass becomes a group.
Settings are read once, so parameters are read-only unless `declare` is told otherwise; `follow` tells of their changes.
"""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

Config = TypeVar("Config")

_SCALARS = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}
_ARRAYS = {
    bool: Parameter.Type.BOOL_ARRAY,
    int: Parameter.Type.INTEGER_ARRAY,
    float: Parameter.Type.DOUBLE_ARRAY,
    str: Parameter.Type.STRING_ARRAY,
}


def declare(
    node: Node,
    config: type[Config],
    prefix: str = "",
    defaults: Mapping[str, Any] | None = None,
    read_only: bool = True,
) -> Config:
    """Declare every field of a dataclass as a parameter and return the instance that the parameters describe.

    Args:
        node: the node that gets the parameters.
        config: a dataclass whose fields all have defaults, or are in `defaults`.
        prefix: dotted group of the parameters; empty puts them at the top.
        defaults: defaults by field name in place of those of the class.
        read_only: False where somebody sets the parameters while the node runs, and reads them back from the node.

    Raises:
        TypeError: a field has a type that no ROS parameter has.
        ValueError: a value has the wrong type or range, or the dataclass refuses it; names the parameter.
    """
    hints = typing.get_type_hints(config)
    texts = attribute_descriptions(config)
    values = {}
    for field in dataclasses.fields(config):
        name = f"{prefix}.{field.name}" if prefix else field.name
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            values[field.name] = declare(node, hint, name, read_only=read_only)
            continue
        default = (defaults or {}).get(field.name, _default(field))
        values[field.name] = _declare_field(
            node, name, hint, default, field.metadata.get("range"), texts.get(field.name, ""), read_only
        )
    try:
        return config(**values)
    except ValueError as error:
        raise ValueError(f"parameters {prefix or 'of the node'}: {error}") from error


def follow(
    node: Node,
    config: Config,
    prefix: str,
    changed: Callable[[Config], None],
    check: Callable[[Config], None] = lambda config: None,
) -> None:
    """Tell of every change of a group that was declared with `read_only=False`, and refuse what it does not allow.

    Args:
        node: the node that has the parameters.
        config: what `declare` returned.
        prefix: group of the parameters, as `declare` got it.
        changed: called with the new instance after each change.
        check: raises a ValueError for an instance that the node does not allow; the change is then refused.
    """
    current = config
    start = f"{prefix}." if prefix else ""
    hints = typing.get_type_hints(type(config))
    limits = {field.name: field.metadata.get("range") for field in dataclasses.fields(config)}

    def proposed(parameters: Sequence[Parameter]) -> Config:
        values = {}
        for parameter in parameters:
            name = parameter.name.removeprefix(start)
            if parameter.name.startswith(start) and name in limits:
                _, item, choices = _parameter_type(name, hints[name])
                values[name] = _checked(parameter.name, parameter.value, item, choices, limits[name])
        try:
            following = dataclasses.replace(current, **values)  # type: ignore[type-var]
            check(following)
            return following
        except ValueError as error:
            raise ValueError(f"parameters {prefix or 'of the node'}: {error}") from error

    def judge(parameters: Sequence[Parameter]) -> SetParametersResult:
        try:
            proposed(parameters)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def take(parameters: Sequence[Parameter]) -> None:
        nonlocal current
        following = proposed(parameters)
        if following != current:
            current = following
            changed(current)

    node.add_on_set_parameters_callback(judge)
    node.add_post_set_parameters_callback(take)


def attribute_descriptions(config: type) -> dict[str, str]:
    """Description of each attribute, from the `Attributes:` section of a Google-style docstring."""
    _, _, section = (config.__doc__ or "").partition("Attributes:")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        entry = re.match(r"^ {8}(\w+): (.*)$", line)
        if entry:
            name = entry[1]
            found[name] = entry[2].strip()
        elif name and line.startswith(" " * 12):
            found[name] += " " + line.strip()
    return found


def _default(field: dataclasses.Field) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise TypeError(f"parameter {field.name}: expected a default, found none")


def _declare_field(
    node: Node,
    name: str,
    hint: Any,
    default: Any,
    limits: tuple[float, float] | None,
    description: str,
    read_only: bool,
) -> Any:
    kind, item, choices = _parameter_type(name, hint)
    descriptor = ParameterDescriptor(description=description, read_only=read_only, type=kind.value)
    if choices:
        descriptor.additional_constraints = "one of " + ", ".join(choices)
    if limits is not None:
        _set_range(descriptor, item, *limits)
    is_array = kind in _ARRAYS.values()
    try:
        # The type is declared by a Parameter: rclpy would take an empty list for a byte array.
        node.declare_parameter(name, kind if is_array and not len(default) else _plain(default, item), descriptor)
        value = node.get_parameter_or(name, Parameter(name, kind, list(default) if is_array else default)).value
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise ValueError(f"parameter {name}: {error}") from error
    return _checked(name, value, item, choices, limits)


def _checked(name: str, value: Any, item: type, choices: tuple[str, ...], limits: tuple[float, float] | None) -> Any:
    """A parameter's value as its field has it; what ROS does not check is checked here."""
    if choices and value not in choices:
        raise ValueError(f"parameter {name}: expected one of {', '.join(choices)}, found '{value}'")
    if isinstance(value, str) or not isinstance(value, Iterable):
        return value
    value = tuple(item(element) for element in value)
    if limits is not None and not all(limits[0] <= element <= limits[1] for element in value):
        raise ValueError(f"parameter {name}: expected values from {limits[0]} to {limits[1]}, found {value}")
    return value


def _plain(default: Any, item: type) -> Any:
    return [item(element) for element in default] if isinstance(default, tuple | list) else item(default)


def _parameter_type(name: str, hint: Any) -> tuple[Parameter.Type, type, tuple[str, ...]]:
    """ROS type, Python type of an element, and the choices of a `Literal`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _SCALARS:
        return _SCALARS[hint], hint, ()
    if origin is Literal and all(isinstance(choice, str) for choice in arguments):
        return Parameter.Type.STRING, str, arguments
    if origin is tuple and arguments[0] in _ARRAYS and set(arguments[1:]) <= {arguments[0], ...}:
        return _ARRAYS[arguments[0]], arguments[0], ()
    raise TypeError(f"parameter {name}: expected bool, int, float, str, Literal or a tuple of these, found {hint}")


def _set_range(descriptor: ParameterDescriptor, item: type, low: float, high: float) -> None:
    if descriptor.type == Parameter.Type.DOUBLE.value:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    elif descriptor.type == Parameter.Type.INTEGER.value:
        bounds = [-(2**63) if low == -math.inf else int(low), 2**63 - 1 if high == math.inf else int(high)]
        descriptor.integer_range = [IntegerRange(from_value=bounds[0], to_value=bounds[1], step=0)]

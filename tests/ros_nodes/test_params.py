from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from ros_nodes.params import attribute_descriptions, declare, follow


@dataclass(frozen=True)
class Inner:
    """A group.

    Attributes:
        gain_hz: how fast,
            on two lines.
    """

    gain_hz: float = field(default=1.0, metadata={"range": (0.0, math.inf)})


@dataclass(frozen=True)
class Config:
    """Every type that a parameter may have.

    Attributes:
        mode: which one.
        names: some names.
        count: how many.
    """

    mode: Literal["slow", "fast"] = "slow"
    names: tuple[str, ...] = ()
    count: int = field(default=3, metadata={"range": (1, 10)})
    box_m: tuple[float, float, float] = field(default=(1.0, 2.0, 3.0), metadata={"range": (0.0, 9.0)})
    on: bool = True
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.count == 7:
            raise ValueError("count: expected another number than 7, found 7")


@contextmanager
def node_with(*overrides: str) -> Iterator[Node]:
    context = Context()
    rclpy.init(args=["--ros-args", *(part for text in overrides for part in ("-p", text))], context=context)
    node = rclpy.create_node("configured", context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        context.try_shutdown()


def test_defaults_come_from_the_dataclass():
    with node_with() as node:
        assert declare(node, Config, "c") == Config()


def test_overrides_reach_every_type():
    texts = (
        "mode:=fast",
        "names:=[left, right]",
        "count:=5",
        "box_m:=[4.0, 5.0, 6.0]",
        "on:=false",
        "inner.gain_hz:=2.5",
    )
    with node_with(*(f"c.{text}" for text in texts)) as node:
        assert declare(node, Config, "c") == Config(
            "fast", ("left", "right"), 5, (4.0, 5.0, 6.0), False, Inner(gain_hz=2.5)
        )


def test_descriptor_tells_description_range_and_read_only():
    with node_with() as node:
        declare(node, Config, "c")
        descriptor = node.describe_parameter("c.inner.gain_hz")
        assert descriptor.description == "how fast, on two lines."
        assert descriptor.read_only
        assert descriptor.floating_point_range[0].from_value == 0.0
        assert node.describe_parameter("c.mode").additional_constraints == "one of slow, fast"
        assert not node.set_parameters([Parameter("c.count", value=4)])[0].successful


def test_parameters_can_be_left_writable():
    with node_with() as node:
        declare(node, Config, "c", read_only=False)
        assert node.set_parameters([Parameter("c.count", value=4)])[0].successful
        assert not node.set_parameters([Parameter("c.count", value=11)])[0].successful


def test_empty_prefix_puts_parameters_at_the_top():
    with node_with("mode:=fast") as node:
        assert declare(node, Config, defaults={"count": 2}) == Config(mode="fast", count=2)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("c.inner.gain_hz:=1", "c.inner.gain_hz.*INTEGER.*DOUBLE"),
        ("c.inner.gain_hz:=-0.1", "c.inner.gain_hz.*range"),
        ("c.count:=11", "c.count.*range"),
        ("c.count:=7", "parameters c: count: expected another number"),
        ("c.mode:=other", "c.mode: expected one of slow, fast, found 'other'"),
        ("c.box_m:=[1.0, 2.0, 9.5]", "c.box_m: expected values from 0.0 to 9.0"),
        ("c.names:=[1, 2]", "c.names.*INTEGER_ARRAY"),
    ],
)
def test_bad_values_are_refused_by_name(override, words):
    with node_with(override) as node, pytest.raises(ValueError, match=words):
        declare(node, Config, "c")


def test_a_type_that_no_parameter_has_is_refused():
    @dataclass(frozen=True)
    class Strange:
        table: dict = field(default_factory=dict)

    Strange.__annotations__["table"] = dict
    with node_with() as node, pytest.raises(TypeError, match=r"c\.table"):
        declare(node, Strange, "c")


def test_descriptions_come_from_the_docstring():
    assert attribute_descriptions(Config) == {"mode": "which one.", "names": "some names.", "count": "how many."}


@contextmanager
def followed_node(check=lambda config: None) -> Iterator[tuple[Node, list[Config]]]:
    told: list[Config] = []
    with node_with() as node:
        follow(node, declare(node, Config, "group", read_only=False), "group", told.append, check)
        yield node, told


def test_changes_of_a_followed_group_are_told_as_a_whole():
    with followed_node() as (node, told):
        node.set_parameters_atomically([Parameter("group.mode", value="fast"), Parameter("group.names", value=["a"])])
        node.set_parameters([Parameter("group.count", value=4)])
        assert [(config.mode, config.names, config.count) for config in told] == [
            ("fast", ("a",), 3),
            ("fast", ("a",), 4),
        ]


def refuse_names(config: Config) -> None:
    if config.names:
        raise ValueError(f"names: expected none, found {config.names}")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mode", "medium", ["group.mode", "slow, fast", "medium"]),
        ("count", 11, ["group.count", "10", "11"]),
        ("count", 7, ["group", "count: expected another number than 7, found 7"]),
        ("box_m", [1.0, 2.0, 10.0], ["group.box_m", "from 0.0 to 9.0", "10.0"]),
        ("names", ["a"], ["group", "names: expected none, found ('a',)"]),
    ],
)
def test_a_change_that_is_not_allowed_is_refused_by_name_and_changes_nothing(name, value, words):
    with followed_node(refuse_names) as (node, told):
        before = node.get_parameter_or(f"group.{name}").value
        [result] = node.set_parameters([Parameter(f"group.{name}", value=value)])
        assert not result.successful
        for word in words:
            assert word in result.reason
        assert node.get_parameter_or(f"group.{name}").value == before
        assert told == []

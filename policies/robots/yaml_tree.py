"""A YAML document as a tree that is read by name and type, and says where in the file a value is wrong.

The file may come from anywhere: its size is limited, nothing in it becomes more than plain data, a key that stands
twice or that nobody asked for is refused, and found values are shortened in messages (an alias can stand for millions).
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

_SIZE_LIMIT = 2**18


_REPR = reprlib.Repr()
_REPR.maxlevel = 2


def shown(value: object) -> str:
    """What was found, short whatever it holds."""
    return _REPR.repr(value)


class _UniqueKeySafeLoader(yaml.SafeLoader):
    """`yaml.SafeLoader` that refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen and key_node.tag != "tag:yaml.org,2002:merge":
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: expected each key once, found {key_node.value!r} again")
            seen.add(key_node.value if isinstance(key_node.value, str) else id(key_node))
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top is a mapping.

    Raises:
        FileNotFoundError: no such file.
        ValueError: larger than 256 KiB, not YAML, or not a mapping of names.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a YAML file, found no such file")
    if path.stat().st_size > _SIZE_LIMIT:
        raise ValueError(f"{path}: expected at most {_SIZE_LIMIT} bytes, found {path.stat().st_size}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeySafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: expected valid YAML, found: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping, found {shown(content)}")
    return content


class Tree:
    """A mapping of a document. Every `get_*` and `subtree*` marks its key as known; `done` refuses the others.

    Args:
        content: the mapping.
        place: where it stands, for messages: the file, then the keys that lead to it.
    """

    def __init__(self, content: Any, place: str) -> None:
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            raise ValueError(f"{place}: expected a mapping of names, found {shown(content)}")
        self._content = content
        self._known: set[str] = set()
        self.place = place

    def __contains__(self, key: str) -> bool:
        return key in self._content

    @property
    def keys(self) -> tuple[str, ...]:
        """Names in the order of the file."""
        return tuple(self._content)

    def done(self) -> None:
        """Refuse keys that nobody asked for.

        Raises:
            ValueError: there is one; names those that may stand here.
        """
        unknown = sorted(set(self._content) - self._known)
        if unknown:
            expected = ", ".join(sorted(self._known))
            raise ValueError(f"{self.place}: expected some of {expected}, found {', '.join(unknown)}")

    def wrong(self, key: str, expected: str, found: object) -> ValueError:
        """The error of a value that is not what it should be."""
        return ValueError(f"{self.place}.{key}: expected {expected}, found {shown(found)}")

    def get_text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty; `default` where there is none."""
        value = self._take(key, default, "a text")
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(key, "a text", value)
        return value

    def get_path(self, key: str) -> Path:
        """A file that the reader of the document has found."""
        value = self._take(key, None, "the name of a file")
        if not isinstance(value, Path):
            raise self.wrong(key, "the name of a file", value)
        return value

    def get_number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._take(key, default, "a number")
        if not _is_number(value):
            raise self.wrong(key, "a finite number", value)
        return float(value)

    def get_numbers(self, key: str, count: int) -> tuple[float, ...]:
        """A list of so many finite numbers."""
        value = self._take(key, None, f"{count} numbers")
        if not isinstance(value, list) or len(value) != count or not all(map(_is_number, value)):
            raise self.wrong(key, f"{count} finite numbers", value)
        return tuple(map(float, value))

    def get_names(self, key: str) -> tuple[str, ...]:
        """A list of texts, none twice."""
        value = self._take(key, None, "a list of names")
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise self.wrong(key, "a list of names", value)
        if not value or len(set(value)) != len(value):
            raise self.wrong(key, "at least one name, and none twice", value)
        return tuple(value)

    def subtree(self, key: str, default: dict | None = None) -> Tree:
        """A mapping below this one; an empty one if `default` is `{}` and there is none."""
        return Tree(self._take(key, default, "a mapping"), f"{self.place}.{key}")

    def subtrees(self, key: str, default: list | None = None) -> Iterator[Tree]:
        """The mappings of a list below this one."""
        value = self._take(key, default, "a list")
        if not isinstance(value, list):
            raise self.wrong(key, "a list", value)
        return (Tree(item, f"{self.place}.{key}[{place}]") for place, item in enumerate(value))

    def _take(self, key: str, default: Any, expected: str) -> Any:
        self._known.add(key)
        if key not in self._content and default is None:
            raise ValueError(f"{self.place}.{key}: expected {expected}, found nothing")
        return self._content.get(key, default)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

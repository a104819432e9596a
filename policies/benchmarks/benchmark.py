"""`Benchmark`: how a benchmark is run and shown, for the commands that offer several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Benchmark:
    """How to run a benchmark with a command's arguments, and how to show its result; `draw` makes a picture of it."""

    run: Callable[[Any], dict[str, Any]]
    format_text: Callable[[Mapping[str, Any]], str]
    format_markdown: Callable[[Mapping[str, Any]], str]
    draw: Callable[[Mapping[str, Any], Path], None] | None = None

"""`python -m policies.bench [NAME]`: run benchmarks of the policies, and write their pages when asked to."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from policies.benchmarks import chunk_latency
from policies.benchmarks.chunk_latency import LatencySettings

RESULTS = Path("docs/benchmarks")


@dataclass(frozen=True, slots=True)
class Arguments:
    """Measure how long a policy takes for a chunk.

    Attributes:
        write: also write chunk_latency.json and chunk_latency.md into docs/benchmarks.
        json: print JSON instead of a table.
        latency: what is measured.
    """

    write: bool = False
    json: bool = False
    latency: Annotated[LatencySettings, tyro.conf.arg(name="")] = field(default_factory=LatencySettings)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = tyro.cli(Arguments, args=args, prog="python -m policies.bench")
    result = chunk_latency.run(arguments.latency)
    if arguments.write:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "chunk_latency.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        (RESULTS / "chunk_latency.md").write_text(chunk_latency.format_markdown(result), encoding="utf-8")
    print(json.dumps(result, indent=2) if arguments.json else chunk_latency.format_text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())

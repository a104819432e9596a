"""`python -m policies.bench [NAME]`: run benchmarks of the policies, and write their pages when asked to."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from policies.benchmarks import (
    activation_noise,
    bag_conversion,
    chunk_latency,
    condition_cache,
    history_mixer,
    released_speed,
    remote,
    sphere_depth,
    two_modes,
)
from policies.benchmarks.activation_noise import NoiseSettings
from policies.benchmarks.bag_conversion import ConversionSettings
from policies.benchmarks.benchmark import Benchmark
from policies.benchmarks.chunk_latency import LatencySettings
from policies.benchmarks.condition_cache import CacheSettings
from policies.benchmarks.history_mixer import HistorySettings
from policies.benchmarks.released_speed import ReleasedSettings
from policies.benchmarks.remote import RemoteSettings
from policies.benchmarks.sphere_depth import SphereSettings
from policies.benchmarks.two_modes import TwoModesSettings

RESULTS = Path("docs/benchmarks")


@dataclass(frozen=True, slots=True)
class Arguments:
    """Run a benchmark of the policies and print its table.

    Attributes:
        name: chunk_latency (time for a chunk beside plain decoding), sphere_depth (what Ego3D is good for),
            two_modes (what diffusion is good for), condition_cache (what keeping RDT's conditions saves),
            history_mixer (what histories of the joints are good for, and cost), bag_conversion (how fast bags become
            datasets), remote (what asking over the network costs), activation_noise (how actions change with noise
            in the network), or released_speed (how fast networks of the released sizes answer, beside the floor).
        write: also write NAME.json and NAME.md into docs/benchmarks.
        json: print JSON instead of a table.
        latency: what chunk_latency measures.
        sphere: how much sphere_depth trains.
        modes: how much two_modes trains.
        cache: what condition_cache measures.
        history: what history_mixer trains and measures.
        conversion: what bag_conversion converts.
        remote: what remote asks.
        noise: what activation_noise measures.
        released: what released_speed measures.
    """

    name: Annotated[str, tyro.conf.Positional] = "chunk_latency"
    write: bool = False
    json: bool = False
    latency: LatencySettings = field(default_factory=LatencySettings)
    sphere: SphereSettings = field(default_factory=SphereSettings)
    modes: TwoModesSettings = field(default_factory=TwoModesSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    history: HistorySettings = field(default_factory=HistorySettings)
    conversion: ConversionSettings = field(default_factory=ConversionSettings)
    remote: RemoteSettings = field(default_factory=RemoteSettings)
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    released: ReleasedSettings = field(default_factory=ReleasedSettings)


BENCHMARKS = {
    "chunk_latency": Benchmark(
        lambda arguments: chunk_latency.run(arguments.latency), chunk_latency.format_text, chunk_latency.format_markdown
    ),
    "sphere_depth": Benchmark(
        lambda arguments: sphere_depth.run(arguments.sphere), sphere_depth.format_text, sphere_depth.format_markdown
    ),
    "two_modes": Benchmark(
        lambda arguments: two_modes.run(arguments.modes), two_modes.format_text, two_modes.format_markdown
    ),
    "condition_cache": Benchmark(
        lambda arguments: condition_cache.run(arguments.cache),
        condition_cache.format_text,
        condition_cache.format_markdown,
    ),
    "history_mixer": Benchmark(
        lambda arguments: history_mixer.run(arguments.history),
        history_mixer.format_text,
        history_mixer.format_markdown,
    ),
    "bag_conversion": Benchmark(
        lambda arguments: bag_conversion.run(arguments.conversion),
        bag_conversion.format_text,
        bag_conversion.format_markdown,
    ),
    "remote": Benchmark(lambda arguments: remote.run(arguments.remote), remote.format_text, remote.format_markdown),
    "activation_noise": Benchmark(
        lambda arguments: activation_noise.run(arguments.noise),
        activation_noise.format_text,
        activation_noise.format_markdown,
    ),
    "released_speed": Benchmark(
        lambda arguments: released_speed.run(arguments.released),
        released_speed.format_text,
        released_speed.format_markdown,
    ),
}


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = tyro.cli(Arguments, args=args, prog="python -m policies.bench")
    benchmark = BENCHMARKS.get(arguments.name)
    if benchmark is None:
        print(f"error: expected one of {', '.join(BENCHMARKS)}, found {arguments.name!r}", file=sys.stderr)
        return 1
    result = benchmark.run(arguments)
    if arguments.write:
        RESULTS.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, indent=2) + "\n"
        (RESULTS / f"{arguments.name}.json").write_text(text, encoding="utf-8")
        (RESULTS / f"{arguments.name}.md").write_text(benchmark.format_markdown(result), encoding="utf-8")
    print(json.dumps(result, indent=2) if arguments.json else benchmark.format_text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m sim.bench [NAME]`: run benchmarks of the simulation, and write their pages when asked to."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from policies.benchmarks.benchmark import Benchmark
from sim.benchmarks import (
    calibration,
    chunk_seams,
    encoder_benchmark,
    fused_things,
    low_rank_heads,
    new_robot,
    simulation_speed,
    success_detection,
)
from sim.benchmarks.calibration import CalibrationSettings
from sim.benchmarks.chunk_seams import SeamSettings
from sim.benchmarks.encoder_benchmark import EncoderSettings
from sim.benchmarks.fused_things import FusedSettings
from sim.benchmarks.low_rank_heads import HeadSettings
from sim.benchmarks.new_robot import NewRobotSettings
from sim.benchmarks.simulation_speed import SpeedSettings
from sim.benchmarks.success_detection import SuccessSettings

RESULTS = Path("docs/benchmarks")


@dataclass(frozen=True, slots=True)
class Arguments:
    """Run benchmarks of the simulation and print their tables.

    Attributes:
        name: simulation_speed (control steps per second beside other simulations), calibration, chunk_seams (how an arm
            passes from one chunk to the next), encoder_benchmark (what is made of encoders in three tasks),
            fused_things (things found by two cameras and by one), low_rank_heads (what a policy loses with a head of
            low rank), new_robot (what a robot that is new gains from others that have learned) or success_detection
            (whether a CLIP sees that an instruction has been carried out); all of them if left out.
        write: also write NAME.json and NAME.md, with its picture if it has one, into docs/benchmarks.
        json: print JSON instead of tables.
        speed: how long simulation_speed measures.
        calibration: how many calibrations, with how much noise.
        seams: how much chunk_seams trains and drives.
        encoders: how much encoder_benchmark draws and trains.
        fused: how much fused_things learns and looks.
        heads: how much low_rank_heads records and tries.
        success: how much success_detection drives and trains.
        new_robot: how much new_robot draws and trains.
    """

    name: Annotated[str, tyro.conf.Positional] = "all"
    write: bool = False
    json: bool = False
    speed: Annotated[SpeedSettings, tyro.conf.arg(name="")] = field(default_factory=SpeedSettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    seams: SeamSettings = field(default_factory=SeamSettings)
    encoders: EncoderSettings = field(default_factory=EncoderSettings)
    fused: FusedSettings = field(default_factory=FusedSettings)
    heads: HeadSettings = field(default_factory=HeadSettings)
    success: SuccessSettings = field(default_factory=SuccessSettings)
    new_robot: NewRobotSettings = field(default_factory=NewRobotSettings)


BENCHMARKS = {
    "simulation_speed": Benchmark(
        lambda arguments: simulation_speed.run(arguments.speed),
        simulation_speed.format_text,
        simulation_speed.format_markdown,
    ),
    "calibration": Benchmark(
        lambda arguments: calibration.run(arguments.calibration),
        calibration.format_text,
        calibration.format_markdown,
    ),
    "chunk_seams": Benchmark(
        lambda arguments: chunk_seams.run(arguments.seams), chunk_seams.format_text, chunk_seams.format_markdown
    ),
    "encoder_benchmark": Benchmark(
        lambda arguments: encoder_benchmark.run(arguments.encoders),
        encoder_benchmark.format_text,
        encoder_benchmark.format_markdown,
    ),
    "fused_things": Benchmark(
        lambda arguments: fused_things.run(arguments.fused), fused_things.format_text, fused_things.format_markdown
    ),
    "low_rank_heads": Benchmark(
        lambda arguments: low_rank_heads.run(arguments.heads),
        low_rank_heads.format_text,
        low_rank_heads.format_markdown,
    ),
    "new_robot": Benchmark(
        lambda arguments: new_robot.run(arguments.new_robot), new_robot.format_text, new_robot.format_markdown
    ),
    "success_detection": Benchmark(
        lambda arguments: success_detection.run(arguments.success),
        success_detection.format_text,
        success_detection.format_markdown,
        success_detection.draw,
    ),
}


def write(name: str, result: Mapping[str, Any], directory: Path) -> None:
    """Write a result as `NAME.json` and `NAME.md` into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    (directory / f"{name}.md").write_text(BENCHMARKS[name].format_markdown(result))
    if (draw := BENCHMARKS[name].draw) is not None:
        draw(result, directory / f"{name}.png")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = tyro.cli(Arguments, args=args, prog="python -m sim.bench")
    names = list(BENCHMARKS) if arguments.name == "all" else [arguments.name]
    results = {}
    try:
        for name in names:
            if name not in BENCHMARKS:
                raise ValueError(f"benchmark: expected one of {', '.join(BENCHMARKS)} or all, found {name!r}")
            results[name] = BENCHMARKS[name].run(arguments)
            if arguments.write:
                write(name, results[name], RESULTS)
            if not arguments.json:
                print(BENCHMARKS[name].format_text(results[name]))
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How many control steps per second the simulation makes with one RGB-D camera, beside robosuite and gym-aloha.

Every system runs in a process of its own, in turns within each repetition, with the same OpenGL backend, picture size
and cores. Software rendering is kept to one thread in all of them (`LP_NUM_THREADS`, see `sim.rendering`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from policies.machine import describe_machine, library_versions
from sim.environments import environment_python
from sim.episode_id import EpisodeId
from sim.gym_aloha.environment import REQUIREMENTS as GYM_ALOHA
from sim.rendering import PROFILES, OffscreenRenderer, choose_gl_backend
from sim.scene import Scene
from sim.simulation import TabletopSimulation

SCHEMA_VERSION = 1
SIZE = 224
FRAME_SIZES = ((96, 96), (224, 224), (640, 480))
PICTURED = EpisodeId("pick", "nominal", 1, 0, 0)
_STEP_RATE = Path(__file__).with_name("step_rate.py")
_TIME_LIMIT_S = 900


@dataclass(frozen=True, slots=True)
class Contestant:
    """One row of the comparison.

    Attributes:
        name: what it is called.
        system: which of `step_rate.SYSTEMS` it is.
        variant: see there.
        pictures: what is rendered at every control step.
        requirements: what its environment holds; none for ours, which runs where this runs.
    """

    name: str
    system: str
    variant: str
    pictures: str
    requirements: tuple[str, ...] = ()


# robosuite 1.5.2 compares joint types in a way that newer MuJoCo releases (3.17, for example) do not allow.
_ROBOSUITE = ("robosuite==1.5.2", "mujoco==3.3.7")
OURS = "polyarm, fast"
CONTESTANTS = (
    Contestant(OURS, "polyarm", "fast", "1 x 224x224 RGB-D"),
    Contestant("polyarm, quality", "polyarm", "quality", "1 x 224x224 RGB-D"),
    Contestant("robosuite Lift", "robosuite", "agentview", "1 x 224x224 RGB-D", _ROBOSUITE),
    Contestant("gym-aloha, one RGB-D camera", "gym_aloha", "matched", "1 x 224x224 RGB-D", GYM_ALOHA),
    Contestant("gym-aloha, as shipped", "gym_aloha", "shipped", "3 x 640x480 RGB", GYM_ALOHA),
)


@dataclass(frozen=True, slots=True)
class SpeedSettings:
    """How long to measure.

    Attributes:
        seconds: wall-clock time of each measurement.
        repetitions: measurements of each system, in turns, each with a seed of its own.
        environments: directory of the environments of the other simulations.
    """

    seconds: float = 7.0
    repetitions: int = 3
    environments: Path = Path(".bench")

    def __post_init__(self) -> None:
        if not self.seconds > 0 or self.repetitions < 1:
            raise ValueError(
                f"expected seconds > 0 and repetitions >= 1, found {self.seconds} s and {self.repetitions} repetitions"
            )


def run(settings: SpeedSettings) -> dict[str, Any]:
    """Measure everything.

    Returns:
        The result as plain data; `format_text` and `format_markdown` lay it out.

    Raises:
        RuntimeError: an environment cannot be installed, a system cannot be measured, or OpenGL is missing.
    """
    backend = choose_gl_backend()
    pythons = {contestant.name: _python(contestant, settings.environments) for contestant in CONTESTANTS}
    load = [os.getloadavg()]
    runs: dict[str, list[dict[str, Any]]] = {contestant.name: [] for contestant in CONTESTANTS}
    turns = [(seed, contestant) for seed in range(settings.repetitions) for contestant in CONTESTANTS]
    for seed, contestant in tqdm(turns, "step rates", unit="run", file=sys.stderr):
        runs[contestant.name].append(_measure(pythons[contestant.name], contestant, seed, settings.seconds))
    frames = frame_costs()
    load.append(os.getloadavg())
    return {
        "schema_version": SCHEMA_VERSION,
        "benchmark": "simulation_speed",
        "settings": {"seconds": settings.seconds, "repetitions": settings.repetitions, "size": SIZE},
        "machine": describe_machine(),
        "versions": library_versions(),
        "gl_backend": backend,
        "load_average": {"before": load[0], "after": load[1]},
        "systems": compare(runs),
        "frames": frames,
    }


def compare(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Summarise each contestant's measurements and divide ours by them.

    Args:
        runs: by name of the contestant, what `step_rate.py` printed in each repetition.

    Returns:
        One entry per contestant, with `steps_per_s` (median, min, max), `cpu_ms_per_step` (median; all threads),
        `render_share` of the wall-clock time, and `ratio` (`wall`, `cpu`): how many times faster ours is.
    """
    entries = [_summarise(contestant, runs[contestant.name]) for contestant in CONTESTANTS]
    ours = next(entry for entry in entries if entry["name"] == OURS)
    for entry in entries:
        entry["ratio"] = {
            "wall": ours["steps_per_s"]["median"] / entry["steps_per_s"]["median"],
            "cpu": entry["cpu_ms_per_step"] / ours["cpu_ms_per_step"],
        }
    return entries


def frame_costs(frames: int = 15) -> list[dict[str, Any]]:
    """Time single RGB-D pictures of our front camera over a laid table, by profile and size.

    Args:
        frames: pictures of each kind; the median counts.

    Returns:
        Entries with `profile`, `width`, `height`, `wall_ms` and `cpu_ms`.
    """
    simulation = TabletopSimulation()
    simulation.reset(PICTURED)
    scene = simulation.scene
    entries = []
    for profile in PROFILES:
        for width, height in FRAME_SIZES:
            with OffscreenRenderer(scene.model, width, height, profile) as renderer:
                samples = np.array([_time_frame(renderer, scene) for _ in range(frames + 2)])[2:]
            wall, cpu = np.median(samples, axis=0) * 1e3
            entries.append({"profile": profile, "width": width, "height": height, "wall_ms": wall, "cpu_ms": cpu})
    return entries


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for a terminal."""
    header, rows = _system_cells(result)
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    aligned = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [header, *rows]
    ]
    lines = [*aligned, "", _ratio_sentence(result), _conditions(result), "", "One RGB-D picture of the front camera:"]
    lines += [
        f"  {entry['profile']:<8} {entry['width']:>3} x {entry['height']:<3} {entry['wall_ms']:>7.1f} ms"
        f" ({entry['cpu_ms']:.1f} ms of processor time)"
        for entry in result["frames"]
    ]
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as the page `docs/benchmarks/simulation_speed.md`."""
    header, rows = _system_cells(result)
    frames = [
        [entry["profile"], f"{entry['width']} x {entry['height']}", f"{entry['wall_ms']:.1f}", f"{entry['cpu_ms']:.1f}"]
        for entry in result["frames"]
    ]
    versions = {
        name: text for entry in result["systems"] for name, text in entry["versions"].items() if name != "mujoco"
    }
    mujoco = {entry["name"]: entry["versions"]["mujoco"] for entry in result["systems"]}
    return _PAGE.format(
        sentence=_ratio_sentence(result),
        systems=_markdown_table(header, rows),
        frames=_markdown_table(["profile", "pixels", "ms", "processor ms"], frames),
        conditions=_conditions(result),
        versions=", ".join(f"{name} {text}" for name, text in sorted(versions.items())),
        mujoco=", ".join(f"{text} ({name})" for name, text in mujoco.items()),
        **result["settings"],
    )


def _python(contestant: Contestant, environments: Path) -> Path:
    if not contestant.requirements:
        return Path(sys.executable)
    return environment_python(environments / contestant.system, contestant.requirements)


def _measure(python: Path, contestant: Contestant, seed: int, seconds: float) -> dict[str, Any]:
    command = [str(python), str(_STEP_RATE), contestant.system, contestant.variant]
    command += ["--size", str(SIZE), "--seed", str(seed), "--seconds", str(seconds)]
    environment = dict(os.environ)
    if not contestant.requirements:
        environment["PYTHONPATH"] = str(_STEP_RATE.parents[2])
    try:
        process = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{contestant.name}: expected a result within {_TIME_LIMIT_S} s, found none") from None
    if process.returncode != 0:
        reason = "\n".join(process.stderr.strip().splitlines()[-5:])
        raise RuntimeError(f"{contestant.name}: could not be measured (exit status {process.returncode}):\n{reason}")
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return result


def _summarise(contestant: Contestant, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rates = [run["steps"] / run["seconds"] for run in runs]
    description = asdict(contestant)
    description["requirements"] = list(contestant.requirements)
    return description | {
        "steps_per_s": {"median": float(np.median(rates)), "min": min(rates), "max": max(rates)},
        "cpu_ms_per_step": 1e3 * float(np.median([run["cpu_seconds"] / run["steps"] for run in runs])),
        "render_share": float(np.median([run["render_seconds"] / run["seconds"] for run in runs])),
        "control_hz": runs[0]["control_hz"],
        "physics_steps": runs[0]["physics_steps"],
        "versions": runs[0]["versions"],
        "runs": list(runs),
    }


def _time_frame(renderer: OffscreenRenderer, scene: Scene) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    renderer.render(scene.data, "front")
    return time.perf_counter() - wall, time.process_time() - cpu


def _system_cells(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    header = ["system", "steps/s", "min .. max", "processor ms/step", "control Hz", "physics steps/step"]
    header += ["pictures/step", "rendering", "ours is faster by"]
    rows = []
    for entry in result["systems"]:
        rate = entry["steps_per_s"]
        rows.append(
            [
                entry["name"],
                f"{rate['median']:.2f}",
                f"{rate['min']:.2f} .. {rate['max']:.2f}",
                f"{entry['cpu_ms_per_step']:.1f}",
                f"{entry['control_hz']:g}",
                f"{entry['physics_steps']}",
                entry["pictures"],
                f"{100 * entry['render_share']:.0f} %",
                f"{entry['ratio']['wall']:.1f} x",
            ]
        )
    return header, rows


def _ratio_sentence(result: Mapping[str, Any]) -> str:
    others = [
        f"{entry['ratio']['wall']:.1f} times those of {entry['name']} ({entry['ratio']['cpu']:.1f} by processor time)"
        for entry in result["systems"]
        if entry["requirements"]
    ]
    return f"Control steps per second of {OURS}: {'; '.join(others)}."


def _conditions(result: Mapping[str, Any]) -> str:
    machine, load = result["machine"], result["load_average"]
    return (
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
        f"OpenGL through {result['gl_backend']}; load average {load['before'][0]:.1f} before and "
        f"{load['after'][0]:.1f} after."
    )


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_PAGE = """# Simulation speed

{sentence}

{systems}

{conditions} {repetitions} repetitions of {seconds:g} s each, in turns, with a seed per repetition; medians. Packages:
{versions}; MuJoCo {mujoco}.

How to read it:

- A control step is a command, the physics until the next command, and the pictures. The systems differ in how much
  physics that is: see control rate and physics steps per control step. Ours does the most per control step.
- Each system runs in a process of its own with moving targets; resets are not timed. All see the same cores and the
  same OpenGL backend, and where that renders in software, all render in one thread.
- robosuite renders with its defaults: meshes, textures, shadows. Its depth is left as it comes out of the depth buffer,
  where ours is converted to metres.
- gym-aloha renders three cameras of 640 x 480 in colour at every step, whatever observation size it is given, and
  offers no depth. The row "one RGB-D camera" replaces its observation by colour and depth of its camera `top` in
  224 x 224, everything else being its default, and is the one to compare with.
- `fast` (no shadows, multisampling or reflections) is what policies are trained and evaluated with; `quality` is for
  pictures that people look at.
- Processor time counts all threads of the process and hardly depends on what else the machine does; steps per second
  do. "Rendering" is the share of the wall-clock time spent on pictures.

One RGB-D picture of the front camera over a laid table:

{frames}

Run it again with `python -m sim.bench simulation_speed --write`, `--repetitions` and `--seconds` as told above. The
first time it installs robosuite and gym-aloha in environments of their own below `.bench/`, for which it needs the
network.
"""

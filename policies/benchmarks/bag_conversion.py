"""How fast bags become datasets: two RGB-D cameras, as `policies.data.convert` reads and writes them.

The bag is made here: pictures of a moving pattern with the noise of a sensor, depth with noise and holes, joint states
and commands, at the rates of a real arm. Times are of the whole command, reading from the page cache.
"""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.benchmarks.sensor_bag import SensorBag
from policies.data.convert import ConvertConfig, convert
from policies.execution.trajectory import hold
from policies.machine import describe_machine, library_versions
from policies.robots import get_robot
from representation.data.bag_writer import BagWriter, Compression

CAMERAS = ("front", "wrist")
INSTRUCTION = "put the cube into the box"
PATTERNS = 8  # different pictures, in turns
NOISE_LEVELS = 2.0  # standard deviation, of 255
NOISE_MM = 2.0
HOLES = 0.05  # share of the depth that is unknown, in blocks
HOLE_PX = 16
ASKED_TIMES_REAL_TIME = 5.0


@dataclass(frozen=True, slots=True)
class ConversionSettings:
    """What is converted.

    Attributes:
        seconds: length of the recording.
        height: of the pictures, pixels.
        width: of the pictures, pixels.
        camera_hz: pictures per second of each camera.
        joint_hz: joint states per second.
        fps: frames per second of the dataset.
        compression: of the bag.
        seed: draws the noise.
    """

    seconds: float = 30.0
    height: int = 480
    width: int = 640
    camera_hz: float = 30.0
    joint_hz: float = 100.0
    fps: float = 10.0
    compression: Compression = "lz4"
    seed: int = 0


def run(settings: ConversionSettings) -> dict[str, Any]:
    """Make a bag and convert it; `format_text` lays the result out."""
    with tempfile.TemporaryDirectory() as folder:
        bag, dataset = Path(folder) / "bag", Path(folder) / "dataset"
        size = write_bag(bag, settings)
        began = resource.getrusage(resource.RUSAGE_SELF)
        report = convert(ConvertConfig((bag,), dataset, cameras=CAMERAS, fps=settings.fps))
        ended = resource.getrusage(resource.RUSAGE_SELF)
        written = sum(file.stat().st_size for file in dataset.rglob("*") if file.is_file())
    return {
        "benchmark": "bag_conversion",
        "seconds": settings.seconds,
        "cameras": len(CAMERAS),
        "size": [settings.height, settings.width],
        "camera_hz": settings.camera_hz,
        "fps": settings.fps,
        "frames": report.frames,
        "bag_mb": size / 1e6,
        "dataset_mb": written / 1e6,
        "took_s": report.took_s,
        "load": os.getloadavg()[0],
        "cpu_s": ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime,
        "times_real_time": settings.seconds / report.took_s,
        "machine": describe_machine(),
        "versions": library_versions(),
    }


def write_bag(folder: Path, settings: ConversionSettings) -> int:
    """Record one episode of synthetic sensor data; returns the size of the file in bytes."""
    robot, generator = get_robot("panda"), np.random.default_rng(settings.seed)
    pictures = [_picture(settings, turn, generator) for turn in range(PATTERNS)]
    writer = BagWriter(folder, settings.compression)
    bag = SensorBag(writer, robot)
    bag.text("/instruction", INSTRUCTION, 0.0)
    for camera in CAMERAS:
        bag.mount(camera, 0.0)
    bag.joints(robot.home, 0.0)
    bag.command(hold(robot.home, 0.0), 0.0)
    bag.mark("start", INSTRUCTION, 0.0)
    times = [(step / settings.joint_hz, "joints", step) for step in range(round(settings.seconds * settings.joint_hz))]
    times += [
        (step / settings.camera_hz, "pictures", step) for step in range(round(settings.seconds * settings.camera_hz))
    ]
    for time, what, step in sorted(times):
        if what == "joints":
            bag.joints(robot.home, time)
            continue
        for camera in CAMERAS:
            bag.picture(camera, *pictures[step % PATTERNS], time)
    bag.mark("success", INSTRUCTION, settings.seconds)
    size = writer.size
    writer.close()
    return size


def _picture(
    settings: ConversionSettings, turn: int, generator: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    rows, columns = np.mgrid[: settings.height, : settings.width]
    colour = np.stack([rows % 256, columns % 256, (rows + columns) // 4 % 256], axis=-1).astype(np.float64)
    place = 10 * turn
    colour[100 + place : 200 + place, 150 + place : 260 + place] = (200, 40, 30)
    colour += generator.normal(scale=NOISE_LEVELS, size=colour.shape)
    depth = 600.0 + 0.5 * rows + generator.normal(scale=NOISE_MM, size=rows.shape)
    blocks = generator.random((settings.height // HOLE_PX + 1, settings.width // HOLE_PX + 1)) < HOLES
    depth[blocks.repeat(HOLE_PX, 0).repeat(HOLE_PX, 1)[: settings.height, : settings.width]] = 0
    return colour.clip(0, 255).astype(np.uint8), depth.astype(np.uint16)


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for people."""
    height, width = result["size"]
    machine = result["machine"]
    return "\n".join(
        [
            f"{result['seconds']:g} s of {result['cameras']} RGB-D cameras, {width} x {height} at "
            f"{result['camera_hz']:g} Hz, {result['bag_mb']:.0f} MB",
            f"{result['frames']} frames at {result['fps']:g} Hz, {result['dataset_mb']:.0f} MB",
            f"took {result['took_s']:.1f} s, {result['times_real_time']:.1f} times real time, on {machine['cpu']} with "
            f"{machine['cores']} cores and {result['load']:.1f} processes that want them",
            f"processor time: {result['cpu_s'] / result['seconds']:.2f} s for a second of recording",
            f"{'yes' if result['times_real_time'] >= ASKED_TIMES_REAL_TIME else 'NO'}: at least "
            f"{ASKED_TIMES_REAL_TIME:g} times real time is asked for",
        ]
    )


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as a page."""
    return (
        "# From bag to dataset\n\nThe command `python -m policies.data.convert` on a synthetic recording with sensor "
        f"noise. {ASKED_TIMES_REAL_TIME:g} times real time is aimed at; the last line tells whether it is reached. "
        "On a busy machine only the processor time says something.\n\n"
        f"```\n{format_text(result)}\n```\n\nRun it again with "
        f"`python -m policies.bench bag_conversion --write --conversion.seconds {result['seconds']:g}`.\n"
    )

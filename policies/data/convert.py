"""Turn bags of demonstrations into a LeRobot dataset (format v3.0): `python -m policies.data.convert --help`.

Episodes are cut where the recording has marks; discarded and unfinished ones are left out, as are those whose
frames do not come at the asked rate. Observations are those that the policy's node would have made.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from policies.calibration.camera_parameters import read_camera_parameters
from policies.data.bag_episodes import BagEpisodes, EpisodeEnd, EpisodeFrame, EpisodeStart
from policies.data.demonstration_frames import action_towards, features, frame
from policies.execution.kinematics import Kinematics
from policies.execution.observation_sync import SyncConfig
from policies.interface import Observation
from policies.robots import get_drivers, get_robot
from policies.robots.spec import RobotSpec
from representation.data.lerobot_writer import LeRobotWriter

Actions = Literal["commanded", "measured"]


@dataclass(frozen=True, slots=True)
class ConvertConfig:
    """Turn bags into a LeRobot dataset.

    Attributes:
        bags: directories or MCAP files, whole or cut off.
        output: directory of the new dataset.
        robot: name of the robot, or its YAML file.
        cameras: names of the cameras.
        fps: frames per second; the robot's control rate if left out.
        actions: where the command led the arm (commanded), or where it was one frame later (measured).
        keep_failures: also keep episodes that were marked as failures.
        rate_tolerance: share by which the rate of an episode's frames may differ from `fps`; others are left out.
        max_gap_s: episodes with a longer time between two frames are left out, seconds.
        small: encode colour to half the size, which takes three times as long.
        calibration: parameter files of the policy's node that tell mounts and latencies of cameras, as calibrations
            write them; use those of the policy's node.
        namespace: of the robot's topics.
        sync: tolerances of the synchroniser; use those of the policy's node.
        json: print the report as JSON.
    """

    bags: Annotated[tuple[Path, ...], tyro.conf.Positional]
    output: Path
    robot: str = "panda"
    cameras: tuple[str, ...] = ("front", "wrist")
    fps: float | None = None
    actions: Actions = "commanded"
    keep_failures: bool = False
    rate_tolerance: float = 0.05
    max_gap_s: float = 0.5
    small: bool = False
    calibration: tuple[Path, ...] = ()
    namespace: str = ""
    sync: SyncConfig = field(default_factory=SyncConfig)
    json: bool = False


@dataclass(slots=True)
class Report:
    """What became of some bags.

    Attributes:
        episodes: in the dataset.
        frames: in the dataset.
        left_out: why episodes are not in it, in the order of the bags.
        problems: what was wrong with bags and messages.
        recorded_s: duration of the recordings.
        took_s: duration of the conversion.
    """

    episodes: int = 0
    frames: int = 0
    left_out: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    recorded_s: float = 0.0
    took_s: float = 0.0


class _Output:
    """The dataset, made when the sizes of the pictures are known."""

    def __init__(self, config: ConvertConfig, robot: RobotSpec, fps: float) -> None:
        self._config, self._robot, self._fps = config, robot, fps
        self._kinematics = Kinematics(robot)
        self._writer: LeRobotWriter | None = None
        self._held: tuple[Observation, NDArray[np.float64]] | None = None
        self._instruction = ""
        self._stamps: list[float] = []
        self._led = False

    def begin(self, instruction: str) -> None:
        self._instruction, self._stamps, self._held, self._led = instruction, [], None, False

    def add(self, entry: EpisodeFrame) -> None:
        """Write the frame before this one: whether a frame is the last is known when the next one comes."""
        target = entry.measured if self._config.actions == "measured" else entry.target
        self._led |= target is not None
        if target is None:  # nobody has commanded anything yet: the arm holds
            target = entry.observation.joint_positions
        self._write_held(success=False)
        self._stamps.append(entry.observation.stamp)
        self._held = (entry.observation, action_towards(target, entry.observation, self._kinematics))

    def end(self, entry: EpisodeEnd) -> str:
        """Save the episode; returns why it is left out instead."""
        reason = self._unwanted(entry)
        if not reason:
            self._write_held(success=entry.event == "success")
            self._writer.save_episode()
        elif self._writer is not None:
            self._writer.discard_episode()
        return reason

    def finish(self) -> None:
        """Complete the dataset; one without episodes is removed."""
        if self._writer is None:
            return
        if self._writer.num_episodes:
            self._writer.finalize()
        else:
            self.abandon()

    def abandon(self) -> None:
        """Leave no dataset behind."""
        if self._writer is not None:
            self._writer.discard_episode()
            shutil.rmtree(self._writer.root)

    @property
    def frames(self) -> int:
        """Frames of the running episode."""
        return len(self._stamps)

    def _write_held(self, success: bool) -> None:
        if self._held is None:
            return
        observation, action = self._held
        if self._writer is None:
            sizes = {name: view.rgb.shape[:2] for name, view in observation.cameras.items()}
            columns = features(sizes, self._robot)
            self._writer = LeRobotWriter(
                self._config.output, self._fps, columns, self._robot.name, fast=not self._config.small
            )
        self._writer.add_frame(frame(observation, action, success), self._instruction)

    def _unwanted(self, entry: EpisodeEnd) -> str:
        if entry.event is None:
            return "unfinished: the recording ended, or stamps jumped back, before a mark"
        if entry.event == "discard" or (entry.event == "failure" and not self._config.keep_failures):
            return f"marked as {entry.event}"
        if len(self._stamps) < 2:
            return f"expected at least 2 observations, found {len(self._stamps)}"
        if not self._led:
            return "expected commands for the arm, found none; convert with --actions measured"
        spacing = np.diff(self._stamps)
        if spacing.max() > self._config.max_gap_s:
            return f"expected no gap over {self._config.max_gap_s:g} s, found {spacing.max():.2f} s"
        rate = 1.0 / float(np.median(spacing))
        if abs(rate / self._fps - 1.0) > self._config.rate_tolerance:
            return f"expected frames at {self._fps:g} Hz, found {rate:.2f} Hz: choose an fps that divides the cameras'"
        return ""


def convert(config: ConvertConfig, progress: bool = False) -> Report:
    """Convert all bags; see `ConvertConfig`.

    Raises:
        FileNotFoundError: no such calibration file.
        ValueError: a bag or a calibration is damaged, the output exists, or no episode is left.
    """
    robot = get_robot(config.robot)
    fps = config.fps or robot.control_hz
    calibrations = read_camera_parameters(config.calibration, config.cameras, config.namespace)
    report, output = Report(), _Output(config, robot, fps)
    began = time.perf_counter()
    try:
        for path in tqdm(config.bags, unit="bag", disable=not progress):
            entries = BagEpisodes(
                path,
                robot,
                get_drivers(config.robot),
                config.cameras,
                config.sync,
                fps,
                config.namespace,
                calibrations,
            )
            _convert_bag(path, entries, output, report)
    except BaseException:
        output.abandon()
        raise
    output.finish()
    report.took_s = time.perf_counter() - began
    if not report.episodes:
        why = "; ".join([*report.left_out, *report.problems]) or "no episode is marked"
        raise ValueError(f"bags: expected at least one episode to keep, found none: {why}")
    return report


def _convert_bag(path: Path, entries: BagEpisodes, output: _Output, report: Report) -> None:
    for entry in entries:
        if isinstance(entry, EpisodeStart):
            output.begin(entry.instruction)
        elif isinstance(entry, EpisodeFrame):
            output.add(entry)
        elif reason := output.end(entry):
            report.left_out.append(f"{path}: {reason}")
        else:
            report.episodes += 1
            report.frames += output.frames
    counts = entries.counts
    report.recorded_s += (counts.last_ns - counts.first_ns) * 1e-9
    report.problems += [f"{path}: {entries.reader.cut}"] if entries.reader.cut else []
    report.problems += [f"{path}: stamps jumped back {counts.rewinds} times"] if counts.rewinds else []
    for topic, count in counts.refused.items():
        report.problems.append(f"{path}: {topic}: {count} messages refused, the last: {counts.reasons[topic]}")


def format_text(report: Report) -> str:
    """Lay a report out for people."""
    speed = report.recorded_s / max(report.took_s, 1e-9)
    lines = [f"{report.episodes} episodes, {report.frames} frames"]
    lines += [f"left out: {reason}" for reason in report.left_out]
    lines += [f"problem: {problem}" for problem in report.problems]
    lines.append(f"{report.recorded_s:.1f} s of recording in {report.took_s:.1f} s ({speed:.1f} times real time)")
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    config = tyro.cli(ConvertConfig, args=args, prog="python -m policies.data.convert", description=__doc__)
    try:
        report = convert(config, progress=True)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(report), indent=2) if config.json else format_text(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())

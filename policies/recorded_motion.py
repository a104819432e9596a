"""`RecordedMotion`: a policy that leads the arm along recorded joint positions, the last of them again and again.

It needs hardly any time and does not look at its pictures, so the graph around a policy can be tried with it: motion
that is known, with any cameras. A directory of it holds `config.json` and `motion.safetensors`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from policies.interface import ActionChunk, Observation
from policies.robots import get_robot

MODEL_TYPE = "recorded_motion"
CHUNK_LENGTH = 16
# The arm is led back to the motion at this speed where it has left it.
MAX_RATE = 1.0  # rad/s
LOST_RAD = 0.1  # further from where it ought to be, the motion goes on where it is nearest
GRIPPER_WEIGHT = 5.0  # rad/m, in the distance that says what is nearest


@dataclass(frozen=True, slots=True)
class MotionConfig:
    """What belongs to a recorded motion beside its rows.

    Attributes:
        robot: name of the robot.
        cameras: names of the cameras that the policy asks for.
        control_hz: rows per second.
        loop_start: row that follows the last one.
    """

    robot: str
    cameras: tuple[str, ...]
    control_hz: float
    loop_start: int


class RecordedMotion:
    """Answers with the rows that follow the one where the arm is.

    Args:
        config: robot, cameras, rate and loop.
        positions: (T, n) rad (m), where the joints were; kept as an attribute, as are the targets.
        targets: (T, n) rad (m), where they were led: what a gripper holds keeps it from where it is led.

    Raises:
        ValueError: rows that do not fit the robot or the loop.
    """

    chunk_length = CHUNK_LENGTH

    def __init__(self, config: MotionConfig, positions: NDArray[np.float64], targets: NDArray[np.float64]) -> None:
        self.config = config
        self.robot = config.robot
        self.cameras = tuple(config.cameras)
        self.control_hz = config.control_hz
        self._spec = get_robot(config.robot)
        count = len(self._spec.joint_names)
        for name, rows in (("positions", positions), ("targets", targets)):
            if rows.ndim != 2 or rows.shape[1] != count or not len(rows) or not np.isfinite(rows).all():
                raise ValueError(f"{name}: expected (T, {count}) finite values, found {rows.shape}")
        if len(positions) != len(targets) or not 0 <= config.loop_start < len(positions):
            raise ValueError(
                f"loop_start: expected a row of {len(positions)} positions and as many targets, found "
                f"{config.loop_start} of {len(targets)} targets"
            )
        if not config.control_hz > 0:
            raise ValueError(f"control_hz: expected > 0, found {config.control_hz}")
        self.positions = np.asarray(positions, dtype=np.float64)
        self.targets = np.asarray(targets, dtype=np.float64)
        self._row = 0.0
        self._stamp: float | None = None

    @classmethod
    def from_pretrained(cls, directory: str | Path, device: str = "cpu") -> RecordedMotion:
        """Load from a directory; the device does not matter.

        Raises:
            ValueError: a file that is not as expected; names it.
            FileNotFoundError: a file is missing.
        """
        path = Path(directory) / "config.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("model_type", None)
        try:
            config = MotionConfig(**(content | {"cameras": tuple(content["cameras"])}))
            rows = load_file(Path(directory) / "motion.safetensors")
            return cls(config, rows["positions"], rows["targets"])
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise ValueError(f"{directory}: expected a recorded motion: {error}") from error

    def save_pretrained(self, directory: str | Path) -> None:
        """Write the files that `from_pretrained` reads."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        content = {"model_type": MODEL_TYPE, **asdict(self.config)}
        (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        save_file({"positions": self.positions, "targets": self.targets}, folder / "motion.safetensors")

    def reset(self, seed: int | None = None) -> None:
        """Begin where the arm is nearest."""
        self._stamp = None

    def act(self, observation: Observation) -> ActionChunk:
        """Return the rows that follow; an arm that is elsewhere is led there at `MAX_RATE`."""
        self._find(observation)
        ahead = np.arange(1, self.chunk_length + 1)
        rows = self._between_rows(self.targets, self._row + ahead)
        arm, measured = self._spec.arm_joints, observation.joint_positions
        reach = MAX_RATE / self.control_hz * ahead[:, None]
        rows[:, arm] = measured[arm] + np.clip(rows[:, arm] - measured[arm], -reach, reach)
        return ActionChunk(observation.stamp, 1 / self.control_hz, "joint", rows)

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Answer the observations one after the other."""
        return [self.act(observation) for observation in observations]

    def _find(self, observation: Observation) -> None:
        """Go on by the time since the last observation, or begin anew where the arm is nearest."""
        known, self._stamp = self._stamp, observation.stamp
        if known is not None and observation.stamp >= known:
            self._row += (observation.stamp - known) * self.control_hz
            here = self._between_rows(self.positions, np.array([self._row]))[0]
            arm = self._spec.arm_joints
            if np.abs(observation.joint_positions - here)[arm].max() <= LOST_RAD:
                return
        away = observation.joint_positions - self.positions
        away[:, self._spec.grippers] *= GRIPPER_WEIGHT
        self._row = float(np.argmin((away**2).sum(axis=1)))

    def _between_rows(self, rows: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows (K, n) at fractional places (K,), after any number of rounds."""
        below = np.floor(places).astype(int)
        share = (places - below)[:, None]
        return (1 - share) * rows[self._wrapped(below)] + share * rows[self._wrapped(below + 1)]

    def _wrapped(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        start = self.config.loop_start
        return np.where(places < start, places, start + (places - start) % (len(self.positions) - start))

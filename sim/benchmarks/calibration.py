"""How well a camera's mount is recovered from pictures of a simulated board, beside OpenCV's closed forms.

Every seed draws another mount, another board place and other poses; image noise, lens blur and joint noise are added.
All methods get the same detected corners and the same reported joints. The Python of OpenCV 5.0.0 has no closed forms;
there ours stands alone. Lens and latency are measured as the guided sessions do, until nothing is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from policies.calibration.hand_eye import HandEyeView, Setup, calibrate_hand_eye, carriers
from policies.calibration.intrinsics import WANTED_VIEWS, calibrate_intrinsics, missing_views
from policies.calibration.latency import estimate_latency
from policies.calibration.pose_diversity import LEAST_POSES, WANTED_POSES, distance
from policies.calibration.sessions import LATENCY_RECORDING_S
from policies.machine import describe_machine
from sim.calibration_scene import CalibrationNoise, CalibrationScene

OURS = "ours"
CLOSED_FORMS = ("Tsai", "Park", "Daniilidis")
LIMIT_MM, LIMIT_DEG = 2.0, 0.2
FEW_POSES = 15
ASIDE_M, MOST_VIEWS = 0.16, 80  # of the views for a lens: the board is shown in every part of the image
CAMERA_HZ, JOINTS_HZ = 10.0, 100.0
SWING_RAD, SWING_HZ, SWINGING_JOINT = 0.06, 1.0, 6
LATENCIES_S = (0.02, 0.12)


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """What is measured.

    Attributes:
        poses: views of each calibration of a mount.
        seeds: calibrations of each set-up.
        noise: what a real set-up adds.
    """

    poses: tuple[int, ...] = (FEW_POSES, WANTED_POSES)
    seeds: int = 3
    noise: CalibrationNoise = field(default_factory=CalibrationNoise)

    def __post_init__(self) -> None:
        if min(self.poses, default=0) < LEAST_POSES or self.seeds < 1:
            raise ValueError(
                f"poses, seeds: expected at least {LEAST_POSES} and 1, found {list(self.poses)}, {self.seeds}"
            )


def run(settings: CalibrationSettings) -> dict[str, Any]:
    """Calibrate every set-up and seed by every method that there is, and a lens and a latency for each seed."""
    seeds = range(settings.seeds)
    rows = [row for setup in get_args(Setup) for seed in seeds for row in _measure(setup, settings, seed)]
    return {
        "benchmark": "calibration",
        "poses": list(settings.poses),
        "noise": {
            "pixel": settings.noise.pixel,
            "blur_px": settings.noise.blur_px,
            "joint_deg": settings.noise.joint_deg,
        },
        "rows": rows,
        "intrinsics": [_lens(settings.noise, seed) for seed in seeds],
        "latency": [_latency(settings.noise, seed) for seed in seeds],
        "machine": describe_machine(),
        "opencv": cv2.__version__,
    }


def _measure(setup: Setup, settings: CalibrationSettings, seed: int) -> list[dict[str, Any]]:
    """One row for each number of poses; fewer are the first of more."""
    with CalibrationScene(setup, settings.noise, seed) as scene:
        views = []
        for q, rgb in scene.views(max(settings.poses)):
            views.append(HandEyeView.at(scene.board.detect(rgb), scene.kinematics, scene.reported(q), scene.tool_frame))
        return [
            {"setup": setup, "seed": seed, "poses": count, **_errors(scene, views[:count])} for count in settings.poses
        ]


def _errors(scene: CalibrationScene, views: Sequence[HandEyeView]) -> dict[str, Any]:
    no_distortion = np.zeros(5)
    joint_deg = max(scene.noise.joint_deg, 1e-3)
    result = calibrate_hand_eye(scene.board, views, scene.matrix, no_distortion, scene.setup, joint_deg)
    seen = np.array([scene.board.pose(view.detection, scene.matrix, no_distortion) for view in views])
    moving = carriers(np.array([view.base_from_tool for view in views]), scene.setup)
    mounts = {OURS: result.parent_from_camera}
    if hasattr(cv2, "calibrateHandEye"):
        mounts |= {name: _closed_form(name, moving, seen) for name in CLOSED_FORMS}
    errors = {name: distance(mount, scene.parent_from_camera) for name, mount in mounts.items()}
    return {
        "rms_px": result.rms_px,
        "errors": {name: {"mm": 1e3 * metres, "deg": degrees} for name, (metres, degrees) in errors.items()},
    }


def _closed_form(name: str, moving: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
    method = getattr(cv2, f"CALIB_HAND_EYE_{name.upper()}")
    solve = getattr(cv2, "calibrateHandEye")  # noqa: B009, the type stubs of OpenCV 5 lack it
    rotation, place = solve(moving[:, :3, :3], moving[:, :3, 3], seen[:, :3, :3], seen[:, :3, 3], method=method)
    mount = np.eye(4)
    mount[:3, :3], mount[:3, 3] = rotation, place.ravel()
    return mount


def _lens(noise: CalibrationNoise, seed: int) -> dict[str, Any]:
    """Errors of a lens without distortion, from as many views as the guide asks for.

    Raises:
        RuntimeError: `MOST_VIEWS` do not show the board everywhere.
    """
    with CalibrationScene("eye_in_hand", noise, seed) as scene:
        detections: list = []
        for _, rgb in scene.views(MOST_VIEWS, ASIDE_M):
            detections.append(scene.board.detect(rgb))
            if not missing_views(scene.board, detections, rgb.shape[:2]):
                break
        else:
            raise RuntimeError(f"lens: expected the board everywhere within {MOST_VIEWS} views, found gaps")
        found = calibrate_intrinsics(scene.board, detections, rgb.shape[:2])
        wrong = found.intrinsics.matrix - scene.matrix
        focal = np.abs(np.diag(wrong)[:2] / np.diag(scene.matrix)[:2])
    return {
        "seed": seed,
        "views": len(detections),
        "focal_percent": 100 * float(focal.max()),
        "centre_px": float(np.abs(wrong[:2, 2]).max()),
    }


def _latency(noise: CalibrationNoise, seed: int) -> dict[str, Any]:
    """Error of a latency from the pictures of a camera on a hand whose last joint turns to and fro."""
    with CalibrationScene("eye_in_hand", noise, seed) as scene:
        latency_s = float(scene.rng.uniform(*LATENCIES_S))
        start, _ = next(scene.views(1))

        def joints(time: float) -> NDArray[np.float64]:
            q = start.copy()
            q[SWINGING_JOINT] += SWING_RAD * np.sin(2 * np.pi * SWING_HZ * time)
            return q

        captured = 0.5 + np.arange(0.0, LATENCY_RECORDING_S, 1 / CAMERA_HZ)
        seen = [(time, scene.board.detect(scene.picture(joints(time)))) for time in captured]
        shown = [(time + latency_s, detection) for time, detection in seen if detection is not None]
        joint_stamps = np.arange(0.0, captured[-1] + 1.0, 1 / JOINTS_HZ)
        positions = np.array([scene.reported(joints(time)) for time in joint_stamps])
        found = estimate_latency([stamp for stamp, _ in shown], [shows for _, shows in shown], joint_stamps, positions)
    return {"seed": seed, "latency_ms": 1e3 * latency_s, "error_ms": 1e3 * abs(found.latency_s - latency_s)}


def format_text(result: Mapping[str, Any]) -> str:
    """One row per set-up, seed and number of poses, one per lens, and one per latency."""
    noise = result["noise"]
    names = list(result["rows"][0]["errors"])
    lines = [
        f"error of the mount, mm / degrees; joint noise {noise['joint_deg']} degrees, pixel noise {noise['pixel']} of "
        f"255, blur {noise['blur_px']} px",
        f"{'set-up':12} seed poses  " + "  ".join(f"{name:>14}" for name in names),
    ]
    for poses in result["poses"]:
        rows = [row for row in result["rows"] if row["poses"] == poses]
        for row in rows:
            cells = (f"{row['errors'][name]['mm']:.2f} / {row['errors'][name]['deg']:.3f}" for name in names)
            figures = "  ".join(f"{cell:>14}" for cell in cells)
            lines.append(f"{row['setup']:12} {row['seed']:4} {poses:5}  {figures}")
        within = [row["errors"][OURS]["mm"] <= LIMIT_MM and row["errors"][OURS]["deg"] <= LIMIT_DEG for row in rows]
        lines.append(
            f"ours within {LIMIT_MM:g} mm and {LIMIT_DEG:g} degrees with {poses} poses: {sum(within)} of {len(within)}"
        )
    lines += [
        f"lens, seed {row['seed']}, {row['views']} views: focal length {row['focal_percent']:.2f} % wrong, "
        f"centre {row['centre_px']:.2f} px"
        for row in result["intrinsics"]
    ]
    lines += [
        f"latency, seed {row['seed']}: of {row['latency_ms']:.1f} ms {row['error_ms']:.2f} ms wrong"
        for row in result["latency"]
    ]
    machine = result["machine"]
    lines.append(f"OpenCV {result['opencv']}; {machine['cpu']}, {machine['cores']} cores")
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """The page `docs/benchmarks/calibration.md`."""
    return f"""# Calibration of cameras

A simulated Panda, a textured ChArUco board of 7 x 5 squares of 30 mm, pictures of 640 x 480. Each seed has another
mount, board place and set of poses. Ours weighs corners by what the joints' noise does to them; the closed forms are
OpenCV's alone, from the same corners and joints. `calibrate_cameras` asks for {WANTED_POSES} poses by default. The lens
has no distortion; it takes the {WANTED_VIEWS} or more views that the guide asks for. The latency is that of a camera of
{CAMERA_HZ:g} Hz, over {LATENCY_RECORDING_S:g} s in which one joint turns to and fro, with the same noise of the joints.

```
{format_text(result)}
```

Run it again with `python -m sim.bench calibration --write`. The closed forms need an OpenCV whose Python has
`calibrateHandEye` (4.x): `pip install --target DIRECTORY 'opencv-python-headless<5'`, and put DIRECTORY first on
PYTHONPATH.
"""

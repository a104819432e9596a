"""How well a camera's mount is recovered from pictures of a simulated board, beside OpenCV's closed forms.

Every seed draws another mount, another board place and other poses; image noise, lens blur and joint noise are added.
All methods get the same detected corners and the same reported joints. The Python of OpenCV 5.0.0 has no closed forms;
there ours stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from policies.calibration.hand_eye import HandEyeView, Setup, calibrate_hand_eye, carriers
from policies.calibration.pose_diversity import distance
from policies.machine import describe_machine
from sim.calibration_scene import CalibrationNoise, CalibrationScene

OURS = "ours"
CLOSED_FORMS = ("Tsai", "Park", "Daniilidis")
LIMIT_MM, LIMIT_DEG = 2.0, 0.2


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """What is measured.

    Attributes:
        poses: views of each calibration.
        seeds: calibrations of each set-up.
        noise: what a real set-up adds.
    """

    poses: int = 40
    seeds: int = 3
    noise: CalibrationNoise = field(default_factory=CalibrationNoise)

    def __post_init__(self) -> None:
        if self.poses < 6 or self.seeds < 1:
            raise ValueError(f"poses, seeds: expected at least 6 and 1, found {self.poses}, {self.seeds}")


def run(settings: CalibrationSettings) -> dict[str, Any]:
    """Calibrate every set-up and seed by every method that there is."""
    rows = [_measure(setup, settings, seed) for setup in get_args(Setup) for seed in range(settings.seeds)]
    return {
        "benchmark": "calibration",
        "poses": settings.poses,
        "noise": {
            "pixel": settings.noise.pixel,
            "blur_px": settings.noise.blur_px,
            "joint_deg": settings.noise.joint_deg,
        },
        "rows": rows,
        "machine": describe_machine(),
        "opencv": cv2.__version__,
    }


def _measure(setup: Setup, settings: CalibrationSettings, seed: int) -> dict[str, Any]:
    no_distortion = np.zeros(5)
    with CalibrationScene(setup, settings.noise, seed) as scene:
        views = []
        for q, rgb in scene.views(settings.poses):
            views.append(HandEyeView.at(scene.board.detect(rgb), scene.kinematics, scene.reported(q), scene.tool_frame))
        result = calibrate_hand_eye(
            scene.board, views, scene.matrix, no_distortion, setup, max(settings.noise.joint_deg, 1e-3)
        )
        seen = np.array([scene.board.pose(view.detection, scene.matrix, no_distortion) for view in views])
        moving = carriers(np.array([view.base_from_tool for view in views]), setup)
        mounts = {OURS: result.parent_from_camera}
        if hasattr(cv2, "calibrateHandEye"):
            mounts |= {name: _closed_form(name, moving, seen) for name in CLOSED_FORMS}
        errors = {name: distance(mount, scene.parent_from_camera) for name, mount in mounts.items()}
    return {
        "setup": setup,
        "seed": seed,
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


def format_text(result: Mapping[str, Any]) -> str:
    """One row per set-up and seed."""
    noise = result["noise"]
    names = list(result["rows"][0]["errors"])
    lines = [
        f"error of the mount, mm / degrees; {result['poses']} poses; joint noise {noise['joint_deg']} degrees, "
        f"pixel noise {noise['pixel']} of 255, blur {noise['blur_px']} px",
        f"{'set-up':12} seed  " + "  ".join(f"{name:>14}" for name in names),
    ]
    for row in result["rows"]:
        cells = (f"{row['errors'][name]['mm']:.2f} / {row['errors'][name]['deg']:.3f}" for name in names)
        lines.append(f"{row['setup']:12} {row['seed']:4}  " + "  ".join(f"{cell:>14}" for cell in cells))
    within = [r["errors"][OURS]["mm"] <= LIMIT_MM and r["errors"][OURS]["deg"] <= LIMIT_DEG for r in result["rows"]]
    lines.append(f"ours within {LIMIT_MM:g} mm and {LIMIT_DEG:g} degrees: {sum(within)} of {len(within)}")
    machine = result["machine"]
    lines.append(f"OpenCV {result['opencv']}; {machine['cpu']}, {machine['cores']} cores")
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """The page `docs/benchmarks/calibration.md`."""
    return f"""# Hand-eye calibration

A simulated Panda, a textured ChArUco board of 7 x 5 squares of 30 mm, pictures of 640 x 480. Each seed has another
mount, board place and set of poses. Ours weighs corners by what the joints' noise does to them; the closed forms are
OpenCV's alone, from the same corners and joints.

```
{format_text(result)}
```

Run it again with `python -m sim.bench calibration --write`. The closed forms need an OpenCV whose Python has
`calibrateHandEye` (4.x): `pip install --target DIRECTORY 'opencv-python-headless<5'`, and put DIRECTORY first on
PYTHONPATH.
"""

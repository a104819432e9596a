"""The golden pictures of the tabletop: `python -m tests.sim.golden_tabletop` takes them anew.

To be run where a change of the scene's looks is meant, and the pictures to be looked at before they are committed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from policies.interface import CameraView
from sim.episode_id import EpisodeId
from sim.rendering import PROFILES
from sim.simulation import SimulationConfig, TabletopSimulation

EPISODE = EpisodeId("place", "nominal", severity=1, index=9, seed=7)
CAMERA, SIZE = "front", 224


def golden_file(profile: str) -> Path:
    """The golden picture of a rendering profile."""
    return Path(__file__).parent / "golden" / f"tabletop_{profile}.png"


def take(profile: str) -> tuple[CameraView, np.ndarray]:
    """The start of `EPISODE` in a rendering profile, and the centres of its objects, (N, 3) metres."""
    simulation = TabletopSimulation(SimulationConfig(profile=profile, cameras=(CAMERA,), width=SIZE, height=SIZE))
    try:
        simulation.reset(EPISODE)
        scene = simulation.scene
        centres = np.array([scene.object_position(slot) for slot in range(len(scene.layout.objects))])
        return simulation.observe().cameras[CAMERA], centres
    finally:
        simulation.close()


def main() -> None:
    """Take the picture of each profile."""
    for profile in PROFILES:
        view, _ = take(profile)
        Image.fromarray(view.rgb).save(golden_file(profile), optimize=True)
        print(golden_file(profile))


if __name__ == "__main__":
    main()

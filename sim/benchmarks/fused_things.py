"""Are things found better by two cameras whose evidence is fused than by one, and by a monoid than by a mean?

Tables of the Panda, by the simulator's own pictures. An encoder learns from drawn tables what every pixel shows; a
fuser learns from drawn sights. Both then see tables that neither has learned from: the arm stands in some poses about
its home, and at each the camera that stands still and the one that the arm carries take a picture. What is told of
where things are is compared with where the simulator has them. Kinds of which a table has several are left out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from policies.machine import describe_machine
from policies.robots import get_robot
from representation.benchmarks.claims import Claim
from representation.benchmarks.segmentation import trained
from representation.object_fusion import LEAST_SURE, ObjectFusion
from representation.pretraining.segmentation import SegmentationEncoder
from representation.structure.commutative_monoids.object_evidence import (
    EvidenceConfig,
    ObjectEvidence,
    mean_place,
    sights_of,
)
from representation.structure.commutative_monoids.train import trained_object_evidence
from sim.episode_id import EpisodeId
from sim.segmented_scenes import SegmentedOptions, drawn_poses, segmented_scenes
from sim.simulation import SimulationConfig, TabletopSimulation

ROBOT, TASK = "panda", "place"
BOTH, MEAN = "both, monoid", "both, weighted mean"
NEAR_M = 0.03
TEST_SEED = 1000  # of the tables: apart from those of training


@dataclass(frozen=True, slots=True)
class FusedSettings:
    """How much is learned and tried.

    Attributes:
        seeds: of encoder, fuser and tables.
        tables: that the encoder learns from.
        steps: of the encoder.
        fuser_steps: of the fuser.
        test_tables: that are looked at.
        views: poses of the arm at each of them.
        size: side of the pictures, pixels.
    """

    seeds: int = 3
    tables: int = 600
    steps: int = 600
    fuser_steps: int = 1500
    test_tables: int = 60
    views: int = 6
    size: int = 64

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise ValueError(f"seeds: expected at least 2, found {self.seeds}")


def run(settings: FusedSettings) -> dict[str, Any]:
    """Learn and look, for each seed."""
    began = time.monotonic()
    errors = [_one(settings, seed) for seed in range(settings.seeds)]
    cameras = SimulationConfig.of(ROBOT).cameras
    return {
        "benchmark": "fused_things",
        "settings": asdict(settings),
        "claims": [asdict(claim) for claim in claims_of(errors, cameras)],
        "seconds": round(time.monotonic() - began, 1),
        "machine": describe_machine(),
    }


def _one(settings: FusedSettings, seed: int) -> dict[str, NDArray[np.float64]]:
    options = SegmentedOptions(output=Path(), tasks=(TASK,), count=settings.tables, size=settings.size, seed=seed)
    frames = segmented_scenes(options)
    encoder = trained(frames, np.arange(len(frames)), seed, settings.steps)
    fuser = trained_object_evidence(EvidenceConfig(), settings.fuser_steps, seed)
    return look(encoder, fuser, settings, seed)


def look(
    encoder: SegmentationEncoder, fuser: ObjectEvidence, settings: FusedSettings, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Errors (M,) of each camera alone and of both, m, of the things on all tables; infinite where nothing is told."""
    simulation = TabletopSimulation(SimulationConfig.of(ROBOT, width=settings.size, height=settings.size))
    cameras, rng = simulation.config.cameras, np.random.default_rng(seed)
    poses = drawn_poses(get_robot(ROBOT), rng)
    found: dict[str, list[float]] = {name: [] for name in (*cameras, BOTH, MEAN)}
    for table in range(settings.test_tables):
        episode = EpisodeId(TASK, "nominal", 1, table, TEST_SEED + seed)
        fusions = {camera: ObjectFusion(fuser, window=settings.views) for camera in cameras}
        seen: list[NDArray[np.float32]] = []
        for pose in poses[rng.integers(len(poses), size=settings.views)]:
            simulation.reset(episode, pose)
            for camera, view in simulation.observe().cameras.items():
                picture = torch.from_numpy(view.rgb).permute(2, 0, 1)[None].float() / 255
                with torch.inference_mode():
                    told = encoder.find(picture)[0].numpy()
                fusions[camera].see(0.0, told, view.depth, view.intrinsics, view.base_from_camera)
                seen.append(sights_of(told, view.depth, view.intrinsics, view.base_from_camera))
        own = {camera: {thing.kind: thing.position for thing in one.things(0.0)} for camera, one in fusions.items()}
        first, *others = fusions.values()
        for number, other in enumerate(others):
            first.hear(str(number), 0.0, other.states(0.0))
        fused = own | {BOTH: {thing.kind: thing.position for thing in first.things(0.0)}, MEAN: _means(np.stack(seen))}
        colours = [item.colour for item in simulation.scene.layout.objects]
        for slot, colour in enumerate(colours):
            if colours.count(colour) == 1 and colour in encoder.kinds:
                kind, truth = encoder.kinds.index(colour), simulation.scene.object_position(slot)
                for name, places in fused.items():
                    off = np.linalg.norm(np.subtract(places[kind], truth)) if kind in places else np.inf
                    found[name].append(float(off))
    simulation.close()
    return {name: np.array(values) for name, values in found.items()}


def _means(sights: NDArray[np.float32]) -> dict[int, NDArray[np.float32]]:
    """Weighted means by kind of sights (n, K, 4), of the same sights that are fused."""
    used = sights[..., 3] >= LEAST_SURE
    return {
        kind: mean_place(torch.from_numpy(sights[used[:, kind], kind])[None])[0].numpy()
        for kind in np.flatnonzero(used.any(axis=0))
    }


def claims_of(errors: list[dict[str, NDArray[np.float64]]], cameras: tuple[str, ...]) -> list[Claim]:
    """Errors of things that each camera told of, and the share of all things that are told nearly right, by seed."""
    off, near = [], []
    for one in errors:
        shared = np.all([np.isfinite(one[camera]) for camera in cameras], axis=0)
        if not shared.any():
            raise ValueError("things: expected some that each camera told of, found none")
        off.append({name: -100 * float(values[shared].mean()) for name, values in one.items()})
        near.append({name: float((values <= NEAR_M).mean()) for name, values in one.items()})

    def claim(text: str, found: list[dict[str, float]], name: str, *baselines: str) -> Claim:
        # The best single camera is chosen by what is measured, seed by seed, in favour of the baseline.
        best = tuple(max(each[baseline] for baseline in baselines) for each in found)
        return Claim(text, name, tuple(each[BOTH] for each in found), best)

    error, share = "error of things that each camera saw, cm, negated", f"share of things within {100 * NEAR_M:g} cm"
    return [
        claim(error, off, "the better camera", *cameras),
        claim(error, off, MEAN, MEAN),
        claim(share, near, "the better camera", *cameras),
        claim(share, near, MEAN, MEAN),
    ]


def format_text(result: Mapping[str, Any]) -> str:
    """A line for each claim."""
    seeds = result["settings"]["seeds"]
    lines = [f"things by two cameras, fused by a monoid; {seeds} seeds, {result['seconds']:.0f} s"]
    for content in result["claims"]:
        claim = Claim(**content)
        mean, low, high = claim.difference()
        ours, baseline = np.mean(claim.ours), np.mean(claim.baseline)
        verdict = "yes" if claim.holds() else "NO"
        interval = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        lines.append(f"  {claim.claim}: {ours:.3f}, {claim.baseline_name} {baseline:.3f}; {interval}; holds: {verdict}")
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """The page `docs/benchmarks/fused_things.md`."""
    return f"""# Things found by two cameras

One camera stands still, the other is carried by the arm; each fuses its own sights of a thing, and both states are
fused. Baselines are the better of the two cameras alone, chosen by the result, and the weighted mean of all sights.
Intervals of 95 %.

```
{format_text(result)}
```

Run it again with `python -m sim.bench fused_things --write`.
"""

"""Fit action grids to a dataset and carry a policy over to them: `python -m policies.spatialvla.fit_grids`.

    python -m policies.spatialvla.fit_grids --dataset DIR --policy POLICY --output DIR

Writes `grids.json` (Gaussians, edges, statistics), `grids.png` (histogram and bins of each axis) and, when a policy is
given, `policy/`: the same network with statistics, bins and tables of the new robot, to fine-tune from. Says on which
of the policy's own statistics the actions would have fitted.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from policies.execution.kinematics import Kinematics
from policies.json_file import write_json
from policies.robots import get_named_robot
from policies.spatialvla.action_grid import (
    AXIS_RANGES,
    RELEASED_BINS,
    ActionGrid,
    Distribution,
    GaussianStats,
    fit_gaussian_stats,
    grid_coordinates,
)
from policies.spatialvla.compatibility import compare_statistics, format_compatibility
from policies.spatialvla.fitting import MIN_SIGMA
from policies.spatialvla.grid_adaptation import AdaptationMode, adapt_grid
from policies.spatialvla.normalizer import ActionNormalizer, action_statistics
from policies.spatialvla.policy import SpatialVLAPolicy
from representation.data.lerobot_dataset import LeRobotDataset

ACTION_KEY = "action"


@dataclass(frozen=True)
class FitGridsConfig:
    """Arguments.

    Attributes:
        dataset: directories of LeRobot datasets whose `action` is 3 translations (m), 3 rotations (rad), gripper.
        output: directory for the results.
        policy: policy whose tables are carried over; None only fits.
        key: name of the new statistics in the policy.
        robot: name of the robot; the dataset's if empty.
        camera: view that the policy is to read; its own if empty.
        distribution: bins of equal probability under the Gaussians, or of equal width to compare with.
        min_sigma: smallest deviation, in normalised units, that places the edges.
        mode: "trilinear", or "reference" to compare with the published interpolation.
        periodic_phi: interpolate across the seam of the azimuth.
    """

    dataset: tuple[Path, ...]
    output: Path
    policy: str | None = None
    key: str = "adapted"
    robot: str = ""
    camera: str = ""
    distribution: Distribution = "gaussian"
    min_sigma: float = MIN_SIGMA
    mode: AdaptationMode = "trilinear"
    periodic_phi: bool = False


def read_actions(paths: Sequence[Path]) -> NDArray[np.float64]:
    """All actions (N, 7) of some datasets.

    Raises:
        ValueError: a dataset is damaged, or its actions have another width; names it.
    """
    parts = []
    for path in paths:
        dataset = LeRobotDataset(path)
        for index in range(dataset.num_episodes):
            actions = np.asarray(dataset.episode(index, [ACTION_KEY])[ACTION_KEY], dtype=np.float64)
            if actions.ndim != 2 or actions.shape[1] != 7:
                raise ValueError(f"{path}: {ACTION_KEY}: expected shape (frames, 7), found {actions.shape}")
            parts.append(actions)
    return np.concatenate(parts)


def make_grid(
    gaussian: GaussianStats, num_bins: Mapping[str, int], min_sigma: float, spherical: bool, distribution: Distribution
) -> ActionGrid:
    """Place the edges; uniform ones take no notice of the Gaussians."""
    if distribution == "uniform":
        return ActionGrid.uniform(num_bins, spherical)
    return ActionGrid.from_gaussian(gaussian, num_bins, min_sigma, spherical)


def refit(
    policy: SpatialVLAPolicy,
    actions: NDArray[np.float64],
    key: str,
    min_sigma: float = MIN_SIGMA,
    mode: AdaptationMode = "trilinear",
    periodic_phi: bool = False,
    distribution: Distribution = "gaussian",
    **settings: object,
) -> SpatialVLAPolicy:
    """Carry a policy over to the scale and bins of other actions; the policy's own model is changed.

    Args:
        policy: what to start from.
        actions: (N, 7) physical actions.
        key: name of the new entry of its statistics.
        min_sigma: see `ActionGrid.from_gaussian`.
        mode: see `adapt_grid`.
        periodic_phi: see `adapt_grid`.
        distribution: see `FitGridsConfig`.
        settings: changes to its `ProcessorSettings`, such as `control_hz` or `camera`.
    """
    old = policy.processor
    statistics = action_statistics(actions)
    normalized = ActionNormalizer.from_statistics(statistics).normalize(actions)
    gaussian = fit_gaussian_stats(normalized, old.grid.spherical)
    grid = make_grid(gaussian, old.grid.num_bins, min_sigma, old.grid.spherical, distribution)
    grid = grid.with_empirical_centroids(normalized)
    adapt_grid(policy.model, old.grid, grid, mode=mode, periodic_phi=periodic_phi)
    changed = replace(old.settings, dataset_key=key, **settings)
    robot = get_named_robot(changed.robot)
    entry = {"action": statistics, "num_transitions": len(actions)}
    processor = replace(
        old,
        settings=changed,
        grid=grid,
        statistics={**old.statistics, key: entry},
        robot=robot,
        base_from_tool=old.base_from_tool if robot.name == old.robot.name else Kinematics(robot).forward,
    )
    return SpatialVLAPolicy(policy.model, processor, str(policy.device))


def draw_grids(path: Path, normalized: NDArray[np.float64], gaussian: GaussianStats, grid: ActionGrid) -> None:
    """Draw histogram, fitted Gaussian and bin edges of each axis of normalised actions (N, 7)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    values = grid_coordinates(normalized, grid.spherical)
    for axes, axis in zip(figure.subplots(2, 3).flat, AXIS_RANGES, strict=True):
        low, high = AXIS_RANGES[axis]
        axes.hist(values[axis], bins=100, range=(low, high), density=True, alpha=0.5)
        x = np.linspace(low, high, 400)
        mu, sigma = gaussian[axis]["mu"], max(gaussian[axis]["sigma"], 1e-6)
        axes.plot(x, np.exp(-0.5 * ((x - mu) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi)), linewidth=1)
        for edge in grid.edges[axis]:
            axes.axvline(edge, color="black", linewidth=0.5, alpha=0.6)
        axes.set_title(f"{axis}: mean {mu:.3f}, deviation {sigma:.3f}, {grid.num_bins[axis]} bins")
    figure.savefig(path, dpi=100)


def fit_grids(config: FitGridsConfig) -> None:
    """Run the command.

    Raises:
        FileNotFoundError: no such policy.
        ValueError: a dataset or the policy is damaged, or the output exists.
    """
    if config.output.exists() and any(config.output.iterdir()):
        raise ValueError(f"{config.output}: expected a new or empty directory, found files in it")
    actions = read_actions(config.dataset)
    dataset = LeRobotDataset(config.dataset[0])
    statistics = action_statistics(actions)
    normalized = ActionNormalizer.from_statistics(statistics).normalize(actions)
    policy = None if config.policy is None else SpatialVLAPolicy.from_pretrained(config.policy)
    bins = RELEASED_BINS if policy is None else policy.processor.grid.num_bins
    spherical = policy is None or policy.processor.grid.spherical
    gaussian = fit_gaussian_stats(normalized, spherical)
    grid = make_grid(gaussian, bins, config.min_sigma, spherical, config.distribution)
    config.output.mkdir(parents=True, exist_ok=True)
    draw_grids(config.output / "grids.png", normalized, gaussian, grid)
    edges = {axis: values.tolist() for axis, values in grid.edges.items()}
    content = {"actions": len(actions), "statistics": statistics, "gaussian": gaussian, "edges": edges}
    write_json(config.output / "grids.json", content)
    if policy is None:
        return
    print(format_compatibility(compare_statistics(actions, policy.processor.statistics)))
    changes = {"control_hz": float(dataset.info.fps), "robot": config.robot or dataset.info.robot_type}
    if config.camera:
        changes["camera"] = config.camera
    adapted = refit(
        policy,
        actions,
        config.key,
        config.min_sigma,
        config.mode,
        config.periodic_phi,
        config.distribution,
        **changes,
    )
    adapted.save_pretrained(config.output / "policy")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    config = tyro.cli(FitGridsConfig, args=args, prog="python -m policies.spatialvla.fit_grids")
    try:
        fit_grids(config)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {config.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

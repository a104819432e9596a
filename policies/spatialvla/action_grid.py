"""`ActionGrid`: bins for normalised actions, at equal-probability quantiles of Gaussians fitted to the data.

Translation is binned in spherical coordinates (theta from +z, phi around z, radius), rotation in roll, pitch, yaw.
Source: SpatialVLA (arXiv 2501.15830), section on adaptive action grids. Ours: decoding to the bins' conditional means
(`centroids`) beside the published midpoints, because the outer bins of a Gaussian grid are wide and their midpoints far
from where the actions lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

AXIS_RANGES: dict[str, tuple[float, float]] = {
    "theta": (0.0, np.pi),
    "phi": (-np.pi, np.pi),
    "r": (0.0, float(np.sqrt(3.0))),
    "roll": (-1.0, 1.0),
    "pitch": (-1.0, 1.0),
    "yaw": (-1.0, 1.0),
}
TRANSLATION_AXES = ("theta", "phi", "r")
ROTATION_AXES = ("roll", "pitch", "yaw")
RELEASED_BINS = {"theta": 16, "phi": 32, "r": 8, "roll": 16, "pitch": 16, "yaw": 16}

GaussianStats = Mapping[str, Mapping[str, float]]
DecodeMode = Literal["midpoint", "centroid"]
Distribution = Literal["gaussian", "uniform"]


def to_spherical(xyz: ArrayLike) -> NDArray[np.float64]:
    """Convert (..., 3) Cartesian to theta in [0, pi], phi in [-pi, pi], radius."""
    xyz = np.asarray(xyz, dtype=np.float64)
    x, y, z = np.moveaxis(xyz, -1, 0)
    planar = np.hypot(x, y)
    return np.stack([np.arctan2(planar, z), np.arctan2(y, x), np.hypot(planar, z)], axis=-1)


def to_cartesian(spherical: ArrayLike) -> NDArray[np.float64]:
    """Convert (..., 3) theta, phi, radius to Cartesian; inverse of `to_spherical`."""
    theta, phi, r = np.moveaxis(np.asarray(spherical, dtype=np.float64), -1, 0)
    return np.stack([r * np.sin(theta) * np.cos(phi), r * np.sin(theta) * np.sin(phi), r * np.cos(theta)], axis=-1)


def grid_coordinates(actions: ArrayLike, spherical: bool = True) -> dict[str, NDArray[np.float64]]:
    """Coordinates of normalised actions (..., 7) on the six binned axes, after clipping to [-1, 1]."""
    motion = np.clip(np.asarray(actions, dtype=np.float64)[..., :6], -1.0, 1.0)
    translation = to_spherical(motion[..., :3]) if spherical else motion[..., :3]
    values = np.concatenate([translation, motion[..., 3:]], axis=-1)
    return dict(zip(AXIS_RANGES, np.moveaxis(values, -1, 0), strict=True))


def fit_gaussian_stats(actions: ArrayLike, spherical: bool = True) -> dict[str, dict[str, float]]:
    """Fit a Gaussian (maximum likelihood: mean, population deviation) per axis to normalised actions (N, 7)."""
    actions = np.asarray(actions, dtype=np.float64)
    if actions.ndim != 2 or actions.shape[1] != 7 or len(actions) == 0:
        raise ValueError(f"actions: expected shape (N, 7) with N > 0, found {actions.shape}")
    values = grid_coordinates(actions, spherical)
    return {axis: {"mu": float(v.mean()), "sigma": float(v.std())} for axis, v in values.items()}


def gaussian_edges(low: float, high: float, bins: int, mu: float, sigma: float) -> NDArray[np.float64]:
    """Edges (bins + 1,) that cut a Gaussian, truncated to [low, high], into bins of equal probability."""
    a, b = ndtr((low - mu) / sigma), ndtr((high - mu) / sigma)
    edges = np.clip(mu + sigma * ndtri(np.linspace(a, b, bins + 1)), low, high)
    edges[0], edges[-1] = low, high
    return edges


def gaussian_centroids(edges: NDArray[np.float64], mu: float, sigma: float) -> NDArray[np.float64]:
    """Mean of the Gaussian within each bin; the midpoint where a bin holds no mass to speak of."""
    scaled = (edges - mu) / sigma
    # Differences of the smaller tail keep their digits far from the mean.
    upper = np.where(scaled[:-1] > 0, ndtr(-scaled[:-1]) - ndtr(-scaled[1:]), ndtr(scaled[1:]) - ndtr(scaled[:-1]))
    density = np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi)
    midpoints = 0.5 * (edges[:-1] + edges[1:])
    with np.errstate(divide="ignore", invalid="ignore"):
        means = mu + sigma * (density[:-1] - density[1:]) / upper
    return np.where(upper > 1e-12, np.clip(means, edges[:-1], edges[1:]), midpoints)


@dataclass(frozen=True)
class ActionGrid:
    """Bins of the six motion axes and the number of gripper bins.

    Attributes:
        edges: per axis (n + 1,) strictly increasing bin edges over the axis' range.
        centroids: per axis (n,) conditional means that `decode_axes(mode="centroid")` gives; midpoints by default.
        spherical: whether x, y, z are binned as theta, phi, r; otherwise they go into those bins unconverted.
        gripper_bins: 2 (closed, open), the only layout that is defined.
    """

    edges: Mapping[str, NDArray[np.float64]]
    centroids: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    spherical: bool = True
    gripper_bins: int = 2

    def __post_init__(self) -> None:
        edges = {}
        for axis, (low, high) in AXIS_RANGES.items():
            if axis not in self.edges:
                raise ValueError(f"edges: expected axes {tuple(AXIS_RANGES)}, found {tuple(self.edges)}")
            value = np.asarray(self.edges[axis], dtype=np.float64)
            if value.ndim != 1 or len(value) < 2 or not (np.diff(value) > 0).all():
                raise ValueError(f"edges of {axis}: expected at least two, strictly increasing, found {value}")
            # Stored edges of the released checkpoints are rounded, hence the slack.
            if abs(value[0] - low) > 1e-3 or abs(value[-1] - high) > 1e-3:
                raise ValueError(f"edges of {axis}: expected to span [{low}, {high}], found [{value[0]}, {value[-1]}]")
            edges[axis] = value
        if self.gripper_bins != 2:
            raise ValueError(f"gripper_bins: expected 2, found {self.gripper_bins}")
        midpoints = {axis: 0.5 * (value[:-1] + value[1:]) for axis, value in edges.items()}
        centroids = {axis: np.asarray(self.centroids.get(axis, mid), float) for axis, mid in midpoints.items()}
        for axis, value in centroids.items():
            if value.shape != midpoints[axis].shape:
                raise ValueError(f"centroids of {axis}: expected {midpoints[axis].shape}, found {value.shape}")
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "centroids", centroids)

    @classmethod
    def uniform(cls, num_bins: Mapping[str, int] = RELEASED_BINS, spherical: bool = True) -> ActionGrid:
        """Build a grid of equally wide bins."""
        return cls({a: np.linspace(*AXIS_RANGES[a], num_bins[a] + 1) for a in AXIS_RANGES}, spherical=spherical)

    @classmethod
    def from_gaussian(
        cls,
        stats: GaussianStats,
        num_bins: Mapping[str, int] = RELEASED_BINS,
        min_sigma: float = 0.0,
        spherical: bool = True,
    ) -> ActionGrid:
        """Build equal-probability bins of the Gaussians `stats` ({axis: {"mu", "sigma"}}).

        Args:
            stats: as from `fit_gaussian_stats`, in normalised units (rad for theta and phi).
            num_bins: bins per axis.
            min_sigma: floor of the deviations that place the edges (pre-training: 0.5); centroids use no floor.
            spherical: see the class.

        Raises:
            ValueError: a deviation that is not positive, or so small that edges coincide.
        """
        edges, centroids = {}, {}
        for axis, (low, high) in AXIS_RANGES.items():
            mu, sigma = stats[axis]["mu"], stats[axis]["sigma"]
            floored = max(sigma, min_sigma)
            if not floored > 0:
                raise ValueError(f"sigma of {axis}: expected > 0 (or a min_sigma), found {sigma}")
            edges[axis] = gaussian_edges(low, high, num_bins[axis], mu, floored)
            centroids[axis] = gaussian_centroids(edges[axis], mu, sigma if sigma > 0 else floored)
        return cls(edges, centroids, spherical)

    def with_empirical_centroids(self, actions: ArrayLike, min_count: int = 20) -> ActionGrid:
        """Replace centroids by the mean of the actions (N, 7) in each bin that holds at least `min_count` of them."""
        values = grid_coordinates(actions, self.spherical)
        centroids = {}
        for axis, edges in self.edges.items():
            index = self._bin(axis, values[axis])
            count = np.bincount(index, minlength=len(edges) - 1)
            total = np.bincount(index, weights=values[axis], minlength=len(edges) - 1)
            mean = np.clip(total / np.maximum(count, 1), edges[:-1], edges[1:])
            centroids[axis] = np.where(count >= min_count, mean, self.centroids[axis])
        return ActionGrid(self.edges, centroids, self.spherical, self.gripper_bins)

    @property
    def distribution(self) -> Distribution:
        """Name of the rule behind the edges, as `processor_config.json` calls it."""
        uniform = ActionGrid.uniform(self.num_bins, self.spherical).edges
        return "uniform" if all(np.allclose(self.edges[axis], uniform[axis]) for axis in uniform) else "gaussian"

    @property
    def num_bins(self) -> dict[str, int]:
        """Bins per axis."""
        return {axis: len(edges) - 1 for axis, edges in self.edges.items()}

    @property
    def slot_sizes(self) -> tuple[int, int, int]:
        """Number of translation, rotation and gripper tokens."""
        n = self.num_bins
        translation = int(np.prod([n[a] for a in TRANSLATION_AXES]))
        return translation, int(np.prod([n[a] for a in ROTATION_AXES])), self.gripper_bins

    def _bin(self, axis: str, values: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.searchsorted(self.edges[axis][1:-1], values, side="right")

    def encode(self, actions: ArrayLike) -> NDArray[np.int64]:
        """Index of each normalised action (..., 7) within its slot: (..., 3) translation, rotation, gripper."""
        actions = np.asarray(actions, dtype=np.float64)
        if actions.shape[-1:] != (7,) or not np.isfinite(actions).all():
            raise ValueError(f"actions: expected finite values of shape (..., 7), found shape {actions.shape}")
        values, n = grid_coordinates(actions, self.spherical), self.num_bins
        slots = []
        for axes in (TRANSLATION_AXES, ROTATION_AXES):
            bins = tuple(self._bin(axis, values[axis]) for axis in axes)
            slots.append(np.ravel_multi_index(bins, [n[axis] for axis in axes]))
        gripper = (actions[..., 6] >= 0.5).astype(np.int64)
        return np.stack([*slots, gripper], axis=-1).astype(np.int64)

    def decode(self, indices: ArrayLike, mode: DecodeMode = "midpoint") -> NDArray[np.float64]:
        """Normalised actions (..., 7) of slot indices (..., 3); indices outside a slot are clipped into it."""
        if mode not in ("midpoint", "centroid"):
            raise ValueError(f"mode: expected 'midpoint' or 'centroid', found {mode!r}")
        indices = np.clip(np.asarray(indices, dtype=np.int64), 0, np.array(self.slot_sizes) - 1)
        n, parts = self.num_bins, []
        for slot, axes in enumerate((TRANSLATION_AXES, ROTATION_AXES)):
            bins = np.unravel_index(indices[..., slot], [n[axis] for axis in axes])
            parts += [self._representatives(axis, mode)[i] for axis, i in zip(axes, bins, strict=True)]
        values = np.stack(parts, axis=-1)
        if self.spherical:
            values[..., :3] = to_cartesian(values[..., :3])
        values[..., :3] = np.clip(values[..., :3], -1.0, 1.0)
        return np.concatenate([values, indices[..., 2:3].astype(np.float64)], axis=-1)

    def _representatives(self, axis: str, mode: DecodeMode) -> NDArray[np.float64]:
        edges = self.edges[axis]
        return self.centroids[axis] if mode == "centroid" else 0.5 * (edges[:-1] + edges[1:])

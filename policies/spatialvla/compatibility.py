"""Do actions fit the statistics of a checkpoint? Its tokens mean other motions on another scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.spatialvla.normalizer import ActionNormalizer, action_statistics

DIMENSIONS = ("dx", "dy", "dz", "droll", "dpitch", "dyaw")
# Percentiles clip 2 % of the actions that they were taken from, and more of other actions of the same kind.
MAX_CLIPPED = 0.1
# Steps of half the length ruined a policy that was trained on them in its old bins, see
# docs/benchmarks/spatialvla_adaptation.md.
MIN_USED, MAX_USED = 0.6, 1.5


@dataclass(frozen=True)
class Compatibility:
    """How actions fit one entry of a checkpoint's statistics.

    Attributes:
        key: name of the entry.
        clipped: (6,) share of the actions outside the entry's percentiles.
        expected: (6,) spread of the entry, from its 1st to its 99th percentile, in metres and radians.
        found: (6,) spread of the actions.
    """

    key: str
    clipped: NDArray[np.float64]
    expected: NDArray[np.float64]
    found: NDArray[np.float64]

    @property
    def used(self) -> NDArray[np.float64]:
        """(6,) spread of the actions over the entry's; infinite where the entry has none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self.found / self.expected
        return np.where(self.found == 0, np.where(self.expected > 0, 0.0, 1.0), ratio)

    @property
    def axis_fits(self) -> NDArray[np.bool_]:
        """(6,) whether few actions are clipped and the bins are neither too coarse nor too fine for them."""
        return (self.used >= MIN_USED) & (self.used <= MAX_USED) & (self.clipped <= MAX_CLIPPED)

    @property
    def fits(self) -> bool:
        """Whether every axis does."""
        return bool(self.axis_fits.all())


def compare_statistics(actions: ArrayLike, statistics: Mapping[str, Mapping[str, Any]]) -> list[Compatibility]:
    """Hold physical actions (N, 7) against every entry of a checkpoint's statistics, the best fitting first.

    Args:
        actions: metres, radians; in the checkpoint's order.
        statistics: {key: {"action": {q01, q99, mask, ...}}} as in `processor_config.json`.
    """
    motion = np.asarray(actions, dtype=np.float64)[:, :6]
    own = ActionNormalizer.from_statistics(action_statistics(actions))
    spread = (own.q99 - own.q01)[:6]
    results = []
    for key, entry in statistics.items():
        normalizer = ActionNormalizer.from_statistics(entry["action"])
        low, high = normalizer.q01[:6], normalizer.q99[:6]
        clipped = ((motion < low) | (motion > high)).mean(axis=0)
        results.append(Compatibility(key, clipped, high - low, spread))
    return sorted(results, key=lambda result: float(result.clipped.max() + np.abs(np.log(result.used + 1e-9)).mean()))


def format_compatibility(results: list[Compatibility]) -> str:
    """Render a comparison for people."""
    width = max(len(result.key) for result in results)
    lines = [f"{'statistics':<{width}}  fits  " + "".join(f"{name:>16}" for name in DIMENSIONS)]
    for result in results:
        cells = "".join(
            f"{f'{100 * clipped:.0f}% out, {used:.2g}x':>16}"
            for clipped, used in zip(result.clipped, result.used, strict=True)
        )
        lines.append(f"{result.key:<{width}}  {'yes ' if result.fits else 'no  '}  {cells}")
    return "\n".join(lines)


def format_misfit(result: Compatibility) -> str:
    """Name the axes that do not fit, with the spread that was expected and the one that was found."""
    units = ("m", "m", "m", "rad", "rad", "rad")
    return "; ".join(
        f"{name}: expected a spread of {expected:.3g} {unit}, found {found:.3g} {unit}, {100 * clipped:.0f} % outside"
        for name, unit, fits, expected, found, clipped in zip(
            DIMENSIONS, units, result.axis_fits, result.expected, result.found, result.clipped, strict=True
        )
        if not fits
    )

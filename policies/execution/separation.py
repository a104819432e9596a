"""How fast an arm may go beside people and other arms, by where they are and where they may go.

In the manner of speed and separation monitoring (ISO/TS 15066, 5.5.4): what counts is how near somebody may come to a
tool within a horizon. Where somebody is foretold, that is told by sampled futures; where not, it is the distance now
less what a person walks in that time. It is no rated safety function: nothing here is redundant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SeparationConfig:
    """Distances in the plane of the floor.

    Attributes:
        stop_m: the arm stands still where somebody may come nearer than this to a tool.
        full_m: it goes at full speed where nobody may come nearer than this; in between, at a share of it.
        horizon_s: how far ahead is looked.
        walking_m_s: speed of people who are not foretold; 1.6 in ISO 13855.
        doubt: share of the futures that may come nearer than what is told.
    """

    stop_m: float = field(default=0.5, metadata={"range": (0.0, 10.0)})
    full_m: float = field(default=1.2, metadata={"range": (0.0, 20.0)})
    horizon_s: float = field(default=0.8, metadata={"range": (0.0, 10.0)})
    walking_m_s: float = field(default=1.6, metadata={"range": (0.0, 10.0)})
    doubt: float = field(default=0.05, metadata={"range": (0.0, 0.5)})

    def __post_init__(self) -> None:
        if not self.full_m > self.stop_m:
            raise ValueError(f"full_m: expected more than stop_m, {self.stop_m:g}, found {self.full_m:g}")


@dataclass(frozen=True, slots=True)
class Futures:
    """Where some agents may go.

    Attributes:
        stamp: seconds, after which the first step comes one period later.
        period_s: between steps.
        agents: names.
        samples: (K, T, agents, 2) metres.
    """

    stamp: float
    period_s: float
    agents: Sequence[str]
    samples: NDArray[np.float32]


def clearances(
    tools: NDArray[np.float64],
    places: Mapping[str, tuple[float, float]],
    futures: Futures | None,
    now: float,
    config: SeparationConfig,
) -> dict[str, float]:
    """How near each agent may come to a tool within the horizon, metres; below 0 where it may be anywhere.

    Args:
        tools: (R, 2) places of the arm's tools, in the frame of all others.
        places: where the agents are.
        futures: of some of them; None where nobody is foretold.
        now: present time on the clock of the stamps, seconds.
        config: see there.
    """
    found = {}
    for name, place in places.items():
        here = float(np.linalg.norm(tools - np.array(place), axis=1).min())
        if futures is None or name not in futures.agents:
            found[name] = here - config.walking_m_s * config.horizon_s
            continue
        times = futures.stamp + futures.period_s * np.arange(1, futures.samples.shape[1] + 1)
        # The step after the horizon too: somebody may come there between two steps.
        ahead = (times > now) & (times < now + config.horizon_s + futures.period_s)
        if not ahead.any():
            found[name] = here - config.walking_m_s * config.horizon_s
            continue
        there = futures.samples[:, ahead, list(futures.agents).index(name)].astype(np.float64)
        nearest = np.linalg.norm(there[:, :, None] - tools, axis=-1).min(axis=(1, 2))
        found[name] = min(here, float(np.quantile(nearest, config.doubt, method="lower")))
    return found


def allowed_speed(nearest: float, config: SeparationConfig) -> float:
    """Share of its speed at which an arm may go where somebody may come so near, metres."""
    return float(np.clip((nearest - config.stop_m) / (config.full_m - config.stop_m), 0.0, 1.0))

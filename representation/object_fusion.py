"""`ObjectFusion`: what one camera saw of each kind of thing lately, fused with what others tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.structure.commutative_monoids import SlidingFold
from representation.structure.commutative_monoids.object_evidence import ObjectEvidence, sights_of

LEAST_SURE = 0.5


@dataclass(frozen=True)
class Thing:
    """Where a kind of thing is.

    Attributes:
        kind: number of the kind.
        position: m in the base frame.
        error: expected distance from it, m.
    """

    kind: int
    position: tuple[float, float, float]
    error: float


class ObjectFusion:
    """Keeps a window of sights of each kind, and the states of other cameras.

    Times are stamps of pictures, seconds, of one clock for all cameras.

    Args:
        fuser: turns sights to states, and states to places.
        window: sights of a kind that are kept.
        max_age_s: after which a state of another camera counts no more, nor what this one saw of a kind before it lost
            it for so long.
    """

    def __init__(self, fuser: ObjectEvidence, window: int = 32, max_age_s: float = 1.0) -> None:
        self._fuser, self._window, self._max_age_s = fuser, window, max_age_s
        self.restart()

    def restart(self) -> None:
        """Forget everything."""
        self._folds: list[SlidingFold] = []
        self._seen_at: list[float] = []
        self._others: dict[str, tuple[float, dict[int, Tensor]]] = {}

    @torch.inference_mode()
    def see(
        self,
        stamp: float,
        found: NDArray[np.float32],
        depth: NDArray[np.float32],
        intrinsics: NDArray[np.float64],
        base_from_camera: NDArray[np.float64],
    ) -> None:
        """Take a sight of each kind that is seen; see `sights_of`.

        Raises:
            ValueError: another number of kinds than before.
        """
        if self._folds and len(found) != len(self._folds):
            raise ValueError(f"found: expected {len(self._folds)} kinds as before, found {len(found)}")
        if not self._folds:
            self._folds = [SlidingFold(self._fuser.monoid, self._window) for _ in found]
            self._seen_at = [stamp] * len(found)
        sights = sights_of(found, depth, intrinsics, base_from_camera)
        elements = self._fuser.elements(torch.from_numpy(sights))
        for kind, (element, sure) in enumerate(zip(elements, sights[:, 3], strict=True)):
            if sure >= LEAST_SURE:
                if not self._is_new(self._seen_at[kind], stamp):
                    self._folds[kind].clear()
                self._folds[kind].push(element)
                self._seen_at[kind] = stamp

    def states(self, now: float) -> dict[int, NDArray[np.float32]]:
        """State (d,) of each kind that this camera saw lately, for others to hear."""
        return {kind: state.numpy() for kind, state in self._own(now).items()}

    def hear(self, source: str, stamp: float, states: dict[int, Sequence[float]]) -> None:
        """Take another camera's states, in the place of those that it told before.

        Raises:
            ValueError: they are none of this fuser.
        """
        taken = {}
        for kind, state in states.items():
            vector = np.asarray(state, dtype=np.float32)
            if vector.shape != (self._fuser.config.dim,) or not np.isfinite(vector).all():
                raise ValueError(f"states of {source}: expected {self._fuser.config.dim} numbers, found {state!r:.100}")
            taken[kind] = torch.from_numpy(vector)
        self._others[source] = (stamp, taken)

    @torch.inference_mode()
    def things(self, now: float) -> list[Thing]:
        """All things that some camera saw lately."""
        told = [self._own(now), *(states for at, states in self._others.values() if self._is_new(at, now))]
        things = []
        for kind in sorted(set().union(*told)):
            states = torch.stack([states[kind] for states in told if kind in states])
            x, y, z, error = self._fuser.told(self._fuser.monoid.fold(states[None]))[0].tolist()
            things.append(Thing(kind, (x, y, z), error))
        return things

    def _own(self, now: float) -> dict[int, Tensor]:
        lately = [kind for kind, at in enumerate(self._seen_at) if self._is_new(at, now)]
        values = {kind: self._folds[kind].value() for kind in lately}
        return {kind: value for kind, value in values.items() if value is not None}

    def _is_new(self, stamp: float, now: float) -> bool:
        return abs(now - stamp) <= self._max_age_s

"""`TrackPlayback`: scenes of tracks, read at any time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from representation.dynamics.gcrl.tracks import Tracks


@dataclass(frozen=True)
class Agent:
    """Who is where.

    Attributes:
        kind: such as arm or person.
        number: tells it from all others; another one in each scene, for nobody goes on from one into the next.
        place: x and y, metres.
    """

    kind: str
    number: int
    place: tuple[float, float]


class TrackPlayback:
    """Plays scenes one after the other; after the last one the first comes again.

    Args:
        tracks: the scenes.
        first: number of the scene to begin with.

    Raises:
        ValueError: there is no such scene.
    """

    def __init__(self, tracks: Tracks, first: int = 0) -> None:
        if not 0 <= first < len(tracks.scenes):
            raise ValueError(f"first scene: expected 0 to {len(tracks.scenes) - 1}, found {first}")
        self._scenes = np.roll(tracks.scenes.double().numpy(), -first, axis=0)
        self._kinds, self._period_s = tracks.agents, tracks.period_s
        self._scene_s = (self._scenes.shape[1] - 1) * tracks.period_s

    def at(self, time: float) -> list[Agent]:
        """All who are there, seconds after the beginning; between two steps they go straight on."""
        played, now = divmod(time, self._scene_s) if self._scene_s else (0.0, 0.0)
        scene = self._scenes[int(played) % len(self._scenes)]
        times = self._period_s * np.arange(len(scene))
        return [
            Agent(kind, int(played) * len(self._kinds) + number, (np.interp(now, times, x), np.interp(now, times, y)))
            for number, (kind, (x, y)) in enumerate(zip(self._kinds, scene.transpose(1, 2, 0), strict=True))
            if np.isfinite(x[0])
        ]

"""`RunningTime`: the time of the stamps, also while the clock that tells it stands still."""

from __future__ import annotations


class RunningTime:
    """Reads a clock that may stand still although time goes on, as joint states with newer stamps show.

    Where no newer joint states come, time stands still as well, as in a simulation that is paused.
    """

    def __init__(self) -> None:
        self._read, self._since = -float("inf"), 0.0
        self._newest = -float("inf")

    def hear(self, stamp: float) -> None:
        """Take the stamp of a joint state, in seconds."""
        self._newest = stamp

    def at(self, read: float, steady: float) -> float:
        """The time in seconds.

        Args:
            read: what the clock shows.
            steady: time of the steady clock: a stamp from the future is not believed any faster than this one goes.
        """
        if read != self._read:
            self._read, self._since = read, steady
        return max(read, min(self._newest, read + steady - self._since))

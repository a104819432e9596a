"""`RunningTime`: the time of the stamps, also while the clock that tells it stands still."""

from __future__ import annotations

AHEAD_S = 0.02  # for so long after a joint state time is taken to go on; they come more often


class RunningTime:
    """Reads a clock that may stand still although time goes on, as joint states with newer stamps show.

    Where no newer joint states come, time stands still as well, as in a simulation that is paused.
    """

    def __init__(self) -> None:
        self._read, self._since = -float("inf"), 0.0
        self._newest, self._heard = -float("inf"), 0.0

    def hear(self, stamp: float, steady: float) -> None:
        """Take the stamp of a joint state, in seconds, and when it came."""
        self._newest, self._heard = stamp, steady

    def at(self, read: float, steady: float) -> float:
        """The time in seconds.

        Args:
            read: what the clock shows.
            steady: time of the steady clock: a stamp from the future is not believed any faster than this one goes.
        """
        if read != self._read:
            self._read, self._since = read, steady
        shown = self._newest + min(steady - self._heard, AHEAD_S)
        return max(read, min(shown, read + steady - self._since))

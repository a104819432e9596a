"""`ClockWatch`: notices that the clock of the stamps stands still although time passes."""

from __future__ import annotations

from ros_nodes.diagnostics import Health, Level

LIMIT_S = 0.5


class ClockWatch:
    """Compares the clock of the stamps with a steady one."""

    def __init__(self) -> None:
        self._now: float | None = None
        self._changed_at = 0.0
        self._still_s = 0.0

    def look(self, now: float, steady: float) -> None:
        """Read both clocks, in seconds; call it often."""
        if now != self._now:
            self._now, self._changed_at = now, steady
        self._still_s = steady - self._changed_at

    def health(self) -> Health:
        """An error while the clock stands still for longer than `LIMIT_S`."""
        if self._still_s > LIMIT_S:
            where = "/clock never came" if self._now == 0 else f"/clock stands still at {self._now:.3f} s"
            return Health(Level.ERROR, where, lambda: {"still_s": f"{self._still_s:.1f}"})
        return Health(Level.OK, "the clock goes on")

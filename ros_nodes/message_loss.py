"""`LossCounter`: messages that a publisher sent and a subscription never saw, by publication sequence numbers."""

from __future__ import annotations


class LossCounter:
    """Counts gaps in the sequence numbers of one topic's only publisher.

    Attributes:
        lost: messages missing so far.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._last: int | None = None

    def add(self, number: int) -> None:
        """Note the sequence number of a message; a lower one than before means that the publisher was restarted."""
        if self._last is not None and number > self._last:
            self.lost += number - self._last - 1
        self._last = number

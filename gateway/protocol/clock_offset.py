"""How far Redis' clock is ahead of this node's, from questions that are asked anyway.

Redis is asked for the time between two readings of our clock, so the offset lies in an interval that is as
wide as the round trip. Of the last of them the narrowest is the best: a round trip is long because something
waited, and mostly on one of the two ways. Where two intervals have nothing in common, one of the clocks was
set (or has drifted further than they tell), and what was known before is void.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_KEPT: Final = 16


class ClockOffset:
    """What is known of one server's clock."""

    def __init__(self) -> None:
        self._intervals: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self.seconds: float | None = None
        """Redis' clock minus ours; None as long as nothing is known."""

    def note(self, *, sent: float, received: float, theirs: float) -> None:
        """Between `sent` and `received` by our clock, Redis' stood at `theirs`; all in Unix seconds."""
        low, high = theirs - received, theirs - sent
        if low > high:
            return  # our clock was set in between
        if any(high < other_low or other_high < low for other_low, other_high in self._intervals):
            self._intervals.clear()
        self._intervals.append((low, high))
        low, high = min(self._intervals, key=lambda interval: interval[1] - interval[0])
        self.seconds = (low + high) / 2

    def reset(self) -> None:
        """Another server, perhaps."""
        self._intervals.clear()
        self.seconds = None

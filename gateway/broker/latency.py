"""From publish to socket: the time between Redis' clock in an event and the end of its batch's writes.

One observation for each event and node, whatever the number of streams that got it: 0.3 us, or 0.6 us for an
event that is a batch of its own; one delivery takes 6 us. The clock is Redis', as the link knows it; until it
does, nothing is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from gateway.protocol.clock_offset import ClockOffset
from gateway.protocol.histogram import Histogram

_BOUNDS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Latency:
    """Of the events that went to live streams."""

    def __init__(self, offset: ClockOffset, clock: Callable[[], float] = time.time) -> None:
        self._offset = offset
        self._clock = clock
        self.seconds = Histogram(_BOUNDS_SECONDS)

    def written(self, walls_ms: Iterable[int]) -> None:
        """The events that Redis had taken at these times have been written."""
        offset_seconds = self._offset.seconds
        if offset_seconds is None:
            return
        now = self._clock() + offset_seconds
        observe = self.seconds.observe
        for wall_ms in walls_ms:
            # Redis cuts its clock to whole milliseconds, and the offset is known to half a round trip.
            observe(max(0.0, now - wall_ms / 1000))

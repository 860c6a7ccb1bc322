"""How late the event loop is: how long after its time a timer is served.

All that a node does waits in the same loop, so its lateness is what every event, request and heartbeat has to
wait. Four times a second, which costs 0.02 % of a core.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Final

from gateway.protocol.histogram import Histogram

_PERIOD_SECONDS: Final = 0.25
_BOUNDS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class LoopLag:
    """Of the running loop."""

    def __init__(self) -> None:
        self.seconds = Histogram(_BOUNDS_SECONDS)

    async def run(self) -> None:
        """Measure it for as long as the node lives."""
        while True:
            # Not the loop's own clock: it stands still while a callback runs.
            due = perf_counter() + _PERIOD_SECONDS
            await asyncio.sleep(_PERIOD_SECONDS)
            self.seconds.observe(max(0.0, perf_counter() - due))

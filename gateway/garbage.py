"""How the garbage collector runs in a node.

What a node makes for an event, a request or a stream is freed by its reference count. The collector would
find nothing there, but it looks through all that is kept to find it: with the usual thresholds that was a
fifth of the CPU time of 5,000 streams whose channels had just begun, with pauses of 0.18 s for everybody.
So what was there at the start is never looked at again, and what has stayed only from time to time, for
what comes in circles all the same: errors with their tracebacks first of all. What is new is looked at as
usual, twice, in pauses of up to 1.6 ms; seldom and much at once would cost as much, in pauses of 24 ms.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Final

_NEVER: Final = 1_000_000
FULL_SECONDS: Final = 600.0


def settle() -> None:
    """All that is loaded stays. For a process that has started, and whose work begins now."""
    gc.collect()
    gc.freeze()
    new, young, _ = gc.get_threshold()
    gc.set_threshold(new, young, _NEVER)


async def collect(seconds: float = FULL_SECONDS) -> None:
    """Look through everything from time to time, for as long as the node lives."""
    while True:
        await asyncio.sleep(seconds)
        gc.collect()

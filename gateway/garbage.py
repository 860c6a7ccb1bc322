"""How the garbage collector runs in a node.

What a node makes for an event, a request or a stream is freed by its reference count. The collector would
find nothing there, but it looks through all that is kept to find it: with the usual thresholds that was a
fifth of the CPU time of 5,000 streams whose channels had just begun, with pauses of 0.18 s for everybody.
So what was there at the start is never looked at again, what is new seldom, and what has stayed only from
time to time, for what comes in circles all the same: errors with their tracebacks first of all.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Final

_NEW_OBJECTS: Final = 10_000
_NEVER: Final = 1_000_000
FULL_SECONDS: Final = 600.0


def settle() -> None:
    """All that is loaded stays. For a process that has started, and whose work begins now."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 10, _NEVER)


async def collect(seconds: float = FULL_SECONDS) -> None:
    """Look through everything from time to time, for as long as the node lives."""
    while True:
        await asyncio.sleep(seconds)
        gc.collect()

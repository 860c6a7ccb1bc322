"""A short random schedule of faults; `make chaos` runs long ones."""

from __future__ import annotations

import random

from tests.chaos.schedule import run

SECONDS = 15.0


async def test_a_short_random_schedule() -> None:
    """Another seed each time. `Broken` names it."""
    assert await run(SECONDS, random.randrange(10**6))

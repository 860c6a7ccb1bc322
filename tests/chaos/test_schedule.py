"""Short random schedules of faults; `make chaos` runs long ones, of any seed."""

from __future__ import annotations

import pytest

from tests.chaos.schedule import run

SECONDS = 8.0


@pytest.mark.parametrize("seed", [1, 791930])
async def test_a_short_random_schedule(seed: int) -> None:
    """`Broken` names the seed and the round."""
    assert await run(SECONDS, seed)

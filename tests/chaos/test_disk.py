"""A full disk: what is refused is refused aloud, and the subscribers notice nothing."""

from __future__ import annotations

import pytest

from tests.chaos.disk import NoDisk, full_disk, small_disk, world_on


async def test_a_full_disk() -> None:
    try:
        with small_disk() as disk, world_on(disk) as world:
            row = await full_disk(world, disk)
    except NoDisk as error:
        pytest.skip(str(error))
    assert not row.verdict.violations, "\n".join(map(str, row.verdict.violations[:10]))
    assert row.verdict.delivered > row.verdict.published > 0

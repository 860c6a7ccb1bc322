"""Many at once: nobody loses anything, and nothing of them stays behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.crowd import all_come_back_at_once, come_and_go, quiet_channels
from tests.chaos.faults import NOTHING
from tests.chaos.judge import new_world
from tests.chaos.world import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.world import World


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with new_world(durable=False) as world:
        yield world


async def test_1000_come_back_at_once(world: World) -> None:
    row = await all_come_back_at_once(world, 1000)
    assert not row.verdict.violations, "\n".join(map(str, row.verdict.violations[:10]))


async def test_200_come_and_go_while_the_link_is_cut(world: World) -> None:
    row = await come_and_go(world, 200, 10)
    assert not row.verdict.violations, "\n".join(map(str, row.verdict.violations[:10]))


async def test_every_other_subscriber_has_a_compressed_stream(world: World) -> None:
    async with Run(world) as run:
        assert [subscriber.compressed for subscriber in run.subscribers[:-2]] == [False, True] * 5
        assert run.away.compressed
        verdict = await run.finish(NOTHING)
    assert not verdict.violations, "\n".join(map(str, verdict.violations[:10]))


async def test_nothing_stays_of_channels_that_have_gone(world: World) -> None:
    await quiet_channels(world, 500)  # what the allocator keeps, it keeps now
    for _ in range(2):
        assert await quiet_channels(world, 500) == []

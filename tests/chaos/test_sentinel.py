"""Each fault of a primary that Sentinel looks after, under load: nothing is lost in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.judge import judge
from tests.chaos.sentinel import TABLE, SentinelWorld
from tests.support.redis_server import find_binary, runs_sentinels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.faults import Fault

pytestmark = pytest.mark.skipif(not runs_sentinels(find_binary()), reason="the server runs in a container")


class _Worlds:
    """One, made anew where a fault has broken it."""

    world: SentinelWorld | None = None

    def get(self) -> SentinelWorld:
        if self.world is None or self.world.broken:
            self.close()
            self.world = SentinelWorld().__enter__()
        return self.world

    def close(self) -> None:
        if self.world is not None:
            self.world.__exit__()
            self.world = None


@pytest.fixture(scope="module")
def worlds() -> Iterator[_Worlds]:
    worlds = _Worlds()
    yield worlds
    worlds.close()


@pytest.mark.parametrize("fault", [pytest.param(f, id=f.name.replace(" ", "-")) for f in TABLE.values()])
async def test_fault_under_sentinel(worlds: _Worlds, fault: Fault) -> None:
    world = worlds.get()
    try:
        row = await judge(world, [fault])
        assert not row.verdict.violations, "\n".join(map(str, row.verdict.violations[:10]))
    except BaseException:
        world.broken = True
        raise
    assert row.verdict.delivered > row.verdict.published > 0

"""Each fault, under load: nothing is lost in silence, nothing comes twice, and it heals by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.faults import TABLE, Fault
from tests.chaos.judge import Worlds, judge

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    worlds = Worlds()
    yield worlds
    worlds.close()


@pytest.mark.parametrize("fault", [pytest.param(f, id=f.name.replace(" ", "-")) for f in TABLE.values()])
async def test_fault(worlds: Worlds, fault: Fault) -> None:
    with worlds.borrow(durable=fault.durable) as world:
        row = await judge(world, [fault])
        assert not row.verdict.violations, "\n".join(map(str, row.verdict.violations[:10]))
        assert row.verdict.published
        assert row.verdict.delivered > row.verdict.published

"""Nodes are replaced or lost behind a real proxy, and nobody but the reconnects tells of it."""

from __future__ import annotations

import pytest

from tests.chaos.rolling import (
    ProxiedWorld,
    VanishingWorld,
    most_in_a_second,
    rolling_restart,
    vanished_host,
)
from tests.support.proxies import ReverseProxy

pytestmark = pytest.mark.once


async def test_a_rolling_restart(proxy_kind: type[ReverseProxy]) -> None:
    with ProxiedWorld(proxy_kind) as world:
        row = await rolling_restart(world)
    print(row.remark)
    assert not row.verdict.violations, "\n".join(map(str, row.verdict.violations[:10]))
    assert row.verdict.delivered > row.verdict.published > 0


async def test_the_host_of_a_node_is_gone(proxy_kind: type[ReverseProxy]) -> None:
    with VanishingWorld(proxy_kind) as world:
        row = await vanished_host(world)
    assert not row.verdict.violations, "\n".join(map(str, row.verdict.violations[:10]))
    assert row.verdict.delivered > row.verdict.published > 0


def test_the_busiest_second_is_found() -> None:
    assert most_in_a_second([]) == 0
    assert most_in_a_second([5.0, 0.0, 1.5, 2.2, 2.4, 3.6]) == 3

"""uvloop raises RuntimeError for a write on a connection that the server has just closed.

asyncio's own loop raises an OSError there, or nothing. The error passed through redis-py, and ended the
gateway's process (`test_crowd` has many reads of the log under way when the link is reset) or a `publish`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from publisher import AsyncPublisher
from tests.chaos.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.once

uvloop = pytest.importorskip("uvloop")
RESETS = 40
AT_ONCE = 4


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


def test_a_publish_goes_through(proxy: Proxy, prefix: str) -> None:
    async def publish() -> None:
        async with AsyncPublisher(proxy.url, prefix=prefix) as publisher:
            for turn in range(RESETS):
                proxy.reset()
                await asyncio.gather(*(publisher.publish("news", [turn, n]) for n in range(AT_ONCE)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(publish())

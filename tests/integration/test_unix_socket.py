"""Redis on a Unix socket: for publishers of both kinds, for a gateway's link and its commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from publisher import AsyncPublisher, Publisher
from tests.support.http import request
from tests.support.redis_server import RedisServer, find_binary
from tests.support.streams import events_url, metrics
from tests.support.tokens import SECRET, token
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect


@pytest.fixture
def unix_url(tmp_path: Path) -> Iterator[str]:
    if find_binary().startswith("docker:"):
        pytest.skip("a container's socket is not on this machine")
    path = tmp_path / "redis.sock"
    with RedisServer(options={"unixsocket": str(path)}):
        yield f"unix://{path}"


async def test_events_go_over_a_unix_socket(
    unix_url: str, prefix: str, start_gateway: StartGateway, channel: str, connect: Connect
) -> None:
    gateway = start_gateway(redis_url=unix_url, jwt_secret=SECRET, probe_seconds=0.1)
    stream = await connect(events_url(gateway, channel))
    with Publisher(unix_url, prefix=prefix) as publisher:
        publisher.publish(channel, "from a thread")
    async with AsyncPublisher(unix_url, prefix=prefix) as publisher_of_tasks:
        await publisher_of_tasks.publish(channel, "from a task")
    published = request(
        gateway, "POST", "/publish", token=token(publish=["*"]), body={"channel": channel, "data": "by HTTP"}
    )
    assert published.status == 200
    for data in ("from a thread", "from a task", "by HTTP"):
        assert (await stream.next_event()).data == data
    newest = await connect(events_url(gateway, channel, last=1), live=False)
    assert (await newest.next_event()).data == "by HTTP", "the past is read over a connection for commands"
    assert request(gateway, "POST", "/ticket", token=token([channel])).status == 200
    heard = "fanlight_redis_probes_total{heard}"
    await aeventually(lambda: metrics(gateway)[heard] > 0, what="the probe comes back")

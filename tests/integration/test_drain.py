"""SIGTERM: streams end whole and with a reconnection time, new clients are refused, the process ends well."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest

from publisher import Event, Publisher
from tests.support.sse import SseClient, SseConnection
from tests.support.streams import assert_clean, events_url, gaps, metrics
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.gateway_process import GatewayProcess
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.once


@pytest.fixture
def publisher(redis_server: RedisServer, prefix: str) -> Iterator[Publisher]:
    with Publisher(redis_server.url, prefix=prefix) as publisher:
        yield publisher


async def stopped(gateway: GatewayProcess) -> int:
    """SIGTERM, without holding up the streams that are to be read meanwhile."""
    return await asyncio.to_thread(gateway.terminate)


async def test_streams_end_with_a_retry_and_a_whole_last_event(
    start_gateway: StartGateway, publisher: Publisher, connect: Connect
) -> None:
    gateway = start_gateway(drain_wait_seconds=0, drain_seconds=1, retry_ms=1000)
    connections = [await connect(events_url(gateway, "a")) for _ in range(20)]
    started = time.monotonic()
    stopping = asyncio.create_task(stopped(gateway))
    reading = [asyncio.create_task(connection.until_end()) for connection in connections]
    while not stopping.done():
        publisher.publish("a", "x" * 1000)
        await asyncio.sleep(0.001)  # a rate, not a wait
    assert stopping.result() == 0
    assert time.monotonic() - started < 5
    await asyncio.gather(*reading)
    for connection in connections:
        assert not connection.cut
        assert re.search(rb"\n\n(:\n)*retry: \d+\n$", connection.body), connection  # : is a heartbeat
        assert 500 <= (connection.parser.retry_ms or 0) <= 1500
        assert all(event.data == "x" * 1000 for event in connection.events[1:])
        assert_clean(connection)
    # They come back spread: in time, and in what they have seen.
    assert len({len(connection.events) for connection in connections}) > 1
    assert len({connection.parser.retry_ms for connection in connections}) > 1
    assert "stopped" in [record["event"] for record in gateway.log_records]
    reasons = [record["reason"] for record in gateway.log_records if record["event"] == "stream_ended"]
    assert reasons == ["drained"] * 20


async def test_until_the_balancer_has_noticed_new_clients_are_sent_away(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = start_gateway(drain_wait_seconds=60, drain_seconds=60, heartbeat_seconds=0.1)
    held = [await connect(events_url(gateway, "a")) for _ in range(2)]
    os.kill(gateway.pid, signal.SIGTERM)
    await aeventually(lambda: gateway.admin_get("/readyz")[0] == 503)
    assert b'"accepting": false' in gateway.admin_get("/readyz")[1]
    assert gateway.admin_get("/livez")[0] == 200
    async with await SseConnection.open(events_url(gateway, "a")) as shed:
        await shed.until_end()
        assert shed.status == 200
        assert shed.parser.retry_ms is not None
        assert not shed.events
    for connection in held:
        beats = len(connection.parser.comments)
        await connection.until(lambda: len(connection.parser.comments) > beats)  # noqa: B023
    # A second signal cuts the waiting short.
    started = time.monotonic()
    assert await stopped(gateway) == 0
    assert time.monotonic() - started < 5
    for connection in held:
        await connection.until(lambda: connection.ended)  # noqa: B023


async def test_while_it_ends_its_streams_it_takes_no_connections(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = start_gateway(drain_wait_seconds=0, drain_seconds=60)
    held = [await connect(events_url(gateway, "a")) for _ in range(2)]
    os.kill(gateway.pid, signal.SIGTERM)

    async def refused() -> bool:
        try:
            connection = await SseConnection.open(events_url(gateway, "a"))
        except (ConnectionError, EOFError):
            return True
        await connection.close()
        return False

    await aeventually(refused)
    assert gateway.admin_get("/readyz")[0] == 503
    assert await stopped(gateway) == 0
    for connection in held:
        await connection.until(lambda: connection.ended)  # noqa: B023


async def test_clients_move_to_another_node_without_a_hole(
    start_gateway: StartGateway, publisher: Publisher
) -> None:
    nodes = [start_gateway(drain_wait_seconds=0, drain_seconds=0.5, retry_ms=20) for _ in range(2)]
    clients = [SseClient(events_url(nodes[0], "a", "b")) for _ in range(10)]
    try:
        for client in clients:
            await client.__aenter__()
            await client.opened()
            client.url = events_url(nodes[1], "a", "b")
        ids: list[str] = []
        stopping = asyncio.create_task(stopped(nodes[0]))
        while not stopping.done():
            sent = publisher.publish_many(Event(channel="ab"[n % 2], data=n) for n in range(5))
            ids += [item.id for item in sent]
            await asyncio.sleep(0.001)  # a rate, not a wait
        assert stopping.result() == 0
        for client in clients:
            await client.until(lambda: len(client.messages) >= len(ids))  # noqa: B023
            assert [event.id for event in client.messages] == ids
            assert not gaps(client.events)
            assert client.statuses == [200, 200]
            assert_clean(*client.connections)
    finally:
        for client in clients:
            await client.close()


async def test_a_client_that_reads_nothing_holds_nobody_up(
    start_gateway: StartGateway, publisher: Publisher, connect: Connect
) -> None:
    gateway = start_gateway(
        drain_wait_seconds=0, drain_seconds=0.5, write_buffer_bytes=4096, send_buffer_bytes=4096
    )
    stuck = await connect(events_url(gateway, "a"), receive_buffer_bytes=4096)
    quick = await connect(events_url(gateway, "a"))
    publisher.publish_many(Event(channel="a", data="x" * 1000) for _ in range(300))
    await quick.until(lambda: len(quick.events) == 301)
    started = time.monotonic()
    assert await stopped(gateway) == 0
    assert time.monotonic() - started < 5
    await quick.until_end()
    assert not quick.cut
    await stuck.until(lambda: stuck.ended)
    assert_clean(stuck)


async def test_without_streams_it_ends_at_once(start_gateway: StartGateway) -> None:
    gateway = start_gateway(drain_wait_seconds=0, drain_seconds=60)
    started = time.monotonic()
    assert await stopped(gateway) == 0
    assert time.monotonic() - started < 5


def unconfirmed(gateway: GatewayProcess) -> float:
    values = metrics(gateway)
    wanted, confirmed = (values[f"fanlight_redis_subscriptions_{which}"] for which in ("wanted", "confirmed"))
    return wanted - confirmed


async def test_a_stream_that_waits_for_its_channels_when_the_drain_begins_is_sent_away(
    own_redis: RedisServer, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(redis_url=own_redis.url, drain_wait_seconds=0, drain_seconds=5)
    async with await SseConnection.open(events_url(gateway, "held")) as held:
        await held.next_event()
        own_redis.pause()
        opening = asyncio.create_task(SseConnection.open(events_url(gateway, "new")))
        await aeventually(lambda: unconfirmed(gateway) == 1)
        stopping = asyncio.create_task(stopped(gateway))
        await held.until(lambda: held.ended)
        own_redis.resume()
        async with await opening as late:
            await late.until_end()
            assert (late.status, late.cut, late.events) == (200, False, [])
            assert late.parser.retry_ms is not None
        assert await stopping == 0

"""Streams with `Content-Encoding: gzip`, against a real server. The client's decoder is strict: it checks
the trailer of each stream that ends, and refuses a last chunk without one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from publisher import Event, Publisher
from tests.support.sse import SseClient, SseConnection
from tests.support.streams import assert_clean, events_url, gaps, metrics, unique
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.gateway_process import GatewayProcess
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.once

GZIP = {"Accept-Encoding": "gzip"}
ON: dict[str, Any] = {"compression": "gzip"}
ORIGIN = "https://app.example"
TEXT = "the same words again and again, " * 20


@pytest.fixture(scope="module")
def gateway(share_gateway: StartGateway) -> GatewayProcess:
    return share_gateway(heartbeat_seconds=0.1, retry_ms=1000, **ON)


@pytest.fixture(scope="module")
def plain_gateway(share_gateway: StartGateway) -> GatewayProcess:
    return share_gateway()


@pytest.fixture(scope="module")
def publisher(shared_publisher: Publisher) -> Publisher:
    return shared_publisher


@pytest.fixture
def own_publisher(redis_server: RedisServer, prefix: str) -> Iterator[Publisher]:
    """For gateways that a test has for itself."""
    with Publisher(redis_server.url, prefix=prefix) as publisher:
        yield publisher


def assert_compressed(*connections: SseConnection) -> None:
    for connection in connections:
        assert connection.headers["content-encoding"] == "gzip"
        assert connection.gzip is not None
    assert_clean(*connections)


# What arrives.


async def test_each_event_arrives_by_itself(
    gateway: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    """Each is read before the next is published: nothing waits for more to compress."""
    connection = await connect(events_url(gateway, channel), headers=GZIP)
    for number in range(20):
        data = f"{number} {TEXT * (number % 3)}"
        id_ = publisher.publish(channel, data).id
        event = await connection.next_event()
        assert (event.data, event.id) == (data, id_)
    assert_compressed(connection)
    assert len(connection.wire) < len(connection.body) / 2


async def test_plain_and_compressed_streams_get_the_same(
    gateway: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    other = unique()
    urls = [events_url(gateway, channel, other), events_url(gateway, channel, other, envelope="json")]
    plain = [await connect(url) for url in urls]
    compressed = [await connect(url, headers=GZIP) for url in urls]
    sent = publisher.publish_many(
        Event(channel=(channel, other)[n % 2], data=f"{n}\r\n{TEXT * (n % 5)}") for n in range(300)
    )
    for one, two in zip(plain, compressed, strict=True):
        for connection in (one, two):
            await connection.until(lambda: len(connection.events) > 300)  # noqa: B023
        assert one.events[1:] == two.events[1:]
        assert [event.id for event in two.events[1:]] == [item.id for item in sent]
        assert "content-encoding" not in one.headers
    assert_clean(*plain)
    assert_compressed(*compressed)


@pytest.mark.parametrize("hot_tail_bytes", [1_000_000, 0])
async def test_a_replay(
    share_gateway: StartGateway, publisher: Publisher, channel: str, connect: Connect, hot_tail_bytes: int
) -> None:
    gateway = share_gateway(hot_tail_bytes=hot_tail_bytes, page_bytes=20_000, **ON)
    sent = publisher.publish_many(Event(channel=channel, data=f"{n} {TEXT}") for n in range(200))
    connection = await connect(
        events_url(gateway, channel), live=False, headers=GZIP, last_event_id=sent[0].id
    )
    await connection.until(lambda: len(connection.events) == 200)
    *replayed, opened = connection.events
    assert [event.id for event in replayed] == [item.id for item in sent[1:]]
    assert (opened.type, json.loads(opened.data)) == ("fanlight.open", {"resumed": True})
    assert_compressed(connection)


async def test_gaps(
    share_gateway: StartGateway, publisher: Publisher, channel: str, connect: Connect
) -> None:
    """One for all channels, before the stream is live; one of a replay."""
    gateway = share_gateway(hot_tail_bytes=0, **ON)
    unknown = await connect(
        events_url(gateway, channel), live=False, headers=GZIP, last_event_id="no id of ours"
    )
    await unknown.until(lambda: len(unknown.events) == 2)
    assert [gap["reason"] for gap in gaps(unknown.events)] == ["unknown_cursor"]
    ids = [publisher.publish(channel, n, retention_events=10).id for n in range(500)]
    trimmed = await connect(events_url(gateway, channel), live=False, headers=GZIP, last_event_id=ids[0])
    await trimmed.until(lambda: trimmed.events[-1:] != [] and trimmed.events[-1].type == "fanlight.open")
    assert [gap["reason"] for gap in gaps(trimmed.events)] == ["trimmed"]
    assert ids[-1] in [event.id for event in trimmed.events]
    assert_compressed(unknown, trimmed)


async def test_heartbeats(gateway: GatewayProcess, channel: str, connect: Connect) -> None:
    connection = await connect(events_url(gateway, channel), headers=GZIP)
    await connection.until(lambda: len(connection.parser.comments) >= 5)
    assert set(connection.parser.comments) == {""}
    assert b"\0\2\0\xfd\xff:\n" in connection.chunks, "seven bytes each"
    assert_compressed(connection)


async def test_a_slow_reader_gets_everything_in_order(
    share_gateway: StartGateway, publisher: Publisher, channel: str, connect: Connect
) -> None:
    gateway = share_gateway(write_buffer_bytes=4096, send_buffer_bytes=4096, page_bytes=20_000, **ON)
    slow = await connect(events_url(gateway, channel), headers=GZIP, receive_buffer_bytes=4096)
    ids: list[str] = []
    for _ in range(4):
        # Nothing that compresses well: it has to fill the buffers.
        batch = [Event(channel=channel, data=os.urandom(1000).hex()) for _ in range(300)]
        ids += [item.id for item in publisher.publish_many(batch)]
    await aeventually(lambda: metrics(gateway)["fanlight_slow_streams_total"] >= 1)
    await slow.until(lambda: len(slow.events) == len(ids) + 1)
    assert [event.id for event in slow.events[1:]] == ids
    assert_compressed(slow)


# Ends: the strict client has checked the trailer of each.


async def test_the_end_of_the_channels(
    gateway: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    live = await connect(events_url(gateway, channel), headers=GZIP)
    publisher.publish(channel, TEXT)
    end = publisher.close(channel)
    await live.until_end()
    # A fresh client is told once, and the stream is over with its replay.
    late = await connect(events_url(gateway, channel), live=False, headers=GZIP)
    await late.until_end()
    for connection in (live, late):
        assert [event.id for event in connection.events if event.type == "fanlight.end"] == [end.id]
        assert not connection.cut
    assert_compressed(live, late)
    async with await SseConnection.open(
        events_url(gateway, channel), headers=GZIP, last_event_id=end.id
    ) as done:
        assert (done.status, done.headers["vary"]) == (204, "Origin, Accept-Encoding")
        assert "content-encoding" not in done.headers


async def test_the_age_of_a_stream_and_a_resume_without_a_hole(
    share_gateway: StartGateway, publisher: Publisher, channel: str
) -> None:
    gateway = share_gateway(max_stream_age_seconds=0.5, heartbeat_seconds=0.1, retry_ms=1, **ON)
    sent: list[str] = []
    async with SseClient(events_url(gateway, channel), headers=GZIP) as client:
        await client.opened()
        while len(client.connections) < 4:
            sent.append(publisher.publish(channel, f"{len(sent)} {TEXT}").id)
            await asyncio.sleep(0.002)  # a rate, not a wait
        await client.until(lambda: len(client.messages) >= len(sent))
        assert [event.id for event in client.messages] == sent
        assert not gaps(client.events)
        for connection in client.connections[:3]:
            assert not connection.cut
            assert re.search(rb"\n\n(:\n)*retry: \d+\n$", connection.body), connection
        assert_compressed(*client.connections)


async def test_a_drain(start_gateway: StartGateway, own_publisher: Publisher, connect: Connect) -> None:
    gateway = start_gateway(drain_seconds=0.5, retry_ms=1000, **ON)
    connections = [await connect(events_url(gateway, "a"), headers=GZIP) for _ in range(5)]
    stopping = asyncio.create_task(asyncio.to_thread(gateway.terminate))
    reading = [asyncio.create_task(connection.until_end()) for connection in connections]
    while not stopping.done():
        own_publisher.publish("a", TEXT)
        await asyncio.sleep(0.001)  # a rate, not a wait
    assert stopping.result() == 0
    await asyncio.gather(*reading)
    for connection in connections:
        assert not connection.cut
        assert re.search(rb"\n\nretry: \d+\n$", connection.body), connection
    assert_compressed(*connections)


async def test_a_crash_and_a_resume_without_a_hole(
    start_gateway: StartGateway, own_publisher: Publisher
) -> None:
    """The member is cut off: no trailer, and perhaps no whole unit."""
    gateway = start_gateway(retry_ms=1, **ON)
    sent: list[str] = []
    async with SseClient(events_url(gateway, "a"), headers=GZIP) as client:
        await client.opened()
        for turn in range(3):
            sent += [own_publisher.publish("a", TEXT).id for _ in range(20)]
            os.kill(gateway.pid, signal.SIGKILL)
            gateway.restart(crash=True)
            await client.opened(times=turn + 2)
        await client.until(lambda: len(client.messages) >= len(sent))
        assert [event.id for event in client.messages] == sent
        assert not gaps(client.events)
        assert any(connection.cut for connection in client.connections)
        assert_compressed(*client.connections)


# Who gets it.


async def test_the_head(gateway: GatewayProcess, channel: str, connect: Connect) -> None:
    connection = await connect(events_url(gateway, channel), headers=GZIP)
    headers = dict(connection.headers)
    assert headers.pop("date")
    assert headers.pop("x-request-id")
    assert headers == {
        "content-type": "text/event-stream",
        "content-encoding": "gzip",
        "vary": "Origin, Accept-Encoding",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "x-content-type-options": "nosniff",
        "transfer-encoding": "chunked",
        "connection": "close",
    }
    assert connection.wire.startswith(b"a\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff\r\n")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("accept_encoding", "compressed"),
    [
        (None, False),
        ("", False),
        ("br, gzip;q=0.5", True),
        ("gzip;q=0, *", False),
        ("*", True),
        ("br", False),
    ],
)
async def test_only_who_takes_it(
    gateway: GatewayProcess, channel: str, accept_encoding: str | None, compressed: bool, method: str
) -> None:
    headers = {} if accept_encoding is None else {"Accept-Encoding": accept_encoding}
    async with await SseConnection.open(
        events_url(gateway, channel), headers=headers, method=method
    ) as connection:
        assert (connection.status, connection.headers["vary"]) == (200, "Origin, Accept-Encoding")
        assert ("content-encoding" in connection.headers) is compressed
        if method == "GET":
            assert (await connection.next_event()).type == "fanlight.open"


async def test_lines_of_a_field_are_one_field(gateway: GatewayProcess, channel: str) -> None:
    headers = {"Accept-Encoding": "identity", "accept-encoding": "gzip;q=0.5"}
    async with await SseConnection.open(events_url(gateway, channel), headers=headers) as connection:
        assert "content-encoding" not in connection.headers


async def test_http_1_0_gets_it_plain(
    gateway: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    """A cache that speaks it knows no Vary."""
    connection = await connect(events_url(gateway, channel), version="1.0", headers=GZIP)
    assert connection.headers["vary"] == "Origin, Accept-Encoding"
    assert not {"content-encoding", "transfer-encoding"} & connection.headers.keys()
    compressed = await connect(events_url(gateway, channel), headers=GZIP)
    publisher.publish(channel, TEXT)
    publisher.close(channel)
    assert (await connection.until_end())[1:] == (await compressed.until_end())[1:]
    assert_clean(connection)
    async with await SseConnection.open(
        events_url(gateway, channel), version="1.0", headers=GZIP, method="HEAD"
    ) as head:
        assert "content-encoding" not in head.headers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("query", ["?channel=a", "", "?channel=a&last=x"])
async def test_vary_names_what_the_answer_depends_on(
    share_gateway: StartGateway, query: str, method: str
) -> None:
    gateway = share_gateway(allowed_origins=[ORIGIN], **ON)
    for headers in ({}, {"Origin": ORIGIN}, GZIP, GZIP | {"Origin": ORIGIN}):
        async with await SseConnection.open(
            gateway.events_url + query, headers=headers, method=method
        ) as connection:
            assert connection.headers["vary"] == "Origin, Accept-Encoding"
            assert ("access-control-allow-origin" in connection.headers) is ("Origin" in headers)


async def test_who_is_turned_away_is_told_in_plain(
    share_gateway: StartGateway, channel: str, connect: Connect
) -> None:
    gateway = share_gateway(max_streams=1, **ON)
    await connect(events_url(gateway, channel), headers=GZIP)
    for accept, status in (("text/event-stream", 200), ("application/json", 503)):
        shed = await connect(events_url(gateway, channel), live=False, headers=GZIP | {"Accept": accept})
        await shed.until_end()
        assert (shed.status, shed.headers["vary"]) == (status, "Origin, Accept-Encoding")
        assert "content-encoding" not in shed.headers
        assert (shed.parser.retry_ms is not None) is (status == 200)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_off_is_off(plain_gateway: GatewayProcess, channel: str, method: str) -> None:
    async with await SseConnection.open(
        events_url(plain_gateway, channel), headers=GZIP, method=method
    ) as connection:
        assert "content-encoding" not in connection.headers
        assert connection.headers["vary"] == "Origin"


# What it costs.


async def test_an_event_is_compressed_once_for_all_that_get_it(
    share_gateway: StartGateway, publisher: Publisher, connect: Connect
) -> None:
    gateway = share_gateway(heartbeat_seconds=60, **ON)
    a, b, c = unique(), unique(), unique()
    before = metrics(gateway)
    connections = [
        await connect(events_url(gateway, *channels), headers=GZIP)
        for channels in [(a,), (a, b), (a, b, c)] * 5
    ]
    await connect(events_url(gateway, a))
    assert metrics(gateway)["fanlight_streams_compressed"] == 15
    for number in range(10):
        publisher.publish(a, f"{number} {TEXT}")
        for connection in connections:
            assert (await connection.next_event()).data.startswith(f"{number} ")
    after = metrics(gateway)
    grown = {name: after[name] - before[name] for name in after if name.startswith("fanlight_compression")}
    assert grown["fanlight_compression_units_total"] == 10
    assert grown["fanlight_compression_plain_bytes_total"] == sum(len(c.body) for c in connections)
    assert (
        grown["fanlight_compression_wire_bytes_total"] < grown["fanlight_compression_plain_bytes_total"] / 3
    )
    for connection in connections:
        await connection.close()
    await aeventually(lambda: metrics(gateway)["fanlight_streams_compressed"] == 0)


async def test_those_that_come_back_together_share_what_is_replayed(
    share_gateway: StartGateway, publisher: Publisher, channel: str, connect: Connect
) -> None:
    gateway = share_gateway(hot_tail_bytes=0, page_bytes=50_000, **ON)
    ids = [item.id for item in publisher.publish_many(Event(channel=channel, data=TEXT) for _ in range(300))]
    for _ in range(20):
        connection = await connect(
            events_url(gateway, channel), live=False, headers=GZIP, last_event_id=ids[0]
        )
        await connection.until(lambda: len(connection.events) == 300)  # noqa: B023
        assert [event.id for event in connection.events[:-1]] == ids[1:]
    values = metrics(gateway)
    assert values["fanlight_compression_units_total"] < 40, "5 pages, and each one's fanlight.open"
    assert values["fanlight_compression_plain_bytes_total"] > 20 * 299 * len(TEXT)

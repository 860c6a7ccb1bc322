"""Resuming: on the same node or another, from memory or from Redis, after crashes and slow reading.

In all of these each event comes once, in order, and there is no gap.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from publisher import Event, Published, Publisher
from tests.support.sse import SseClient
from tests.support.streams import assert_clean, events_url, gaps, metrics, position, unique
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.gateway_process import GatewayProcess
    from tests.support.redis_server import RedisServer
    from tests.support.sse import SseConnection

RETRY_MS = 20


@pytest.fixture(scope="module")
def nodes(share_gateway: StartGateway) -> list[GatewayProcess]:
    """Two nodes that keep a good deal in memory."""
    return [share_gateway(retry_ms=RETRY_MS) for _ in range(2)]


@pytest.fixture(scope="module")
def forgetful(share_gateway: StartGateway) -> GatewayProcess:
    """A node that keeps nothing in memory, and reads small pages: every replay comes from Redis."""
    return share_gateway(retry_ms=RETRY_MS, hot_tail_bytes=0, page_bytes=2000)


@pytest.fixture(params=["memory", "redis"])
def node(
    request: pytest.FixtureRequest, nodes: list[GatewayProcess], forgetful: GatewayProcess
) -> GatewayProcess:
    return nodes[0] if request.param == "memory" else forgetful


@pytest.fixture(scope="module")
def publisher(shared_publisher: Publisher) -> Publisher:
    return shared_publisher


def publish(publisher: Publisher, channels: Sequence[str], count: int, first: int = 0) -> list[str]:
    """`count` events, in turn to each channel; their ids. The data is the number."""
    sent = publisher.publish_many(
        Event(channel=channels[n % len(channels)], data=n) for n in range(first, first + count)
    )
    return [item.id for item in sent]


@contextmanager
def publishing(publisher: Publisher, channels: Sequence[str], per_second: float) -> Iterator[list[Published]]:
    """A thread that publishes at this rate as long as the block runs."""
    sent: list[Published] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(1 / per_second):
            sent.append(publisher.publish(channels[len(sent) % len(channels)], len(sent)))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


async def replayed(connection: SseConnection, wanted: list[str], *, resumed: bool = True) -> None:
    """The stream replays exactly these events, then is live."""
    await connection.until(lambda: any(event.type == "fanlight.open" for event in connection.events))
    *before, last = connection.events
    assert last.type == "fanlight.open"
    assert [event.id for event in before] == wanted
    assert json.loads(last.data) == {"resumed": resumed}
    assert_clean(connection)


# From a cursor.


async def test_resume_from_any_event(node: GatewayProcess, publisher: Publisher, connect: Connect) -> None:
    a, b = unique(), unique()
    ids = publish(publisher, [a, b], 40)
    url = events_url(node, a, b)
    live = await connect(url)
    ids += publish(publisher, [a, b], 40, first=40)
    await live.until(lambda: len(live.events) == 41)
    for cursor in (0, 1, 38, 39, 40, 78, 79):
        connection = await connect(url, live=False, last_event_id=ids[cursor])
        await replayed(connection, ids[cursor + 1 :])
        assert connection.events[-1].id >= ids[-1]


async def test_a_cursor_of_one_channel_is_one_for_all(
    node: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    """One id is an exact position in any set of channels, also one that it is not an event of."""
    a, b, c = unique(), unique(), unique()
    ids = publish(publisher, [a, b, c], 30)
    for cursor in (0, 1, 2, 15):
        connection = await connect(events_url(node, b, c), live=False, last_event_id=ids[cursor])
        await replayed(connection, [id_ for n, id_ in enumerate(ids) if n > cursor and n % 3])


async def test_the_cursor_of_open_resumes(
    node: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    """A connection that drops before its first event resumes without a hole."""
    channel = unique()
    publish(publisher, [channel], 3)
    first = await connect(events_url(node, channel))
    await first.close()
    ids = publish(publisher, [channel], 3)
    connection = await connect(events_url(node, channel), live=False, last_event_id=first.events[0].id)
    await replayed(connection, ids)


async def test_resume_on_another_node(
    nodes: list[GatewayProcess], forgetful: GatewayProcess, publisher: Publisher
) -> None:
    """One browser, in turn on three nodes."""
    channels = [unique() for _ in range(3)]
    turns = [nodes[0], nodes[1], forgetful, nodes[0], forgetful, nodes[1]]
    ids: list[str] = []
    async with SseClient(events_url(turns[0], *channels), reconnect_at_once=True) as client:
        await client.opened()
        for turn, node in enumerate(turns):
            ids += publish(publisher, channels, 50)
            count = len(ids) - 25
            await client.until(lambda: len(client.messages) >= count)  # noqa: B023
            client.url = events_url(node, *channels)
            client.cut()
            ids += publish(publisher, channels, 50)
            await client.opened(times=turn + 2)
        await client.until(lambda: len(client.messages) >= len(ids))
        assert [event.id for event in client.messages] == ids
        assert {event.type for event in client.system} == {"fanlight.open"}
        assert_clean(*client.connections)


async def test_resume_after_a_crash(
    start_gateway: StartGateway, redis_server: RedisServer, prefix: str
) -> None:
    gateway = start_gateway(retry_ms=RETRY_MS)
    channels = [unique() for _ in range(3)]
    with Publisher(redis_server.url, prefix=prefix) as publisher:
        async with SseClient(events_url(gateway, *channels), reconnect_at_once=True) as client:
            await client.opened()
            with publishing(publisher, channels, 400) as sent:
                for turn in range(3):
                    size = len(client.messages) + 30
                    await client.until(lambda: len(client.messages) >= size)  # noqa: B023
                    gateway.restart(crash=True)
                    await client.opened(times=turn + 2)
            await client.until(lambda: len(client.messages) >= len(sent))
            assert [event.id for event in client.messages] == [item.id for item in sent]
            assert {event.type for event in client.system} == {"fanlight.open"}
            assert [json.loads(event.data)["resumed"] for event in client.system] == [False, True, True, True]
            assert_clean(*client.connections)


async def test_clients_that_come_back_together_share_their_reads(
    forgetful: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    channel = unique()
    ids = publish(publisher, [channel], 200)
    before = metrics(forgetful)
    connections = [
        await connect(events_url(forgetful, channel), live=False, last_event_id=ids[0]) for _ in range(40)
    ]
    for connection in connections:
        await replayed(connection, ids[1:])
    after = metrics(forgetful)
    read, shared = (
        after[name] - before[name] for name in ("fanlight_pages_read_total", "fanlight_pages_shared_total")
    )
    assert 1 < read < shared


# Pages.


async def test_a_long_replay_in_small_pages(
    forgetful: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    """Three channels of very different rates, over many pages, while more is published."""
    a, b, c = unique(), unique(), unique()
    mix = [a] * 40 + [b] * 5 + [c]
    first = publisher.publish(a, "cursor").id
    ids = publish(publisher, mix, 1500)
    before = metrics(forgetful)["fanlight_pages_read_total"]
    connection = await connect(events_url(forgetful, a, b, c), live=False, last_event_id=first)
    with publishing(publisher, mix, 500) as sent:
        await connection.until(lambda: any(event.type == "fanlight.open" for event in connection.events))
    await connection.until(lambda: len(connection.events) == len(ids) + len(sent) + 1)
    messages = [event for event in connection.events if event.type == "message"]
    assert [event.id for event in messages] == ids + [item.id for item in sent]
    assert metrics(forgetful)["fanlight_pages_read_total"] - before >= 30
    assert_clean(connection)


async def test_a_cut_in_the_middle_of_a_replay(
    forgetful: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    channels = [unique() for _ in range(3)]
    cursor = publisher.publish(channels[0], "cursor").id
    # Large enough that what is under way when the connection is cut is a small part.
    sent = publisher.publish_many(Event(channel=channels[n % 3], data="x" * 500) for n in range(1200))
    ids = [item.id for item in sent]
    url = events_url(forgetful, *channels)
    seen: list[str] = []
    for _ in range(4):
        connection = await connect(url, live=False, last_event_id=cursor, receive_buffer_bytes=4096)
        await _first(connection, 100)
        connection.abort()
        seen += [event.id for event in connection.events]
        cursor = seen[-1]
    connection = await connect(url, live=False, last_event_id=cursor)
    await replayed(connection, ids[ids.index(cursor) + 1 :])
    seen += [event.id for event in connection.events[:-1]]
    assert seen == ids


# last=N.


async def test_last_begins_with_the_newest(
    node: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    a, b, empty = unique(), unique(), unique()
    ids_a, ids_b = publish(publisher, [a], 20), publish(publisher, [b], 5)
    ids_a += publish(publisher, [a], 2)
    for count in (0, 1, 3, 7, 100):
        of_a, of_b = (ids[max(0, len(ids) - count) :] for ids in (ids_a, ids_b))
        connection = await connect(events_url(node, a, b, empty, last=count), live=False)
        await replayed(connection, sorted(of_a + of_b, key=position), resumed=False)


async def test_a_cursor_beats_last(node: GatewayProcess, publisher: Publisher, connect: Connect) -> None:
    """A browser sends the query again, unchanged, when it reconnects."""
    channel = unique()
    ids = publish(publisher, [channel], 20)
    connection = await connect(events_url(node, channel, last=3), live=False, last_event_id=ids[9])
    await replayed(connection, ids[10:])


async def test_last_with_live_events_has_no_seam(
    node: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    channels = [unique() for _ in range(2)]
    with publishing(publisher, channels, 1000) as sent:
        await aeventually(lambda: len(sent) > 50)
        connections = []
        for _ in range(10):
            connection = await connect(events_url(node, *channels, last=5), live=False)
            await _first(connection, 40)
            connections.append(connection)
    ids = [item.id for item in sent]
    for connection in connections:
        await connection.until(lambda: connection.events[-1].id == ids[-1])  # noqa: B023
        got = [event.id for event in connection.events if event.type == "message"]
        assert got[10:] == ids[ids.index(got[10]) :]
        # Each channel's own newest five come first; then no event is missing.
        assert set(got) >= set(ids[ids.index(got[9]) :])
        assert not gaps(connection.events)


# Slow readers.


@pytest.mark.parametrize("hot_tail_bytes", [0, 20_000, 10_000_000])
async def test_a_slow_reader_gets_everything_in_order(
    share_gateway: StartGateway, publisher: Publisher, connect: Connect, hot_tail_bytes: int
) -> None:
    """It stops reading while thousands of events come; what it cannot take is read again, from the log."""
    gateway = share_gateway(
        write_buffer_bytes=4096, send_buffer_bytes=4096, hot_tail_bytes=hot_tail_bytes, page_bytes=20_000
    )
    channels = [unique() for _ in range(2)]
    url = events_url(gateway, *channels)
    slow = await connect(url, receive_buffer_bytes=4096)
    quick = await connect(url)
    ids: list[str] = []
    text = "x" * 300
    for part in range(4):
        sent = publisher.publish_many(Event(channel=channels[n % 2], data=text) for n in range(1000))
        ids += [item.id for item in sent]
        # The quick one is not held back.
        await _first(quick, len(ids) + 1)
        if part == 1:
            await _first(slow, 100)
    assert metrics(gateway)["fanlight_slow_streams_total"] >= 1
    await _first(slow, len(ids) + 1)
    for connection in (slow, quick):
        assert [event.id for event in connection.events[1:]] == ids
        assert_clean(connection)
    last = publisher.publish(channels[0], "live again").id
    await _first(slow, len(ids) + 2)
    assert slow.events[-1].id == last


@pytest.mark.parametrize("hot_tail_bytes", [0, 1_000_000])
async def test_readers_that_take_nothing_cost_little(
    share_gateway: StartGateway, publisher: Publisher, connect: Connect, hot_tail_bytes: int
) -> None:
    """However large the events: of what they resume, each holds about a page, not all that there is."""
    gateway = share_gateway(hot_tail_bytes=hot_tail_bytes, page_bytes=262_144)
    channels = [unique() for _ in range(4)]
    cursor = publisher.publish(channels[0], "cursor").id
    for n in range(160):
        publisher.publish(channels[n % 4], "x" * 250_000)
    before = metrics(gateway)["process_resident_memory_bytes"]
    readers = [
        await connect(url, live=False, last_event_id=cursor, receive_buffer_bytes=4096)
        for url in [events_url(gateway, *channels), events_url(gateway, channels[0])] * 4
    ]
    steps = "fanlight_replay_steps_total{redis}"
    await aeventually(lambda: metrics(gateway)[steps] >= len(readers))
    for reader in readers:  # its first page is under way
        await reader.until(lambda: len(reader.body) > 1000)  # noqa: B023
    grown = metrics(gateway)["process_resident_memory_bytes"] - before
    # Pages that are shared for a moment (16 MB at most), what Redis' client reads, and theirs.
    assert grown < 60_000_000, grown
    await readers[0].until(lambda: len(readers[0].events) == 161, seconds=60)


async def test_a_reader_that_takes_nothing_is_cut_off(
    share_gateway: StartGateway, publisher: Publisher, connect: Connect
) -> None:
    gateway = share_gateway(
        write_buffer_bytes=4096, send_buffer_bytes=4096, stall_seconds=0.3, heartbeat_seconds=0.1
    )
    channel = unique()
    stalled = await connect(events_url(gateway, channel), receive_buffer_bytes=4096)
    for _ in range(20):
        publisher.publish(channel, "x" * 50_000)
    await aeventually(lambda: metrics(gateway).get("fanlight_streams_closed_total{stalled}", 0) == 1)
    await stalled.until(lambda: stalled.ended)
    assert stalled.cut


async def _first(connection: SseConnection, count: int) -> None:
    """Read until it has so many events."""
    await connection.until(lambda: len(connection.events) >= count)

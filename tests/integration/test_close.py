"""`close(channel)`: subscribers get what is left, then `fanlight.end`, then the end; browsers then stop."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from publisher import ChannelClosed, Event, Publisher
from publisher.channels import Channel, Partition
from tests.support.sse import SseClient
from tests.support.streams import assert_clean, events_url, gaps, metrics, unique

if TYPE_CHECKING:
    import redis

    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.gateway_process import GatewayProcess
    from tests.support.sse import SseConnection


def shape(connection: SseConnection) -> list[str]:
    """The types of the events, with the data of messages and the channel of ends and gaps."""
    shown = []
    for event in connection.events:
        if event.type == "message":
            shown.append(event.data)
        elif event.type == "fanlight.open":
            shown.append("open")
        else:
            shown.append(f"{event.type.removeprefix('fanlight.')} {json.loads(event.data)['channel']}")
    return shown


async def ended(connection: SseConnection) -> list[str]:
    """Read to the stream's proper end."""
    await connection.until_end()
    assert not connection.cut
    assert_clean(connection)
    return shape(connection)


async def test_a_live_stream_gets_the_rest_and_ends(
    node: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    connection = await connect(events_url(node, channel))
    before = metrics(node).get("fanlight_streams_closed_total{channels_ended}", 0)
    publisher.publish_many(Event(channel=channel, data=n) for n in range(50))
    end = publisher.close(channel)
    assert await ended(connection) == ["open", *map(str, range(50)), f"end {channel}"]
    assert connection.events[-1].id == end.id
    assert not end.duplicate
    assert metrics(node)["fanlight_streams_closed_total{channels_ended}"] == before + 1


async def test_who_has_seen_the_end_is_told_to_stop(
    node: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    publisher.publish(channel, 1)
    end = publisher.close(channel).id
    connection = await connect(events_url(node, channel), live=False, last_event_id=end)
    assert connection.status == 204
    assert connection.headers["cache-control"] == "no-store"
    assert "content-type" not in connection.headers


async def test_a_browser_stops_by_itself(node: GatewayProcess, publisher: Publisher, channel: str) -> None:
    async with SseClient(events_url(node, channel), reconnect_at_once=True) as client:
        await client.opened()
        publisher.publish(channel, "word")
        publisher.close(channel)
        await client.until(lambda: client.failed)
        assert client.failed == "status 204"
        assert client.statuses == [200, 204]
        assert [event.type for event in client.events] == ["fanlight.open", "message", "fanlight.end"]


async def test_who_comes_back_gets_the_rest_and_the_end(
    node: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    ids = [publisher.publish(channel, n).id for n in range(5)]
    publisher.close(channel)
    connection = await connect(events_url(node, channel), live=False, last_event_id=ids[2])
    assert await ended(connection) == ["3", "4", f"end {channel}", "open"]
    # A client that commits any of these ids is told to stop the next time.
    for event in connection.events[2:]:
        again = await connect(events_url(node, channel), live=False, last_event_id=event.id)
        assert again.status == 204


async def test_a_fresh_client_of_a_closed_channel_is_told_once(
    node: GatewayProcess, publisher: Publisher, channel: str
) -> None:
    publisher.publish(channel, "old")
    publisher.close(channel)
    async with SseClient(events_url(node, channel), reconnect_at_once=True) as client:
        await client.until(lambda: client.failed)
        assert client.statuses == [200, 204]
        assert [event.type for event in client.events] == ["fanlight.end", "fanlight.open"]
        assert json.loads(client.events[1].data) == {"resumed": False}


@pytest.mark.parametrize("count", [1, 3, 100])
async def test_last_of_a_closed_channel(
    node: GatewayProcess, publisher: Publisher, channel: str, connect: Connect, count: int
) -> None:
    publisher.publish_many(Event(channel=channel, data=n) for n in range(10))
    publisher.close(channel)
    connection = await connect(events_url(node, channel, last=count), live=False)
    # The end is an event of the channel like any other, and its newest.
    newest = [*map(str, range(10)), f"end {channel}"][-count:]
    assert await ended(connection) == [*newest, "open"]


async def test_a_stream_with_an_open_channel_stays_open(
    node: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    a, b = unique(), unique()
    connection = await connect(events_url(node, a, b))
    publisher.publish(a, "a1")
    publisher.close(a)
    publisher.publish(b, "b1")
    await connection.until(lambda: len(connection.events) == 4)
    # Back from any point: the end is told to who has not seen it, and only then.
    url = events_url(node, a, b)
    for index, rest in ((1, [f"end {a}", "b1"]), (2, ["b1"]), (3, [])):
        resumed = await connect(url, live=False, last_event_id=connection.events[index].id)
        await resumed.until(lambda: "open" in shape(resumed))  # noqa: B023
        assert shape(resumed) == [*rest, "open"]
    fresh = await connect(url, live=False)
    await fresh.until(lambda: "open" in shape(fresh))
    assert shape(fresh).count(f"end {a}") == 1
    publisher.publish(b, "b2")
    end = publisher.close(b).id
    assert await ended(connection) == ["open", "a1", f"end {a}", "b1", "b2", f"end {b}"]
    assert (await ended(fresh))[-2:] == ["b2", f"end {b}"]
    again = await connect(url, live=False, last_event_id=end)
    assert again.status == 204


async def test_a_fresh_client_of_one_closed_and_one_open_channel(
    node: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    """It is told of the end, and gets nothing old of the other."""
    closed, still_open = unique(), unique()
    publisher.close(closed)
    publisher.publish_many(Event(channel=still_open, data="old") for n in range(50))
    connection = await connect(events_url(node, closed, still_open), live=False)
    await connection.until(lambda: "open" in shape(connection))
    assert shape(connection) == [f"end {closed}", "open"]
    publisher.publish(still_open, "new")
    assert await connection.next_event() == connection.events[0]
    await connection.until(lambda: shape(connection)[-1] == "new")
    assert_clean(connection)


async def test_nothing_follows_the_end(
    node: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    connection = await connect(events_url(node, channel))
    end = publisher.close(channel)
    with pytest.raises(ChannelClosed, match=end.id):
        publisher.publish(channel, "late")
    again = publisher.close(channel)
    assert (again.id, again.duplicate) == (end.id, True)
    assert await ended(connection) == ["open", f"end {channel}"]
    fresh = await connect(events_url(node, channel), live=False)
    assert await ended(fresh) == [f"end {channel}", "open"]


async def test_the_end_outlives_the_stream(
    node: GatewayProcess,
    publisher: Publisher,
    client: redis.Redis,
    shared_prefix: str,
    channel: str,
    connect: Connect,
) -> None:
    first = publisher.publish(channel, 1).id
    publisher.publish(channel, 2)
    end = publisher.close(channel).id
    assert client.delete(Partition(shared_prefix).stream(Channel(channel))) == 1
    fresh = await connect(events_url(node, channel), live=False)
    assert await ended(fresh) == [f"end {channel}", "open"]
    assert fresh.events[0].id == end
    last = await connect(events_url(node, channel, last=10), live=False)
    assert await ended(last) == [f"end {channel}", "open"]
    # Who has missed something is told of that too.
    back = await connect(events_url(node, channel), live=False, last_event_id=first)
    assert await ended(back) == [f"gap {channel}", f"end {channel}", "open"]
    [gap] = gaps(back.events)
    assert (gap["reason"], gap["from"]) == ("expired", first)
    seen = await connect(events_url(node, channel), live=False, last_event_id=end)
    assert seen.status == 204


@pytest.mark.parametrize("cursor", ["garbage", "1700000000000-0-000000"])
async def test_a_cursor_of_no_use_gets_a_gap_and_the_end(
    node: GatewayProcess, publisher: Publisher, channel: str, connect: Connect, cursor: str
) -> None:
    publisher.publish(channel, 1)
    publisher.close(channel)
    connection = await connect(events_url(node, channel), live=False, last_event_id=cursor)
    await connection.until_end()
    assert shape(connection) == ["gap None", f"end {channel}", "open"]


async def test_a_slow_reader_gets_the_rest_and_the_end(
    share_gateway: StartGateway, publisher: Publisher, channel: str, connect: Connect
) -> None:
    gateway = share_gateway(write_buffer_bytes=4096, send_buffer_bytes=4096)
    connection = await connect(events_url(gateway, channel), receive_buffer_bytes=4096)
    publisher.publish_many(Event(channel=channel, data=f"{n} {'x' * 300}") for n in range(1000))
    publisher.close(channel)
    shown = await ended(connection)
    assert [text.partition(" ")[0] for text in shown[1:-1]] == [str(n) for n in range(1000)]
    assert shown[-1] == f"end {channel}"

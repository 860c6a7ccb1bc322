"""What can't be recovered is told, once, and where nothing is missing nothing is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from publisher import Event, Publisher
from publisher.channels import Channel, Partition
from tests.support.redis_server import RedisServer
from tests.support.sse import SseClient
from tests.support.streams import assert_clean, events_url, gaps, metrics, position, unique
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.gateway_process import GatewayProcess
    from tests.support.sse import SseConnection

PREFIX = "gaps"
QUICK = {"retry_ms": 20, "position_read_seconds": 0.05, "reconnect_max_seconds": 0.2}


# On the shared server: what is missing from one channel.


@pytest.fixture(scope="module")
def keys(shared_prefix: str) -> Partition:
    return Partition(shared_prefix)


async def until_open(connection: SseConnection) -> list[str]:
    """Read to `fanlight.open`; the ids of the events before it."""
    await connection.until(lambda: any(event.type == "fanlight.open" for event in connection.events))
    assert_clean(connection)
    return [event.id for event in connection.events if event.type == "message"]


def generation(gateway: GatewayProcess) -> int:
    """Of the link that is up; 0 without one."""
    now = metrics(gateway)
    return int(now["fanlight_redis_connected"] * now["fanlight_redis_generations_total"])


def told(connection: SseConnection) -> dict[str, Any]:
    """The one gap of the stream, which stands before all events, under the client's own cursor."""
    [gap] = gaps(connection.events)
    assert connection.events[0].type == "fanlight.gap"
    return gap


async def test_trimmed_events_are_told(
    node: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    cursor = publisher.publish(channel, "cursor").id
    sent = publisher.publish_many((Event(channel=channel, data=n) for n in range(500)), retention_events=10)
    ids = [item.id for item in sent]
    connection = await connect(events_url(node, channel), live=False, last_event_id=cursor)
    kept = await until_open(connection)
    # Redis trims by whole nodes of 100 entries.
    assert 10 <= len(kept) < 200
    assert kept == ids[-len(kept) :]
    assert told(connection) == {
        "channel": channel,
        "reason": "trimmed",
        "from": cursor,
        "to": ids[-len(kept) - 1],
    }
    # Cut off here, it would be told again.
    assert connection.events[0].id == cursor


async def test_of_two_channels_only_the_trimmed_one_has_a_gap(
    node: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    """Small pages of the one hold the other back: the hole must be told all the same."""
    full, trimmed = unique(), unique()
    cursor = publisher.publish(full, "cursor").id
    lost = [item.id for item in publisher.publish_many(Event(channel=trimmed, data=n) for n in range(300))]
    ids = [item.id for item in publisher.publish_many(Event(channel=full, data=n) for n in range(100))]
    last = publisher.publish(trimmed, "last", retention_events=1).id
    connection = await connect(events_url(node, full, trimmed), live=False, last_event_id=cursor)
    got = await until_open(connection)
    gap = told(connection)
    kept = [id_ for id_ in lost if position(id_) > position(gap["to"])]
    assert (gap["channel"], gap["reason"], gap["from"]) == (trimmed, "trimmed", cursor)
    assert gap["to"] in lost
    assert got == [*kept, *ids, last]


async def test_an_expired_stream_is_told(
    node: GatewayProcess,
    publisher: Publisher,
    client: redis.Redis,
    keys: Partition,
    channel: str,
    connect: Connect,
) -> None:
    first, second = publisher.publish(channel, 1).id, publisher.publish(channel, 2).id
    client.delete(keys.stream(Channel(channel)))
    connection = await connect(events_url(node, channel), live=False, last_event_id=first)
    assert await until_open(connection) == []
    assert told(connection) == {"channel": channel, "reason": "expired", "from": first, "to": second}
    # Who has seen the last one has missed nothing.
    connection = await connect(events_url(node, channel), live=False, last_event_id=second)
    assert await until_open(connection) == []
    assert not gaps(connection.events)


async def test_an_event_after_the_stream_has_expired(
    node: GatewayProcess,
    publisher: Publisher,
    client: redis.Redis,
    keys: Partition,
    channel: str,
    connect: Connect,
) -> None:
    """A page that was read when the stream was gone must not hide the gap from who comes later."""
    first, second = publisher.publish(channel, 1).id, publisher.publish(channel, 2).id
    client.delete(keys.stream(Channel(channel)))
    url = events_url(node, channel)
    gap = {"channel": channel, "reason": "expired", "from": first, "to": second}
    early = await connect(url, live=False, last_event_id=first)
    await until_open(early)
    assert told(early) == gap
    third = publisher.publish(channel, 3).id
    assert (await early.next_event()).type == "fanlight.gap"
    await early.until(lambda: early.events[-1].id == third and early.events[-1].type == "message")
    late = await connect(url, live=False, last_event_id=first)
    assert await until_open(late) == [third]
    assert told(late) | {"reason": "expired"} == gap


async def test_a_deleted_event_and_garbage_are_told(
    node: GatewayProcess,
    publisher: Publisher,
    client: redis.Redis,
    keys: Partition,
    channel: str,
    connect: Connect,
) -> None:
    a, b, c, d, e = (publisher.publish(channel, n).id for n in range(5))
    stream = keys.stream(Channel(channel))
    client.xdel(stream, b.rpartition("-")[0])
    client.xdel(stream, d.rpartition("-")[0])
    client.xadd(stream, {"m": "garbage"}, id=f"{e.partition('-')[0]}-{2**40}")
    connection = await connect(events_url(node, channel), live=False, last_event_id=a)
    assert await until_open(connection) == [c, e]
    found = gaps(connection.events)
    assert [(gap["reason"], gap["from"], gap["to"]) for gap in found[:2]] == [
        ("trimmed", a, b),  # the first entry after the cursor does not follow it
        ("rewritten", c, d),
    ]


CURSORS = [
    pytest.param("garbage", "unknown_cursor", None, id="garbage"),
    pytest.param("0", "unknown_cursor", None, id="a number"),
    pytest.param("1700000000000-0", "unknown_cursor", None, id="an entry id"),
    pytest.param("1700000000000-0-00000g", "unknown_cursor", None, id="not hex"),
    pytest.param("-1-0-000000", "unknown_cursor", None, id="negative"),
    pytest.param(f"{2**64}-0-000000", "unknown_cursor", None, id="too large a number"),
    pytest.param("é\xff", "unknown_cursor", None, id="not ASCII"),
    pytest.param("x" * 4000, "unknown_cursor", None, id="long"),
    pytest.param("1700000000000-0-000000", "epoch", "1700000000000-0-000000", id="foreign epoch"),
]


@pytest.mark.parametrize(("cursor", "reason", "start"), CURSORS)
async def test_a_cursor_of_no_use_is_a_gap_and_a_fresh_start(
    node: GatewayProcess,
    publisher: Publisher,
    channel: str,
    connect: Connect,
    cursor: str,
    reason: str,
    start: str | None,
) -> None:
    last = publisher.publish(channel, "before").id
    connection = await connect(events_url(node, channel), live=False, last_event_id=cursor)
    gap, opened = await connection.next_event(), await connection.next_event()
    [data] = gaps([gap])
    assert (data["channel"], data["reason"], data["from"]) == (None, reason, start)
    assert position(data["to"]) >= position(last)
    assert gap.id == (start or "")
    assert (opened.type, opened.data) == ("fanlight.open", '{"resumed":false}')
    after = publisher.publish(channel, "after").id
    assert (await connection.next_event()).id == after
    # Where it stands now is of use.
    resumed = await connect(events_url(node, channel), live=False, last_event_id=opened.id)
    assert await until_open(resumed) == [after]
    assert not gaps(resumed.events)


async def test_a_cursor_from_the_future(
    node: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    ms, _, epoch = publisher.publish(channel, "before").id.split("-")
    for ahead_ms in (3_600_000, 2**60):
        cursor = f"{int(ms) + ahead_ms}-0-{epoch}"
        connection = await connect(events_url(node, channel), live=False, last_event_id=cursor)
        gap, opened = await connection.next_event(), await connection.next_event()
        [data] = gaps([gap])
        assert (data["channel"], data["reason"], data["from"]) == (None, "future", cursor)
        assert (opened.type, opened.data) == ("fanlight.open", '{"resumed":false}')
        assert position(opened.id) < position(cursor)
        after = publisher.publish(channel, "after").id
        assert (await connection.next_event()).id == after


async def test_the_gaps_are_counted(nodes: list[GatewayProcess], channel: str, connect: Connect) -> None:
    before = metrics(nodes[0]).get("fanlight_gaps_total{unknown_cursor}", 0)
    connection = await connect(events_url(nodes[0], channel), live=False, last_event_id="garbage")
    await connection.next_event()
    assert metrics(nodes[0])["fanlight_gaps_total{unknown_cursor}"] == before + 1


async def test_a_channel_that_never_had_an_event_has_no_gap(
    node: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    quiet, elsewhere = unique(), unique()
    first = await connect(events_url(node, quiet))
    cursors = [first.events[0].id, publisher.publish(elsewhere, 1).id]
    for cursor in cursors:
        connection = await connect(events_url(node, quiet), live=False, last_event_id=cursor)
        assert await until_open(connection) == []
        assert not gaps(connection.events)


async def test_a_quiet_channel_has_no_gap(
    node: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    last = publisher.publish(channel, "last").id
    publisher.publish_many(Event(channel=unique(), data=n) for n in range(300))
    connection = await connect(events_url(node, channel), live=False, last_event_id=last)
    assert await until_open(connection) == []
    assert not gaps(connection.events)


# With a server of one's own: Redis loses what it held, or the link to it.


@pytest.fixture
def own_gateway(own_redis: RedisServer, start_gateway: StartGateway) -> GatewayProcess:
    return start_gateway(redis_url=own_redis.url, prefix=PREFIX, **QUICK)


@pytest.fixture
def own_publisher(own_redis: RedisServer) -> Iterator[Publisher]:
    with Publisher(own_redis.url, prefix=PREFIX) as publisher:
        yield publisher


async def test_where_nobody_has_published_for_longer_than_a_tail_lives(
    own_redis: RedisServer, start_gateway: StartGateway, own_publisher: Publisher, connect: Connect
) -> None:
    """The partition's last event was of this channel, 30 hours ago: its stream has expired, and its tail."""
    epoch = own_publisher.publish("a", "last").id.rpartition("-")[2]
    client, keys = own_redis.client(), Partition(PREFIX)
    seconds, _ = client.time()
    ms = (seconds - 30 * 3600) * 1000
    client.delete(keys.stream(Channel("a")), keys.tail(Channel("a")))
    client.hset(keys.meta, mapping={"position": f"{ms}-1", "wall": ms, "checked": ms})
    gateway = start_gateway(redis_url=own_redis.url, prefix=PREFIX, **QUICK)
    before, last = f"{ms}-0-{epoch}", f"{ms}-1-{epoch}"
    connection = await connect(events_url(gateway, "a"), live=False, last_event_id=before)
    assert await until_open(connection) == []
    assert told(connection) == {"channel": "a", "reason": "unknown", "from": before, "to": last}
    # Who has seen the last one has missed nothing.
    connection = await connect(events_url(gateway, "a"), live=False, last_event_id=last)
    assert await until_open(connection) == []
    assert not gaps(connection.events)


async def test_a_server_that_is_back_and_full_can_be_read(
    own_redis: RedisServer, start_gateway: StartGateway, own_publisher: Publisher, connect: Connect
) -> None:
    """It takes no break into its books; but nobody can publish, either, before that can be done."""
    ids = [own_publisher.publish("a", n).id for n in range(3)]
    client = own_redis.client()
    client.hset(Partition(PREFIX).meta, "run_id", "0" * 40)  # it is another process
    client.config_set("maxmemory", 1)
    gateway = start_gateway(redis_url=own_redis.url, prefix=PREFIX, **QUICK)
    connection = await connect(events_url(gateway, "a"), live=False, last_event_id=ids[0])
    assert await until_open(connection) == ids[1:]
    client.config_set("maxmemory", 0)
    last = own_publisher.publish("a", "last").id
    await connection.until(lambda: connection.events[-1].id == last)
    assert [gap["reason"] for gap in gaps(connection.events)] == ["failover"]


async def test_a_wipe_while_live(
    own_redis: RedisServer, own_gateway: GatewayProcess, own_publisher: Publisher, connect: Connect
) -> None:
    connection = await connect(events_url(own_gateway, "a", "b"))
    before = [own_publisher.publish("a", n).id for n in range(3)]
    await connection.until(lambda: len(connection.events) == 4)
    own_redis.client().flushall()
    await connection.until(lambda: len(gaps(connection.events)) == 1)
    own_publisher.publish("b", "after")
    await connection.until(lambda: connection.events[-1].data == "after")
    *_, last, gap, after = connection.events
    [data] = gaps([gap])
    assert (data["channel"], data["reason"], data["from"]) == (None, "epoch", before[-1])
    assert (last.id, gap.id) == (before[-1], before[-1])
    assert after.type == "message"
    assert position(after.id) > position(before[-1])
    assert len(gaps(connection.events)) == 1


async def test_a_wipe_while_away(
    own_redis: RedisServer, own_gateway: GatewayProcess, own_publisher: Publisher, connect: Connect
) -> None:
    cursor = own_publisher.publish("a", "before").id
    own_redis.client().flushall()
    fresh = own_publisher.publish("a", "after").id
    # In the moment in which the node makes its link anew for that, it turns clients away.
    await aeventually(lambda: generation(own_gateway) == 2)
    connection = await connect(events_url(own_gateway, "a"), live=False, last_event_id=cursor)
    assert await until_open(connection) == []
    gap = told(connection)
    assert (gap["channel"], gap["reason"], gap["from"]) == (None, "epoch", cursor)
    assert position(gap["to"]) >= position(fresh)
    resumed = await connect(events_url(own_gateway, "a"), live=False, last_event_id=connection.events[-1].id)
    assert await until_open(resumed) == []
    assert not gaps(resumed.events)


@pytest.mark.parametrize("crash", [False, True])
async def test_a_restart_that_lost_everything(
    own_redis: RedisServer,
    own_gateway: GatewayProcess,
    own_publisher: Publisher,
    connect: Connect,
    crash: bool,
) -> None:
    """The stream stays open; it gets a gap, and then live events."""
    connection = await connect(events_url(own_gateway, "a", "b"))
    last = [own_publisher.publish("a", n).id for n in range(5)][-1]
    await connection.until(lambda: len(connection.events) == 6)
    own_redis.restart(crash=crash)
    await connection.until(lambda: len(gaps(connection.events)) == 1)
    ids = [own_publisher.publish("ab"[n % 2], f"after {n}").id for n in range(5)]
    await connection.until(lambda: connection.events[-1].id == ids[-1])
    [gap] = gaps(connection.events)
    assert (gap["channel"], gap["reason"], gap["from"]) == (None, "epoch", last)
    assert connection.events[6].type == "fanlight.gap"
    assert connection.events[6].id == last
    assert [event.id for event in connection.events[7:]] == ids
    assert [event.type for event in connection.events].count("fanlight.open") == 1


@pytest.fixture
def lasting_redis() -> Iterator[RedisServer]:
    with RedisServer(options={"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server


@pytest.mark.parametrize("crash", [False, True])
async def test_a_restart_that_kept_everything(
    lasting_redis: RedisServer, start_gateway: StartGateway, connect: Connect, crash: bool
) -> None:
    """Nobody can say what Redis has lost, so it is told; what is there is not repeated."""
    gateway = start_gateway(redis_url=lasting_redis.url, prefix=PREFIX, **QUICK)
    with Publisher(lasting_redis.url, prefix=PREFIX) as publisher:
        connection = await connect(events_url(gateway, "a", "b"))
        ids = [publisher.publish("ab"[n % 2], n).id for n in range(10)]
        await connection.until(lambda: len(connection.events) == 11)
        lasting_redis.restart(crash=crash)
        later = [publisher.publish("ab"[n % 2], n).id for n in range(10)]
        await connection.until(lambda: connection.events[-1].id == later[-1])
        assert_clean(connection)
        events = connection.events[1:]
        assert [event.id for event in events if event.type == "message"] == ids + later
        [gap] = gaps(events)
        assert (gap["channel"], gap["reason"], gap["from"]) == (None, "failover", ids[-1])
        assert events[10].type == "fanlight.gap"
        assert events[10].id == ids[-1]
        # Away over the restart, it is the same.
        away = await connect(events_url(gateway, "a", "b"), live=False, last_event_id=ids[3])
        await until_open(away)
        assert [event.id for event in away.events if event.type == "message"] == ids[4:] + later
        assert [gap["reason"] for gap in gaps(away.events)] == ["failover"]
        # And who comes from the new epoch crosses nothing.
        young = await connect(events_url(gateway, "a", "b"), live=False, last_event_id=later[3])
        assert await until_open(young) == later[4:]
        assert not gaps(young.events)


def cut_links(server: RedisServer) -> None:
    """Cut the gateways' subscriber connections, and only these."""
    assert server.client().client_kill_filter(_type="pubsub") >= 0


async def test_a_cut_link_under_load_is_no_gap(
    own_redis: RedisServer, own_gateway: GatewayProcess, own_publisher: Publisher, connect: Connect
) -> None:
    """Nothing missed, nothing repeated, nothing told."""
    channels = ["a", "b", "c"]
    sets = [("a",), ("a", "b", "c"), ("b", "c"), ("quiet",)]
    connections = [await connect(events_url(own_gateway, *names)) for names in sets]
    sent: list[tuple[str, str]] = []
    generation = metrics(own_gateway)["fanlight_redis_generations_total"]
    for cut in range(5):
        for number in range(10):
            part = own_publisher.publish_many(
                Event(channel=channels[n % 3], data="x" * 100) for n in range(100)
            )
            sent += [(item.channel, item.id) for item in part]
            if number == 5:
                cut_links(own_redis)
        await aeventually(
            lambda: metrics(own_gateway)["fanlight_redis_generations_total"] >= generation + cut + 1  # noqa: B023
        )
    for names, connection in zip(sets, connections, strict=True):
        ids = [id_ for name, id_ in sent if name in names]
        await connection.until(lambda: len(connection.events) >= len(ids) + 1)  # noqa: B023
        assert [event.id for event in connection.events[1:]] == ids
        assert_clean(connection)


async def test_a_link_that_is_cut_in_the_middle_of_replays(
    own_redis: RedisServer, start_gateway: StartGateway, own_publisher: Publisher, connect: Connect
) -> None:
    """Answers of the old generation that are still under way repeat nothing."""
    gateway = start_gateway(
        redis_url=own_redis.url, prefix=PREFIX, hot_tail_bytes=0, page_bytes=2000, **QUICK
    )
    cursor = own_publisher.publish("a", "cursor").id
    sent = own_publisher.publish_many(Event(channel="ab"[n % 2], data=n) for n in range(600))
    ids = [item.id for item in sent]
    connection = await connect(events_url(gateway, "a", "b"), live=False, last_event_id=cursor)
    while len(connection.events) < len(ids):
        count = len(connection.events)
        cut_links(own_redis)
        await connection.until(lambda: len(connection.events) > count)  # noqa: B023
    assert await until_open(connection) == ids
    assert not gaps(connection.events)


async def test_a_client_that_reconnects_while_the_link_is_down(
    own_redis: RedisServer, own_gateway: GatewayProcess, own_publisher: Publisher
) -> None:
    own_publisher.publish("a", "first")
    async with SseClient(events_url(own_gateway, "a"), reconnect_at_once=True) as client:
        await client.opened()
        ids = [own_publisher.publish("a", n).id for n in range(3)]
        await client.until(lambda: len(client.messages) == 3)
        own_redis.pause()
        client.cut()
        await client.until(lambda: len(client.connections) > 1)
        own_redis.resume()
        ids += [own_publisher.publish("a", n).id for n in range(3)]
        await client.until(lambda: len(client.messages) == 6)
        assert [event.id for event in client.messages] == ids
        assert not gaps(client.events)
        assert client.failed is None

"""`GET /events` against a real server: what arrives, how it looks on the wire, and what is refused."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from publisher import Event, Publisher
from tests.support.sse import SseClient, SseConnection
from tests.support.streams import assert_clean, events_url, gaps, metrics, unique
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.gateway_process import GatewayProcess

ORIGIN = "https://app.example"


@pytest.fixture(scope="module")
def gateway(share_gateway: StartGateway) -> GatewayProcess:
    return share_gateway(heartbeat_seconds=0.1, retry_ms=1000, max_channels_per_stream=100)


@pytest.fixture(scope="module")
def publisher(shared_publisher: Publisher) -> Publisher:
    return shared_publisher


# What arrives.


async def test_a_published_event_arrives_with_its_id(
    gateway: GatewayProcess, publisher: Publisher, channel: str
) -> None:
    async with await SseConnection.open(events_url(gateway, channel)) as connection:
        first = await connection.next_event()
        assert (first.type, json.loads(first.data)) == ("fanlight.open", {"resumed": False})
        assert re.fullmatch(r"\d+-\d+-[0-9a-f]{6}", first.id)
        for number in range(3):
            published = publisher.publish(channel, f"number {number}")
            event = await connection.next_event()
            assert (event.type, event.data, event.id) == ("message", f"number {number}", published.id)
        assert_clean(connection)


async def test_what_is_published_after_the_head_arrives(
    gateway: GatewayProcess, publisher: Publisher
) -> None:
    """A browser's `open` comes with the head: from then on nothing may be missed."""
    for _ in range(20):
        channel = unique()  # each time a channel that the node does not follow yet
        async with await SseConnection.open(events_url(gateway, channel)) as connection:
            published = publisher.publish(channel, "x")
            await connection.until(lambda: any(event.type == "message" for event in connection.events))
            assert published.id in [event.id for event in connection.events]


async def test_several_channels_arrive_in_id_order(
    gateway: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    channels = [unique() for _ in range(3)]
    other = unique()
    async with await connect(events_url(gateway, *channels)) as connection:
        sent = publisher.publish_many(
            Event(channel=[*channels, other][number % 4], data=number) for number in range(400)
        )
        wanted = [item.id for item in sent if item.channel != other]
        await connection.until(lambda: len(connection.events) > len(wanted))
        messages = connection.events[1:]
        assert [event.id for event in messages] == wanted
        assert [event.data for event in messages] == [str(n) for n in range(400) if n % 4 != 3]
        assert_clean(connection)


async def test_equal_and_overlapping_sets_of_channels(
    gateway: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    a, b = unique(), unique()
    sets = [(a,), (a,), (a, b), (b, a), (b,)]
    connections = [await connect(events_url(gateway, *channels)) for channels in sets]
    sent = publisher.publish_many(Event(channel=(a, b)[n % 2], data=n) for n in range(50))
    for channels, connection in zip(sets, connections, strict=True):
        wanted = [item.id for item in sent if item.channel in channels]
        await connection.until(lambda: len(connection.events) > len(wanted))  # noqa: B023
        assert [event.id for event in connection.events[1:]] == wanted


DATA = [
    pytest.param("one\ntwo\n\nfour", "one\ntwo\n\nfour", id="lines"),
    pytest.param("one\r\ntwo\rthree\n", "one\ntwo\nthree\n", id="line ends"),
    pytest.param("", "", id="empty"),
    pytest.param("\n", "\n", id="a line feed"),
    pytest.param("  two spaces", "  two spaces", id="spaces"),
    pytest.param(": no comment", ": no comment", id="colon"),
    pytest.param("id: 1\nretry: 1\nevent: x\n\ndata: y", "id: 1\nretry: 1\nevent: x\n\ndata: y", id="fields"),
    pytest.param("\ufeffBOM", "\ufeffBOM", id="BOM"),
    pytest.param("grüße 🎉 \u2028\u2029\u0085\v\f\x1c", "grüße 🎉 \u2028\u2029\u0085\v\f\x1c", id="unicode"),
    pytest.param({"n": [1, None, "ü"]}, '{"n":[1,null,"ü"]}', id="JSON"),
    pytest.param("x" * 200_000, "x" * 200_000, id="200 kB"),
]


@pytest.mark.parametrize(("data", "wanted"), DATA)
async def test_data_of_all_kinds(
    gateway: GatewayProcess, publisher: Publisher, channel: str, data: object, wanted: str, connect: Connect
) -> None:
    async with (
        await connect(events_url(gateway, channel)) as plain,
        await connect(events_url(gateway, channel, envelope="json")) as enveloped,
    ):
        id_ = publisher.publish(channel, data, type="a type").id
        event = await plain.next_event()
        assert (event.type, event.data, event.id) == ("a type", wanted, id_)
        event = await enveloped.next_event()
        assert (event.type, event.id) == ("a type", id_)
        # In the envelope line ends stay what they were.
        published = data if isinstance(data, str) else wanted
        assert json.loads(event.data) == {"channel": channel, "data": published}
        assert_clean(plain, enveloped)
        # Each event is one chunk: a proxy or client that passes chunks passes whole events.
        assert plain.chunks[-1].endswith(b"id: %b\n\n" % id_.encode()) or b":\n" in plain.chunks[-1]


async def test_a_name_may_be_percent_encoded(
    gateway: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    channel = unique("room:1/x@y~z")
    async with await connect(f"{gateway.events_url}?channel={quote(channel, safe='')}") as connection:
        id_ = publisher.publish(channel, "x").id
        assert (await connection.next_event()).id == id_


async def test_as_many_channels_as_allowed_with_the_longest_names(
    gateway: GatewayProcess, publisher: Publisher, connect: Connect
) -> None:
    channels = [unique().ljust(128, "x") for _ in range(100)]
    async with await connect(events_url(gateway, *channels)) as connection:
        id_ = publisher.publish(channels[-1], "x").id
        assert (await connection.next_event()).id == id_


# What it looks like.


async def test_the_head(gateway: GatewayProcess, channel: str, connect: Connect) -> None:
    async with await connect(events_url(gateway, channel)) as connection:
        headers = dict(connection.headers)
        assert headers.pop("date")
        assert headers.pop("x-request-id")
        headers.pop("server", None)
        assert headers == {
            "content-type": "text/event-stream",
            "cache-control": "no-cache, no-transform",
            "x-accel-buffering": "no",
            "x-content-type-options": "nosniff",
            "transfer-encoding": "chunked",
            "connection": "close",  # it ends with its stream
            "vary": "Origin",
        }
        assert connection.version == "HTTP/1.1"


async def test_the_reconnection_time_has_jitter(
    gateway: GatewayProcess, channel: str, connect: Connect
) -> None:
    times = set()
    for _ in range(10):
        async with await connect(events_url(gateway, channel)) as connection:
            assert connection.parser.retry_ms is not None
            times.add(connection.parser.retry_ms)
    assert all(500 <= time <= 1500 for time in times)
    assert len(times) > 1


async def test_the_stream_does_not_erase_the_cursor_of_its_client(
    gateway: GatewayProcess, channel: str
) -> None:
    """By the letter of the standard, a block that ends before the first id would."""
    async with await SseConnection.open(events_url(gateway, channel)) as connection:
        await connection.until(lambda: connection.parser.retry_ms is not None)
        while not connection.events:
            assert connection.parser.last_event_id is None
            await connection.read()


async def test_http_1_0_gets_the_stream_without_chunks(
    gateway: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    async with await connect(events_url(gateway, channel), version="1.0") as connection:
        assert "transfer-encoding" not in connection.headers
        assert connection.headers["connection"] == "close"
        id_ = publisher.publish(channel, "x").id
        assert (await connection.next_event()).id == id_
        publisher.close(channel)
        assert (await connection.next_event()).type == "fanlight.end"
        await connection.until_end()
        assert_clean(connection)


async def test_head_tells_what_get_would(gateway: GatewayProcess, channel: str) -> None:
    async with await SseConnection.open(events_url(gateway, channel), method="HEAD") as connection:
        assert connection.status == 200
        assert connection.headers["content-type"] == "text/event-stream"
        assert connection.headers["cache-control"] == "no-cache, no-transform"
        # It would announce a stream that is over before it began.
        assert connection.headers.get("content-length") is None
    async with await SseConnection.open(events_url(gateway), method="HEAD") as connection:
        assert connection.status == 400


async def test_a_quiet_stream_gets_heartbeats(
    gateway: GatewayProcess, channel: str, connect: Connect
) -> None:
    async with await connect(events_url(gateway, channel)) as connection:
        await connection.until(lambda: len(connection.parser.comments) >= 5)
        assert set(connection.parser.comments) == {""}
        assert len(connection.events) == 1
        assert_clean(connection)


async def test_a_heartbeat_comes_on_http_1_0_too(
    gateway: GatewayProcess, channel: str, connect: Connect
) -> None:
    async with await connect(events_url(gateway, channel), version="1.0") as connection:
        await connection.until(lambda: len(connection.parser.comments) >= 2)


# Cursors. (How they resume is in test_resume.py.)


async def test_the_header_beats_the_query(
    gateway: GatewayProcess, publisher: Publisher, channel: str
) -> None:
    first, second, third = (publisher.publish(channel, n).id for n in range(3))
    url = events_url(gateway, channel, last_event_id=first)
    async with await SseConnection.open(url) as connection:
        assert [(await connection.next_event()).id for _ in range(2)] == [second, third]
        assert json.loads((await connection.next_event()).data) == {"resumed": True}
    async with await SseConnection.open(url, last_event_id=second) as connection:
        assert (await connection.next_event()).id == third
        assert (await connection.next_event()).type == "fanlight.open"
    async with await SseConnection.open(url, headers={"Last-Event-ID": ""}) as connection:
        assert (await connection.next_event()).id == second


# The end of a stream.


async def test_a_stream_ends_at_its_age_and_a_resume_has_no_hole(
    share_gateway: StartGateway, publisher: Publisher, channel: str
) -> None:
    gateway = share_gateway(max_stream_age_seconds=0.5, heartbeat_seconds=0.1, retry_ms=1)
    sent: list[str] = []
    async with SseClient(events_url(gateway, channel)) as client:
        await client.opened()
        while len(client.connections) < 4:
            sent.append(publisher.publish(channel, len(sent)).id)
            await asyncio.sleep(0.002)  # a rate, not a wait
        await client.until(lambda: len(client.messages) >= len(sent))
        assert [event.id for event in client.messages] == sent
        assert not gaps(client.events)
        ended = client.connections[:3]
        for connection in ended:
            assert not connection.cut
            # Behind a whole event; a heartbeat may stand between the two.
            assert re.search(rb"\n\n(:\n)*retry: \d+\n$", connection.body), connection
        assert_clean(*client.connections)
    assert metrics(gateway)["fanlight_streams_closed_total{max_age}"] >= 3


async def test_a_quiet_channel_gets_a_fresh_cursor_with_each_stream(
    share_gateway: StartGateway, publisher: Publisher, channel: str
) -> None:
    """Else a client whose channels are quiet would fall out of retention with its old one."""
    gateway = share_gateway(
        max_stream_age_seconds=0.3, heartbeat_seconds=0.1, retry_ms=1, position_read_seconds=0.05
    )
    async with SseClient(events_url(gateway, channel)) as client:
        first = await client.opened()
        publisher.publish(unique(), "elsewhere")
        await client.opened(times=3)
        assert client.last_event_id != first.id
        assert {event.type for event in client.events} == {"fanlight.open"}


async def test_a_client_that_goes_on_sending_is_cut_off(
    gateway: GatewayProcess, channel: str, connect: Connect
) -> None:
    before = metrics(gateway).get("fanlight_streams_closed_total{uploaded}", 0)
    connection = await connect(events_url(gateway, channel))
    await connection.send(b"x" * 60_000)
    assert metrics(gateway)["fanlight_streams_open"] >= 1
    await connection.send(b"x" * 10_000)
    await connection.until(lambda: connection.ended)
    assert connection.cut
    await aeventually(
        lambda: metrics(gateway).get("fanlight_streams_closed_total{uploaded}", 0) == before + 1
    )


async def test_a_client_may_say_a_little(
    gateway: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    async with await connect(events_url(gateway, channel)) as connection:
        await connection.send(b"GET / HTTP/1.1\r\n\r\n" * 100)
        id_ = publisher.publish(channel, "x").id
        assert (await connection.next_event()).id == id_


async def test_who_leaves_is_forgotten(gateway: GatewayProcess, channel: str, connect: Connect) -> None:
    await aeventually(lambda: metrics(gateway)["fanlight_streams_open"] == 0)
    connections = [await connect(events_url(gateway, channel)) for _ in range(3)]
    assert metrics(gateway)["fanlight_streams_open"] == 3
    connections[0].abort()
    await connections[1].close()
    await aeventually(lambda: metrics(gateway)["fanlight_streams_open"] == 1)
    await connections[2].close()
    await aeventually(lambda: metrics(gateway)["fanlight_streams_open"] == 0)


# What is refused.


async def answer(
    url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[SseConnection, dict[str, object]]:
    """The answer to a request that is refused: it is a problem document (RFC 9457)."""
    async with await SseConnection.open(url, method=method, headers=headers) as connection:
        await connection.until_end()
        assert connection.headers["content-type"].partition(";")[0] == "application/problem+json", connection
        body = json.loads(connection.body)
        assert body["status"] == connection.status
        assert {"type", "title", "status", "detail"} <= body.keys()
        return connection, body


BAD = [
    pytest.param("", "/events?channel=", id="no channel"),
    pytest.param("channel=", "1 to 128 characters", id="an empty name"),
    pytest.param("channel=a&channel=b%20c", "b c", id="a space"),
    pytest.param("channel=a%FFb", "bad channel name", id="not UTF-8"),
    pytest.param("channel=fanlight.x", "reserved", id="reserved"),
    pytest.param("&".join(f"channel=c{n}" for n in range(101)), "at most 100", id="too many"),
    pytest.param("channel=a&last=ten", "whole number", id="last=ten"),
    pytest.param("channel=a&last=101", "0 to 100", id="last=101"),
    pytest.param("channel=a&envelope=xml", "json", id="envelope=xml"),
    pytest.param("channel=a&last=1&last=2", "once", id="last twice"),
]


@pytest.mark.parametrize(("query", "said"), BAD)
async def test_a_bad_request_says_what_to_do(gateway: GatewayProcess, query: str, said: str) -> None:
    connection, body = await answer(f"{gateway.events_url}?{query}")
    assert connection.status == 400
    assert said in str(body["detail"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/nothing/here?channel=a", 404),
        ("GET", "/events/", 404),
        ("POST", "/events?channel=a", 405),
        ("PUT", "/events?channel=a", 405),
        ("GET", "/publish", 405),
        ("GET", "/metrics", 404),  # the admin port's
    ],
)
async def test_what_is_not_there(gateway: GatewayProcess, method: str, path: str, status: int) -> None:
    connection, body = await answer(gateway.url + path, method=method)
    assert connection.status == status
    assert len(str(body["detail"])) > 10
    if status == 405:
        assert connection.headers["allow"]


async def test_an_unfinished_request_is_not_waited_for(share_gateway: StartGateway) -> None:
    gateway = share_gateway(header_seconds=0.2)
    with closing(socket.create_connection((gateway.host, gateway.port), timeout=10)) as client:
        client.sendall(b"GET /events?channel=a HTTP/1.1\r\nHost: x\r\n")
        assert client.recv(1000) == b""


# Overload.


async def test_a_full_node_sends_new_clients_away_with_a_retry(
    share_gateway: StartGateway, channel: str, connect: Connect
) -> None:
    gateway = share_gateway(max_streams=2, retry_ms=1000)
    held = [await connect(events_url(gateway, channel)) for _ in range(2)]
    for accept in ("text/event-stream", "*/*", "text/*", "Text/Event-Stream;q=0.9, application/json"):
        connection = await connect(events_url(gateway, channel), live=False, headers={"Accept": accept})
        await connection.until_end()
        assert connection.status == 200
        assert connection.headers["content-type"] == "text/event-stream"
        assert connection.parser.retry_ms is not None
        assert 1000 <= connection.parser.retry_ms <= 3000
        assert not connection.events
        assert connection.parser.last_event_id is None
        assert_clean(connection)
    refused, body = await answer(events_url(gateway, channel), headers={"Accept": "application/json"})
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "again" in str(body["detail"])
    assert metrics(gateway)["fanlight_streams_shed_total"] == 5
    await held[0].close()
    eventually(lambda: metrics(gateway)["fanlight_streams_open"] == 1)
    await connect(events_url(gateway, channel))


# Other origins.


@pytest.fixture(scope="module")
def cors_gateway(share_gateway: StartGateway) -> GatewayProcess:
    return share_gateway(allowed_origins=[ORIGIN, "https://b.example"])


@pytest.mark.parametrize(
    ("path", "status"), [("/events?channel=a", 200), ("/events", 400), ("/events?channel=a&last=x", 400)]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_allowed_origin_may_read_every_answer(
    cors_gateway: GatewayProcess, path: str, status: int, method: str
) -> None:
    for origin, allowed in ((ORIGIN, True), ("https://evil.example", False)):
        url = cors_gateway.url + path
        async with await SseConnection.open(url, headers={"Origin": origin}, method=method) as connection:
            assert connection.status == status
            assert connection.headers["vary"] == "Origin"
            assert connection.headers.get("access-control-allow-origin") == (origin if allowed else None)
            assert connection.headers.get("access-control-allow-credentials") == ("true" if allowed else None)


async def test_a_preflight_for_the_cursor(cors_gateway: GatewayProcess) -> None:
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "last-event-id",
    }
    url = events_url(cors_gateway, "a")
    async with await SseConnection.open(url, method="OPTIONS", headers=headers) as connection:
        assert connection.status == 204
        assert connection.headers["access-control-allow-origin"] == ORIGIN
        assert "last-event-id" in connection.headers["access-control-allow-headers"].lower()
        assert "GET" in connection.headers["access-control-allow-methods"]
    headers["Origin"] = "https://evil.example"
    async with await SseConnection.open(url, method="OPTIONS", headers=headers) as connection:
        assert "access-control-allow-origin" not in connection.headers

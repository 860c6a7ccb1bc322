"""Limits by address, subject and rate: at the edge, for each kind of client, and with others unharmed."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest

from publisher import Publisher
from tests.support.http import Answer, events_path, request
from tests.support.sse import SseConnection
from tests.support.streams import assert_clean, events_url, gaps, metrics
from tests.support.tokens import SECRET, hs256, token
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.gateway_process import GatewayProcess

PROXY: dict[str, Any] = {"trusted_proxies": "127.0.0.1", "retry_ms": 1000}
BEHIND = {"max_replay_events": 5, "hot_tail_bytes": 0, "page_bytes": 1000, "max_last_bytes": 30_000}


@pytest.fixture(scope="module")
def gateway(share_gateway: StartGateway) -> GatewayProcess:
    """Low limits of all kinds, each far from what tests of another need."""
    return share_gateway(
        **PROXY,
        max_streams_per_address=2,
        max_streams_per_subject=3,
        max_failed_credentials_per_second=0.1,
        max_tickets_per_second=0.1,
        max_publish_per_second=0.1,
        jwt_secret=SECRET,
    )


def by(address: str, credential: str | None = None, *, accept: str = "text/event-stream") -> dict[str, str]:
    """The headers of a request that a proxy passes on for this address."""
    headers = {"X-Forwarded-For": address, "Accept": accept}
    return headers if credential is None else {**headers, "Authorization": f"Bearer {credential}"}


async def turned_away(gateway: GatewayProcess, limit: str, url: str, headers: dict[str, str]) -> None:
    """A browser is told to come back, anybody else is told 429; both are counted."""
    name = f"fanlight_limits_hit_total{{{limit}}}"
    before = metrics(gateway)[name]
    async with await SseConnection.open(url, headers=headers) as connection:
        await connection.until_end()
        assert (connection.status, connection.headers["content-type"]) == (200, "text/event-stream")
        assert connection.parser.retry_ms is not None
        assert 1000 <= connection.parser.retry_ms <= 3000
        assert_clean(connection)
    other = {**headers, "Accept": "application/json"}
    async with await SseConnection.open(url, headers=other) as connection:
        await connection.until_end()
        assert connection.status == 429
        assert int(connection.headers["retry-after"]) >= 1
        assert connection.headers["content-type"].startswith("application/problem+json")
    assert metrics(gateway)[name] == before + 2


async def live(connection: SseConnection, publisher: Publisher, channel: str) -> None:
    publisher.publish(channel, "still here")
    assert (await connection.next_event()).data == "still here"


async def test_streams_of_an_address(
    gateway: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    url = events_url(gateway, channel)
    held = [await connect(url, headers=by("203.0.113.1")) for _ in range(2)]
    await turned_away(gateway, "streams_per_address", url, by("1.2.3.4, 203.0.113.1"))
    other = await connect(url, headers=by("203.0.113.2"))
    for connection in (*held, other):
        publisher.publish(channel, "still here")
        assert (await connection.next_event()).data == "still here"
    await held[0].close()

    async def free() -> bool:
        connection = await connect(url, live=False, headers=by("203.0.113.1"))
        return "retry" in connection.headers or connection.headers.get("transfer-encoding") == "chunked"

    await aeventually(free, what="its place is free again")


async def test_a_network_of_ipv6_counts_as_one(
    gateway: GatewayProcess, channel: str, connect: Connect
) -> None:
    url = events_url(gateway, channel)
    for number in range(2):
        await connect(url, headers=by(f"2001:db8:0:1::{number}"))
    await turned_away(gateway, "streams_per_address", url, by("2001:db8:0:1:ffff::1"))
    await connect(url, headers=by("2001:db8:0:2::1"))


async def test_streams_of_a_subject(gateway: GatewayProcess, channel: str, connect: Connect) -> None:
    url = events_url(gateway, channel)
    mine, yours = token([channel], sub="mine"), token([channel], sub="yours")
    for number in range(3):
        await connect(url, headers=by(f"203.0.113.{10 + number}", mine))
    await turned_away(gateway, "streams_per_subject", url, by("203.0.113.20", mine))
    await connect(url, headers=by("203.0.113.20", yours))
    await connect(url, headers=by("203.0.113.20"))


async def test_who_is_refused_leaves_no_place_taken(
    gateway: GatewayProcess, channel: str, connect: Connect
) -> None:
    url = events_url(gateway, channel)
    await connect(url, headers=by("203.0.113.30"))
    expired = token([channel], sub="u", seconds=-60)
    async with await SseConnection.open(url, headers=by("203.0.113.30", expired)) as refused:
        assert refused.status == 401
    await connect(url, headers=by("203.0.113.30"))


async def test_failed_credentials_of_an_address(
    gateway: GatewayProcess, channel: str, connect: Connect
) -> None:
    url = events_url(gateway, channel)
    good, forged = token([channel]), hs256(b"x" * 32).sign({"exp": 2_000_000_000})
    async with await SseConnection.open(url, headers=by("203.0.113.40", forged)) as refused:
        assert refused.status == 401
    await turned_away(gateway, "failed_credentials_per_second", url, by("203.0.113.40", forged))
    await turned_away(gateway, "failed_credentials_per_second", url, by("203.0.113.40", good))
    await connect(url, headers=by("203.0.113.40"))
    await connect(url, headers=by("203.0.113.41", good))


def test_tickets_of_a_subject(gateway: GatewayProcess) -> None:
    mine, yours = token(["a"], sub="mine"), token(["a"], sub="yours")
    assert request(gateway, "POST", "/ticket", token=mine).status == 200
    too_many = request(gateway, "POST", "/ticket", token=mine)
    assert too_many.status == 429
    assert 1 <= int(too_many.headers["retry-after"]) <= 10
    assert request(gateway, "POST", "/ticket", token=yours).status == 200


def publish(gateway: GatewayProcess, credential: str, count: int) -> Answer:
    body = [{"channel": "a", "data": number} for number in range(count)]
    return request(gateway, "POST", "/publish", token=credential, body=body)


def test_events_that_a_subject_publishes(gateway: GatewayProcess) -> None:
    """A batch is taken whole, and paid for afterwards."""
    mine, yours = token(publish=["a"], sub="mine"), token(publish=["a"], sub="yours")
    assert publish(gateway, mine, 5).body["published"] == 5
    too_many = publish(gateway, mine, 1)
    assert too_many.status == 429
    assert 30 <= int(too_many.headers["retry-after"]) <= 50
    assert "subject" in too_many.body["detail"]
    assert publish(gateway, yours, 1).status == 200
    without = [token(publish=["a"], jti=str(number)) for number in range(2)]
    assert [publish(gateway, t, 1).status for t in (*without, without[0])] == [200, 200, 429]


def test_bytes_that_a_subject_publishes(share_gateway: StartGateway) -> None:
    """Of the body, good or bad, or of the data once for each channel, whichever are more."""
    gateway = share_gateway(max_publish_bytes_per_second=100, jwt_secret=SECRET)
    bad, copies, yours = (token(publish=["*"], sub=name) for name in ("bad", "copies", "yours"))
    assert request(gateway, "POST", "/publish", token=bad, body="x" * 3000).status == 400
    body = {"channels": [f"a.{number}" for number in range(10)], "data": "x" * 300}
    assert request(gateway, "POST", "/publish", token=copies, body=body).body["published"] == 10
    for credential in (bad, copies):
        too_many = publish(gateway, credential, 1)
        assert too_many.status == 429
        assert 20 <= int(too_many.headers["retry-after"]) <= 30
        assert "bytes" in too_many.body["detail"]
    assert metrics(gateway)["fanlight_limits_hit_total{publish_bytes_per_second}"] == 2
    assert publish(gateway, yours, 1).status == 200


def test_requests_of_a_subject_that_are_under_way(share_gateway: StartGateway) -> None:
    gateway = share_gateway(max_publishes_per_subject=1, jwt_secret=SECRET)
    mine, yours = token(publish=["a"], sub="mine"), token(publish=["a"], sub="yours")
    counted = "fanlight_limits_hit_total{publishes_per_subject}"
    with closing(socket.create_connection((gateway.host, gateway.port))) as slow:
        head = f"POST /publish HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {mine}\r\n"
        slow.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n".encode())
        eventually(lambda: publish(gateway, mine, 1).status == 429, what="its body is waited for")
        assert "under way" in publish(gateway, mine, 1).body["detail"]
        assert metrics(gateway)[counted] >= 2
        assert publish(gateway, yours, 1).status == 200
        slow.sendall(b"[]")
        assert slow.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert publish(gateway, mine, 1).status == 200


def test_bodies_that_were_held_back_are_no_way_round_the_rate(gateway: GatewayProcess) -> None:
    credential = token(publish=["a"], sub="held")
    body = json.dumps([{"channel": "a", "data": 1}] * 5)
    head = f"POST /publish HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {credential}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection((gateway.host, gateway.port))) for _ in range(3)]
        for connection in held:
            connection.sendall((head + body[:-1]).encode())
        assert request(gateway, "GET", "/").status == 404, "and by now the gateway has read the heads"
        for connection in held:
            connection.sendall(body[-1:].encode())
        statuses = sorted(connection.recv(4096).split()[1] for connection in held)
    assert statuses == [b"200", b"429", b"429"]


async def test_new_streams_of_a_node(share_gateway: StartGateway, channel: str, connect: Connect) -> None:
    gateway = share_gateway(**PROXY, max_new_streams_per_second=0.1)
    held = await connect(events_url(gateway, channel))
    await turned_away(gateway, "new_streams_per_second", events_url(gateway, channel), {})
    assert not held.ended


async def test_a_proxy_that_nobody_named_is_told_once(share_gateway: StartGateway, channel: str) -> None:
    gateway = share_gateway(max_streams_per_address=1)
    async with (
        await SseConnection.open(events_url(gateway, channel), headers=by("203.0.113.1")) as one,
        await SseConnection.open(events_url(gateway, channel), headers=by("203.0.113.1")) as two,
    ):
        for connection in (one, two):
            assert (await connection.next_event()).type == "fanlight.open", "thousands may be behind it"
    [record] = [record for record in gateway.log_records if record["event"] == "proxy_not_trusted"]
    assert "trusted_proxies" in record["hint"]


# The past.


@pytest.fixture(scope="module")
def forgetful(share_gateway: StartGateway) -> GatewayProcess:
    return share_gateway(**BEHIND)


async def test_who_is_too_far_behind_is_told_what_is_left_out(
    forgetful: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    ids = [publisher.publish(channel, f"{number:0500}").id for number in range(20)]
    connection = await connect(events_url(forgetful, channel), live=False, last_event_id=ids[0])
    await connection.until(lambda: any(event.type == "fanlight.open" for event in connection.events))
    seen = [event.id for event in connection.events if event.type == "message"]
    [gap] = gaps(connection.events)
    assert seen == ids[1 : len(seen) + 1], "the oldest first"
    assert 5 <= len(seen) < 15
    assert (gap["reason"], gap["from"], gap["channel"]) == ("too_far_behind", seen[-1], None)
    assert connection.events[-1].type == "fanlight.open"
    assert_clean(connection)
    later = publisher.publish(channel, "later").id
    await connection.until(lambda: connection.events[-1].id == later)
    resumed = await connect(events_url(forgetful, channel), live=False, last_event_id=gap["to"])
    await resumed.until(lambda: resumed.events[-1:] != [] and resumed.events[-1].type == "fanlight.open")
    assert [event.id for event in resumed.events if event.type == "message"] == [later], (
        "`to` is where it ends"
    )
    hit = metrics(forgetful)
    assert hit["fanlight_limits_hit_total{replay}"] == hit["fanlight_gaps_total{too_far_behind}"] == 1


async def test_the_newest_events_have_a_bound_in_bytes(
    forgetful: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    """Half of it for each of two channels; what is left out is told."""
    other = f"{channel}.small"
    large = [publisher.publish(channel, f"{number:05000}").id for number in range(10)]
    small = [publisher.publish(other, number).id for number in range(10)]
    connection = await connect(events_url(forgetful, channel, other, last=10), live=False)
    await connection.until(lambda: any(event.type == "fanlight.open" for event in connection.events))
    first, second = gaps(connection.events)
    assert (first["reason"], first["channel"], first["from"]) == ("too_far_behind", channel, None)
    assert connection.events[0].type == "fanlight.gap"
    seen = [event.id for event in connection.events if event.type == "message"]
    assert seen[:2] == large[-2:]
    # And reading those and the others is more than a new stream of this node may read of the past.
    assert seen[2:] == small[: len(seen) - 2]
    assert (second["reason"], second["channel"], second["from"]) == ("too_far_behind", None, seen[-1])
    assert metrics(forgetful)["fanlight_limits_hit_total{last}"] == 1


def test_head_has_the_limits_of_credentials(gateway: GatewayProcess) -> None:
    headers = {"X-Forwarded-For": "203.0.113.50"}
    statuses = [
        request(gateway, "HEAD", events_path("a"), token="a.b.c", headers=headers).status for _ in range(2)
    ]
    assert statuses == [401, 429]

"""Tickets: made for who holds a token, good once, on any node."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from publisher.channels import Partition
from tests.support.gateway_process import GatewayProcess
from tests.support.http import Answer, events_path, request
from tests.support.sse import SseClient, SseConnection
from tests.support.streams import events_url, metrics
from tests.support.tokens import SECRET, token
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    import redis

    from publisher import Publisher
    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.redis_server import RedisServer

SETTINGS: dict[str, Any] = {"jwt_secret": SECRET, "anonymous_subscribe": "lobby", "token_cookie": "fanlight"}


@pytest.fixture(scope="module")
def gateways(share_gateway: StartGateway) -> list[GatewayProcess]:
    return [share_gateway(**SETTINGS) for _ in range(2)]


@pytest.fixture(scope="module")
def gateway(gateways: list[GatewayProcess]) -> GatewayProcess:
    return gateways[0]


def office(gateway: GatewayProcess, token: str | None, **headers: str) -> Answer:
    return request(gateway, "POST", "/ticket", token=token, headers=headers)


def ticket(gateway: GatewayProcess, *channels: str, **options: Any) -> str:
    """A ticket for who may follow these channels."""
    answer = office(gateway, token(channels, **options))
    assert answer.status == 200, answer
    return str(answer.body["ticket"])


def use(gateway: GatewayProcess, ticket: str, *channels: str) -> Answer:
    """The answer to a request with a ticket that is refused."""
    return request(gateway, "GET", events_path(*channels, ticket=ticket))


async def test_a_ticket_opens_a_stream_on_another_node(
    gateways: list[GatewayProcess], connect: Connect
) -> None:
    answer = office(gateways[0], token(["a", "b.*"]))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    assert 29 <= answer.body["expires_in"] <= 30
    stream = await connect(events_url(gateways[1], "a", "b.1", "lobby", ticket=answer.body["ticket"]))
    assert stream.headers["cache-control"] == "no-store, no-transform"
    for node in gateways:
        refused = use(node, answer.body["ticket"], "a")
        assert (refused.status, refused.reason) == (401, "ticket")
        assert "/ticket" in refused.body["detail"]


async def test_of_many_at_once_one_gets_in(gateways: list[GatewayProcess]) -> None:
    for _ in range(5):
        urls = [events_url(node, "a", ticket=ticket(gateways[0], "a")) for node in gateways]
        # The same ticket for both nodes.
        urls = [urls[0], urls[0].replace(str(gateways[0].port), str(gateways[1].port), 1)] * 4
        streams = await asyncio.gather(*(SseConnection.open(url) for url in urls))
        assert sorted(stream.status for stream in streams) == [200] + [401] * 7
        await asyncio.gather(*(stream.close() for stream in streams))


def test_a_ticket_allows_what_its_token_does(gateway: GatewayProcess) -> None:
    answer = use(gateway, ticket(gateway, "a"), "a", "b")
    assert (answer.status, answer.reason) == (403, "not_granted")
    assert "subscribe to b" in answer.body["detail"]


async def test_the_stream_of_a_ticket_ends_with_its_token(gateway: GatewayProcess, connect: Connect) -> None:
    answer = office(gateway, token(["a"], seconds=3))
    assert answer.body["expires_in"] < 3
    stream = await connect(events_url(gateway, "a", ticket=answer.body["ticket"]))
    await stream.until_end()
    assert stream.events[-1].type == "fanlight.unauthorized"


@pytest.mark.parametrize("given", ["", "x", "x" * 43, "x" * 44, "x" * 42 + "*", "../meta", "%00" * 43])
def test_what_is_no_ticket_is_refused_and_never_passed_over(gateway: GatewayProcess, given: str) -> None:
    for channel in ("a", "lobby"):
        answer = use(gateway, given, channel)
        assert (answer.status, answer.reason) == (401, "ticket")


def test_a_token_is_no_ticket(gateway: GatewayProcess) -> None:
    """Never a token in a URL."""
    assert use(gateway, token(["a"]), "a").reason == "ticket"
    for name in ("token", "access_token", "authorization", "jwt"):
        answer = request(gateway, "GET", events_path("a", **{name: token(["a"])}))
        assert (answer.status, answer.reason) == (401, "missing")


def test_a_ticket_is_no_token(gateway: GatewayProcess) -> None:
    given = ticket(gateway, "a")
    assert request(gateway, "GET", events_path("a"), token=given).reason == "malformed"
    assert office(gateway, given).reason == "malformed"
    assert request(gateway, "POST", "/publish", token=given, body={"channel": "a", "data": 1}).status == 401


def test_two_credentials_are_one_too_many(gateway: GatewayProcess) -> None:
    given = ticket(gateway, "a")
    answer = request(gateway, "GET", events_path("a", ticket=given), token=token(["a"]))
    assert (answer.status, answer.reason) == (400, "several")
    twice = request(gateway, "GET", f"{events_path('a', ticket=given)}&ticket={given}")
    assert (twice.status, twice.body["detail"]) == (400, "ticket is given 2 times; give it once")


async def test_what_was_refused_before_it_was_looked_at_does_not_use_it_up(
    gateway: GatewayProcess, connect: Connect
) -> None:
    given = ticket(gateway, "a")
    assert request(gateway, "GET", events_path("bad name", ticket=given).replace(" ", "%20")).status == 400
    assert request(gateway, "HEAD", events_path("a", ticket=given)).status == 400
    await connect(events_url(gateway, "a", ticket=given))


async def test_it_wins_over_the_cookie(gateway: GatewayProcess, connect: Connect) -> None:
    headers = {"Cookie": f"fanlight={token(['b'])}"}
    await connect(events_url(gateway, "a", ticket=ticket(gateway, "a")), headers=headers)
    assert request(gateway, "GET", events_path("b", ticket="x"), headers=headers).reason == "ticket"


@pytest.mark.parametrize(
    ("made", "status", "reason"),
    [
        (lambda: None, 401, "missing"),
        (lambda: "x", 401, "malformed"),
        (lambda: token(["a"], seconds=-1), 401, "expired"),
        (lambda: token([], ["a"]), 403, "not_granted"),
    ],
)
def test_who_gets_no_ticket(gateway: GatewayProcess, made: Any, status: int, reason: str) -> None:
    answer = office(gateway, made())
    assert (answer.status, answer.reason) == (status, reason)


def test_other_methods(gateway: GatewayProcess) -> None:
    assert request(gateway, "GET", "/ticket").status == 405
    answer = request(gateway, "OPTIONS", "/ticket")
    assert (answer.status, answer.headers["allow"]) == (204, "POST, OPTIONS")


def test_pages_of_other_origins_may_fetch_one(share_gateway: StartGateway) -> None:
    gateway = share_gateway(allowed_origins=["https://app.example"], **SETTINGS)
    answer = office(gateway, token(["a"]), Origin="https://app.example")
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    preflight = request(gateway, "OPTIONS", "/ticket", headers={"Origin": "https://app.example"})
    assert "Authorization" in preflight.headers["access-control-allow-headers"]


def test_who_can_read_redis_finds_no_ticket(
    start_gateway: StartGateway, redis_server: RedisServer, prefix: str
) -> None:
    gateway = start_gateway(**SETTINGS)
    before = time.time()
    given = ticket(gateway, "a", publish=["b"], sub="42")
    client: redis.Redis = redis_server.client()
    [key] = client.scan_iter(f"{Partition(prefix).tag}:ticket:*")
    assert key == f"{Partition(prefix).tag}:ticket:{hashlib.sha256(given.encode()).hexdigest()}".encode()
    assert 0 < client.pttl(key) <= 30_000
    subscribe, presence, expires_at, subject, token_id, issued_at = json.loads(client.get(key) or b"")
    assert (subscribe, presence, subject, token_id) == (["a"], [], "42", None)
    assert issued_at is None or issued_at <= time.time()
    assert before + 58 <= expires_at <= before + 62
    assert given.encode() not in (client.get(key) or b"")


def test_a_ticket_lasts_as_long_as_the_setting_says(share_gateway: StartGateway) -> None:
    gateway = share_gateway(ticket_seconds=1, **SETTINGS)
    answer = office(gateway, token(["a"]))
    assert answer.body["expires_in"] == 1
    # It is not asked for: that would use it up.
    deadline = time.monotonic() + 1.01
    eventually(lambda: time.monotonic() > deadline)
    assert use(gateway, answer.body["ticket"], "a").reason == "ticket"


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'["*", 9e999, null]', b'[["*"], 1e999, null]', b"\xff", b"[" * 9999]
)
def test_what_somebody_wrote_there_is_refused(
    gateway: GatewayProcess, redis_server: RedisServer, shared_prefix: str, data: bytes
) -> None:
    given = "A" * 43
    key = f"{Partition(shared_prefix).tag}:ticket:{hashlib.sha256(given.encode()).hexdigest()}"
    redis_server.client().set(key, data, ex=60)
    assert use(gateway, given, "a").reason == "ticket"


async def test_a_client_that_comes_back_with_its_used_ticket_is_told_for_good(
    gateway: GatewayProcess, shared_publisher: Publisher, channel: str
) -> None:
    """As an EventSource does. What it has missed, it gets with a new ticket and its last id."""
    async with SseClient(events_url(gateway, channel, ticket=ticket(gateway, channel)), retry_ms=1) as client:
        await client.opened()
        sent = [shared_publisher.publish(channel, "seen").id]
        await client.until(lambda: client.messages)
        client.reconnect_at_once = True
        client.cut()
        await client.until(lambda: client.failed)
        assert client.failed == "status 401"
        cursor = client.last_event_id
    sent.append(shared_publisher.publish(channel, "missed").id)
    url = events_url(gateway, channel, ticket=ticket(gateway, channel), last_event_id=cursor)
    async with SseClient(url) as client:
        opened = await client.opened()
        assert json.loads(opened.data) == {"resumed": True}
        assert [event.id for event in client.messages] == sent[1:]


async def test_while_redis_is_away_nobody_gives_up(
    start_gateway: StartGateway, own_redis: RedisServer, connect: Connect
) -> None:
    gateway = start_gateway(
        redis_url=own_redis.url,
        link_deadline_seconds=0.3,
        reconnect_max_seconds=0.2,
        retry_ms=100,
        **SETTINGS,
    )
    given = ticket(gateway, "a")
    own_redis.pause()
    try:
        answer = office(gateway, token(["a"]))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        # The link still looks alive at first; either way the client is told to come back.
        shed = use(gateway, given, "a")
        assert (shed.status, shed.raw[:7]) == (200, b"retry: ")
    finally:
        own_redis.resume()
    await aeventually(lambda: metrics(gateway)["fanlight_redis_connected"] == 1)
    await connect(events_url(gateway, "a", ticket=ticket(gateway, "a")))

"""Limits of a node at their edge: connections of an address, turns to read the past."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from publisher import Publisher
from tests.support.streams import assert_clean, events_url, metrics
from tests.support.wait import PATIENCE_SECONDS, aeventually, eventually

if TYPE_CHECKING:
    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.gateway_process import GatewayProcess
    from tests.support.redis_server import RedisServer

MOST = 3
OF_ADDRESS = "fanlight_limits_hit_total{connections_per_address}"


@contextmanager
def idle(gateway: GatewayProcess, count: int, *, host: str, source: str) -> Iterator[list[socket.socket]]:
    """So many connections from an address of this machine that have sent nothing yet."""
    with ExitStack() as opened:
        options = {"timeout": PATIENCE_SECONDS, "source_address": (source, 0)}
        yield [
            opened.enter_context(socket.create_connection((host, gateway.port), **options))  # type: ignore[arg-type]
            for _ in range(count)
        ]


def is_served(client: socket.socket) -> bool:
    """Whether a request on it is answered; False if it was closed unread."""
    try:
        client.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
        return client.recv(65_536).startswith(b"HTTP/1.1 404 ")
    except ConnectionError:
        return False


def test_connections_of_an_address(share_gateway: StartGateway) -> None:
    """Of one that is no trusted proxy, whatever it says of itself. Those who are there stay."""
    gateway = share_gateway(max_connections_per_address=MOST, trusted_proxies="127.0.0.1")
    with idle(gateway, MOST, host="127.0.0.1", source="127.0.0.2") as held:
        eventually(lambda: metrics(gateway)["fanlight_connections"] == MOST)
        with idle(gateway, 2, host="127.0.0.1", source="127.0.0.2") as beyond:
            assert [is_served(client) for client in beyond] == [False] * 2
        assert metrics(gateway)[OF_ADDRESS] == 2
        with idle(gateway, 1, host="127.0.0.1", source="127.0.0.3") as others:
            assert is_served(others[0]), "of another address"
        with idle(gateway, 2 * MOST, host="127.0.0.1", source="127.0.0.1") as by_proxy:
            assert all(map(is_served, by_proxy)), "thousands may be behind a proxy"
        assert all(map(is_served, held))
        held[0].close()
        eventually(lambda: metrics(gateway)["fanlight_connections"] == MOST - 1)
        with idle(gateway, 1, host="127.0.0.1", source="127.0.0.2") as later:
            assert is_served(later[0]), "its place is free again"
    assert metrics(gateway)[OF_ADDRESS] == 2


def test_connections_of_a_network_of_ipv6(share_gateway: StartGateway) -> None:
    """That of this machine; which addresses count as one is a table in tests/unit/test_addresses.py."""
    gateway = share_gateway(host="::1", max_connections_per_address=MOST, trusted_proxies="2001:db8::1")
    with idle(gateway, MOST, host="::1", source="::1") as held:
        eventually(lambda: metrics(gateway)["fanlight_connections"] == MOST)
        with idle(gateway, 1, host="::1", source="::1") as beyond:
            assert not is_served(beyond[0])
        assert all(map(is_served, held))
    assert metrics(gateway)[OF_ADDRESS] == 1


async def test_a_stream_is_no_connection_of_its_address(
    share_gateway: StartGateway, channel: str, connect: Connect
) -> None:
    """It counts as a stream from then on."""
    gateway = share_gateway(max_connections_per_address=1, trusted_proxies="203.0.113.1")
    for _ in range(3):
        await connect(events_url(gateway, channel))
        await aeventually(lambda: metrics(gateway)["fanlight_connections"] == 0)
    assert metrics(gateway)["fanlight_streams_open"] == 3
    assert metrics(gateway)[OF_ADDRESS] == 0


async def test_who_leaves_while_the_past_is_read_leaves_the_turn_to_others(
    own_redis: RedisServer, prefix: str, start_gateway: StartGateway, channel: str, connect: Connect
) -> None:
    gateway = start_gateway(
        redis_url=own_redis.url, max_replays=1, hot_tail_bytes=0, page_bytes=1000, link_deadline_seconds=60
    )
    with Publisher(own_redis.url, prefix=prefix) as publisher:
        ids = [publisher.publish(channel, f"{number:0500}").id for number in range(20)]
        follower = await connect(events_url(gateway, channel))
        url = events_url(gateway, channel, last=20)
        own_redis.pause()
        try:
            reading = await connect(url, live=False)
            waiting = await connect(url, live=False)
            waits = "fanlight_limits_hit_total{replays}"
            await aeventually(lambda: metrics(gateway)[waits] == 1, what="there is one turn, which is taken")
            reading.abort()
            waiting.abort()
            await aeventually(lambda: metrics(gateway)["fanlight_streams_open"] == 1)
            staying = await connect(url, live=False)
            await aeventually(lambda: metrics(gateway)[waits] == 2)
        finally:
            own_redis.resume()
        await staying.until(lambda: staying.events[-1:] != [] and staying.events[-1].type == "fanlight.open")
        assert [event.id for event in staying.events if event.type == "message"] == ids
        publisher.publish(channel, "still here")
    assert (await follower.next_event()).data == "still here"
    assert_clean(follower, staying)

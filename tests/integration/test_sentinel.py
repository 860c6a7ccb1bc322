"""What each client does where sentinels name the primary. Faults under load: `tests/chaos/sentinel.py`."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gateway.settings import Settings
from gateway.survey import survey
from publisher import AsyncPublisher, Publisher, RedisUnreachable
from tests.support.fake_redis import FakeRedis
from tests.support.gateway_process import GatewayProcess
from tests.support.http import request
from tests.support.redis_server import RedisServer, find_binary, runs_sentinels
from tests.support.sentinels import SentinelServers, give_rights
from tests.support.streams import events_url, metrics
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect

needs_sentinels = pytest.mark.skipif(
    not runs_sentinels(find_binary()), reason="the server runs in a container"
)
PASSWORD = "canary-of-a-password"


@pytest.fixture(scope="module")
def servers() -> Iterator[SentinelServers]:
    with SentinelServers() as servers:
        yield servers


@pytest.fixture(scope="module")
def other_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@needs_sentinels
async def test_all_clients_follow_a_failover(
    servers: SentinelServers, start_gateway: StartGateway, connect: Connect, prefix: str
) -> None:
    """With users that may do what docs/security.md says, and no more, at the sentinels."""
    login = give_rights(servers, PASSWORD)
    url = servers.url_of(query=f"?sentinel_username={login}&sentinel_password={PASSWORD}")
    gateway = start_gateway(
        redis_url=url,
        prefix=prefix,
        publish_token=GatewayProcess.PUBLISH_TOKEN,
        probe_seconds=0.2,
        reconnect_max_seconds=0.1,
    )
    stream = await connect(events_url(gateway, "a"))
    with Publisher(url, prefix=prefix, deadline_seconds=30) as publisher:
        async with AsyncPublisher(url, prefix=prefix, deadline_seconds=30) as async_publisher:

            async def publish(text: str) -> None:
                await asyncio.to_thread(publisher.publish, "a", f"{text} sync")
                await async_publisher.publish("a", f"{text} async")
                body = {"channel": "a", "data": f"{text} http"}
                answer = await asyncio.to_thread(
                    request, gateway, "POST", "/publish", token=GatewayProcess.PUBLISH_TOKEN, body=body
                )
                assert answer.status == 200, answer

            await publish("before")
            old = servers.primary
            await asyncio.to_thread(servers.fail_over)
            new = servers.primary
            await aeventually(lambda: f'"address": "127.0.0.1:{new.port}"' in ready(gateway))
            # Each notices by itself, within a second of its last publish: until then, the old one may answer.
            await aeventually(lambda: moved(publisher, new))
            await asyncio.to_thread(servers.wait_whole)
            await publish("after")
    await stream.until(lambda: stream.events[-1].data == "after http")
    told = [event.data for event in stream.events if event.type == "message"]
    assert told[:3] == ["before sync", "before async", "before http"]
    assert told[-3:] == ["after sync", "after async", "after http"]
    assert "fanlight.gap" in [event.type for event in stream.events]
    assert old is not new
    # A new stream reads from the log, over the pool for replays.
    late = await connect(events_url(gateway, "a", last=3), live=False)
    assert (await late.next_event()).data == "after sync"
    assert PASSWORD not in gateway.log + ready(gateway)


def ready(gateway: GatewayProcess) -> str:
    return gateway.admin_get("/readyz")[1].decode()


def moved(publisher: Publisher, server: RedisServer) -> bool:
    """Publish something; whether that server has it."""
    id_ = publisher.publish("elsewhere", "x").id
    key = f"{{{publisher._options.prefix}:0}}:stream:elsewhere"
    return bool(server.client().xrange(key, id_.rpartition("-")[0], id_.rpartition("-")[0]))


@needs_sentinels
def test_who_may_not_ask_is_told(servers: SentinelServers, prefix: str) -> None:
    give_rights(servers, PASSWORD)
    url = servers.url_of(query=f"?sentinel_username=nobody&sentinel_password={PASSWORD}")
    with Publisher(url, prefix=prefix, deadline_seconds=0.5) as publisher:
        with pytest.raises(RedisUnreachable, match=r"does not answer: .*invalid username-password") as caught:
            publisher.publish("a", "x")
        assert PASSWORD not in str(caught.value)


# With a sentinel that says what it is told to.


async def test_a_replica_that_is_named_is_not_written_to(
    own_redis: RedisServer, other_server: RedisServer, prefix: str
) -> None:
    replica = own_redis.client()
    replica.replicaof(other_server.host, str(other_server.port))
    with FakeRedis() as sentinel:
        sentinel.name(own_redis.port)
        url = sentinel.sentinel_url
        with (
            Publisher(url, prefix=prefix, deadline_seconds=0.3) as publisher,
            pytest.raises(RedisUnreachable, match=r"a server whose role is (slave|replica)"),
        ):
            publisher.publish("a", "x")
        async with AsyncPublisher(url, prefix=prefix, deadline_seconds=30) as async_publisher:
            publishing = asyncio.create_task(async_publisher.publish("a", "x"))
            await asyncio.wait({publishing}, timeout=0.1)
            assert not publishing.done()
            sentinel.name(other_server.port)
            await publishing
        gateway = GatewayProcess(redis_url=url, prefix=prefix, reconnect_max_seconds=0.05)
        sentinel.name(own_redis.port)
        with closing(gateway):
            gateway.start(wait=False)
            eventually(lambda: "a server whose role is" in gateway.log)
            assert not any(r["event"] == "redis_connected" for r in gateway.log_records)
            sentinel.name(other_server.port)
            gateway.wait_ready()


async def test_a_link_to_another_server_than_is_named_is_given_up_though_it_works(
    redis_server: RedisServer,
    other_server: RedisServer,
    start_gateway: StartGateway,
    connect: Connect,
    prefix: str,
) -> None:
    with FakeRedis() as sentinel:
        sentinel.name(redis_server.port)
        gateway = start_gateway(redis_url=sentinel.sentinel_url, prefix=prefix, probe_seconds=0.1)
        stream = await connect(events_url(gateway, "a"))
        await aeventually(lambda: metrics(gateway)["fanlight_redis_probes_total{heard}"] > 0)
        sentinel.name(other_server.port)
        assert (await stream.next_event()).type == "fanlight.gap"
        with Publisher(other_server.url, prefix=prefix) as publisher:
            publisher.publish("a", "there")
        assert (await stream.next_event()).data == "there"
    values = metrics(gateway)
    assert values["fanlight_redis_probes_total{moved}"] == 1
    assert values["fanlight_redis_probes_total{silent}"] == 0
    # The sentinel is gone, which says nothing about the link.
    heard = values["fanlight_redis_probes_total{heard}"]
    await aeventually(lambda: metrics(gateway)["fanlight_redis_probes_total{heard}"] > heard + 1)
    values = metrics(gateway)
    assert values["fanlight_redis_primary_unknown_total"] > 0
    assert values["fanlight_redis_generations_total"] == 2


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_open_connection_is_left_when_another_server_is_named(
    redis_server: RedisServer, other_server: RedisServer, prefix: str, asynchronous: bool
) -> None:
    """The old one answers all the while."""
    key = f"{{{prefix}:0}}:stream:a"
    with FakeRedis() as sentinel:
        sentinel.name(redis_server.port)
        with Publisher(sentinel.sentinel_url, prefix=prefix) as publisher:
            async with AsyncPublisher(sentinel.sentinel_url, prefix=prefix) as async_publisher:

                async def there() -> bool:
                    if asynchronous:
                        await async_publisher.publish("a", "x")
                    else:
                        await asyncio.to_thread(publisher.publish, "a", "x")
                    return bool(other_server.client().exists(key))

                assert not await there()
                sentinel.name(other_server.port)
                await aeventually(there)
                length = redis_server.client().xlen(key)
                await there()
                assert redis_server.client().xlen(key) == length


@needs_sentinels
def test_check_looks_at_the_sentinels_and_at_the_primary_that_they_name(servers: SentinelServers) -> None:
    servers.wait_whole()
    login = give_rights(servers, PASSWORD)
    few = f"?sentinel_username={login}&sentinel_password={PASSWORD}"
    wrong = f"?sentinel_username={login}&sentinel_password=wrong-{PASSWORD}"
    asked: list[tuple[str, dict[str, str]]] = [
        (
            servers.url,
            {
                "sentinels": "3 of 3 name a primary 'mymaster'",
                "sentinel primary": f"all that answer name 127.0.0.1:{servers.primary.port}",
                "sentinel quorum": "reached: they can agree on a failover",
                "redis replicas": "2 of 2 in sync",
                "redis role": "a primary with 2 replicas",
            },
        ),
        (servers.url_of(query=few), {"sentinels": "3 of 3 name", "sentinel quorum": "not told"}),
        (servers.url_of(query=wrong), {"sentinels": "0 of 3 name a primary"}),
        (servers.url.replace("mymaster", "other"), {"sentinels": "does not know a primary of this name"}),
    ]
    for url, told in asked:
        settings = Settings(redis_url=url, port=0, admin_port=0)
        found = {finding.subject: finding for finding in survey(settings)}
        for subject, text in told.items():
            assert text in found[subject].text, found[subject]
        assert PASSWORD not in str(found)

"""The admin port, and what clients see of a node whose Redis is away."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from publisher import Publisher
from tests.support.gateway_process import GatewayProcess
from tests.support.redis_server import RedisServer
from tests.support.sse import SseClient, SseConnection
from tests.support.streams import assert_clean, events_url, gaps, metrics
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect

TOKEN = GatewayProcess.PUBLISH_TOKEN
QUICK = {
    "retry_ms": 20,
    "heartbeat_seconds": 0.1,
    "position_read_seconds": 0.05,
    "link_deadline_seconds": 0.5,
    "reconnect_max_seconds": 0.1,
    "publish_token": TOKEN,
}


@pytest.fixture(scope="module")
def gateway(share_gateway: StartGateway) -> GatewayProcess:
    return share_gateway(publish_token=TOKEN)


def ready(gateway: GatewayProcess) -> tuple[int, Any]:
    status, body = gateway.admin_get("/readyz")
    return status, json.loads(body)


def publish_over_http(gateway: GatewayProcess) -> tuple[int, dict[str, str]]:
    with closing(http.client.HTTPConnection(gateway.host, gateway.port, timeout=10)) as connection:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request("POST", "/publish", '{"channel": "a", "data": 1}', headers)
        response = connection.getresponse()
        response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}


def test_livez(gateway: GatewayProcess) -> None:
    status, body = gateway.admin_get("/livez")
    assert (status, json.loads(body)) == (200, {"status": "ok"})


async def test_readyz_says_what_the_node_knows(
    gateway: GatewayProcess, redis_server: RedisServer, channel: str, connect: Connect
) -> None:
    await connect(events_url(gateway, channel))
    # Noted with each position read, the first of which may be under way.
    await aeventually(lambda: ready(gateway)[1]["redis"]["round_trip_seconds"] > 0)
    status, body = ready(gateway)
    assert status == 200
    link = body.pop("redis")
    assert body == {"status": "ok", "accepting": True, "streams": 1, "revocations_in_sync": True}
    assert link.pop("round_trip_seconds") > 0
    assert link.pop("probe_round_trip_seconds") >= 0
    assert link.pop("address") == f"{redis_server.host}:{redis_server.port}"
    assert link == {"connected": True, "generation": 1, "lost_seconds": 0.0, "last_error": ""}


def test_the_admin_port_has_nothing_else(gateway: GatewayProcess) -> None:
    assert gateway.admin_get("/events?channel=a")[0] == 404
    assert gateway.admin_get("/")[0] == 404


def test_the_metrics_are_in_the_format_of_prometheus(gateway: GatewayProcess) -> None:
    with closing(http.client.HTTPConnection(gateway.host, gateway.admin_port, timeout=5)) as connection:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = {
            family.name: family for family in text_string_to_metric_families(response.read().decode())
        }
    assert families.keys() >= {"process_resident_memory_bytes", "process_open_fds", "python_info"}
    assert families["fanlight_build_info"].samples[0].labels["version"]
    assert all(len(family.documentation) > 5 for family in families.values())


async def test_the_metrics_count(
    gateway: GatewayProcess, shared_publisher: Publisher, channel: str, connect: Connect
) -> None:
    await aeventually(lambda: metrics(gateway)["fanlight_streams_open"] == 0)
    before = metrics(gateway)
    connections = [await connect(events_url(gateway, channel)) for _ in range(3)]
    for n in range(4):
        shared_publisher.publish(channel, n)
    for connection in connections:
        await connection.until(lambda: len(connection.events) == 5)  # noqa: B023
    after = metrics(gateway)
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    assert grown["fanlight_streams_open"] == grown["fanlight_streams_opened_total"] == 3
    assert grown["fanlight_events_ingested_total"] == 4
    assert grown["fanlight_events_delivered_total"] == 12
    sizes = [sum(map(len, connection.chunks[-4:])) for connection in connections]
    assert grown["fanlight_delivered_bytes_total"] >= sum(sizes)
    assert after["fanlight_redis_connected"] == 1


# Redis away at the start.


async def test_without_redis_from_the_start(prefix: str) -> None:
    server = RedisServer()  # not started yet
    gateway = GatewayProcess(redis_url=server.url, prefix=prefix, **QUICK)
    try:
        gateway.start(wait=False)
        await aeventually(lambda: _live(gateway))
        status, body = ready(gateway)
        assert (status, body["status"], body["redis"]["connected"]) == (503, "unready", False)
        assert await aeventually(lambda: ready(gateway)[1]["redis"]["last_error"])
        async with await SseConnection.open(events_url(gateway, "a"), last_event_id="1-0-000000") as shed:
            await shed.until_end()
            assert (shed.status, shed.headers["content-type"]) == (200, "text/event-stream")
            assert shed.headers["cache-control"] == "no-cache, no-transform"
            assert shed.parser.retry_ms is not None
            assert not shed.events
            assert shed.parser.last_event_id is None
            assert_clean(shed)
        headers = {"Accept": "application/json"}
        async with await SseConnection.open(events_url(gateway, "a"), headers=headers) as refused:
            await refused.until_end()
            assert refused.status == 503
            assert int(refused.headers["retry-after"]) >= 1
            assert json.loads(refused.body)["status"] == 503
        # What is wrong with the request itself is still said.
        async with await SseConnection.open(events_url(gateway)) as bad:
            assert bad.status == 400
        status, fields = publish_over_http(gateway)
        assert (status, fields["retry-after"]) == (503, "1")
        assert metrics(gateway)["fanlight_redis_connected"] == 0
        async with SseClient(events_url(gateway, "a")) as client:
            await client.until(lambda: len(client.connections) >= 2)
            assert client.failed is None
            server.start()
            await client.opened()
            assert publish_over_http(gateway)[0] == 200
            await client.until(lambda: len(client.messages) == 1)
        eventually(lambda: ready(gateway)[0] == 200)
    finally:
        gateway.close()
        server.close()


def _live(gateway: GatewayProcess) -> bool:
    try:
        return gateway.admin_get("/livez")[0] == 200
    except OSError:
        return False


# Redis away later.


@pytest.mark.parametrize("how", ["stopped", "killed", "frozen"])
async def test_streams_outlast_redis(
    own_redis: RedisServer, start_gateway: StartGateway, connect: Connect, how: str
) -> None:
    own_redis.close()
    with RedisServer(options={"appendonly": "yes", "appendfsync": "always"}) as server:
        gateway = start_gateway(redis_url=server.url, prefix="health", **QUICK)
        with Publisher(server.url, prefix="health") as publisher:
            connection = await connect(events_url(gateway, "a"))
            ids = [publisher.publish("a", n).id for n in range(3)]
            await connection.until(lambda: len(connection.events) == 4)
            {"stopped": server.stop, "killed": server.kill, "frozen": server.pause}[how]()
            await aeventually(lambda: metrics(gateway)["fanlight_redis_connected"] == 0)
            # It keeps its streams, their heartbeats, and its place behind the balancer.
            beats = len(connection.parser.comments)
            await connection.until(lambda: len(connection.parser.comments) >= beats + 3)
            status, body = ready(gateway)
            assert (status, body["redis"]["connected"]) == (200, False)
            assert await aeventually(lambda: ready(gateway)[1]["redis"]["lost_seconds"] > 0)
            assert gateway.admin_get("/livez")[0] == 200
            async with await SseConnection.open(events_url(gateway, "a")) as shed:
                await shed.until_end()
                assert shed.status == 200
                assert shed.parser.retry_ms is not None
            if how == "frozen":
                server.resume()
            else:
                server.start()
            ids += [publisher.publish("a", n).id for n in range(3)]
            await connection.until(lambda: connection.events[-1].id == ids[-1])
            assert [event.id for event in connection.events if event.type == "message"] == ids
            # A new process may have lost something; the same one has not.
            reasons = [gap["reason"] for gap in gaps(connection.events)]
            assert reasons == ([] if how == "frozen" else ["failover"])
            assert_clean(connection)
            assert ready(gateway)[1]["redis"]["generation"] >= 2


async def test_the_loss_of_redis_makes_a_node_unready_on_request(
    own_redis: RedisServer, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(redis_url=own_redis.url, redis_loss_unready_seconds=0.2, **QUICK)
    own_redis.pause()
    await aeventually(lambda: ready(gateway)[0] == 503)
    body = ready(gateway)[1]
    assert (body["status"], body["accepting"]) == ("unready", True)
    assert body["redis"]["lost_seconds"] >= 0.2, "of which it was more, before it was rounded"
    own_redis.resume()
    await aeventually(lambda: ready(gateway)[0] == 200)

"""A node of several processes: one port, one admin port, and no process that the others depend on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from publisher import Publisher
from tests.support.gateway_process import GatewayProcess
from tests.support.metrics_reference import documented, exposed
from tests.support.sse import SseClient, SseConnection
from tests.support.streams import events_url, gaps
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.once

WORKERS = 2
QUICK = {"retry_ms": 20, "drain_seconds": 0.5, "workers": WORKERS}


@pytest.fixture
def node(start_gateway: StartGateway) -> GatewayProcess:
    node = start_gateway(**QUICK)
    eventually(lambda: [status for status, _ in readiness(node)] == ["ok"] * WORKERS)
    return node


def readiness(node: GatewayProcess) -> list[tuple[str, dict[str, Any]]]:
    """What each worker says of itself."""
    body = json.loads(node.admin_get("/readyz")[1])
    return [(said["status"], said) for said in body["workers"]]


def metric(node: GatewayProcess, name: str) -> dict[str, float]:
    """The values of a metric by worker; of one that has no workers, under ""."""
    families = text_string_to_metric_families(node.admin_get("/metrics")[1].decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {sample.labels.get("worker", ""): sample.value for sample in samples}


def pids(node: GatewayProcess) -> dict[int, int]:
    """The process that fills each place now."""
    started = [record for record in node.log_records if record["event"] == "worker_started"]
    return {record["worker"]: record["pid"] for record in started}


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def open_on_all(node: GatewayProcess, channel: str) -> list[SseClient]:
    """Clients, as many as it takes until each worker has one: the kernel deals them out."""
    clients: list[SseClient] = []
    while len({n for n, value in metric(node, "fanlight_streams_open").items() if value}) < WORKERS:
        client = await SseClient(events_url(node, channel)).__aenter__()
        clients.append(client)
        await client.opened()
        assert len(clients) < 100, "all connections went to one worker"
    return clients


async def test_workers_share_the_port_and_all_hear_what_is_published(
    node: GatewayProcess, redis_server: RedisServer, prefix: str
) -> None:
    clients = await open_on_all(node, "a")
    try:
        with Publisher(redis_server.url, prefix=prefix) as publisher:
            ids = [publisher.publish("a", number).id for number in range(20)]
        for client in clients:
            await client.until(lambda: len(client.messages) == 20)  # noqa: B023
            assert [event.id for event in client.messages] == ids
        ingested = metric(node, "fanlight_events_ingested_total")
        assert ingested == dict.fromkeys(map(str, range(WORKERS)), 20.0)
        assert sum(metric(node, "fanlight_streams_open").values()) == len(clients)
        assert metric(node, "fanlight_workers_running") == {"": WORKERS}
        assert metric(node, "fanlight_workers_answering") == {"": WORKERS}
        _, body = node.admin_get("/metrics")
        found = exposed(body.decode(), but={"worker"})
        assert found.keys() >= {"fanlight_workers", "fanlight_latency_seconds", "fanlight_build_info"}
        assert found.items() <= documented().items()
    finally:
        for client in clients:
            await client.__aexit__(None, None, None)


async def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(
    node: GatewayProcess, redis_server: RedisServer, prefix: str
) -> None:
    clients = await open_on_all(node, "a")
    before = pids(node)
    sent: list[str] = []
    try:
        with Publisher(redis_server.url, prefix=prefix) as publisher:

            def publish(count: int) -> None:
                sent.extend(publisher.publish("a", len(sent)).id for _ in range(count))

            publish(10)
            os.kill(before[0], signal.SIGKILL)
            publish(10)
            await aeventually(lambda: metric(node, "fanlight_workers_replaced_total") == {"": 1})
            await aeventually(lambda: [status for status, _ in readiness(node)] == ["ok"] * WORKERS)
            publish(10)
        for client in clients:
            await client.until(lambda: len(client.messages) >= 30)  # noqa: B023
            assert [event.id for event in client.messages] == sent
            assert not gaps(client.events)
        assert any(len(client.connections) > 1 for client in clients)  # those of the killed one
        assert any(len(client.connections) == 1 for client in clients)  # those of the other
        after = pids(node)
        assert after[1] == before[1]
        assert after[0] != before[0]
    finally:
        for client in clients:
            await client.__aexit__(None, None, None)


async def test_all_workers_drain_on_sigterm(node: GatewayProcess) -> None:
    clients = await open_on_all(node, "a")
    workers = pids(node)
    status = await asyncio.to_thread(node.terminate)
    assert status == 0, node.log
    assert not any(map(is_alive, workers.values()))
    ended = [record for record in node.log_records if record["event"] == "stream_ended"]
    assert [record["reason"] for record in ended] == ["drained"] * len(clients)
    assert {record["worker"] for record in ended} == set(range(WORKERS))
    for client in clients:
        await client.__aexit__(None, None, None)


def test_workers_end_with_their_supervisor(node: GatewayProcess) -> None:
    workers = pids(node)
    node.kill()
    eventually(lambda: not any(map(is_alive, workers.values())))


def test_the_node_is_ready_while_one_worker_is(node: GatewayProcess) -> None:
    stopped = pids(node)[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        status, body = node.admin_get("/readyz")
        assert status == 200
        assert [said["status"] for said in json.loads(body)["workers"]] == ["no answer", "ok"]
        # On a slow machine the other one may be late, too.
        eventually(lambda: metric(node, "fanlight_workers_answering") == {"": 1})
        eventually(lambda: metric(node, "fanlight_streams_open") == {"1": 0})
    finally:
        os.kill(stopped, signal.SIGCONT)


@pytest.mark.parametrize("which", ["port", "admin_port"])
def test_no_port_is_shared_with_another_node(
    which: str, node: GatewayProcess, redis_server: RedisServer, prefix: str
) -> None:
    taken = getattr(node, which)
    other = GatewayProcess(redis_url=redis_server.url, prefix=prefix, **{**QUICK, which: taken})
    try:
        other.start(wait=False)
        eventually(lambda: not other.alive())
        assert f"port {taken}" in other.log
    finally:
        other.close()


async def first_event(connection: SseConnection) -> str | None:
    """Its type; None of a stream that only says when to come back."""
    await connection.until(lambda: connection.ended or connection.events != [])
    return connection.events[0].type if connection.events else None


async def test_each_worker_takes_its_part_of_the_nodes_streams(
    start_gateway: StartGateway, redis_server: RedisServer, prefix: str, connect: Connect
) -> None:
    """The kernel deals connections out: one worker may be full before the other. Together they take all."""
    node = start_gateway(**QUICK, max_streams=6)
    await aeventually(lambda: [status for status, _ in readiness(node)] == ["ok"] * WORKERS)
    url = events_url(node, "a")
    held: list[SseConnection] = []
    while len(held) < 6:
        connection = await connect(url, live=False)
        if await first_event(connection) == "fanlight.open":
            held.append(connection)
    await aeventually(lambda: metric(node, "fanlight_streams_open") == {"0": 3.0, "1": 3.0})
    for _ in range(10):
        assert await first_event(await connect(url, live=False)) is None, "both are full"
    with Publisher(redis_server.url, prefix=prefix) as publisher:
        publisher.publish("a", "still here")
    for connection in held:
        await connection.until(lambda: connection.events[-1].data == "still here")  # noqa: B023

"""The shipped nginx configuration, in front of two real gateways."""

from __future__ import annotations

import http.client
import json
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING

import pytest

from publisher import Event, Publisher
from tests.support.gateway_process import GatewayProcess
from tests.support.nginx import Nginx, find_nginx
from tests.support.processes import free_port
from tests.support.sse import SseClient, SseConnection
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartGateway
    from tests.support.redis_server import RedisServer

pytestmark = [
    pytest.mark.skipif(find_nginx() is None, reason="nginx is not installed"),
    pytest.mark.once,
]

Gateways = tuple[GatewayProcess, GatewayProcess]


@pytest.fixture
def gateways(start_gateway: StartGateway) -> Gateways:
    settings = {"publish_token": GatewayProcess.PUBLISH_TOKEN, "heartbeat_seconds": 0.2, "retry_ms": 100}
    return start_gateway(**settings), start_gateway(**settings)


@pytest.fixture
def compressing(start_gateway: StartGateway) -> Iterator[Nginx]:
    """In front of gateways that compress."""
    settings = {"heartbeat_seconds": 0.2, "retry_ms": 100, "compression": "gzip"}
    with Nginx([start_gateway(**settings).port for _ in range(2)]) as server:
        yield server


@pytest.fixture
def nginx(gateways: Gateways) -> Iterator[Nginx]:
    with Nginx((gateways[0].port, gateways[1].port)) as server:
        yield server


@pytest.fixture
def publisher(redis_server: RedisServer, prefix: str) -> Iterator[Publisher]:
    with Publisher(redis_server.url, prefix=prefix) as client:
        yield client


def serving(gateways: Gateways) -> list[GatewayProcess]:
    """The gateways that have a stream open, by their metrics."""
    return [gateway for gateway in gateways if gateway.alive() and metric(gateway, "fanlight_streams_open")]


def metric(gateway: GatewayProcess, name: str) -> float:
    _, body = gateway.admin_get("/metrics")
    values = [line.split()[-1] for line in body.decode().splitlines() if line.startswith(f"{name} ")]
    assert values, f"no metric {name} in:\n{body.decode()}"
    return float(values[0])


async def test_each_event_passes_at_once_and_uncompressed(nginx: Nginx, publisher: Publisher) -> None:
    headers = {"Accept-Encoding": "gzip, deflate, br"}
    async with await SseConnection.open(f"{nginx.url}/events?channel=a", headers=headers) as connection:
        assert connection.status == 200
        assert connection.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in connection.headers
        assert (await connection.next_event()).type == "fanlight.open"
        for number in range(20):  # each is asked for before the next is published: nothing may wait for more
            published = publisher.publish("a", str(number))
            event = await connection.next_event()
            assert (event.data, event.id) == (str(number), published.id)


async def test_what_a_gateway_has_compressed_passes_at_once_and_as_it_is(
    compressing: Nginx, publisher: Publisher
) -> None:
    url = f"{compressing.url}/events?channel=a"
    async with (
        await SseConnection.open(url, headers={"Accept-Encoding": "gzip"}) as compressed,
        await SseConnection.open(url) as plain,
    ):
        assert compressed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        for connection in (compressed, plain):
            assert connection.headers["vary"] == "Origin, Accept-Encoding"
            assert (await connection.next_event()).type == "fanlight.open"
        for number in range(20):  # each is asked for before the next is published
            data = f"{number} " * 100
            published = publisher.publish("a", data)
            for connection in (compressed, plain):
                event = await connection.next_event()
                assert (event.data, event.id) == (data, published.id)
        beats = len(compressed.parser.comments)
        await compressed.until(lambda: len(compressed.parser.comments) > beats)
        assert len(compressed.wire) < len(plain.wire) / 3
        publisher.close("a")
        for connection in (compressed, plain):
            await connection.until_end()
            assert not connection.cut


async def test_a_quiet_stream_gets_its_heartbeats(nginx: Nginx) -> None:
    async with await SseConnection.open(f"{nginx.url}/events?channel=a") as connection:
        await connection.until(lambda: len(connection.parser.comments) >= 3)


async def test_post_publish_goes_through(nginx: Nginx) -> None:
    async with await SseConnection.open(f"{nginx.url}/events?channel=a") as connection:
        await connection.next_event()
        data = "x" * 200_000  # more than nginx' buffers
        headers = {
            "Authorization": f"Bearer {GatewayProcess.PUBLISH_TOKEN}",
            "Content-Type": "application/json",
        }
        with closing(http.client.HTTPConnection(nginx.host, nginx.port, timeout=10)) as request:
            request.request("POST", "/publish", json.dumps({"channel": "a", "data": data}), headers)
            response = request.getresponse()
            body = response.read()
        assert response.status == 200, body
        answer = json.loads(body)
        event = await connection.next_event()
        assert (event.id, event.data) == (answer["id"], data)


async def test_a_slow_reader_is_held_back_by_the_gateway_not_by_nginx(
    nginx: Nginx, gateways: Gateways, publisher: Publisher
) -> None:
    """With buffering, nginx would take all of it, and fill its disk; the gateway would see no slow reader."""
    async with await SseConnection.open(
        f"{nginx.url}/events?channel=a", receive_buffer_bytes=8192
    ) as connection:
        await connection.next_event()
        event = Event(channel="a", data="x" * 200_000)
        sent = [item.id for item in publisher.publish_many([event] * 200)]  # 40 MB: above all buffers
        await aeventually(
            lambda: sum(metric(gateway, "fanlight_slow_streams_total") for gateway in gateways),
            what="the gateway has noticed a slow stream",
        )
        got = [(await connection.next_event()).id for _ in sent]
        assert got == sent
        assert "temporary file" not in nginx.log


async def test_the_other_gateway_takes_over_without_a_hole(
    nginx: Nginx, gateways: Gateways, publisher: Publisher
) -> None:
    sent = [publisher.publish("a", str(number)).id for number in range(5)]
    async with SseClient(f"{nginx.url}/events?channel=a&last=5", reconnect_at_once=True) as client:
        await client.opened()
        for turn in range(4):
            [node] = await aeventually(lambda: serving(gateways), what="one gateway has the stream")
            node.kill()
            sent += [publisher.publish("a", f"{turn}.{number}").id for number in range(20)]
            await client.opened(times=turn + 2)
            node.start()
        await client.until(lambda: len(client.messages) >= len(sent))
        assert [event.id for event in client.messages] == sent
        assert {event.type for event in client.system} == {"fanlight.open"}
        assert set(client.statuses) == {200}


async def test_a_gateway_that_was_gone_takes_all_streams_again(nginx: Nginx, gateways: Gateways) -> None:
    """nginx takes a mark of failure back when a request to that gateway has ended, which a stream does not:
    gateways that were marked would get one stream each few seconds, and everybody else none."""
    first, second = gateways
    async with AsyncExitStack() as open_streams:

        async def open_eight() -> None:  # enough for each of nginx' workers
            for _ in range(8):
                stream = await SseConnection.open(f"{nginx.url}/events?channel=a")
                await open_streams.enter_async_context(stream)
                assert (await stream.next_event()).type == "fanlight.open"

        first.kill()
        await open_eight()
        first.start()
        second.kill()
        await open_eight()


async def test_with_both_gateways_gone_clients_come_back_and_miss_nothing(
    nginx: Nginx, gateways: Gateways, publisher: Publisher
) -> None:
    async with SseClient(f"{nginx.url}/events?channel=a", reconnect_at_once=True) as client:
        await client.opened()
        first = publisher.publish("a", "before").id
        await client.until(lambda: len(client.messages) == 1)
        for gateway in gateways:
            gateway.kill()
        turned_away = len(client.connections) + 2
        await client.until(lambda: len(client.connections) >= turned_away)
        second = publisher.publish("a", "while away").id
        assert client.failed is None
        assert client.last_event_id == first
        for gateway in gateways:
            gateway.start()
        await client.until(lambda: len(client.messages) == 2)
        assert [event.id for event in client.messages] == [first, second]
        assert not [event for event in client.system if event.type == "fanlight.gap"]


async def test_with_no_gateway_at_all_the_answer_is_a_stream_that_ends() -> None:
    with Nginx((free_port(), free_port())) as nginx:
        headers = {"Origin": "https://app.example"}
        async with await SseConnection.open(f"{nginx.url}/events?channel=a", headers=headers) as connection:
            await connection.until_end()
        assert connection.status == 200
        assert connection.headers["content-type"] == "text/event-stream"
        assert connection.headers["access-control-allow-origin"] == "https://app.example"
        assert connection.headers["access-control-allow-credentials"] == "true"
        assert connection.parser.retry_ms in (2000, 3000, 4000, 5000)
        assert connection.parser.last_event_id is None
        assert not connection.events


async def test_no_ticket_is_logged(nginx: Nginx, gateways: Gateways) -> None:
    """A gateway that can't be reached has not used it up: it would be good for whoever reads the log."""
    url = f"{nginx.url}/events?channel=a&ticket=CaNaRy"
    async with await SseConnection.open(url) as refused:
        assert refused.status == 401
    for gateway in gateways:
        gateway.kill()
    async with await SseConnection.open(url) as unreached:
        assert unreached.status == 200
        await unreached.until_end()
    await aeventually(lambda: "unreached: GET /events" in nginx.log)
    assert "CaNaRy" not in nginx.log

"""The shipped configurations of nginx, HAProxy and Caddy, in front of two real gateways."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import threading
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from publisher import Event, Publisher
from tests.support.certificates import Authority
from tests.support.gateway_process import GatewayProcess
from tests.support.issuer import status
from tests.support.proxies import Backend, ReverseProxy
from tests.support.sse import SseClient, SseConnection
from tests.support.upstream import Upstream, plain_stream
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from tests.conftest import StartGateway

pytestmark = pytest.mark.once

Gateways = tuple[GatewayProcess, GatewayProcess]
ORIGIN = "https://app.example"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    Authority(directory / "ca.pem").issue(directory / "server.pem", "127.0.0.1")
    return directory / "server.pem"


@pytest.fixture(scope="module")
def pair(share_gateway: StartGateway) -> Gateways:
    settings = {
        "publish_token": GatewayProcess.PUBLISH_TOKEN,
        "heartbeat_seconds": 0.2,
        "retry_ms": 100,
        "compression": "gzip",
    }
    return share_gateway(**settings), share_gateway(**settings)


@pytest.fixture
def gateways(pair: Gateways) -> Gateways:
    """Both alive, at the beginning."""
    for gateway in pair:
        if not gateway.alive():
            gateway.start(wait=False)
    for gateway in pair:
        gateway.wait_ready()
    return pair


@pytest.fixture(scope="module")
def started_proxy(
    proxy_kind: type[ReverseProxy], pair: Gateways, certificate: Path
) -> Iterator[ReverseProxy]:
    backends = [Backend(gateway.port, gateway.admin_port) for gateway in pair]
    with proxy_kind(backends, certificate=certificate) as proxy:
        yield proxy


@pytest.fixture
def proxy(started_proxy: ReverseProxy, gateways: Gateways) -> ReverseProxy:
    """It knows of a gateway that is alive: one says what is wrong with this request."""
    eventually(lambda: status_of(started_proxy, "/events") == 400, what="the proxy has found a gateway")
    return started_proxy


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def before_upstream(
    proxy_kind: type[ReverseProxy], upstream: Upstream, pair: Gateways
) -> Iterator[ReverseProxy]:
    """The proxy before what is no gateway. Who asks whether it is ready hears a gateway that is."""
    backends = [Backend(upstream.port, gateway.admin_port) for gateway in pair]
    with proxy_kind(backends) as proxy:
        yield proxy


def status_of(
    proxy: ReverseProxy,
    path: str,
    *,
    method: str = "GET",
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> int:
    with closing(http.client.HTTPConnection(proxy.host, proxy.port, timeout=30)) as request:
        request.request(method, path, body, dict(headers or {}))
        return request.getresponse().status


def events_url(proxy: ReverseProxy, channel: str) -> str:
    return f"{proxy.url}/events?channel={channel}"


def serving(gateways: Gateways) -> list[GatewayProcess]:
    """The gateways that have a stream open, by their metrics."""
    return [gateway for gateway in gateways if gateway.alive() and metric(gateway, "fanlight_streams_open")]


def metric(gateway: GatewayProcess, name: str) -> float:
    _, body = gateway.admin_get("/metrics")
    values = [line.split()[-1] for line in body.decode().splitlines() if line.startswith(f"{name} ")]
    assert values, f"no metric {name} in:\n{body.decode()}"
    return float(values[0])


# While all is well.


async def test_events_pass_at_once_and_uncompressed(
    before_upstream: ReverseProxy, upstream: Upstream
) -> None:
    """The proxy itself neither gathers nor compresses, whatever a browser would take."""
    released = threading.Event()
    upstream.answer = plain_stream(released)
    headers = {"Accept-Encoding": "gzip, deflate, br, zstd"}
    async with await SseConnection.open(events_url(before_upstream, "a"), headers=headers) as connection:
        assert connection.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in connection.headers
        assert (await connection.next_event()).data == "first"
        released.set()
        assert (await connection.next_event()).data == "second"


async def test_what_a_gateway_judges_by_passes_as_it_came(
    before_upstream: ReverseProxy, upstream: Upstream
) -> None:
    """The page's origin is compared with the Host; limits by address go by X-Forwarded-For."""
    asked: list[Message] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.headers)
        status(404)(handler)

    upstream.answer = answer
    sent = {
        "Host": f"{before_upstream.host}:{before_upstream.port}",
        "Origin": ORIGIN,
        "Sec-Fetch-Site": "same-site",
        "Cookie": "fanlight=token",
        "Authorization": "Bearer token",
        "Last-Event-ID": "1795448896226-0-15afb2",
    }
    assert status_of(before_upstream, "/events", headers=sent) == 404
    [got] = asked
    assert {name: got.get(name) for name in sent} == sent
    assert got.get("X-Forwarded-For") == before_upstream.host
    assert got.get("Connection", "keep-alive") != "close", "a connection to the gateway serves many requests"


async def test_what_a_gateway_has_compressed_passes_at_once_and_as_it_is(
    proxy: ReverseProxy, gateways: Gateways, publisher: Publisher, channel: str
) -> None:
    url = events_url(proxy, channel)
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
            published = publisher.publish(channel, data)
            for connection in (compressed, plain):
                event = await connection.next_event()
                assert (event.data, event.id) == (data, published.id)
        beats = len(compressed.parser.comments)
        await compressed.until(lambda: len(compressed.parser.comments) > beats)
        assert len(compressed.wire) < len(plain.wire) / 3
        publisher.close(channel)
        for connection in (compressed, plain):
            await connection.until_end()
            assert not connection.cut


async def test_nobody_else_asks_the_gateway_to_compress(
    proxy: ReverseProxy, gateways: Gateways, channel: str
) -> None:
    before = sum(metric(gateway, "fanlight_compression_units_total") for gateway in gateways)
    async with await SseConnection.open(events_url(proxy, channel)) as connection:
        await connection.until(lambda: len(connection.parser.comments) >= 2)
    assert sum(metric(gateway, "fanlight_compression_units_total") for gateway in gateways) == before


async def test_post_publish_goes_through(proxy: ReverseProxy, gateways: Gateways, channel: str) -> None:
    async with await SseConnection.open(events_url(proxy, channel)) as connection:
        await connection.next_event()
        data = "x" * 200_000  # more than a proxy's buffers
        headers = {
            "Authorization": f"Bearer {GatewayProcess.PUBLISH_TOKEN}",
            "Content-Type": "application/json",
        }
        with closing(http.client.HTTPConnection(proxy.host, proxy.port, timeout=30)) as request:
            request.request("POST", "/publish", json.dumps({"channel": channel, "data": data}), headers)
            response = request.getresponse()
            body = response.read()
        assert response.status == 200, body
        answer = json.loads(body)
        event = await connection.next_event()
        assert (event.id, event.data) == (answer["id"], data)


async def test_a_refusal_is_passed_on(proxy: ReverseProxy, gateways: Gateways) -> None:
    async with await SseConnection.open(f"{proxy.url}/events?ticket=CaNaRy&channel=a") as refused:
        assert refused.status == 401


async def test_a_slow_reader_is_held_back_by_the_gateway_not_by_the_proxy(
    proxy: ReverseProxy, gateways: Gateways, publisher: Publisher, channel: str
) -> None:
    """A proxy that buffers would take all of it, and fill its disk; the gateway would see no slow reader."""

    def slow() -> float:
        return sum(metric(gateway, "fanlight_slow_streams_total") for gateway in gateways)

    before = slow()
    async with await SseConnection.open(events_url(proxy, channel), receive_buffer_bytes=8192) as connection:
        await connection.next_event()
        event = Event(channel=channel, data="x" * 200_000)
        sent = [item.id for item in publisher.publish_many([event] * 100)]  # 20 MB: above all buffers
        await aeventually(lambda: slow() > before, what="the gateway has noticed a slow stream")
        got = [(await connection.next_event()).id for _ in sent]
        assert got == sent
        assert "upstream response is buffered to a temporary file" not in proxy.log


async def test_a_browser_that_leaves_leaves_the_gateway_too(
    proxy: ReverseProxy, gateways: Gateways, channel: str
) -> None:
    connection = await SseConnection.open(events_url(proxy, channel))
    await connection.next_event()
    assert serving(gateways)
    connection.abort()
    await aeventually(lambda: not serving(gateways), what="no gateway has a stream")


def test_browsers_are_offered_http2(proxy: ReverseProxy, certificate: Path) -> None:
    """Chromium takes it: tests/browser/test_http2.py."""
    context = ssl.create_default_context(cafile=str(certificate.with_name("ca.pem")))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection((proxy.host, proxy.tls_port)) as sock,
        context.wrap_socket(sock, server_hostname=proxy.host) as encrypted,
    ):
        assert encrypted.selected_alpn_protocol() == "h2"


# While gateways come and go.


async def test_the_other_gateway_takes_over_without_a_hole(
    proxy: ReverseProxy, gateways: Gateways, publisher: Publisher, channel: str
) -> None:
    sent = [publisher.publish(channel, str(number)).id for number in range(5)]
    async with SseClient(f"{events_url(proxy, channel)}&last=5", reconnect_at_once=True) as client:
        await client.opened()
        for turn in range(3):
            [node] = await aeventually(lambda: serving(gateways), what="one gateway has the stream")
            node.kill()
            sent += [publisher.publish(channel, f"{turn}.{number}").id for number in range(20)]
            await client.opened(times=turn + 2)
            node.start()
        await client.until(lambda: len(client.messages) >= len(sent))
        assert [event.id for event in client.messages] == sent
        assert {event.type for event in client.system} == {"fanlight.open"}
        assert set(client.statuses) == {200}


async def test_a_gateway_that_was_gone_takes_all_streams_again(
    proxy: ReverseProxy, gateways: Gateways, channel: str
) -> None:
    """nginx takes a mark of failure back when a request to that gateway has ended, which a stream does not:
    gateways that were marked would get one stream each few seconds, and everybody else none."""
    first, second = gateways
    async with AsyncExitStack() as open_streams:

        async def open_one() -> None:
            stream = await SseConnection.open(events_url(proxy, channel))
            await open_streams.enter_async_context(stream)
            assert (await stream.next_event()).type == "fanlight.open"

        async def open_eight() -> None:  # enough for each of nginx' workers
            for _ in range(8):
                await open_one()

        async def both_get_one() -> bool:
            await open_one()
            return len(serving(gateways)) == 2

        await aeventually(both_get_one, what="the proxy knows both")
        first.kill()
        await open_eight()
        first.start()
        await aeventually(both_get_one, what="the proxy has found the first again")
        held = metric(second, "fanlight_streams_open")
        for _ in range(4):
            await open_one()
        assert metric(second, "fanlight_streams_open") == held, "the one with the fewest gets the next"
        second.kill()
        await open_eight()


async def test_a_host_that_does_not_answer_is_passed_over(
    proxy_kind: type[ReverseProxy], gateways: Gateways, upstream: Upstream
) -> None:
    """As one that is gone: nothing refuses, nothing accepts."""
    upstream.answer = plain_stream(threading.Event())
    admin_ports = [gateway.admin_port for gateway in gateways]
    with silent_port() as port:
        backends = [Backend(port, admin_ports[0]), Backend(upstream.port, admin_ports[1])]
        with proxy_kind(backends) as proxy:

            async def first_event() -> str:
                async with await SseConnection.open(events_url(proxy, "a")) as connection:
                    return (await connection.next_event(seconds=30)).data

            # One would do, if it were known to be sent there first.
            assert set(await asyncio.gather(first_event(), first_event())) == {"first"}


@contextmanager
def silent_port() -> Iterator[int]:
    """A port whose queue is full: the kernel drops whoever knocks."""
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_with_both_gateways_gone_clients_come_back_and_miss_nothing(
    proxy: ReverseProxy, gateways: Gateways, publisher: Publisher, channel: str
) -> None:
    async with SseClient(events_url(proxy, channel), reconnect_at_once=True) as client:
        await client.opened()
        first = publisher.publish(channel, "before").id
        await client.until(lambda: len(client.messages) == 1)
        for gateway in gateways:
            gateway.kill()
        turned_away = len(client.connections) + 2
        await client.until(lambda: len(client.connections) >= turned_away)
        second = publisher.publish(channel, "while away").id
        assert client.failed is None
        assert client.last_event_id == first
        for gateway in gateways:
            gateway.start()
        await client.until(lambda: len(client.messages) == 2)
        assert [event.id for event in client.messages] == [first, second]
        assert not [event for event in client.system if event.type == "fanlight.gap"]


async def is_the_retry_page(url: str) -> bool:
    """Whether the answer is a stream that ends at once, which pages of all origins may read."""
    async with await SseConnection.open(url, headers={"Origin": ORIGIN}) as connection:
        await connection.until_end()
    assert (connection.status, connection.cut) == (200, False)
    assert connection.headers["content-type"].partition(";")[0] == "text/event-stream"
    assert "no-cache" in connection.headers["cache-control"]
    assert connection.headers["access-control-allow-origin"] == ORIGIN
    assert connection.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in connection.headers["vary"]
    assert connection.parser.retry_ms is not None
    assert bytes(connection.body) == f"retry: {connection.parser.retry_ms}\n".encode()
    return 2000 <= connection.parser.retry_ms <= 5000


async def test_with_no_gateway_at_all_the_answer_is_a_stream_that_ends(
    proxy: ReverseProxy, gateways: Gateways, channel: str
) -> None:
    for gateway in gateways:
        gateway.kill()
    assert await is_the_retry_page(events_url(proxy, channel))
    async with await SseConnection.open(events_url(proxy, channel)) as connection:  # of the page's own origin
        await connection.until_end()
    assert connection.status == 200
    assert "access-control-allow-origin" not in connection.headers
    assert status_of(proxy, "/publish", method="POST", body="{}") in (502, 503)


@pytest.mark.parametrize("code", [502, 503, 504])
async def test_what_another_proxy_says_of_the_gateway_makes_no_browser_give_up(
    before_upstream: ReverseProxy, upstream: Upstream, code: int
) -> None:
    upstream.answer = status(code)
    assert await is_the_retry_page(events_url(before_upstream, "a"))


async def test_an_answer_that_breaks_off_makes_no_browser_give_up(
    before_upstream: ReverseProxy, upstream: Upstream
) -> None:
    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    upstream.answer = hang_up
    assert await is_the_retry_page(events_url(before_upstream, "a"))


async def test_no_ticket_is_logged(proxy: ReverseProxy, gateways: Gateways, channel: str) -> None:
    """A gateway that can't be reached has not used it up: it would be good for whoever reads the log."""
    url = f"{events_url(proxy, channel)}&ticket=CaNaRy"
    async with await SseConnection.open(url) as refused:
        assert refused.status == 401
    async with await SseConnection.open(f"{proxy.url}/misspelt?ticket=CaNaRy") as misspelt:
        assert misspelt.status == 404
    for gateway in gateways:
        gateway.kill()
    before = len(proxy.log)
    async with await SseConnection.open(url) as unreached:
        assert unreached.status == 200
        await unreached.until_end()
    await aeventually(lambda: "/events" in proxy.log[before:], what="the failure is logged")
    assert "CaNaRy" not in proxy.log

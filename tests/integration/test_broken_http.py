"""Bytes that are no good request, on a raw socket: each is answered or closed by a deadline, costs nobody
else anything, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from publisher import Publisher
from tests.support.streams import events_url, metrics
from tests.support.wait import PATIENCE_SECONDS, aeventually, eventually

if TYPE_CHECKING:
    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.gateway_process import GatewayProcess

HEADER_SECONDS: Final = 1
STREAM: Final = b"text/event-stream"
GET: Final = b"GET /events?channel=a HTTP/1.1\r\nHost: x\r\n"
POST: Final = (
    b"POST /publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Type: application/json\r\n"
)
EVENT: Final = b'{"channel": "a", "data": 1}'
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
def gateway(share_gateway: StartGateway) -> GatewayProcess:
    return share_gateway(header_seconds=HEADER_SECONDS, body_seconds=1, publish_token="secret")


def exchange(gateway: GatewayProcess, sent: bytes) -> bytes:
    """All that is answered, up to the end of the connection, or to the first bytes of a stream."""
    received = b""
    with closing(socket.create_connection((gateway.host, gateway.port), timeout=PATIENCE_SECONDS)) as client:
        with suppress(ConnectionError):
            client.sendall(sent)
        with suppress(ConnectionError):
            while data := client.recv(65_536):
                received += data
                if STREAM in received and b"retry:" in received:
                    break
    return received


def statuses(answer: bytes) -> list[int]:
    return [int(line.split()[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/")]


CLOSED: Final[list[int]] = []
ROWS: Final = [
    # Whose request it is: two lengths, or none that everybody would read alike (RFC 9112, sections 6 and 11).
    ("Content-Length and Transfer-Encoding", POST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n", [400]),
    ("two lengths", POST + b"Content-Length: 27\r\nContent-Length: 5\r\n\r\n" + EVENT, [400]),
    ("the same length twice", POST + b"Content-Length: 27\r\nContent-Length: 27\r\n\r\n" + EVENT, [400]),
    ("a list of lengths", POST + b"Content-Length: 27, 27\r\n\r\n" + EVENT, [400]),
    ("a negative length", POST + b"Content-Length: -1\r\n\r\n", [400]),
    ("a length with a sign", POST + b"Content-Length: +27\r\n\r\n" + EVENT, [400]),
    ("a length that is no number", POST + b"Content-Length: abc\r\n\r\n", [400]),
    ("a length beyond all numbers", POST + b"Content-Length: 99999999999999999999999\r\n\r\n", [400]),
    ("an unknown coding", POST + b"Transfer-Encoding: cow\r\n\r\n", [400]),
    ("chunked, but not last", POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", [400]),
    (
        "chunked twice",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        [400],
    ),
    ("chunked, of HTTP/1.0", POST.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n0\r\n\r\n", [400]),
    ("a space before the colon", GET + b"Content-Length : 5\r\n\r\nhello", [400]),
    # Chunks.
    ("a chunk of no size", POST + CHUNKED + b"\r\nxyz\r\n", [400]),
    ("a chunk of a negative size", POST + CHUNKED + b"\r\n-1\r\n", [400]),
    ("a chunk beyond all sizes", POST + CHUNKED + b"\r\nfffffffffffffffffff\r\n", [400]),
    ("a chunk that is longer than it says", POST + CHUNKED + b"\r\n1\r\nabc\r\n0\r\n\r\n", [400]),
    ("a chunk size that ends in LF", POST + CHUNKED + b"\r\n5\nhello\r\n0\r\n\r\n", [400]),
    # Lines.
    ("a folded header", GET + b"X-A: 1\r\n  2\r\n\r\n", [400]),
    ("NUL in a header", GET + b"X-A: 1\x002\r\n\r\n", [400]),
    ("NUL in the target", b"GET /events?channel=a\0 HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    ("lines that end in LF", b"GET /events?channel=a HTTP/1.1\nHost: x\n\n", [400]),
    ("a bare CR in a header", GET + b"X-A: 1\r2\r\n\r\n", [400]),
    ("a header without a name", GET + b": 1\r\n\r\n", [400]),
    ("a header without a colon", GET + b"hello\r\n\r\n", [400]),
    ("a header whose name has a space", GET + b"X A: 1\r\n\r\n", [400]),
    ("two hosts", GET + b"Host: y\r\n\r\n", [400]),
    # Targets.
    ("absolute form", b"GET http://y/events?channel=a HTTP/1.1\r\nHost: x\r\n\r\n", [200]),
    (
        "absolute form, elsewhere",
        b"GET http://y:1/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        [404],
    ),
    ("authority form", b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", [404]),
    ("asterisk form", b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", [404]),
    ("no slash", b"GET events?channel=a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", [400]),
    ("a bad port", b"GET http://y:x/events HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    # Versions and methods.
    ("HTTP/0.9", b"GET /events?channel=a\r\n\r\n", [400]),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    ("HTTP/9.9", b"GET /events?channel=a HTTP/9.9\r\nHost: x\r\n\r\n", [400]),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50), [400]),
    ("a method that is none", b"G@T /events HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    ("a method in lower case", b"get /events HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    # Sizes.
    ("a huge header", GET + b"X-A: " + b"a" * 20_000 + b"\r\n\r\n", [431]),
    ("a header without an end", GET + b"X-A: " + b"a" * 1_000_000, [431]),
    ("many headers", GET + b"".join(b"X-%d: 1\r\n" % n for n in range(10_000)) + b"\r\n", [400]),
    ("large headers", GET + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 500) for n in range(100)) + b"\r\n", [431]),
    (
        "a huge request line",
        b"GET /events?channel=" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        [431],
    ),
    ("a huge method", b"A" * 1_000_000, [400]),
    # What comes late, or never.
    ("nothing", b"", CLOSED),
    ("half a line", b"GET /eve", CLOSED),
    ("headers without an end", GET + b"X-A: 1\r\n", CLOSED),
    ("empty lines", b"\r\n\r\n", CLOSED),
    ("a body that does not come", POST + b"Content-Length: 27\r\n\r\n{", [408]),
    ("chunks that do not come", POST + CHUNKED + b"\r\n5\r\nhel", [408]),
    # More than was asked for.
    ("two streams on one connection", (GET + b"\r\n") * 2, [200]),
    ("an upload behind a stream's request", GET + b"Content-Length: 5\r\n\r\nhello", [200]),
    ("another protocol", GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", [200]),
    (
        "an expectation",
        POST + b"Expect: 100-continue\r\nContent-Length: 27\r\nConnection: close\r\n\r\n" + EVENT,
        [100, 200],
    ),
    (
        "an expectation that is none",
        POST + b"Expect: a miracle\r\nContent-Length: 27\r\nConnection: close\r\n\r\n" + EVENT,
        [417],
    ),
]


NEVER_SAID: Final = (b"Traceback", b"aiohttp", b"Python", b"Error", b"secret", b"gateway", b"miracle")


@pytest.mark.parametrize(("sent", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_is_answered(gateway: GatewayProcess, sent: bytes, expected: list[int]) -> None:
    answer = exchange(gateway, sent)
    assert statuses(answer) == expected, answer[:500]
    assert [word for word in NEVER_SAID if word in answer] == []
    assert answer.count(b"X-Request-Id: ") == len([status for status in expected if status != 100])


def test_a_problem_is_told_as_one(gateway: GatewayProcess) -> None:
    for sent in (ROWS[0][1], GET + b"X-A: " + b"a" * 20_000 + b"\r\n\r\n"):
        head, _, body = exchange(gateway, sent).partition(b"\r\n\r\n")
        assert b"Content-Type: application/problem+json" in head
        assert b"Server: fanlight\r\n" in head
        assert json.loads(body)["status"] == statuses(head)[0]


async def test_they_leave_nothing_behind_and_cost_nobody_anything(
    gateway: GatewayProcess, shared_publisher: Publisher, channel: str, connect: Connect
) -> None:
    follower = await connect(events_url(gateway, channel))
    idle = await settled(gateway)
    async with asyncio.TaskGroup() as tasks:
        for _, sent, _ in ROWS * 2:
            tasks.create_task(asyncio.to_thread(exchange, gateway, sent))
        for number in range(20):
            shared_publisher.publish(channel, number)
            await asyncio.sleep(0)
    assert [(await follower.next_event()).data for _ in range(20)] == list(map(str, range(20)))
    await aeventually(lambda: left(gateway) <= idle, what="nothing is left of them")


def left(gateway: GatewayProcess) -> tuple[float, float, float]:
    found = metrics(gateway)
    return found["fanlight_streams_open"], found["fanlight_connections"], found["fanlight_tasks"]


async def settled(gateway: GatewayProcess) -> tuple[float, float, float]:
    await aeventually(lambda: left(gateway)[:2] == (1, 0))
    return left(gateway)


# Many at once, and slowly.


def flood(gateway: GatewayProcess, count: int) -> list[socket.socket]:
    return [socket.create_connection((gateway.host, gateway.port)) for _ in range(count)]


def ended(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(65_536) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def test_idle_and_dripping_connections_are_closed_and_others_served(
    start_gateway: StartGateway, channel: str, connect: Connect
) -> None:
    # On a slow machine it takes seconds until all are there: the first must not have ended by then.
    gateway = start_gateway(header_seconds=5, max_connections=300)
    follower = await connect(events_url(gateway, channel))
    clients = flood(gateway, 500)
    try:
        for number, client in enumerate(clients):
            if number % 2:
                with suppress(ConnectionError):
                    client.send(GET)
        await aeventually(lambda: metrics(gateway)["fanlight_limits_hit_total{connections}"] >= 200)
        assert metrics(gateway)["fanlight_connections"] <= 300
        assert metrics(gateway)["fanlight_streams_open"] == 1, "who was there is there"

        drips = iter(range(100))  # more fields than aiohttp takes would be an end of another kind

        def drip() -> bool:
            for client in clients[1::50] if next(drips, None) is not None else []:
                with suppress(OSError):
                    client.send(b"X-A: 1\r\n")
            return metrics(gateway)["fanlight_connections"] == 0

        await aeventually(drip, what="each ends at its deadline, whatever drips in")
        assert all(map(ended, clients))
        assert metrics(gateway)["fanlight_limits_hit_total{header_seconds}"] >= 100
    finally:
        for client in clients:
            client.close()
    with Publisher(gateway.settings["redis_url"], prefix=gateway.settings["prefix"]) as own:
        own.publish(channel, "still here")
    assert (await follower.next_event()).data == "still here"
    await connect(events_url(gateway, channel))


def test_requests_behind_that_of_a_stream_are_bounded(gateway: GatewayProcess) -> None:
    """Before the stream has begun by `max_header_bytes`, after that by `max_upload_bytes`."""
    with closing(socket.create_connection((gateway.host, gateway.port), timeout=PATIENCE_SECONDS)) as client:
        with suppress(ConnectionError):
            client.sendall(GET + b"\r\n")
            for _ in range(3000):
                client.sendall(b"GET /nothing HTTP/1.1\r\nX-A: " + b"a" * 1000 + b"\r\n\r\n")
        assert eventually(lambda: ended(client))


def test_an_answer_that_nobody_reads_is_given_up(start_gateway: StartGateway) -> None:
    gateway = start_gateway(
        stall_seconds=0.2, header_seconds=30, send_buffer_bytes=4096, publish_token="secret"
    )
    events = b"[" + b",".join([b'{"channel": "no spaces", "data": 1}'] * 1000) + b"]"
    with closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((gateway.host, gateway.port))
        client.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(events) + events)
        eventually(lambda: metrics(gateway)["fanlight_limits_hit_total{stall_seconds}"] == 1)
        eventually(lambda: metrics(gateway)["fanlight_connections"] == 0)


# Without file descriptors.


async def test_where_no_file_can_be_opened_any_more_those_who_are_there_are_served(
    start_gateway: StartGateway, publisher: Publisher, shared_prefix: str, channel: str, connect: Connect
) -> None:
    gateway = start_gateway(prefix=shared_prefix, header_seconds=60)
    follower = await connect(events_url(gateway, channel))
    most = int(metrics(gateway)["process_open_fds"]) + 20
    _, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (most, hard))
    clients = flood(gateway, 100)
    try:
        await aeventually(lambda: sum(map(ended, clients)) >= 40, what="who can't be taken is closed")
        publisher.publish(channel, "still here")
        assert (await follower.next_event()).data == "still here"
    finally:
        for client in clients:
            client.close()
    files = Path(f"/proc/{gateway.pid}/fd")
    await aeventually(lambda: len(list(files.iterdir())) < most - 10, what="their files are closed")
    await connect(events_url(gateway, channel))
    assert gateway.alive()

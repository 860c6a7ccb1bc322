"""The load client counts what a server really sent, however the bytes arrive."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from bench.load import Audience, Load
from gateway.protocol.compression import HEADER, deflated

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
OPEN = b'event: fanlight.open\ndata: {"resumed":false}\nid: 5-0-abcdef\n\n'


def chunked(*frames: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames)


def event(position: str) -> bytes:
    return b"data: t=%d xxx\nid: %b-abcdef\n\n" % (time.time_ns(), position.encode())


class Server:
    """Answers each connection with the same bytes, in pieces."""

    def __init__(self, body: bytes, piece: int) -> None:
        self.requests: list[bytes] = []
        self._bytes = HEAD + body
        self._piece = piece
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._connections: list[socket.socket] = []

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections.append(connection)
                self.requests.append(connection.recv(65536))
                for start in range(0, len(self._bytes), self._piece):
                    connection.sendall(self._bytes[start : start + self._piece])

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._connections:
            connection.close()


@pytest.fixture
def load() -> Iterator[Load]:
    with Load(core=0) as client:
        yield client


@pytest.mark.parametrize("piece", [1, 7, 100, 100_000])
def test_events_are_counted_and_nothing_else(load: Load, piece: int) -> None:
    gap = b'event: fanlight.gap\ndata: {"channel":null}\nid: 7-0-abcdef\n\n'
    body = chunked(
        b"retry: 2000\n", OPEN, event("6-0"), b":\n", event("7-0") + event("7-1"), gap.replace(b"7-0", b"7-1")
    )
    with Server(body, piece) as server:
        load.mark()
        load.open(Audience(3), [server.port], in_flight=1)
        report = load.wait(9, seconds=5)
    assert (report["deliveries"], report["opens"], report["violations"]) == (9, 3, 0)
    assert (report["samples"], report["live"]) == (9, 3)


def test_an_event_that_spans_chunks_is_one(load: Load) -> None:
    whole = event("6-0")
    with Server(chunked(OPEN, whole[:9], whole[9:40], whole[40:]), 13) as server:
        load.open(Audience(1), [server.port])
        assert load.wait(1, seconds=5)["deliveries"] == 1


@pytest.mark.parametrize("positions", [("6-0", "6-0"), ("6-1", "6-0"), ("10-0", "9-5"), ("4-0",)])
def test_ids_that_do_not_rise_are_told(load: Load, positions: tuple[str, ...]) -> None:
    with Server(chunked(OPEN, *map(event, positions)), 1000) as server:
        load.open(Audience(1), [server.port])
        assert load.wait(len(positions), seconds=5)["violations"] == 1


def test_gaps_are_counted(load: Load) -> None:
    gap = b'event: fanlight.gap\ndata: {"channel":null}\nid: 5-0-abcdef\n\n'
    with Server(chunked(OPEN, gap, event("6-0")), 1000) as server:
        load.open(Audience(1), [server.port])
        report = load.wait(1, seconds=5)
    assert (report["deliveries"], report["gaps"], report["violations"]) == (1, 1, 0)


def test_it_follows_what_the_audience_says_and_resumes_with_its_last_id(load: Load) -> None:
    audience = Audience(9, channels=7, width=3)
    with Server(chunked(OPEN, event("6-0")), 1000) as server:
        load.open(audience, [server.port], in_flight=1)
        load.wait(9, seconds=5)
        load.cut()
        load.reopen(audience, server.port, in_flight=1, seconds=5)
        asked = [request.split(b" ")[1].decode() for request in server.requests[:9]]
        again = server.requests[9:]
    assert asked == [
        "/events?" + "&".join(f"channel=c{channel}" for channel in audience.followed_by(stream))
        for stream in range(9)
    ]
    assert all(b"\r\nLast-Event-ID: 6-0-abcdef\r\n" in request for request in again)


@pytest.mark.parametrize("piece", [1, 7, 100, 100_000])
def test_compressed_events_are_counted(load: Load, piece: int) -> None:
    if not load.report()["inflates"]:
        pytest.skip("the load client was compiled without zlib")
    frames = [OPEN, *(event(f"{n}-0") + event(f"{n}-1") for n in range(6, 406))]
    units = [HEADER, *(deflated(frame, 4) for frame in frames)]
    body = chunked(*units)
    with Server(body, piece) as server:
        server._bytes = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") + body
        load.open(Audience(1), [server.port], accept_encoding="gzip")
        report = load.wait(800, seconds=10)
        assert b"\r\nAccept-Encoding: gzip\r\n" in server.requests[0]
    assert (report["deliveries"], report["opens"], report["violations"]) == (800, 1, 0)


def test_streams_that_are_refused_are_an_error(load: Load) -> None:
    with Server(b"", 1000) as server:
        server._bytes = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
        with pytest.raises(AssertionError, match="'status': 503"):
            load.open(Audience(2), [server.port])

"""`gateway.http.stream` over a socket, with a transport that is played."""

from __future__ import annotations

import contextlib
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from gateway.http.stream import EventStream
from gateway.protocol.sse import Encoding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from gateway.hub.subscription import Subscription


class Owner:
    max_upload_bytes = 0
    write_buffer_bytes = 1_000_000_000

    def opened(self, stream: EventStream) -> None: ...
    def filled(self, stream: EventStream) -> None: ...
    def drained(self, stream: EventStream) -> None: ...
    def closed(self, stream: EventStream) -> None: ...


class Transport:
    """Takes the socket's place once that is full, and keeps what it is given."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.given: list[bytes | memoryview] = []
        self.fails = self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def set_protocol(self, protocol: EventStream) -> None:
        self._protocol = protocol

    def get_extra_info(self, _: str) -> socket.socket:
        return self._sock

    def set_write_buffer_limits(self, _: int) -> None: ...
    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.given))

    def write(self, data: bytes | memoryview) -> None:
        if self.fails:
            self.closing = True  # as real ones do, which call `connection_lost` soon
            return
        self.given.append(data)
        self._protocol.pause_writing()


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def open_stream(sock: socket.socket) -> tuple[EventStream, Transport]:
    """One that has been handed over, and whose head has been sent."""
    transport = Transport(sock)
    stream = EventStream(Owner(), Encoding())
    stream.subscription = cast("Subscription", None)
    handler = SimpleNamespace(transport=transport, connection_lost=lambda _: None)
    request = SimpleNamespace(transport=transport, protocol=handler)
    assert stream.take_over(cast("web.Request", request), b"", b"retry: 1\n")
    transport.given.clear()
    stream.resume_writing()
    return stream, transport


def test_slow_streams_share_what_their_sockets_did_not_take(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    stream, transport = open_stream(sockets[0])
    data = bytes(10_000_000)
    stream.write(data)
    [rest] = transport.given
    assert isinstance(rest, memoryview)
    assert rest.obj is data
    assert 0 < len(rest) < len(data)


def test_what_the_socket_takes_and_what_it_does_not_are_the_whole(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = sockets
    stream, transport = open_stream(ours)
    frames = [bytes([number]) * 100_000 for number in range(20)]
    for frame in frames:
        stream.write(frame)
    ours.close()
    taken = b"".join(iter(lambda: theirs.recv(65_536), b""))
    assert taken + b"".join(transport.given) == b"".join(frames)


def test_nothing_follows_what_could_not_be_written(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets
    stream, transport = open_stream(ours)
    transport.fails = True
    stream.write(b"x" * 10_000_000)
    theirs.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while theirs.recv(65_536):
            pass  # there is room again
    stream.write(b"y")
    assert not transport.given
    with pytest.raises(BlockingIOError):
        theirs.recv(65_536)

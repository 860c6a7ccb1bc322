"""The chaos proxy does what it says: a fault that does not happen proves nothing."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.chaos.proxy import Proxy
from tests.support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.once

SILENT_SECONDS = 0.3


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def link(proxy: Proxy) -> Iterator[socket.socket]:
    """A connection through it, that answers."""
    with closing(connect(proxy)) as link:
        yield link


def connect(proxy: Proxy) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    assert ping(link) == b"+PONG\r\n"
    return link


def ping(link: socket.socket) -> bytes:
    link.sendall(b"PING\r\n")
    return link.recv(100)


def is_silent(link: socket.socket) -> bool:
    link.settimeout(SILENT_SECONDS)
    try:
        return not ping(link) and False
    except TimeoutError:
        return True
    finally:
        link.settimeout(10)


def test_cut_is_an_end(proxy: Proxy, link: socket.socket) -> None:
    proxy.cut()
    assert link.recv(100) == b""
    connect(proxy).close()
    eventually(lambda: proxy.connections == 0)


def test_reset_is_a_reset(proxy: Proxy, link: socket.socket) -> None:
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        link.recv(100)


def test_silence_from_the_server(proxy: Proxy, link: socket.socket, redis_server: RedisServer) -> None:
    admin = redis_server.client()
    admin.delete("seen")
    proxy.silence(down=True)
    link.sendall(b"SET seen 1\r\n")
    eventually(lambda: admin.get("seen") == b"1")
    assert is_silent(link)
    proxy.forward()
    assert ping(link) == b"+PONG\r\n"  # the connection is still there


def test_silence_to_the_server(proxy: Proxy, link: socket.socket, redis_server: RedisServer) -> None:
    link.sendall(b"SUBSCRIBE proxied\r\n")
    assert b"subscribe" in link.recv(1000)
    proxy.silence(up=True)
    assert is_silent(link)
    redis_server.client().publish("proxied", "still heard")
    assert b"still heard" in link.recv(1000)


def test_one_byte_at_a_time(proxy: Proxy, link: socket.socket) -> None:
    proxy.one_byte_at_a_time()
    link.sendall(b"ECHO " + b"x" * 50 + b"\r\n")
    pieces: list[bytes] = []
    while b"".join(pieces) != b"$50\r\n" + b"x" * 50 + b"\r\n":
        pieces.append(link.recv(1000))
    assert len(pieces) > 3  # some come together in the kernel


def test_truncation_is_to_the_byte(proxy: Proxy, link: socket.socket) -> None:
    proxy.truncate(3)
    link.sendall(b"PING\r\n")
    got = b""
    while piece := link.recv(100):
        got += piece
    assert got == b"+PO"


def test_delay(proxy: Proxy, link: socket.socket) -> None:
    proxy.delay(100, jitter_ms=10)
    started = time.monotonic()
    assert ping(link) == b"+PONG\r\n"
    assert time.monotonic() - started >= 0.2  # both ways


def test_refuse_and_forward(proxy: Proxy, link: socket.socket) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    assert ping(link) == b"+PONG\r\n"  # who is connected stays so
    proxy.forward()
    connect(proxy).close()


def test_a_host_that_is_gone(proxy: Proxy, link: socket.socket) -> None:
    proxy.vanish()
    assert is_silent(link)
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=SILENT_SECONDS)
    proxy.forward()
    connect(proxy).close()


def test_redirect_is_for_new_connections(proxy: Proxy, link: socket.socket, own_redis: RedisServer) -> None:
    own_redis.client().set("which", "the other")
    proxy.redirect(own_redis.port)
    with redis.Redis(port=proxy.port, retry=Retry(NoBackoff(), 0)) as client:
        assert client.get("which") == b"the other"
    link.sendall(b"GET which\r\n")
    assert link.recv(100) == b"$-1\r\n"

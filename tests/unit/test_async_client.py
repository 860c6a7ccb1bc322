"""`publisher.async_client` around a client that is played."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from publisher.async_client import AsyncClient
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

REDIS = cast("Redis", object())
CLOSED = "unable to perform operation on <TCPTransport closed=True>; the handler is closed"


def client(*, most_calls: int = 1, deadline_seconds: float | None = None) -> AsyncClient:
    return AsyncClient(REDIS, most_calls=most_calls, deadline_seconds=deadline_seconds)


async def _raise(error: Exception) -> None:
    raise error


async def test_a_write_on_a_closed_transport_is_a_lost_connection() -> None:
    with pytest.raises(ConnectionResetError, match="the handler is closed"):
        await client().run(lambda _: _raise(RuntimeError(CLOSED)))


async def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="another loop"):
        await client().run(lambda _: _raise(RuntimeError("attached to another loop")))


async def test_a_call_has_a_deadline_and_the_wait_for_its_turn_has_none() -> None:
    calls = client(deadline_seconds=0.05)
    first, second = (asyncio.create_task(calls.run(lambda _: asyncio.sleep(60))) for _ in range(2))
    for task in (first, second):
        with pytest.raises(TimeoutError):
            await task
    assert not calls.waiting


def resident_bytes() -> int:
    with contextlib.suppress(AttributeError):  # glibc keeps what was freed, and gives it back if asked to
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks /proc")
async def test_a_call_that_was_given_up_leaves_no_half_of_its_answer_in_memory() -> None:
    size = 48_000_000
    sent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not sent.is_set():
            command = await reader.read(65_536)
            if b"BIG" not in command:  # the handshake
                writer.write(b"%0\r\n" if b"HELLO" in command else b"+OK\r\n" * command.count(b"*"))
                continue
            writer.write(b"$%d\r\n" % (size + 1))
            writer.write(b"x" * size)  # all but the last byte
            await writer.drain()
            sent.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        calls = AsyncClient.from_url(f"redis://{host}:{port}/0", most_calls=2, deadline_seconds=60)
        before = resident_bytes()
        call = asyncio.create_task(calls.run(lambda redis: redis.get("BIG")))
        await aeventually(lambda: sent.is_set() and resident_bytes() > before + size * 3 // 4)
        call.cancel()
        await aeventually(lambda: call.done() and resident_bytes() < before + size // 4)
        await calls.aclose()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks /proc")
async def test_a_connection_that_rests_keeps_nothing_of_a_large_answer() -> None:
    size = 48_000_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while command := await reader.read(65_536):
            if b"BIG" in command:
                writer.write(b"$%d\r\n%b\r\n" % (size, b"x" * size))
            else:  # the handshake
                writer.write(b"%0\r\n" if b"HELLO" in command else b"+OK\r\n" * command.count(b"*"))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        calls = AsyncClient.from_url(f"redis://{host}:{port}/0", most_calls=2, deadline_seconds=60)
        before = resident_bytes()
        assert await calls.run(lambda redis: _length(redis, "BIG")) == size
        await aeventually(lambda: resident_bytes() < before + size // 4)
        assert await calls.run(lambda redis: _length(redis, "BIG")) == size  # on the same connection
        await calls.aclose()


async def _length(redis: Redis, key: str) -> int:
    answer: Any = await redis.get(key)
    return len(answer)


@pytest.mark.parametrize("turns", range(6))
async def test_a_call_whose_client_is_closed_takes_no_part_of_its_answer_for_all_of_it(turns: int) -> None:
    """In one of these turns of the loop the rest has arrived, and the call has not seen it yet."""
    begun, closing = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while command := await reader.read(65_536):
                if b"GET" not in command:  # the handshake
                    writer.write(b"%0\r\n" if b"HELLO" in command else b"+OK\r\n" * command.count(b"*"))
                    continue
                writer.write(b"$8\r\nhalf")
                begun.set()
                await closing.wait()
                writer.write(b":7\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        calls = AsyncClient.from_url(f"redis://{host}:{port}/0", most_calls=1, deadline_seconds=60)
        call = asyncio.create_task(calls.run(lambda redis: redis.get("key")))
        await begun.wait()
        [connection] = calls.redis.connection_pool._in_use_connections
        parser: Any = connection._parser
        await aeventually(lambda: parser._reader.has_data())
        closing.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        await calls.aclose()
        with contextlib.suppress(RedisError, OSError):
            assert await call == b"half:7\r\n"


async def test_no_more_calls_are_under_way_than_may_be() -> None:
    calls, go_on = client(most_calls=2), asyncio.Event()
    under_way: list[object] = []

    async def call(redis: Redis) -> bool:
        under_way.append(redis)
        return await go_on.wait()

    tasks = [asyncio.create_task(calls.run(call)) for _ in range(5)]
    await aeventually(lambda: len(under_way) == 2)
    assert calls.waiting
    tasks[0].cancel()  # it gives its place back
    await aeventually(lambda: len(under_way) == 3)
    go_on.set()
    assert await asyncio.gather(*tasks[1:]) == [True] * 4
    assert under_way == [REDIS] * 5

"""What is answered where no handler of ours does: a problem document, which tells nothing of the inside."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.http.connection import Bounds
from gateway.http.cors import Cors
from gateway.http.current import Configuration, Current
from gateway.http.listening import bind, listen
from gateway.settings import Settings
from tests.support.wait import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

APP = "https://app.example"


async def fail(_: web.Request) -> web.Response:
    raise RuntimeError("internal.name")


async def take_too_long(_: web.Request) -> web.Response:
    raise TimeoutError("internal.name")


async def refuse(_: web.Request) -> web.Response:
    raise web.HTTPForbidden(reason="internal.name", text="<b>internal.name</b>")


async def read(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = web.Application(client_max_size=10)
    app.on_response_prepare.append(Cors([APP]).complete)
    app.router.add_get("/fail", fail)
    app.router.add_get("/slow", take_too_long)
    app.router.add_get("/refused", refuse)
    app.router.add_post("/read", read)
    sock = bind("127.0.0.1", 0)
    runner = await listen(app, sock, Current(Configuration.of(Settings(), None)))
    yield sock.getsockname()[1]
    await runner.cleanup()


async def ask(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of what is answered to these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


ANSWERS = [
    ("GET /nowhere", "", 404),
    ("GET /%2e%2e/fail", "", 404),
    ("POST /fail", "", 405),
    ("PROPFIND /fail", "", 405),
    ("GET /fail", "", 500),
    ("GET /slow", "", 504),
    ("GET /refused", "", 403),
    ("GET /fail", "Expect: a miracle\r\n", 417),
    ("GET /nowhere", "Expect: a miracle\r\n", 417),
    ("POST /read", "Content-Length: 11\r\n", 413),
]


@pytest.mark.parametrize(("line", "fields", "status"), ANSWERS)
async def test_every_error_is_a_problem_document(
    port: int, line: str, fields: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "aiohttp.server")  # the failure is logged, with all that is known
    request = f"{line} HTTP/1.1\r\nHost: a\r\nOrigin: {APP}\r\nConnection: close\r\n{fields}\r\n"
    head, body = await ask(port, request.encode() + b"x" * (11 if status == 413 else 0))
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert first.startswith(f"HTTP/1.1 {status} "), head
    assert "internal.name" not in first
    assert headers["content-type"].partition(";")[0] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["server"] == "fanlight", "and not which versions of what"
    assert headers["cache-control"] == "no-store"
    assert headers["access-control-allow-origin"] == APP, "a page may read what was wrong"
    problem = json.loads(body)
    assert problem.keys() == {"type", "title", "status", "detail", "request_id"}
    assert problem["request_id"] == headers["x-request-id"]
    assert problem["status"] == status
    assert len(problem["detail"]) > 10
    assert b"internal.name" not in body
    assert b"Traceback" not in body
    assert ("allow" in headers) is (status == 405)


async def test_a_head_that_does_not_end_is_answered_at_the_bound() -> None:
    """With a byte more than that and no other: what is not read when a connection is closed resets it."""
    sock, settings = bind("127.0.0.1", 0), Settings()
    runner = await listen(web.Application(), sock, Current(Configuration.of(settings, None)))
    bounds = Bounds.of(settings)
    head = b"GET / HTTP/1.1\r\n" + (b"X-A: " + b"a" * 2000 + b"\r\n") * 100
    head, body = await ask(sock.getsockname()[1], head[: bounds.line_bytes + bounds.header_bytes + 1])
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"\r\nX-Request-Id: " in head
    assert body == b""
    await runner.cleanup()


# Requests behind one that is being answered.

HELD = b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n"


class Holding:
    """A port on which `GET /held` is answered when it is released."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.most_bytes = 0
        """So many may wait behind a request."""
        self.begun = asyncio.Semaphore(0)
        self.released = asyncio.Event()

    async def hold(self, _: web.Request) -> web.Response:
        self.begun.release()
        await self.released.wait()
        return web.Response()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """With a request that is being answered."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(HELD)
        await self.begun.acquire()
        return reader, writer


@pytest.fixture
async def holding() -> AsyncIterator[Holding]:
    sock = bind("127.0.0.1", 0)
    app = web.Application()
    holding = Holding(sock.getsockname()[1])
    app.router.add_get("/held", holding.hold)
    settings = Settings()
    bounds = Bounds.of(settings)
    holding.most_bytes = bounds.line_bytes + bounds.header_bytes
    runner = await listen(app, sock, Current(Configuration.of(settings, None)))
    yield holding
    await runner.cleanup()


def requests_of(total_bytes: int) -> bytes:
    """Sixteen requests that are so long together, each of them fit to be answered."""
    head, end = b"GET /nowhere HTTP/1.1\r\nHost: a\r\nX-A: ", b"\r\n\r\n"
    lengths = [total_bytes // 16] * 15
    lengths.append(total_bytes - sum(lengths))
    return b"".join(head + b"a" * (length - len(head) - len(end)) + end for length in lengths)


async def answers(reader: asyncio.StreamReader, count: int) -> list[int]:
    """The statuses of so many answers."""
    found = []
    for _ in range(count):
        head = await reader.readuntil(b"\r\n\r\n")
        found.append(int(head.split(b" ")[1]))
        [length] = (line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
        await reader.readexactly(int(length.removeprefix(b"Content-Length: ")))
    return found


async def test_what_waits_behind_a_request_is_bounded(holding: Holding) -> None:
    """At the bound all are answered, in order; with more (by more than the first of those that wait, which is
    not counted where it comes alone), the connection ends. Others are served."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await holding.connect()
        greedy_reader, greedy_writer = await holding.connect()
        writer.write(requests_of(holding.most_bytes))
        greedy_writer.write(requests_of(holding.most_bytes * 5 // 4))
        with suppress(ConnectionError):
            assert await greedy_reader.read() == b"", "what it has asked for is not answered"
        head, _ = await ask(holding.port, b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404 ")
        holding.released.set()
        assert await answers(reader, 17) == [200] + [404] * 16
        for connection in (writer, greedy_writer):
            connection.close()


async def test_many_small_requests_behind_one_are_all_answered(holding: Holding) -> None:
    """Of more than 32, aiohttp reads the rest when it has answered some."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await holding.connect()
        writer.write(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n" * 200)
        holding.released.set()
        assert await answers(reader, 201) == [200] + [404] * 200
        writer.close()

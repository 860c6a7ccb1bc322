"""A TCP proxy that delivers a gateway's answer in pieces of its own choosing, and keeps what it sent."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from tests.support.sse_parser import ChunkedDecoder, Event, EventStreamParser, GzipDecoder

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    Splitter = Callable[[bytes], Iterator[bytes]]

READ_BYTES = 65_536
LONG_LINE_BYTES = 1_000
EDGE_BYTES = 200
MIDDLE_PIECE_BYTES = 997


def as_it_comes(data: bytes) -> Iterator[bytes]:
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    """Single bytes. The middle of a long line goes in pieces of a prime length, which says as much and
    is over sooner."""
    for line in data.splitlines(keepends=True):
        if len(line) <= LONG_LINE_BYTES:
            yield from _pieces(line, 1)
        else:
            yield from _pieces(line[:EDGE_BYTES], 1)
            yield from _pieces(line[EDGE_BYTES:-EDGE_BYTES], MIDDLE_PIECE_BYTES)
            yield from _pieces(line[-EDGE_BYTES:], 1)


def at_random_places(random: random.Random) -> Splitter:
    """Pieces of 1 byte to 4 KB, as many of them short as long."""

    def split(data: bytes) -> Iterator[bytes]:
        while data:
            size = int(2 ** random.uniform(0, 12))
            yield data[:size]
            data = data[size:]

    return split


class Passage:
    """One answer, as far as it was passed on, decoded by the strict parser."""

    def __init__(self, head: bytes) -> None:
        self.status = int(head.split(b" ", 2)[1])
        self.gzip = GzipDecoder() if b"\r\ncontent-encoding: gzip\r\n" in head.lower() else None
        self.wire = bytearray()
        """What follows the head, with the framing of chunks."""
        self.body = bytearray()
        self.parser = EventStreamParser()
        self.events: list[Event] = []
        self._chunks = ChunkedDecoder()

    def passed(self, piece: bytes) -> None:
        self.wire += piece
        body = self._chunks.feed(piece)
        if self.gzip is not None:
            body = self.gzip.feed(body)
        self.body += body
        self.events += self.parser.feed(body)


class TcpProxy:
    """Stands before a gateway, for an `async with`, at `url`.

    `split` makes the pieces; each is a write of its own, and the loop runs once between two.
    With `cut_from_bytes`, the first connection ends behind so many bytes of what follows the head, and
    each other one a byte later than the one before it.
    """

    def __init__(
        self, port: int, split: Splitter = as_it_comes, *, cut_from_bytes: int | None = None
    ) -> None:
        self._target_port = port
        self._split = split
        self._cut_from_bytes = cut_from_bytes
        self.passages: list[Passage] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._tasks: list[asyncio.Task[None]] = []
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._target_port)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # either side has left
                keep_alive = True
                while keep_alive:
                    upstream.write(await reader.readuntil(b"\r\n\r\n"))
                    keep_alive = await self._pass_answer(upstream_reader, writer)
        finally:
            upstream.close()
            writer.close()

    async def _pass_answer(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass on one answer. True if another request may follow."""
        head = await upstream.readuntil(b"\r\n\r\n")
        for piece in self._split(head):
            await _write(writer, piece)
        passage = Passage(head)
        left_bytes = None if self._cut_from_bytes is None else self._cut_from_bytes + len(self.passages)
        self.passages.append(passage)
        if passage.status == 204:
            return True
        while data := await upstream.read(READ_BYTES):
            for piece in self._split(data):
                if left_bytes is not None:
                    piece = piece[:left_bytes]
                    left_bytes -= len(piece)
                    if not piece:
                        return False
                passage.passed(piece)
                await _write(writer, piece)
        return False


async def _write(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Write at once (asyncio sets TCP_NODELAY), and give the other side the time to read it."""
    writer.write(piece)
    await writer.drain()
    await asyncio.sleep(0)


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]

"""SSE clients for tests, on a raw socket: one connection, and a client that resumes like a browser."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from tests.support.sse_parser import ChunkedDecoder, Event, EventStreamParser, FramingError, GzipDecoder
from tests.support.wait import PATIENCE_SECONDS, aeventually

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

READ_BYTES = 65_536


class SseConnection:
    """One request and its answer. Reads only when it is asked to, so a test can be a slow reader.

    `status`, `reason`, `version` and `headers` (names in lower case; repeated ones joined with `, `)
    are there once `open` has returned; `wire` is every byte received after the head, `body` the same
    without the chunk framing and the compression, `events` what the parser dispatched.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.version = ""
        self.status = 0
        self.reason = ""
        self.headers: dict[str, str] = {}
        self.wire = bytearray()
        self.body = bytearray()
        self.chunked: ChunkedDecoder | None = None
        self.gzip: GzipDecoder | None = None
        self.parser = EventStreamParser()
        self.events: list[Event] = []
        self.ended = False
        """Nothing more will come."""
        self.cut = False
        """It ended without its proper end: a reset, or before the last chunk or the announced length."""
        self._length: int | None = None
        self._taken = 0

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        last_event_id: str = "",
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        version: str = "1.1",
        receive_buffer_bytes: int | None = None,
    ) -> Self:
        """Connect, send the request, and read the head of the answer.

        `last_event_id` goes out as the header of that name, in UTF-8, if it is not empty. OSError
        or EOFError if there is no answer within `PATIENCE_SECONDS`.
        """
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
        sock = socket.socket()
        try:
            if receive_buffer_bytes is not None:  # only counts when set before the handshake
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            sock.setblocking(False)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        reader, writer = await asyncio.open_connection(sock=sock, limit=READ_BYTES)
        self = cls(reader, writer)
        fields = {"Host": f"{host}:{port}", "Accept": "text/event-stream", "Cache-Control": "no-cache"}
        if last_event_id:
            fields["Last-Event-ID"] = last_event_id
        fields |= headers or {}
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = f"{method} {target} HTTP/{version}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
        try:
            writer.write(head.encode())
            async with asyncio.timeout(PATIENCE_SECONDS):
                self._read_head(await reader.readuntil(b"\r\n\r\n"), method)
        except BaseException:
            self.abort()
            raise
        return self

    @property
    def chunks(self) -> list[bytes]:
        """The complete HTTP chunks so far."""
        return [] if self.chunked is None else self.chunked.chunks

    async def read(self) -> list[Event]:
        """Wait for bytes; the events that they complete. Empty too: at the end, see `ended`."""
        if self.ended:
            return []
        try:
            data = await self._reader.read(READ_BYTES)
        except ConnectionError:
            data = b""
            self.cut = True
        if not data:
            self._end()
            return []
        self.wire += data
        body = data if self.chunked is None else self.chunked.feed(data)
        if self.gzip is not None:
            body = self.gzip.feed(body)
        self.body += body
        if self._length is not None and len(self.body) >= self._length:
            self.ended = True
        if self.chunked is not None and self.chunked.ended:
            self.ended = True
            if self.gzip is not None and not self.gzip.ended:
                raise FramingError("the last chunk came before the end of what was compressed")
        events = self.parser.feed(body)
        self.events += events
        return events

    async def next_event(self, *, seconds: float = PATIENCE_SECONDS) -> Event:
        """The next event in turn; each is given once. AssertionError at the deadline or the end."""
        await self.until(lambda: len(self.events) > self._taken, seconds=seconds)
        event = self.events[self._taken]
        self._taken += 1
        return event

    async def until(self, condition: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
        """Read until `condition` holds. AssertionError at the deadline, or at the stream's end."""
        __tracebackhide__ = True
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    if self.ended:
                        raise AssertionError(f"the stream ended first; {self!r}")
                    await self.read()
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s; {self!r}") from None

    async def until_end(self, *, seconds: float = PATIENCE_SECONDS) -> list[Event]:
        """Read to the end of the stream; all its events."""
        await self.until(lambda: self.ended, seconds=seconds)
        return self.events

    async def send(self, data: bytes) -> None:
        """Send more behind the request, as no good client does. Nothing where the connection is gone."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    def abort(self) -> None:
        """Cut the connection at once, with a reset and no goodbye."""
        self.ended = True
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close the connection, and wait until it is."""
        self.ended = True
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        tail = bytes(self.body[-200:])
        end = "cut" if self.cut else "ended" if self.ended else "open"
        return f"<SseConnection {self.status}, {end}, {len(self.events)} events, last bytes {tail!r}>"

    def _read_head(self, head: bytes, method: str) -> None:
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        self.version, status, self.reason = (*first.split(" ", 2), "")[:3]
        self.status = int(status)
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip():
                raise AssertionError(f"not a header: {line!r}")
            name, value = name.lower(), value.strip()
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        if "content-length" in self.headers and "transfer-encoding" in self.headers:
            raise AssertionError(f"both lengths: {head!r}")
        if method == "HEAD" or self.status in (204, 304):
            self.ended = True
        elif "transfer-encoding" in self.headers:
            assert self.headers["transfer-encoding"] == "chunked", head
            self.chunked = ChunkedDecoder()
            if "content-encoding" in self.headers:
                assert self.headers["content-encoding"] == "gzip", head
                self.gzip = GzipDecoder()
        elif "content-length" in self.headers:
            self._length = int(self.headers["content-length"])
            self.ended = self._length == 0

    def _end(self) -> None:
        self.ended = True
        if self.chunked is not None or self._length is not None:
            self.cut = True


class SseClient:
    """Reconnects as an EventSource does, and keeps all that it was given.

    The last event ID goes with each reconnect, after the reconnection time that the server set (or
    `retry_ms` before it did). An answer other than 200 with `text/event-stream` ends it for good, as
    in a browser: `failed` then says why (204 included). `url` may be changed: the next connection uses it.
    """

    def __init__(
        self,
        url: str,
        *,
        last_event_id: str = "",
        headers: Mapping[str, str] | None = None,
        retry_ms: int = 3000,
        reconnect_at_once: bool = False,
    ) -> None:
        self.url = url
        self.last_event_id = last_event_id
        self.headers = dict(headers or {})
        self.retry_ms = retry_ms
        self.reconnect_at_once = reconnect_at_once
        """Ignore the reconnection time (but never spin: a refused connection waits 20 ms)."""
        self.events: list[Event] = []
        self.connections: list[SseConnection] = []
        """Every answered connection, the newest last."""
        self.failed: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._current: SseConnection | None = None
        self._hurry = asyncio.Event()
        self._taken = 0

    @property
    def messages(self) -> list[Event]:
        """The events that publishers sent: those without the reserved type prefix."""
        return [event for event in self.events if not event.type.startswith("fanlight.")]

    @property
    def system(self) -> list[Event]:
        """The gateway's own events."""
        return [event for event in self.events if event.type.startswith("fanlight.")]

    @property
    def comments(self) -> int:
        """The number of comment lines (heartbeats) over all connections."""
        return sum(len(connection.parser.comments) for connection in self.connections)

    @property
    def connected(self) -> bool:
        return self._current is not None

    @property
    def statuses(self) -> list[int]:
        return [connection.status for connection in self.connections]

    async def next_event(self, *, seconds: float = PATIENCE_SECONDS) -> Event:
        """The next event in turn, of whatever type; each is given once."""
        await self.until(lambda: len(self.events) > self._taken, seconds=seconds)
        event = self.events[self._taken]
        self._taken += 1
        return event

    async def until(self, condition: Callable[[], object], *, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until `condition` holds. What broke the client (a framing error) is raised here."""
        __tracebackhide__ = True

        def check() -> bool:
            if self._task is not None and self._task.done() and not self._task.cancelled():
                self._task.result()
            return bool(condition())

        try:
            await aeventually(check, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self!r}") from error

    async def opened(self, *, times: int = 1, seconds: float = PATIENCE_SECONDS) -> Event:
        """Wait for the `times`-th `fanlight.open`, and return it."""

        def opens() -> list[Event]:
            return [event for event in self.events if event.type == "fanlight.open"]

        await self.until(lambda: len(opens()) >= times, seconds=seconds)
        return opens()[times - 1]

    def cut(self) -> None:
        """Cut the present connection, if there is one; it reconnects as after any other cut."""
        if self._current is not None:
            self._current.abort()

    def reconnect_now(self) -> None:
        """Cut the present connection, and don't wait out the reconnection time."""
        self._hurry.set()
        self.cut()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"sse client {self.url}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop for good. Raises what broke the client, if something did."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while self.failed is None:
            try:
                connection = await SseConnection.open(
                    self.url, last_event_id=self.last_event_id, headers=self.headers
                )
            except (OSError, EOFError):
                await self._pause(at_least_ms=20)
                continue
            self.connections.append(connection)
            try:
                self.failed = _refusal(connection)
                if self.failed is None:
                    await self._read_through(connection)
            finally:
                self._current = None
                await connection.close()
            if self.failed is None:
                await self._pause(at_least_ms=0)

    async def _read_through(self, connection: SseConnection) -> None:
        parser = connection.parser
        self._current = connection
        while not connection.ended:
            self.events += await connection.read()
            if parser.last_event_id is not None:
                self.last_event_id = parser.last_event_id
            if parser.retry_ms is not None:
                self.retry_ms = parser.retry_ms

    async def _pause(self, *, at_least_ms: int) -> None:
        wait_ms = at_least_ms if self.reconnect_at_once else max(self.retry_ms, at_least_ms)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_ms / 1000):
                await self._hurry.wait()
        self._hurry.clear()

    def __repr__(self) -> str:
        return (
            f"<SseClient {self.url} {len(self.events)} events, statuses {self.statuses}, "
            f"failed={self.failed!r}, the last events {self.events[-3:]}>"
        )


def _refusal(connection: SseConnection) -> str | None:
    """Why a browser would give up on this answer; None if it would not."""
    if connection.status != 200:
        return f"status {connection.status}"
    content_type = connection.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "text/event-stream":
        return f"content type {content_type!r}"
    return None

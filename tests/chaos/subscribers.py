"""Many event sources in one process, on raw sockets: they resume like a browser, over several gateways.

No task and no timer for a connection that is open, so that thousands are possible. What is parsed is the
subset of the standard that the product says it writes; the strict parser of `tests.support` judges that
elsewhere.
"""

from __future__ import annotations

import asyncio
import random
import socket
import zlib
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from tests.chaos.history import Connected, Followed, Received, Refused
from tests.support.wait import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Place = tuple[int, int]
HOST = "127.0.0.1"
BEGIN: Place = (0, 0)


def place_of(id_: str) -> Place:
    ms, seq, _ = id_.split("-")
    return int(ms), int(seq)


class Subscriber:
    """One event source. Lives in the loop in which `start` was called."""

    def __init__(
        self,
        name: str,
        channels: Iterable[str],
        ports: Callable[[], Sequence[int]],
        *,
        gzip: bool = False,
        receive_buffer_bytes: int | None = None,
        keep: bool = True,
    ) -> None:
        """`ports` are the gateways', asked at each connect: they are tried in turn. With `gzip` it asks
        for a compressed stream. Without `keep` nothing is recorded but the place."""
        self.followed = Followed(name, tuple(channels))
        self.last_event_id = ""
        self.place = BEGIN
        """Of the last id that told where it stands, `fanlight.open` or an event."""
        self.opens = 0
        self.events = 0
        self.gaps = 0
        self.connects_at: list[float] = []
        """When each connection was made, on the loop's clock."""
        self.port = 0
        """The one that it is connected to, or was."""
        self.statuses: set[int] = set()
        self.ended = False
        """For good: the server said so, or `stop` was called."""
        self.retry_ms = 50
        self._keep = keep
        self._ports = ports
        self._turn = random.randrange(1000)
        self._gzip = gzip
        self._receive_buffer_bytes = receive_buffer_bytes
        self._stream: _Stream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._away = False
        self._paused = False

    @property
    def connected(self) -> bool:
        return self._stream is not None and self._stream.status == 200

    @property
    def compressed(self) -> bool:
        """Whether the stream is, that it has now."""
        return self._stream is not None and self._stream.compressed

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._connect()

    def stop(self) -> None:
        self.ended = True
        self._drop()

    def leave(self) -> None:
        """Close the connection, and stay away until `come_back`."""
        self._away = True
        self._drop()

    def come_back(self) -> None:
        """End an absence; nothing where there is none."""
        if not self._away:
            return
        self._away = False
        # The old connection, or an attempt, may need another turn of the loop to be gone.
        self._again(at_least_ms=1)

    def cut(self) -> None:
        """Drop the connection; it reconnects as after any other cut."""
        if self._stream is not None:
            self._stream.abort()

    def pause(self) -> None:
        """Read nothing more."""
        self._paused = True
        if self._stream is not None:
            self._stream.pause()

    def resume(self) -> None:
        self._paused = False
        if self._stream is not None:
            self._stream.resume()

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connecting is not None:
            self._connecting.cancel()
        if self._stream is not None:
            self._stream.abort()

    def _connect(self) -> None:
        self._timer = None
        if self.ended or self._away or self._stream is not None:
            return
        # A task that was cancelled before its first step is done without having run its `finally`.
        if self._connecting is not None and not self._connecting.done():
            self._again(at_least_ms=1)
            return
        self._connecting = self._loop.create_task(self._open())

    async def _open(self) -> None:
        ports = self._ports()
        self._turn += 1
        self.port = ports[self._turn % len(ports)]
        sock = socket.socket()
        try:
            if self._receive_buffer_bytes is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer_bytes)
            sock.setblocking(False)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._loop.sock_connect(sock, (HOST, self.port))
            self.connects_at.append(self._loop.time())
            await self._loop.create_connection(lambda: _Stream(self), sock=sock)
        except (OSError, TimeoutError):
            sock.close()
            self._again(at_least_ms=20)
        except BaseException:
            sock.close()
            raise
        finally:
            self._connecting = None

    def _again(self, *, at_least_ms: int = 0) -> None:
        if not self.ended and not self._away and self._timer is None:
            self._timer = self._loop.call_later(max(self.retry_ms, at_least_ms) / 1000, self._connect)

    # From the stream.

    def request(self) -> bytes:
        query = urlencode([("channel", channel) for channel in self.followed.channels])
        cursor = f"Last-Event-ID: {self.last_event_id}\r\n" if self.last_event_id else ""
        coding = "Accept-Encoding: gzip\r\n" if self._gzip else ""
        return (
            f"GET /events?{query} HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/event-stream\r\n"
            f"Connection: close\r\n{coding}{cursor}\r\n"
        ).encode()

    def began(self, stream: _Stream) -> None:
        self._stream = stream
        if self.ended or self._away:
            stream.abort()
        elif self._paused:
            stream.pause()

    def answered(self, status: int) -> None:
        self.statuses.add(status)
        if status == 200:
            self._note(Connected(self.last_event_id))
        else:
            self.ended = True
            if status != 204:
                self._note(Refused(status))

    def received(self, type_: str, id_: str, data: str) -> None:
        self.last_event_id = id_
        if type_ == "fanlight.gap":
            self.gaps += 1
        else:
            self.place = place_of(id_)
            self.events += type_ == "message"
            self.opens += type_ == "fanlight.open"
        self._note(Received(type_, id_, data))

    def lost(self) -> None:
        self._stream = None
        self._again()

    def _note(self, record: Connected | Refused | Received) -> None:
        if self._keep:
            self.followed.records.append(record)


class _Stream(asyncio.Protocol):
    """One connection: head, chunks, perhaps gzip, lines, events."""

    def __init__(self, owner: Subscriber) -> None:
        self._owner = owner
        self._transport: asyncio.Transport
        self.status = 0
        self._chunked = False
        self._inflate: zlib._Decompress | None = None
        self._wire = b""
        self._line = b""
        self._left = 0
        """Of the chunk and its line end."""
        self._type = self._data = ""
        self._id = owner.last_event_id

    @property
    def compressed(self) -> bool:
        return self._inflate is not None

    def abort(self) -> None:
        self._transport.abort()

    def pause(self) -> None:
        self._transport.pause_reading()

    def resume(self) -> None:
        self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._owner.request())
        self._owner.began(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.lost()

    def data_received(self, data: bytes) -> None:
        data = self._wire + data
        if not self.status:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._wire = head
                return
            self.status = int(head.split(b" ", 2)[1])
            self._chunked = b"transfer-encoding: chunked" in head.lower()
            if b"content-encoding: gzip" in head.lower():
                self._inflate = zlib.decompressobj(31)
            self._owner.answered(self.status)
            if self.status != 200:
                self.abort()
        if self.status != 200:
            return
        self._wire = b""
        body = self._unchunk(data) if self._chunked else data
        # What a cut leaves of a unit gives the events that are whole.
        self._lines(body if self._inflate is None else self._inflate.decompress(body))

    def _unchunk(self, data: bytes) -> bytes:
        body = []
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                # The last two bytes of what is left are the chunk's line end.
                over = max(0, 2 - self._left)
                body.append(piece[: max(0, len(piece) - over)])
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._wire = data[at:]
                break
            size = int(data[at:end], 16)
            at = end + 2
            self._left = size + 2
        return b"".join(body)

    def _lines(self, body: bytes) -> None:
        *lines, self._line = (self._line + body).split(b"\n")
        for raw in lines:
            if raw.startswith(b"data: "):
                self._data += raw[6:].decode() + "\n"
            elif raw.startswith(b"id: "):
                self._id = raw[4:].decode()
            elif raw.startswith(b"event: "):
                self._type = raw[7:].decode()
            elif raw.startswith(b"retry: "):
                self._owner.retry_ms = int(raw[7:])
            elif not raw:
                if self._data:
                    self._owner.received(self._type or "message", self._id, self._data[:-1])
                self._type = self._data = ""
            elif not raw.startswith(b":"):
                raise AssertionError(f"a line that no event stream of ours has: {raw!r:.200}")

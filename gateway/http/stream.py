"""One event-stream connection, after aiohttp has parsed the request.

The transport is handed over to a slim protocol: aiohttp's objects for the connection and its task are
freed, and a write goes straight to the socket. There is no queue, no task, no timer and no lock for a
connection: what the socket does not take is in the transport's write buffer, the backlog, which is bounded.
Over its mark the subscription goes back to replay, where it costs no memory, and reads on when the buffer
has drained.
"""

from __future__ import annotations

import asyncio
import math
import os
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from gateway.auth.grants import Bearer
from gateway.http import request_ids
from gateway.protocol import sse
from gateway.protocol.closing import CloseReason

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.http.admission import Place
    from gateway.hub.subscription import Subscription


NOBODY: Final = Bearer()


class Owner(Protocol):
    """The registry that a stream reports to: `gateway.http.streams`."""

    write_buffer_bytes: int

    @property
    def max_upload_bytes(self) -> int: ...
    def opened(self, stream: EventStream) -> None: ...
    def filled(self, stream: EventStream) -> None: ...
    def drained(self, stream: EventStream) -> None: ...
    def closed(self, stream: EventStream) -> None: ...


class EventStream(asyncio.Protocol):
    """A connection as its subscription's sink: it is given frames of its `encoding`."""

    __slots__ = (
        "_buffered",
        "_descriptor",
        "_owner",
        "_ready",
        "_transport",
        "authorised_until",
        "bearer",
        "bucket",
        "encoding",
        "expires_at",
        "full",
        "mark_bytes",
        "marked_at",
        "opened_at",
        "place",
        "reason",
        "request_id",
        "subscription",
        "uploaded_bytes",
    )

    subscription: Subscription
    _transport: asyncio.Transport
    """From the hand-over on; nothing is written before."""
    compressed: ClassVar = False

    def __init__(self, owner: Owner, encoding: sse.Encoding) -> None:
        self._owner = owner
        self._ready: asyncio.Future[None] | None = None
        self.encoding = encoding
        self.full = False
        """The backlog has been over its mark, and has not drained since."""
        self._buffered = False
        """The transport holds some of what was written."""
        self.reason: CloseReason | None = None
        """Why the stream ended; None while it is open."""
        self.request_id = request_ids.current()
        self.uploaded_bytes = 0
        self.place: Place | None = None
        """What it takes of the limits of its client; left when it ends."""
        self.authorised_until = math.inf
        """When what its client has shown is over, in Unix seconds."""
        self.bearer = NOBODY
        self.bucket = 0
        self.opened_at = 0.0
        self.expires_at = 0.0
        self.marked_at = 0.0
        """Since when the backlog has not become smaller than `mark_bytes`."""
        self.mark_bytes = 0

    # Before the hand-over.

    async def wait_ready(self) -> None:
        """Until the hub says that the subscription's channels have their floors."""
        self._ready = asyncio.get_running_loop().create_future()
        await self._ready

    def ready(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def take_over(self, request: web.Request, head: bytes, line: bytes) -> bool:
        """Take the transport from aiohttp, and write the response's head and the stream's first line.
        False if it is gone."""
        transport = request.transport
        if transport is None or transport.is_closing():
            return False
        handler = request.protocol
        transport.set_protocol(self)
        # aiohttp closes the transport of a connection that it is told is lost, if it knows one.
        handler.transport = None
        handler.connection_lost(None)
        self._transport = transport
        self._descriptor = transport.get_extra_info("socket").fileno()
        transport.set_write_buffer_limits(0)  # it tells whether it holds anything
        self._buffered = transport.get_write_buffer_size() > 0
        transport.resume_reading()
        self._owner.opened(self)
        self._through_transport(head + self._first(line))
        return True

    # The sink.

    def write(self, data: bytes) -> None:
        """Write whole frames."""
        # With a reason, its transport is closing, and takes no more; uvloop's raises once it is closed, and
        # would cost the others their turn.
        if self.reason is not None:
            return
        if not self._buffered:
            # To the socket, which the transport keeps open until `connection_lost` has returned: 6.1 us a
            # delivery to 1,000 streams, 88 % of it in the kernel; through uvloop's transport it was 6.7.
            try:
                sent = os.write(self._descriptor, data)
            except OSError:  # it is full; or broken, which the transport finds out and deals with
                sent = 0
            if sent == len(data):
                return
            if sent:  # no copy: others that are as slow hold the rest of the same bytes
                self._through_transport(memoryview(data)[sent:])
                return
        self._through_transport(data)

    def _through_transport(self, data: bytes | memoryview) -> None:
        self._transport.write(data)
        if self._transport.is_closing():  # it failed: nothing may follow what is missing
            self.reason = CloseReason.CLIENT_LEFT
        elif not self.full and self.backlog_bytes > self._owner.write_buffer_bytes:
            self.full = True
            self._owner.filled(self)

    def end(self, reason: CloseReason) -> None:
        """End the stream behind what was written; the client will come back, unless told otherwise."""
        if self.reason is not None:
            return
        self._transport.write(self._last())
        self.reason = reason
        self._transport.close()

    # On the wire.

    def _first(self, line: bytes) -> bytes:
        """What the body begins with."""
        return self.encoding.framed(line)

    def _last(self) -> bytes:
        """What the body ends with."""
        return sse.LAST_CHUNK if self.encoding.chunked else b""

    # For the owner.

    def abort(self, reason: CloseReason) -> None:
        """Drop the connection, with what is still in its buffer."""
        self.reason = self.reason or reason
        self._transport.abort()

    @property
    def backlog_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    # asyncio.Protocol

    def pause_writing(self) -> None:
        self._buffered = True

    def resume_writing(self) -> None:
        self._buffered = False
        if self.full:
            self.full = False
            self._owner.drained(self)

    def data_received(self, data: bytes) -> None:
        """A client has nothing more to say; one that goes on all the same is cut off."""
        self.uploaded_bytes += len(data)
        if self.uploaded_bytes > self._owner.max_upload_bytes:
            self.abort(CloseReason.UPLOADED)

    def eof_received(self) -> None:
        """The client has gone; the transport closes itself."""
        self.reason = self.reason or CloseReason.CLIENT_LEFT

    def connection_lost(self, exc: Exception | None) -> None:
        self.reason = self.reason or CloseReason.CLIENT_LEFT
        self._owner.closed(self)
        # It holds this stream as its sink: a circle that only the collector would find. See gateway.garbage.
        del self.subscription

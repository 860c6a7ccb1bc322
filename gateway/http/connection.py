"""A connection of aiohttp's, with the bounds that aiohttp doesn't have.

- Requests that are not HTTP, or that fail, are not quoted: aiohttp's own answers and log lines hold the line
  that could not be read, and that line may hold a token.
- All headers of a request together have `max_header_bytes`: aiohttp bounds a field and their number. As much
  may wait behind a request that is being answered: aiohttp keeps 32 requests.
- An answer that its client doesn't read is given up after `stall_seconds`.
- Connections beyond what `Admission` lets in are closed before anything is read.
- Each request has an id, and so has each answer, to what can't be read too.

Deadlines of headers are aiohttp's: `keepalive_timeout`, from the beginning of the connection or the answer
before, whatever drips in meanwhile.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web
from aiohttp.http import HttpVersion10
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.typedefs import Handler, Middleware

from gateway.http import request_ids
from gateway.http.problems import of_aiohttp, problem
from gateway.logs import get_logger
from gateway.protocol.limits import Limit
from publisher.channels import MAX_CHANNEL_BYTES

if TYPE_CHECKING:
    from aiohttp.streams import StreamReader

    from gateway.http.admission import Admission
    from gateway.http.current import Current
    from gateway.http.request_ids import RequestIds
    from gateway.settings import Settings

_LINE_BYTES: Final = 8190
_CHANNEL_BYTES: Final = len("&channel=") + 3 * MAX_CHANNEL_BYTES
"""Of the longest name, percent-encoded."""
_HEADERS: Final = {"Server": "fanlight", "X-Content-Type-Options": "nosniff"}
"""Of every answer. Which versions of what are running here is nobody's business."""
_NOT_HTTP: Final = "This is not a request of HTTP/1.1."
_HEAD: Final = "The request's line or its headers are too large."
_TOO_LARGE: Final = (
    "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\n"
    f"Cache-Control: no-store\r\nConnection: close\r\n{request_ids.HEADER}: %s\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of a connection: those of the settings when it began."""

    line_bytes: int
    """Of the request line, which has room for as many channels as a stream may have."""
    header_bytes: int
    """Of all headers."""
    header_seconds: float
    stall_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> Bounds:
        return cls(
            _LINE_BYTES + settings.max_channels_per_stream * _CHANNEL_BYTES,
            settings.max_header_bytes,
            settings.header_seconds,
            settings.stall_seconds,
        )


class Connection(web.RequestHandler):
    """One connection, until a stream takes it over."""

    __slots__ = (
        "_admission",
        "_admitted",
        "_body",
        "_bounds",
        "_held_bytes",
        "_peer",
        "_request_ids",
        "_stalled",
    )

    def __init__(self, server: Server, bounds: Bounds, **options: Any) -> None:
        super().__init__(
            server,
            # Also the deadline of the first request's headers: aiohttp's own is an hour.
            keepalive_timeout=bounds.header_seconds,
            max_line_size=bounds.line_bytes,
            max_field_size=bounds.header_bytes,
            **options,
        )
        self._bounds = bounds
        self._admission = server.admission
        self._request_ids = server.request_ids
        self._admitted = False
        self._peer: str | None = None
        self._held_bytes = 0
        """Received of heads that are not complete, or behind a request that is being answered."""
        self._body: StreamReader | None = None
        """Of the last request that was read."""
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        admission = self._admission
        if admission is not None:
            peer = transport.get_extra_info("peername")
            self._peer = peer[0] if isinstance(peer, tuple) else None
            if not admission.connected(self._peer):
                cast("asyncio.Transport", transport).abort()  # uvloop's is no subclass of it
                return
            self._admitted = True
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        if self._admitted:
            self._admitted = False
            assert self._admission is not None
            self._admission.disconnected(self._peer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        in_body = self._body is not None and not self._body.is_eof()
        waiting = bool(self._messages)
        requests = self._request_count
        super().data_received(data)
        if self._request_count > requests and self._messages:
            self._body = self._messages[-1][1]
            if not waiting:
                self._held_bytes = 0
                if len(self._messages) == 1:  # nothing but this request, which is complete
                    return
        if not in_body and not self._force_close:
            self._held_bytes += len(data)
            if self._held_bytes > self._bounds.line_bytes + self._bounds.header_bytes:
                self._refuse()

    def _refuse(self) -> None:
        self._hit(Limit.HEADER_BYTES)
        transport = self.transport
        if transport is None:
            return
        if self._waiter is not None and not self._messages:
            transport.write((_TOO_LARGE % request_ids.new()).encode())
            self.force_close()
        else:  # an answer to another request is under way
            transport.abort()

    def _process_keepalive(self) -> None:
        super()._process_keepalive()
        # What has asked for something and is idle since is closed too, but has come to no limit.
        if self._force_close and (self._request_count == 0 or self._held_bytes):
            self._hit(Limit.HEADER_SECONDS)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self._loop.call_later(self._bounds.stall_seconds, self._give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _give_up(self) -> None:
        """The client reads nothing of its answer."""
        self._hit(Limit.ANSWER_SECONDS)
        if self.transport is not None:
            self.transport.abort()

    def _hit(self, limit: Limit) -> None:
        if self._admission is not None:
            self._admission.hit(limit)

    async def _handle_request(
        self, request: web.BaseRequest, *args: Any, **options: Any
    ) -> tuple[web.StreamResponse, bool]:
        """aiohttp's, for each request and for what could not be read as one, in a task of its own."""
        self._request_ids.begin(request)
        return await super()._handle_request(request, *args, **options)

    def log_exception(self, *args: Any, **options: Any) -> None:
        super().log_exception(*args, extra={"request_id": request_ids.current()}, **options)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if not isinstance(exc, HttpProcessingError):
            super().handle_error(request, status, exc, message)  # which logs it
            answer = problem(HTTPStatus(status), "Something went wrong here; it was noted.")
        elif request.writer.output_size > 0:
            raise ConnectionError("an answer has begun")
        else:
            get_logger("http").debug("not_http", kind=type(exc).__name__)
            answer = self._not_understood(exc)
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Every answer but the streams comes through here, what aiohttp answers by itself too."""
        if isinstance(resp, web.HTTPException):
            resp = of_aiohttp(resp)
        for name, value in _HEADERS.items():
            resp.headers.setdefault(name, value)
        resp.headers[request_ids.HEADER] = request_ids.current()
        return await super().finish_response(request, resp, start_time)

    def _not_understood(self, error: HttpProcessingError) -> web.Response:
        if isinstance(error, LineTooLong):
            self._hit(Limit.HEADER_BYTES)
            status, detail = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _HEAD
        else:
            status, detail = HTTPStatus.BAD_REQUEST, _NOT_HTTP
        return problem(status, detail)


def header_bound(current: Current, admission: Admission) -> Middleware:
    """Refuses a request whose headers are larger, though they came at once and could be read; and one of
    HTTP/0.9, which has none, and for which aiohttp takes any line without a version."""

    @web.middleware
    async def bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.version < HttpVersion10:
            return problem(HTTPStatus.BAD_REQUEST, _NOT_HTTP)
        header_bytes = sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
        if header_bytes > current.settings.max_header_bytes:
            admission.hit(Limit.HEADER_BYTES)
            return problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _HEAD)
        return await handler(request)

    return bounded


class Server(web.Server):
    """Makes connections that have bounds."""

    current: Current
    request_ids: RequestIds
    admission: Admission | None
    """None on a port that is not for the public."""

    def __call__(self) -> web.RequestHandler:
        return Connection(self, Bounds.of(self.current.settings), loop=self._loop, **self._kwargs)

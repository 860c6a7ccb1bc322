"""Sockets to listen on, and applications that listen there."""

from __future__ import annotations

import socket
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.http.problems import of_aiohttp, problem
from gateway.logs import get_logger
from publisher.channels import MAX_CHANNEL_BYTES

if TYPE_CHECKING:
    from gateway.settings import Settings

_BACKLOG: Final = 4096
_LINE_BYTES: Final = 8190
_CHANNEL_BYTES: Final = len("&channel=") + 3 * MAX_CHANNEL_BYTES
"""Of the longest name, percent-encoded: a request line has room for as many as a stream may have."""
_HEADERS: Final = {"Server": "fanlight", "X-Content-Type-Options": "nosniff"}
"""Of every answer. Which versions of what are running here is nobody's business."""


def bind(
    host: str, port: int, *, send_buffer_bytes: int | None = None, shared: bool = False
) -> socket.socket:
    """A socket on its address, not listening yet. OSError where that is taken.

    With `shared`, other processes of the same user may listen on the same port, and the kernel deals the
    connections out among them (SO_REUSEPORT).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if send_buffer_bytes is not None:
            # Inherited by accepted sockets: what a client that doesn't read can hold in the kernel.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(f"can't listen on {host}, port {port}: {error.strerror}") from None
    return sock


def address(sock: socket.socket) -> str:
    """As it is written in a URL."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Connection(web.RequestHandler):
    """aiohttp's, but for what is said of requests that are not HTTP, or that fail. Its own answers quote the
    line that it could not read, and its log lines do, too: that line may hold a token."""

    __slots__ = ()

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
            detail = "This is not a request of HTTP/1.1, or its head is too large."
            answer = problem(HTTPStatus.BAD_REQUEST, detail)
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
        return await super().finish_response(request, resp, start_time)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Runner(web.AppRunner):
    __slots__ = ()

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server  # there is no other way to tell aiohttp what its connections are
        return server


async def listen(app: web.Application, at: socket.socket | Path, settings: Settings) -> web.AppRunner:
    """Serve an application on a socket, or on a Unix socket of this path."""
    runner = _Runner(
        app,
        access_log=None,
        # A client that leaves while its stream is being prepared costs nothing more.
        handler_cancellation=True,
        # Also the deadline of the first request's headers: aiohttp's own is an hour.
        keepalive_timeout=settings.header_seconds,
        shutdown_timeout=settings.drain_seconds,
        max_line_size=_LINE_BYTES + settings.max_channels_per_stream * _CHANNEL_BYTES,
    )
    await runner.setup()
    if isinstance(at, Path):
        await web.UnixSite(runner, at).start()
    else:
        await web.SockSite(runner, at, backlog=_BACKLOG).start()
    return runner

"""Sockets to listen on, and applications that listen there."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.http.connection import Server
from gateway.http.request_ids import RequestIds

if TYPE_CHECKING:
    from gateway.http.admission import Admission
    from gateway.http.current import Current

BACKLOG: Final = 4096
"""Connections that wait to be accepted."""


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
        failure = OSError(f"can't listen on {host}, port {port}: {error.strerror}")
        failure.errno = error.errno
        raise failure from None
    return sock


def address(sock: socket.socket) -> str:
    """As it is written in a URL."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Runner(web.AppRunner):
    __slots__ = ("_admission", "_current")

    def __init__(
        self, app: web.Application, current: Current, admission: Admission | None, **options: Any
    ) -> None:
        super().__init__(app, **options)
        self._current = current
        self._admission = admission

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = Server  # there is no other way to tell aiohttp what its connections are
        assert isinstance(server, Server)
        server.current = self._current
        server.request_ids = RequestIds(self._current.settings.trusted_proxies)
        server.admission = self._admission
        return server


async def listen(
    app: web.Application, at: socket.socket | Path, current: Current, admission: Admission | None = None
) -> web.AppRunner:
    """Serve an application on a socket, or on a Unix socket of this path; to the public, with `admission`."""
    runner = _Runner(
        app,
        current,
        admission,
        access_log=None,
        # A client that leaves while its stream is being prepared costs nothing more.
        handler_cancellation=True,
        shutdown_timeout=current.settings.drain_seconds,
    )
    await runner.setup()
    if isinstance(at, Path):
        await web.UnixSite(runner, at).start()
    else:
        await web.SockSite(runner, at, backlog=BACKLOG).start()
    return runner

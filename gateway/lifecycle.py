"""A node's life: start, ready, drain, stop.

All tasks of the node live in one TaskGroup; the first one that fails unexpectedly ends the process, and
its clients resume elsewhere without a hole.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.app import Gateway
from gateway.logs import get_logger
from publisher.channels import MAX_CHANNEL_BYTES

if TYPE_CHECKING:
    from gateway.settings import Settings

_LINE_BYTES: Final = 8190
_CHANNEL_BYTES: Final = len("&channel=") + 3 * MAX_CHANNEL_BYTES
"""Of the longest name, percent-encoded: a request line has room for as many as a stream may have."""

ExtraRoutes = Callable[[web.Application], None]
Background = Callable[[], Awaitable[None]]


def serve(
    settings: Settings,
    *,
    extra_routes: ExtraRoutes | None = None,
    background: Sequence[Background] = (),
    on_ready: Callable[[], None] | None = None,
) -> int:
    """Run a node until SIGTERM or SIGINT; return the exit status.

    `on_ready` is called once the ports are open and Redis has answered. `background` runs beside it.
    """
    log = get_logger("lifecycle")
    try:
        public = _bind(settings.host, settings.port, settings.send_buffer_bytes)
        admin = _bind(settings.admin_host, settings.admin_port)
    except OSError as error:
        log.error("cannot_listen", error=str(error))
        return 1
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings, public, admin, extra_routes, background, on_ready))
    except Exception:
        log.exception("failed")
        return 1
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on this platform
        return None
    return uvloop.new_event_loop


async def _serve(
    settings: Settings,
    public_socket: socket.socket,
    admin_socket: socket.socket,
    extra_routes: ExtraRoutes | None,
    background: Sequence[Background],
    on_ready: Callable[[], None] | None,
) -> None:
    stop = _on_signal()
    log = get_logger("lifecycle")
    async with asyncio.TaskGroup() as tasks:
        running: list[asyncio.Task[Any]] = []

        def spawn(coroutine: Any, name: str) -> asyncio.Task[Any]:
            return tasks.create_task(coroutine, name=name)

        gateway = Gateway(settings, spawn)
        # Until Redis answers, streams are shed.
        public = await _listen(gateway.public_app(extra_routes), public_socket, settings)
        admin = await _listen(gateway.admin_app(), admin_socket, settings)
        log.info("listening", public=_address(public_socket), admin=_address(admin_socket))
        running.append(spawn(gateway.link.run(), "link"))
        running.append(spawn(gateway.probe.run(), "probe"))
        running.append(spawn(gateway.streams.tend(), "tend-streams"))
        running.extend(spawn(_awaited(run), f"background-{number}") for number, run in enumerate(background))
        announcing = spawn(_announce(gateway, on_ready), "announce")

        await stop.wait()
        stop.clear()
        announcing.cancel()
        # 1. Not ready: the balancer sends nobody new, and who comes all the same is turned away with a
        #    stream that ends at once. A second signal skips what is waited for, here and in 3.
        log.info("draining", streams=gateway.streams.open, seconds=settings.drain_seconds)
        gateway.streams.accepting = False
        await _unless(stop, asyncio.sleep(settings.drain_wait_seconds))
        # 2. No new connections.
        for site in tuple(public.sites):
            await site.stop()
        # 3. End the streams, spread over the window.
        await _unless(stop, gateway.streams.drain(settings.drain_seconds))
        # 4. What is left is cut off.
        gateway.streams.abort_all()
        await public.cleanup()
        # 5. The rest of the tasks, and the connections to Redis.
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        await gateway.aclose()
        await admin.cleanup()
        log.info("stopped")


async def _awaited(run: Background) -> None:
    await run()


async def _unless(stop: asyncio.Event, step: Coroutine[Any, Any, None]) -> None:
    """Take the step to its end, or to the event."""
    tasks = [asyncio.create_task(step, name="drain-step"), asyncio.create_task(stop.wait(), name="hurry")]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _announce(gateway: Gateway, on_ready: Callable[[], None] | None) -> None:
    await gateway.link.up.wait()
    if on_ready is not None:
        on_ready()


def _on_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _listen(app: web.Application, sock: socket.socket, settings: Settings) -> web.AppRunner:
    runner = web.AppRunner(
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
    await web.SockSite(runner, sock, backlog=4096).start()
    return runner


def _bind(host: str, port: int, send_buffer_bytes: int | None = None) -> socket.socket:
    """A socket on its address. OSError where that is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if send_buffer_bytes is not None:
            # Inherited by accepted sockets: what a client that doesn't read can hold in the kernel.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(f"can't listen on {host}, port {port}: {error.strerror}") from None
    return sock


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

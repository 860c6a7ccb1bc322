"""A node's life: start, ready, drain, stop.

All tasks of the node live in one TaskGroup; the first one that fails unexpectedly ends the process, and
its clients resume elsewhere without a hole.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway import garbage
from gateway.app import Gateway
from gateway.http import descriptors
from gateway.http.listening import address, bind, listen
from gateway.logs import get_logger

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from gateway.settings import Settings

ExtraRoutes = Callable[[web.Application], None]
Background = Callable[[], Awaitable[None]]


def serve(
    settings: Settings,
    *,
    extra_routes: ExtraRoutes | None = None,
    background: Sequence[Background] = (),
    on_ready: Callable[[], None] | None = None,
) -> int:
    """Run a node of one process until SIGTERM or SIGINT; return the exit status.

    `on_ready` is called once the ports are open and revocations are known. `background` runs beside it.
    """
    try:
        public = bind(settings.host, settings.port, send_buffer_bytes=settings.send_buffer_bytes)
        admin = bind(settings.admin_host, settings.admin_port)
    except OSError as error:
        get_logger("lifecycle").error("cannot_listen", error=str(error))
        return 1
    return run(lambda: _serve(settings, public, admin, extra_routes, background, on_ready))


def serve_worker(settings: Settings, admin: Path, leash: int) -> int:
    """Run one process of a node; return the exit status.

    It shares the public port, and has its admin port on a Unix socket at `admin`. The end of the file
    descriptor `leash` is a signal to stop, too.
    """
    try:
        public = bind(settings.host, settings.port, send_buffer_bytes=settings.send_buffer_bytes, shared=True)
    except OSError as error:
        get_logger("lifecycle").error("cannot_listen", error=str(error))
        return 1
    return run(lambda: _serve(settings, public, admin, leash=leash))


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run a coroutine to its end, in the fastest loop that is there; return the exit status."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(main())
    except Exception:
        get_logger("lifecycle").exception("failed")
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
    admin_at: socket.socket | Path,
    extra_routes: ExtraRoutes | None = None,
    background: Sequence[Background] = (),
    on_ready: Callable[[], None] | None = None,
    *,
    leash: int | None = None,
) -> None:
    stop = stop_signal()
    if leash is not None:
        _stop_at_end_of(leash, stop)
    log = get_logger("lifecycle")
    async with asyncio.TaskGroup() as tasks:
        running: list[asyncio.Task[Any]] = []

        def spawn(coroutine: Any, name: str) -> asyncio.Task[Any]:
            return tasks.create_task(coroutine, name=name)

        room = descriptors.room_for(settings.max_streams + settings.max_connections, settings.max_replays)
        gateway = Gateway(settings, spawn, most_descriptors=room)
        # Until Redis answers, streams are shed.
        public = await listen(gateway.public_app(extra_routes), public_socket, settings, gateway.admission)
        admin = await listen(gateway.admin_app(), admin_at, settings)
        admin_text = str(admin_at) if isinstance(admin_at, PurePath) else address(admin_at)
        log.info("listening", public=address(public_socket), admin=admin_text)
        running.append(spawn(gateway.link.run(), "link"))
        running.append(spawn(gateway.probe.run(), "probe"))
        running.append(spawn(gateway.control.run(), "control"))
        running.append(spawn(gateway.streams.tend(), "tend-streams"))
        running.append(spawn(gateway.streams.expire(), "expire-streams"))
        if gateway.jwks is not None:
            running.append(spawn(gateway.jwks.run(), "jwks"))
        running.append(spawn(gateway.retention.run(), "retention"))
        running.append(spawn(gateway.loop_lag.run(), "loop-lag"))
        running.append(spawn(garbage.collect(), "collect-garbage"))
        running.extend(spawn(_awaited(run), f"background-{number}") for number, run in enumerate(background))
        garbage.settle()
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
        gateway.streams.log.tell_left_out()
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
    await gateway.control.synced.wait()
    if on_ready is not None:
        on_ready()


def stop_signal() -> asyncio.Event:
    """Set by each SIGTERM and SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _stop_at_end_of(leash: int, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if not os.read(leash, 4096):
            loop.remove_reader(leash)
            stop.set()

    loop.add_reader(leash, readable)

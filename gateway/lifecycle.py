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
from gateway.http.current import Configuration, Current
from gateway.http.listening import address, bind, listen
from gateway.logs import get_logger, set_level
from gateway.reload import Reloading, Reloads

if TYPE_CHECKING:
    import socket
    from pathlib import Path

ExtraRoutes = Callable[[web.Application], None]
Background = Callable[[], Awaitable[None]]


def serve(
    configuration: Configuration,
    *,
    extra_routes: ExtraRoutes | None = None,
    background: Sequence[Background] = (),
    on_ready: Callable[[], None] | None = None,
    reloading: Reloading | None = None,
) -> int:
    """Run a node of one process until SIGTERM or SIGINT; return the exit status.

    `on_ready` is called once the ports are open and revocations are known. `background` runs beside it.
    SIGHUP reloads by `reloading`; without it, it ends the process.
    """
    current, settings = Current(configuration), configuration.settings
    reloads = Reloads(current, reloading) if reloading is not None else None
    try:
        public = bind(settings.host, settings.port, send_buffer_bytes=settings.send_buffer_bytes)
        admin = bind(settings.admin_host, settings.admin_port)
    except OSError as error:
        get_logger("lifecycle").error("cannot_listen", error=str(error))
        return 1
    return run(lambda: _serve(current, public, admin, extra_routes, background, on_ready, reloads))


def serve_worker(
    number: int,
    configuration: Configuration,
    admin: Path,
    leash: int,
    read: Callable[[bytes], Configuration],
) -> int:
    """Run process `number` of a node; return the exit status.

    It shares the public port, and has its admin port on a Unix socket at `admin`. The end of the file
    descriptor `leash` is a signal to stop, too; each line on it is a new configuration, that `read` reads.
    """
    current, settings = Current(configuration), configuration.settings
    try:
        public = bind(settings.host, settings.port, send_buffer_bytes=settings.send_buffer_bytes, shared=True)
    except OSError as error:
        get_logger("lifecycle").error("cannot_listen", error=str(error))
        return 1
    return run(lambda: _serve(current, public, admin, leash=(leash, read), worker=number))


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
    current: Current,
    public_socket: socket.socket,
    admin_at: socket.socket | Path,
    extra_routes: ExtraRoutes | None = None,
    background: Sequence[Background] = (),
    on_ready: Callable[[], None] | None = None,
    reloads: Reloads | None = None,
    *,
    leash: tuple[int, Callable[[bytes], Configuration]] | None = None,
    worker: int | None = None,
) -> None:
    stop = stop_signal()
    settings = current.settings
    log = get_logger("lifecycle")
    async with asyncio.TaskGroup() as tasks:
        running: list[asyncio.Task[Any]] = []

        def spawn(coroutine: Any, name: str) -> asyncio.Task[Any]:
            return tasks.create_task(coroutine, name=name)

        def room() -> int:
            now = current.settings
            return descriptors.room_for(now.max_streams + now.max_connections, now.max_replays)

        gateway = Gateway(current, spawn, reloads, most_descriptors=room(), worker=worker)

        def reloaded() -> None:
            gateway.admission.most_descriptors = room()
            gateway.reloaded()

        def replace(line: bytes) -> None:
            assert leash is not None
            current.configuration = leash[1](line)
            set_level(current.settings.log_level)
            reloaded()

        if leash is not None:
            _follow(leash[0], stop, replace)
        # Until Redis answers, streams are shed.
        public = await listen(gateway.public_app(extra_routes), public_socket, current, gateway.admission)
        admin = await listen(gateway.admin_app(), admin_at, current)
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
        if reloads is not None:
            running.append(spawn(reloads.run(reloaded), "reload"))
        running.append(spawn(gateway.inspector.run(), "inspect"))
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


def _follow(leash: int, stop: asyncio.Event, heard: Callable[[bytes], None]) -> None:
    """Each line on the file descriptor is for `heard`; its end is a signal to stop."""
    loop = asyncio.get_running_loop()
    held = bytearray()

    def readable() -> None:
        data = os.read(leash, 65_536)
        if not data:
            loop.remove_reader(leash)
            stop.set()
        held.extend(data)
        *lines, rest = held.split(b"\n")
        held[:] = rest
        for line in lines:
            heard(bytes(line))

    loop.add_reader(leash, readable)

"""Starts the workers, replaces those that end, and stops them all.

The supervisor holds no stream and has no link to Redis: what it does can hurt nobody's events. It binds the
public port without listening on it, so that the port is the node's also while a worker is being replaced.
"""

from __future__ import annotations

import asyncio
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway import lifecycle
from gateway.http.current import Configuration, Current
from gateway.http.listening import address, bind, listen
from gateway.logs import get_logger
from gateway.reload import Reloading, Reloads
from gateway.workers.admin import NodeAdmin
from gateway.workers.worker import Order

if TYPE_CHECKING:
    import socket
    from asyncio.subprocess import Process

    from gateway.settings import Settings

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_STEADY_SECONDS: Final = 60.0
"""A worker that has lived for so long has not ended for the reason for which the one before it did."""
_GRACE_SECONDS: Final = 10.0
"""What a worker may take beyond its drain before it is killed."""


def serve(configuration: Configuration, reloading: Reloading) -> int:
    """Run a node of as many processes as the settings say until SIGTERM or SIGINT; return the exit status.
    SIGHUP reloads by `reloading`."""
    current, settings = Current(configuration), configuration.settings
    reloads = Reloads(current, reloading)
    try:
        # A shared port may be shared with another node, too: by a mistake that nobody would notice.
        bind(settings.host, settings.port).close()
        public = bind(settings.host, settings.port, shared=True)
        admin = bind(settings.admin_host, settings.admin_port)
    except OSError as error:
        get_logger("supervisor").error("cannot_listen", error=str(error))
        return 1
    return lifecycle.run(lambda: _supervise(current, reloads, public, admin))


def share(settings: Settings, port: int) -> Settings:
    """One worker's part of what the settings say of the node. Not less memory than a single hot tail has."""
    return settings.model_copy(
        update={
            "port": port,
            "max_streams": math.ceil(settings.max_streams / settings.workers),
            "max_connections": math.ceil(settings.max_connections / settings.workers),
            "max_new_streams_per_second": settings.max_new_streams_per_second / settings.workers,
            "max_spans_per_second": settings.max_spans_per_second / settings.workers,
            "hot_tails_bytes": max(settings.hot_tails_bytes // settings.workers, settings.hot_tail_bytes),
        }
    )


def _order(number: int, configuration: Configuration, port: int, directory: Path) -> Order:
    part = replace(configuration, settings=share(configuration.settings, port))
    return Order(number, part, directory / f"worker-{number}.sock")


class Worker:
    """The place of a worker, and the process that fills it now."""

    def __init__(self, order: Order) -> None:
        self.number = order.number
        self.admin = order.admin
        self.replaced = 0
        """How often a process has ended that was not told to."""
        self._order = order
        self._process: Process | None = None
        self._stopping = False
        self._log = get_logger("supervisor")

    def order(self, order: Order) -> None:
        """Give its process a new configuration, now and whenever it is replaced."""
        self._order = order
        if self.running and not self._stopping:
            self._say(self._process)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def keep(self) -> None:
        """Start it, and start it again whenever it ends, until it was told to stop."""
        loop = asyncio.get_running_loop()
        pause_seconds = _FIRST_PAUSE_SECONDS
        while not self._stopping:
            started = loop.time()
            process = self._process = await self._start()
            if self._stopping:
                process.terminate()
            status = await process.wait()
            if self._stopping:
                return
            self.replaced += 1
            if loop.time() - started > _STEADY_SECONDS:
                pause_seconds = _FIRST_PAUSE_SECONDS
            self._log.error("worker_ended", worker=self.number, status=status, pause_seconds=pause_seconds)
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    async def _start(self) -> Process:
        self.admin.unlink(missing_ok=True)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.workers.worker",
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is the supervisor's to pass on
        )
        self._say(process)
        self._log.info("worker_started", worker=self.number, pid=process.pid)
        return process

    def _say(self, process: Process | None) -> None:
        assert process is not None
        assert process.stdin is not None
        if not process.stdin.is_closing():  # it has ended, and is to be replaced
            process.stdin.write(self._order.dump())

    def stop(self) -> None:
        """Let it drain. A second time: without the waits."""
        self._stopping = True
        if self._process is not None and self.running:
            self._process.terminate()

    def kill(self) -> None:
        if self._process is not None and self.running:
            self._log.error("worker_killed", worker=self.number)
            self._process.kill()


async def _supervise(
    current: Current, reloads: Reloads, public: socket.socket, admin_socket: socket.socket
) -> None:
    stop = lifecycle.stop_signal()
    settings = current.settings
    log = get_logger("supervisor")
    port = public.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="fanlight-") as name:
        directory = Path(name)

        def orders() -> list[Order]:
            now = current.configuration
            return [_order(number, now, port, directory) for number in range(settings.workers)]

        def pass_on() -> None:
            for worker, order in zip(workers, orders(), strict=True):
                worker.order(order)

        workers = list(map(Worker, orders()))
        node = NodeAdmin(workers, reloads.metrics)
        admin = await listen(node.app(), admin_socket, current)
        log.info("supervising", workers=len(workers), public=address(public), admin=address(admin_socket))
        async with asyncio.TaskGroup() as tasks:
            reloading = tasks.create_task(reloads.run(pass_on), name="reload")
            keeping = [tasks.create_task(w.keep(), name=f"worker-{w.number}") for w in workers]
            await stop.wait()
            reloading.cancel()
            # 1. Not ready: the balancer sends nobody new.
            node.draining = True
            # 2. Each worker drains by itself; a further signal is passed on, and skips what it waits for.
            await _stop(workers, keeping, stop, settings.drain_wait_seconds + settings.drain_seconds)
        # 3. The admin port ends last.
        await admin.cleanup()
        log.info("stopped")


async def _stop(
    workers: Sequence[Worker],
    keeping: Sequence[asyncio.Task[None]],
    stop: asyncio.Event,
    drain_seconds: float,
) -> None:
    """Stop all workers; kill those that are not done some time after their drain."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + drain_seconds + _GRACE_SECONDS
    pending = set(keeping)
    for worker in workers:
        worker.stop()
    for worker, task in zip(workers, keeping, strict=True):
        if not worker.running:
            task.cancel()  # it waits to be started again
    while pending and loop.time() < deadline:
        stop.clear()
        signalled = asyncio.create_task(stop.wait(), name="signal")
        await asyncio.wait(
            {*pending, signalled}, timeout=deadline - loop.time(), return_when=asyncio.FIRST_COMPLETED
        )
        if signalled.done():
            for worker in workers:
                worker.stop()
        signalled.cancel()
        pending = {task for task in pending if not task.done()}
    for worker in workers:
        worker.kill()

"""A TCP proxy that misbehaves on command, while connections run through it.

It has a thread and a loop of its own, so a test that is busy does not slow what passes. Every method may
be called from any thread, and has taken effect when it returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tests.support.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

READ_BYTES = 65_536
_HOST = "127.0.0.1"
_BYTES_AWAKE = 8
_QUEUE = 2
"""As many as fill the queue of `listen(0)`, and one more."""
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Behaviour:
    """What happens to bytes. `up` is towards the server, `down` towards the client."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    silent_up: bool = False
    silent_down: bool = False
    single_bytes: bool = False
    down_left_bytes: int | None = None
    """The connection that gets beyond this is cut there."""


class Proxy:
    """Stands before the server on `target_port`, on `port`, for a `with`."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self._target_port = target_port
        self._behaviour = Behaviour()
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-proxy", daemon=True)
        self._listener: asyncio.Server | None = None
        self._grave: list[socket.socket] = []
        """Holds the port of a host that is gone."""
        self.accepted = 0

    @property
    def url(self) -> str:
        return f"redis://{_HOST}:{self.port}/0"

    @property
    def connections(self) -> int:
        return len(self._links)

    # What can be commanded.

    def forward(self) -> None:
        """Pass everything on, and accept connections: the end of whatever was commanded before.

        Connections that were silenced stay open, and what was swallowed is gone.
        """
        self._set(Behaviour())
        self._await(self._listen())

    def delay(self, milliseconds: float, *, jitter_ms: float = 0.0) -> None:
        """Hold back what passes, in each direction, in order."""
        self._set(Behaviour(delay_ms=milliseconds, jitter_ms=jitter_ms))

    def silence(self, *, up: bool = False, down: bool = False) -> None:
        """Swallow the bytes of these directions. Connections stay open; new ones are silent too."""
        self._set(Behaviour(silent_up=up, silent_down=down))

    def one_byte_at_a_time(self) -> None:
        """A write for each byte, in both directions."""
        self._set(Behaviour(single_bytes=True))

    def truncate(self, after_bytes: int) -> None:
        """Cut each connection when this many more bytes, of all together, came from the server."""
        self._set(Behaviour(down_left_bytes=after_bytes))

    def cut(self) -> None:
        """Close all connections, properly."""
        self._each(_Link.close)

    def reset(self) -> None:
        """Drop all connections with a RST."""
        self._each(_Link.reset)

    def refuse(self) -> None:
        """Refuse new connections (ECONNREFUSED); those that are open stay."""
        self._await(self._unlisten())

    def vanish(self) -> None:
        """Be a host that is gone: open connections fall silent, and who connects gets no answer at all."""
        self.silence(up=True, down=True)
        self._await(self._bury())

    def redirect(self, target_port: int) -> None:
        """Lead new connections to another server; those that are open stay where they are."""
        self._target_port = target_port

    # Life.

    def __enter__(self) -> Self:
        self._thread.start()
        self._await(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._await(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        await self._unlisten()
        for sock in self._grave:
            sock.close()
        for link in tuple(self._links):
            link.reset()
        await asyncio.gather(*(link.task for link in tuple(self._links)), return_exceptions=True)

    async def _listen(self) -> None:
        while self._grave:
            self._grave.pop().close()
        if self._listener is None:
            self._listener = await asyncio.start_server(
                self._accept, _HOST, self.port, backlog=1024, limit=READ_BYTES
            )

    async def _unlisten(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _bury(self) -> None:
        """Listen without accepting: once the shortest of queues is full, Linux drops who knocks."""
        await self._unlisten()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, self.port))
        listener.listen(0)
        self._grave = [listener, *(socket.socket() for _ in range(_QUEUE))]
        for sock in self._grave[1:]:
            sock.setblocking(False)
            sock.connect_ex((_HOST, self.port))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        link = _Link(self, writer, task)
        self._links.add(link)
        try:
            await link.run(reader, self._target_port)
        finally:
            self._links.discard(link)
            link.close()

    def behaviour(self) -> Behaviour:
        return self._behaviour

    def _set(self, behaviour: Behaviour) -> None:
        def change() -> None:
            self._behaviour = behaviour

        self._call(change)

    def _each(self, command: Callable[[_Link], None]) -> None:
        def all_of_them() -> None:
            for link in tuple(self._links):
                command(link)

        self._call(all_of_them)

    def _call(self, function: Callable[[], object]) -> None:
        async def run() -> None:
            function()

        self._await(run())

    def _await(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


class _Link:
    """One connection through the proxy: two sockets, two directions."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, task: asyncio.Task[Any]) -> None:
        self._proxy = proxy
        self._writers = [client]
        self.task = task

    async def run(self, client: asyncio.StreamReader, target_port: int) -> None:
        try:
            server, writer = await asyncio.open_connection(_HOST, target_port, limit=READ_BYTES)
        except OSError:
            return
        self._writers.append(writer)
        up = asyncio.create_task(self._pump(client, writer, down=False))
        down = asyncio.create_task(self._pump(server, self._writers[0], down=True))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.close()
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                how = self._proxy.behaviour()
                if how.delay_ms or how.jitter_ms:
                    await asyncio.sleep((how.delay_ms + random.uniform(0, how.jitter_ms)) / 1000)
                    how = self._proxy.behaviour()
                if how.silent_down if down else how.silent_up:
                    continue
                if down and how.down_left_bytes is not None:
                    data, whole = data[: how.down_left_bytes], len(data)
                    how.down_left_bytes -= len(data)
                    if len(data) < whole:
                        await _write(writer, data)
                        return
                if how.single_bytes:
                    for at in range(len(data)):
                        await _write(writer, data[at : at + 1])
                        # Now and then long enough for the reader to wake: the kernel joins the rest.
                        await asyncio.sleep(0 if at % _BYTES_AWAKE else 0.0002)
                else:
                    await _write(writer, data)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    def reset(self) -> None:
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write at once (asyncio sets TCP_NODELAY), and wait where the other side doesn't take it."""
    writer.write(data)
    await writer.drain()

"""A crowd of connections that never become a request: silent ones, and such that drip header bytes."""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import Self

from bench.machine import resident_bytes

HEAD = b"GET /events?channel=c0 HTTP/1.1\r\nHost: x\r\nX-A: "
_DRIP_SECONDS = 1.0
_AT_ONCE = 200
"""Connected before those that are there are looked at again."""


class Crowd:
    """Opens all of its connections, and goes on until the other side has closed the last of them."""

    def __init__(self, port: int, connections: int, *, drip: bool, pid: int, core: int) -> None:
        """`pid` is the process whose memory is watched meanwhile."""
        self._port, self._count, self._drip, self._pid, self._core = port, connections, drip, pid, core
        self._opened_at: dict[socket.socket, float] = {}
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, name="crowd")
        self._stop = threading.Event()
        self.lives_seconds: list[float] = []
        """Of those that were closed: how long they were open."""
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    @property
    def longest_seconds(self) -> float:
        return max(self.lives_seconds)

    def _run(self) -> None:
        os.sched_setaffinity(0, {self._core})
        dripped_at, to_open = time.monotonic(), self._count
        while (to_open or self._opened_at) and not self._stop.is_set():
            for _ in range(min(to_open, _AT_ONCE)):
                self._open()
                to_open -= 1
            self._look()
            if self._drip and time.monotonic() - dripped_at > _DRIP_SECONDS:
                dripped_at = time.monotonic()
                self._send(b"a")
        for client in self._opened_at:
            client.close()
        self._selector.close()

    def _open(self) -> None:
        client = socket.create_connection(("127.0.0.1", self._port))
        client.setblocking(False)
        self._opened_at[client] = time.monotonic()
        self._selector.register(client, selectors.EVENT_READ)
        if self._drip:
            with suppress(OSError):
                client.send(HEAD)

    def _send(self, data: bytes) -> None:
        for client in self._opened_at:
            with suppress(OSError):  # it is closed: that is found by looking
                client.send(data)

    def _look(self) -> None:
        """Take note of those that were closed; what they are told first is not of interest."""
        for key, _ in self._selector.select(0.05):
            client = key.fileobj
            assert isinstance(client, socket.socket)
            with suppress(BlockingIOError):
                try:
                    ended = client.recv(65_536) == b""
                except ConnectionError:
                    ended = True
                if ended:
                    self._selector.unregister(client)
                    client.close()
                    self.lives_seconds.append(time.monotonic() - self._opened_at.pop(client))
        self.peak_bytes = max(self.peak_bytes, resident_bytes(self._pid))

"""redis.asyncio for commands, without what it does to tasks that are cancelled (redis-py 8.1).

- With a socket timeout it sends under `asyncio.wait_for`, which in Python 3.11 swallows a cancellation that
  comes just as the write ends: the task goes on as if nobody had asked it to stop. So the client has no
  timeout of its own here, and each call has a deadline instead.
- Its plain pool opens a connection for every task; its blocking one can lose a wake-up when a task that
  waits is cancelled. So a semaphore stands before a plain pool.
- Under uvloop a write on a connection that the other side has just closed is a RuntimeError, which asyncio's
  own loop raises as an OSError, and redis-py translates only that. So it is translated here.
- Its Sentinel never looks again where a connection is open: see `publisher.sentinel`.
- A connection that is closed in the middle of a reply goes back to the pool with what it had read of it, and
  keeps that until it is connected anew, if ever. So its parser forgets it here.
- hiredis keeps the buffer of a large reply until the connection reads again, and in a pool that may be never:
  48 MB stayed of an entry of 50. So after a large reply the parser takes a new reader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import proxy

from redis.asyncio import Redis
from redis.asyncio.connection import DefaultParser
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from publisher.connections import connection_options
from publisher.sentinel.aio import pool
from publisher.sentinel.url import is_sentinel_url
from publisher.uvloop_errors import closed_transports

if TYPE_CHECKING:
    from typing import Self

T = TypeVar("T")
_LARGE_READS: Final = 16
"""A reply that took as many reads is large: each brings up to 64 KB."""


class _Closed:
    """In place of the reader in C, after the connection: a read under way would begin amid its reply."""

    def feed(self, _: bytes) -> None:
        raise ConnectionResetError("the connection was closed under a read")


class _Parser(DefaultParser):  # type: ignore[misc, valid-type]
    """redis-py's, in C or in Python. It forgets what it has read of a reply with the connection, and keeps
    no large buffer."""

    _reader: Any
    _fed_reads = 0
    """Of the socket, for the reply that is read."""

    def on_connect(self, connection: Any) -> None:
        super().on_connect(connection)
        self._connection = proxy(connection)  # which holds this parser

    async def read_from_socket(self) -> bool:
        self._fed_reads += 1
        more: bool = await super().read_from_socket()
        return more

    async def read_response(self, *args: Any, **options: Any) -> Any:
        self._fed_reads = 0
        response = await super().read_response(*args, **options)
        if self._fed_reads >= _LARGE_READS and self._connected and not self._reader.has_data():
            super().on_connect(self._connection)
        return response

    def on_disconnect(self) -> None:
        super().on_disconnect()
        if hasattr(self, "_clear"):
            self._clear()
        else:
            self._reader = _Closed()


class AsyncClient:
    """A `redis.asyncio.Redis` for a bounded number of calls at once, each with a deadline, none repeated."""

    def __init__(self, redis: Redis, *, most_calls: int, deadline_seconds: float | None) -> None:
        """Over `most_calls`, calls wait their turn. Waiting does not count towards the deadline."""
        self.redis = redis
        self._slots = asyncio.Semaphore(most_calls)
        self._deadline_seconds = deadline_seconds

    @classmethod
    def from_url(cls, url: str, *, most_calls: int, deadline_seconds: float, **options: Any) -> Self:
        """A client of its own; the caller closes it. `options` are redis-py's, beside those of
        `publisher.connections`."""
        options = {
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": None,
            "socket_connect_timeout": deadline_seconds,
            "parser_class": _Parser,
            **connection_options(url),
            **options,
        }
        if is_sentinel_url(url):
            redis = Redis.from_pool(pool(url, deadline_seconds=deadline_seconds, **options))
        else:
            redis = Redis.from_url(url, **options)
        return cls(redis, most_calls=most_calls, deadline_seconds=deadline_seconds)

    async def run(self, call: Callable[[Redis], Awaitable[T]], *, patience: float = 1.0) -> T:
        """Await what `call` makes of the client, for `patience` times the deadline.

        Whatever is wrong with the connection or the server's answer is a RedisError or an OSError, a
        passed deadline a TimeoutError (which is an OSError).
        """
        async with self._slots:
            deadline = self._deadline_seconds
            with closed_transports():
                async with asyncio.timeout(None if deadline is None else patience * deadline):
                    return await call(self.redis)

    @property
    def waiting(self) -> bool:
        """Whether as many calls are under way as may be: the next one waits."""
        return self._slots.locked()

    async def aclose(self) -> None:
        await self.redis.aclose()

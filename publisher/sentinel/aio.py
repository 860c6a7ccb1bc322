"""Asks sentinels, and connects to what they name, for asyncio."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from publisher.sentinel.answers import (
    RECHECK_SECONDS,
    PrimaryUnknown,
    Roster,
    Round,
    ask_seconds,
    check_role,
    questions,
)
from publisher.sentinel.url import Address, SentinelUrl
from publisher.uvloop_errors import closed_transports

_ASKING: Final[dict[str, Any]] = {"protocol": 2, "driver_info": None, "socket_timeout": None}


class AsyncSentinels:
    """Those of one URL. For the tasks of one loop."""

    def __init__(self, url: SentinelUrl, *, deadline_seconds: float) -> None:
        """All of them together are asked for less than the deadline."""
        self._url = url
        self._roster = Roster(url.service, url.sentinels)
        self._ask_seconds = ask_seconds(deadline_seconds, len(url.sentinels))
        self._lock = asyncio.Lock()

    async def primary(self) -> Address:
        """Ask now, or share the answer to what was asked meanwhile. Raises `PrimaryUnknown`."""
        began = time.monotonic()
        async with self._lock:
            known = self._roster.known
            if known is not None and self._roster.asked_at > began:
                return known.address
            return await self._ask(urgent=True)

    async def left(self, address: Address) -> bool:
        """`sync.Sentinels.left`, awaited."""
        if time.monotonic() - self._roster.asked_at > RECHECK_SECONDS and not self._lock.locked():
            async with self._lock:
                try:
                    await self._ask(urgent=False)
                except PrimaryUnknown:
                    return False
        known = self._roster.known
        return known is not None and known.address != address

    async def _ask(self, *, urgent: bool) -> Address:
        asked = Round(self._roster, time.monotonic(), urgent=urgent)
        for sentinel in asked:
            try:
                async with asyncio.timeout(self._ask_seconds):
                    replies = await _ask(self._url, sentinel)
            except (RedisError, OSError) as error:
                asked.failed(sentinel, error, time.monotonic())
            else:
                asked.answered(sentinel, replies, time.monotonic())
        return asked.end(time.monotonic())


async def _ask(url: SentinelUrl, sentinel: Address) -> list[object]:
    """The replies of one sentinel, an exception in place of each error reply."""
    options: Any = parse_url(url.sentinel_url(sentinel))
    kind = options.pop("connection_class", Connection)
    connection = kind(**options, **_ASKING, retry=Retry(NoBackoff(), 0))
    replies: list[object] = []
    try:
        with closed_transports():
            await connection.connect()
            for command in questions(url.service):
                await connection.send_command(*command)
                try:
                    replies.append(await connection.read_response())
                except ResponseError as error:
                    replies.append(error)
    finally:
        await connection.disconnect(nowait=True)
    return replies


def pool(url: str, *, deadline_seconds: float, **options: Any) -> ConnectionPool:
    """Of connections to the primary. `options` are redis-py's."""
    parsed = SentinelUrl.parse(url)
    own: Any = parse_url(parsed.server_url(parsed.sentinels[0]))
    del own["host"], own["port"]
    own["connection_class"] = _TlsToPrimary if parsed.tls else _ToPrimary
    sentinels = AsyncSentinels(parsed, deadline_seconds=deadline_seconds)
    options |= own | {"sentinels": sentinels, "redis_connect_func": _shake_hands}
    return ConnectionPool(**options)


class _Resolving:
    """In front of redis-py's connection: by the address as the sentinels name it now."""

    def __init__(self, *, sentinels: AsyncSentinels, **options: Any) -> None:
        super().__init__(**options)
        self._sentinels = sentinels

    async def connect(self: Any) -> None:
        """Called each time that the connection is taken from its pool."""
        if self.is_connected:
            if not await self._sentinels.left((self.host, self.port)):
                return
            await self.disconnect()
        self.host, self.port = await self._sentinels.primary()
        await super().connect()  # type: ignore[misc]


class _ToPrimary(_Resolving, Connection):
    pass


class _TlsToPrimary(_Resolving, SSLConnection):
    pass


async def _shake_hands(connection: Any) -> None:
    await connection.on_connect()
    await connection.send_command("HELLO")
    try:
        check_role(await connection.read_response())
    except BaseException:
        await connection.disconnect(nowait=True)
        raise

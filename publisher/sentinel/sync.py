"""Asks sentinels, and connects to what they name, in threads."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from redis import BlockingConnectionPool
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, parse_url
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

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

_ASKING: Final[dict[str, Any]] = {"protocol": 2, "driver_info": None}


class Sentinels:
    """Those of one URL. Safe to share between threads."""

    def __init__(self, url: SentinelUrl, *, deadline_seconds: float) -> None:
        """All of them together are asked for less than the deadline."""
        self._url = url
        self._roster = Roster(url.service, url.sentinels)
        self._ask_seconds = ask_seconds(deadline_seconds, len(url.sentinels))
        self._lock = threading.Lock()

    def primary(self) -> Address:
        """Ask now, or share the answer to what was asked meanwhile. Raises `PrimaryUnknown`."""
        began = time.monotonic()
        with self._lock:
            known = self._roster.known
            if known is not None and self._roster.asked_at > began:
                return known.address
            return self._ask(urgent=True)

    def left(self, address: Address) -> bool:
        """Whether the primary is another server by now, as far as anybody says so. That costs one caller a
        round each `RECHECK_SECONDS`, and nobody waits here for a sentinel that is known to be silent."""
        if time.monotonic() - self._roster.asked_at > RECHECK_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._ask(urgent=False)
            except PrimaryUnknown:
                return False
            finally:
                self._lock.release()
        known = self._roster.known
        return known is not None and known.address != address

    def _ask(self, *, urgent: bool) -> Address:
        asked = Round(self._roster, time.monotonic(), urgent=urgent)
        for sentinel in asked:
            try:
                replies = ask(self._url, sentinel, questions(self._url.service), seconds=self._ask_seconds)
            except (RedisError, OSError) as error:
                asked.failed(sentinel, error, time.monotonic())
            else:
                asked.answered(sentinel, replies, time.monotonic())
        return asked.end(time.monotonic())


def ask(
    url: SentinelUrl, sentinel: Address, commands: tuple[tuple[str, ...], ...], *, seconds: float
) -> list[object]:
    """The replies of one sentinel, an exception in place of each error reply. A RedisError or an OSError
    where it gives none; each step may take so many seconds."""
    options: dict[str, Any] = parse_url(url.sentinel_url(sentinel))  # type: ignore[no-untyped-call]
    kind = options.pop("connection_class", Connection)
    connection = kind(
        **options,
        **_ASKING,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
    )
    replies: list[object] = []
    try:
        connection.connect()
        for command in commands:
            connection.send_command(*command)
            try:
                replies.append(connection.read_response())
            except ResponseError as error:
                replies.append(error)
    finally:
        connection.disconnect()
    return replies


def pool(url: str, *, deadline_seconds: float, **options: Any) -> BlockingConnectionPool:
    """Of connections to the primary. `options` are redis-py's."""
    parsed = SentinelUrl.parse(url)
    kind = _TlsToPrimary if parsed.tls else _ToPrimary
    own: dict[str, Any] = parse_url(parsed.server_url(parsed.sentinels[0]))  # type: ignore[no-untyped-call]
    del own["host"], own["port"]
    own["connection_class"] = kind
    sentinels = Sentinels(parsed, deadline_seconds=deadline_seconds)
    options |= own | {"sentinels": sentinels, "redis_connect_func": _shake_hands}
    return BlockingConnectionPool(**options)  # type: ignore[no-untyped-call]


class _Resolving:
    """In front of redis-py's connection: by the address as the sentinels name it now."""

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        super().__init__(**options)
        self._sentinels = sentinels

    def connect(self: Any) -> None:
        """Called each time that the connection is taken from its pool."""
        if self.is_connected:
            if not self._sentinels.left((self.host, self.port)):
                return
            self.disconnect()
        self.host, self.port = self._sentinels.primary()
        super().connect()  # type: ignore[misc]


class _ToPrimary(_Resolving, Connection):
    pass


class _TlsToPrimary(_Resolving, SSLConnection):
    pass


def _shake_hands(connection: Any) -> None:
    connection.on_connect()
    connection.send_command("HELLO")
    try:
        check_role(connection.read_response())
    except BaseException:
        connection.disconnect()
        raise

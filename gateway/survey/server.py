"""Asks Redis what it is, and tries what its user may do. Nothing is written (`gateway.check.rights`)."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoPermissionError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from gateway.check.rights import Denial, Right, rights
from gateway.check.server import Reached, Server
from gateway.settings import redact_url

if TYPE_CHECKING:
    from gateway.settings import Settings

_ROUND_TRIPS: Final = 20
_CONFIG: Final = ("appendonly", "save", "client-output-buffer-limit", "timeout", "min-replicas-to-write")
_IN_SYNC_SECONDS: Final = 10
"""How long ago a replica that is in sync was heard of, at most."""


def look_at_server(settings: Settings, url: str | None = None) -> Server:
    """All that can be found out; why not, where not. `url`: of the primary that sentinels name."""
    url = url or settings.redis
    server = Server(redact_url(url), publishes=settings.publish_token is not None)
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    unreachable = _knock(options, settings.link_deadline_seconds)
    if unreachable is not None:
        return replace(server, reached=unreachable[0], detail=unreachable[1])
    client = redis.Redis.from_url(
        url,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=settings.link_deadline_seconds,
        socket_connect_timeout=settings.link_deadline_seconds,
        decode_responses=True,
    )
    with client:
        try:
            return _asked(client, settings.prefix, replace(server, user=options.get("username") or "default"))
        except (RedisError, OSError) as error:
            reached = _why(error, tls=url.startswith("rediss:"))
            return replace(server, reached=reached, detail=str(error))


def _knock(options: Mapping[str, Any], seconds: float) -> tuple[Reached, str] | None:
    """Whether anybody listens there: what Redis says comes after that."""
    try:
        if "path" in options:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(options["path"])
        else:
            address = options.get("host", "localhost"), options.get("port", 6379)
            socket.create_connection(address, timeout=seconds).close()
    except socket.gaierror as error:
        return Reached.NO_ADDRESS, error.strerror or ""
    except OSError as error:
        return Reached.AWAY, error.strerror or str(error)
    return None


def _why(error: BaseException, *, tls: bool) -> Reached:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return Reached.TLS
        seen = seen.__cause__ or seen.__context__
    match error:
        case AuthenticationError():
            return Reached.PASSWORD
        case ConnectionError() | TimeoutError() | OSError():
            return Reached.TLS if tls else Reached.AWAY
    return Reached.PASSWORD if str(error).startswith(("NOAUTH", "WRONGPASS")) else Reached.REFUSED


def _asked(client: redis.Redis, prefix: str, server: Server) -> Server:
    """Raises what the connection raises. What the user may not ask is not told."""
    _allowed(client.ping)
    info: Mapping[str, Any] = _allowed(client.info) or {}
    config: Mapping[str, str] = _allowed(lambda: client.config_get(*_CONFIG)) or {}
    user = _allowed(client.acl_whoami)
    round_trips, ahead_seconds = _clocks(client)
    valkey = info.get("valkey_version")
    save = config.get("save")
    return replace(
        server,
        product="Valkey" if valkey else "Redis",
        version=_version(valkey or info.get("redis_version")),
        cluster=info.get("redis_mode") == "cluster",
        replica=info.get("role") == "slave",
        replicas=int(info.get("connected_slaves", 0)),
        replicas_in_sync=_in_sync(info),
        min_replicas_to_write=_number(config.get("min-replicas-to-write")),
        policy=info.get("maxmemory_policy"),
        max_memory_bytes=info.get("maxmemory"),
        used_memory_bytes=info.get("used_memory"),
        append_only=None if "aof_enabled" not in info else bool(info["aof_enabled"]),
        snapshots=None if save is None else bool(save.strip()),
        failing=_failing(info),
        round_trips_seconds=round_trips,
        clock_ahead_seconds=ahead_seconds,
        clients=info.get("connected_clients"),
        max_clients=info.get("maxclients"),
        output_limit_bytes=_output_limit(config.get("client-output-buffer-limit")),
        idle_timeout_seconds=_number(config.get("timeout")),
        user=str(user) if user is not None else server.user,
        denied=_denied(client, prefix),
    )


def _in_sync(info: Mapping[str, Any]) -> int:
    """How many replicas get what is written, as `slave0:ip=...,state=online,offset=...,lag=0` says."""
    replicas = (value for name, value in info.items() if re.fullmatch(r"slave\d+", name))
    return sum(
        item.get("state") == "online" and 0 <= item.get("lag", -1) <= _IN_SYNC_SECONDS for item in replicas
    )


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _allowed(call: Any) -> Any:
    """The answer; None where Redis refuses to give one. Errors of the connection pass through."""
    try:
        return call()
    except AuthenticationError:
        raise
    except ResponseError as error:
        if str(error).startswith(("NOAUTH", "WRONGPASS", "LOADING", "MASTERDOWN", "DENIED")):
            raise
        return None


def _version(text: object) -> tuple[int, ...] | None:
    numbers = re.match(r"\d+(?:\.\d+)*", str(text or ""))
    return tuple(map(int, numbers[0].split("."))) if numbers else None


def _failing(info: Mapping[str, Any]) -> str:
    states = (("the write of the append-only file", "aof_last_write_status"),
              ("the last snapshot", "rdb_last_bgsave_status"))  # fmt: skip
    return " and ".join(what for what, name in states if info.get(name, "ok") != "ok")


def _output_limit(text: str | None) -> int | None:
    """The hard limit of `normal 0 0 0 slave ... pubsub 33554432 8388608 60`."""
    found = re.search(r"\bpubsub (\d+)", text or "")
    return int(found[1]) if found else None


def _clocks(client: redis.Redis) -> tuple[tuple[float, ...], float | None]:
    """The times of some round trips, and how far Redis' clock is ahead of ours, by the quickest of them."""
    trips: list[tuple[float, float]] = []
    for _ in range(_ROUND_TRIPS):
        before, started = time.time(), time.perf_counter()
        answer = _allowed(client.time)
        seconds = time.perf_counter() - started
        if answer is None:
            return (), None
        trips.append((seconds, answer[0] + answer[1] / 1e6 - (before + seconds / 2)))
    return tuple(seconds for seconds, _ in trips), min(trips)[1]


def _denied(client: redis.Redis, prefix: str) -> tuple[tuple[Right, Denial], ...]:
    """Try each command. A connection of its own: it ends as a subscriber."""
    found = []
    connection: Any = client.connection_pool.get_connection()
    try:
        for right in rights(prefix):
            connection.send_command(*right.example)
            try:
                connection.read_response()
            except NoPermissionError as error:
                found.append((right, _denial(str(error))))
            except ResponseError:
                pass  # allowed, and without an effect
    finally:
        connection.disconnect()
        client.connection_pool.release(connection)
    return tuple(found)


def _denial(text: str) -> Denial:
    if "run the" in text:
        return Denial.COMMAND
    return Denial.CHANNEL if "channel" in text else Denial.KEY

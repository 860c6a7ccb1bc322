"""To a connection that is fit for use: by the address as it resolves now, with RESP3, and checked.

Every attempt resolves the name anew: after a failover it may lead elsewhere. So may the sentinels, which are
asked before (`gateway.broker.primary`); what they name has to say itself that it is a primary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from redis.asyncio.connection import SSLConnection

from gateway.broker.connection import Connection, Listener
from gateway.protocol.epochs import History
from publisher.channels import Partition
from publisher.ids import Position
from publisher.sentinel.answers import check_role

_SCRIPT: Final = resources.files("publisher").joinpath("fanlight.lua").read_bytes()


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the handshake told."""

    history: History
    position: Position
    policy: str
    """Redis' maxmemory-policy."""
    evicting: bool
    """It has a policy that evicts, and a bound that makes it do so."""


async def dial(
    options: Mapping[str, Any], listener: Listener, *, user_timeout_seconds: float, turn_seconds: float
) -> Connection:
    """Connect. `options` are what redis-py's `parse_url` makes of a URL."""
    loop = asyncio.get_running_loop()

    def factory() -> Connection:
        return Connection(listener, user_timeout_seconds=user_timeout_seconds, turn_seconds=turn_seconds)

    if "path" in options:
        _, connection = await loop.create_unix_connection(factory, options["path"])
        return connection
    context = None
    if options.get("connection_class") is SSLConnection:
        settings: dict[str, Any] = {k: v for k, v in options.items() if k != "connection_class"}
        context = SSLConnection(**settings).ssl_context.get()
    host, port = options.get("host", "localhost"), options.get("port", 6379)
    _, connection = await loop.create_connection(factory, host, port, ssl=context)
    return connection


async def say_hello(connection: Connection, options: Mapping[str, Any], name: str) -> Any:
    """RESP3, who we are, and what the connection is called; what the server says of itself."""
    hello: list[str | int] = ["HELLO", 3]
    if options.get("password"):
        hello += ["AUTH", options.get("username") or "default", options["password"]]
    return await connection.ask(*hello, "SETNAME", name)


async def shake_hands(
    connection: Connection, options: Mapping[str, Any], partition: Partition, *, named: bool = False
) -> Greeting:
    """RESP3, the identity check, and what Redis does when its memory is full.

    hiredis.ReplyError with Redis' own words where it refuses; ValueError where `meta` is not ours;
    `NotThePrimary` where sentinels `named` a server that is none.
    """
    said = await say_hello(connection, options, "fanlight-gateway")
    if named:
        check_role(said)
    position, epoch, breaks = await connection.ask("EVAL", _SCRIPT, 1, partition.meta, "check")
    history = History.parse(epoch.decode(), breaks.decode())
    info = await connection.ask("INFO", "memory")
    text = info.decode() if isinstance(info, bytes) else info  # RESP3 may carry it as a verbatim string
    fields = dict(line.partition(":")[::2] for line in text.splitlines())
    policy = fields.get("maxmemory_policy", "noeviction")
    evicting = policy != "noeviction" and fields.get("maxmemory", "0") != "0"
    return Greeting(history, Position.parse(position.decode()), policy, evicting)

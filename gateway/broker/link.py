"""The link: keeps one subscriber connection alive, and tells the hub what came of it.

One owner task connects, shakes hands, and watches; everything in between happens synchronously as data
arrives. A connection that is lost is never mended: the next one is a new generation, on which everything
is subscribed anew.

After the handshake, in this order: SUBSCRIBE what is wanted, read the tails of these channels, read the
position. When the position's reply is reached, everything up to it, of every confirmed channel, has
passed: that is the channels' floor. Once a second the position is read again, which moves the node on
while all is quiet, and serves as PING.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from time import perf_counter
from typing import Any, Final, Protocol

import hiredis
from redis.asyncio.connection import SSLConnection, parse_url

from gateway.broker.backoff import backoff_seconds
from gateway.broker.connection import Connection, Reply
from gateway.logs import get_logger
from gateway.protocol.epochs import History
from gateway.protocol.interest import Interest, Work
from publisher.channels import Channel, Partition
from publisher.ids import EventId, Position

_SCRIPT: Final = resources.files("publisher").joinpath("fanlight.lua").read_bytes()
_BATCH: Final = 500
"""Channels in one SUBSCRIBE: keeps a reconnect's answers interleaved with messages."""
_WORK: Final = 64
"""Subscriptions advanced before the loop gets its turn."""


class Ingest(Protocol):
    """Who is told: the hub."""

    def connected(self, history: History, position: Position, *, evicting: bool) -> None: ...
    def floor(self, name: Channel, position: Position, tail: EventId | None, *, ended: bool) -> None: ...
    def position(self, position: Position, epoch: str, ticket: int) -> None: ...
    def message(self, name: Channel, raw: bytes) -> None: ...
    def end_of_batch(self) -> None: ...
    def lost(self) -> None: ...
    def work(self, most: int) -> bool: ...


class Refused(ConnectionError):
    """Redis answered with an error, or with what is not ours to read."""


@dataclass(slots=True)
class LinkState:
    """What health checks and metrics say of the link."""

    connected: bool = False
    generation: int = 0
    lost_at: float | None = None
    last_error: str = ""
    round_trip_seconds: float = 0.0


class Link:
    """The subscriber connection to one Redis primary, over all its generations."""

    def __init__(
        self,
        url: str,
        partition: Partition,
        interest: Interest,
        ingest: Ingest,
        *,
        position_read_seconds: float = 1.0,
        deadline_seconds: float = 5.0,
        reconnect_max_seconds: float = 5.0,
    ) -> None:
        self.state = LinkState()
        self.up = asyncio.Event()
        """Set by the first connect, and from then on."""
        self._options = parse_url(url)
        self._partition = partition
        self._live_prefix = partition.live(Channel("")).encode()
        self._interest = interest
        self._ingest = ingest
        self._interval_seconds = position_read_seconds
        self._deadline_seconds = deadline_seconds
        self._reconnect_max_seconds = reconnect_max_seconds
        self._log = get_logger("link")
        self._connection: Connection | None = None
        self._in_sync = False
        self._ticket = 0
        self._work_due = False
        self._waking = False

    # For the hub.

    def interest_changed(self) -> None:
        """Work on the interest at the end of this loop turn: what came together is sent together."""
        if self._in_sync and not self._work_due:
            self._work_due = True
            asyncio.get_running_loop().call_soon(self._work_interest)

    def read_position(self) -> int:
        """Ask for the position now. Without a link the ticket is answered after the next connect."""
        self._ticket += 1
        ticket = self._ticket
        if self._connection is not None and self._in_sync:
            self._connection.send(self._position_command(lambda p, e: self._ingest.position(p, e, ticket)))
        return ticket

    def restart(self, reason: str) -> None:
        """Give this generation up."""
        if self._connection is not None:
            self._connection.abort(Refused(reason))

    def wake(self) -> None:
        if not self._waking:
            self._waking = True
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        self._waking = False
        if self._ingest.work(_WORK):
            self.wake()

    # The owner task.

    async def run(self) -> None:
        """Connect, and connect again, for as long as the node lives."""
        attempt = 0
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            error: Exception | None = None
            try:
                error = await self._generation()
            except (OSError, TimeoutError, hiredis.HiredisError, ssl.SSLError, ValueError) as failed:
                error = failed
            self.state.last_error = f"{type(error).__name__}: {error}" if error else "closed by Redis"
            self._log.warning("redis_lost", error=self.state.last_error, generation=self.state.generation)
            attempt = 0 if loop.time() - started > self._deadline_seconds else attempt + 1
            await asyncio.sleep(backoff_seconds(attempt, self._reconnect_max_seconds))

    async def _generation(self) -> Exception | None:
        """One connection, from connect to loss."""
        lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._lost = lost
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self._deadline_seconds):
                connection = await self._connect()
                history, position, evicting = await self._handshake(connection)
            self._connection = connection
            self._interest.reset()
            self._in_sync = True
            self.state.connected = True
            self.state.generation += 1
            self.state.lost_at = None
            self._log.info("redis_connected", generation=self.state.generation, epoch=history.epoch)
            self._ingest.connected(history, position, evicting=evicting)
            self.up.set()
            self._work_interest()
            while not lost.done():
                self.read_position()
                await asyncio.wait({lost}, timeout=self._interval_seconds)
                if connection.oldest_wait_seconds() > self._deadline_seconds:
                    connection.abort(TimeoutError("Redis did not answer a position read"))
            return lost.result()
        finally:
            if connection is not None:
                connection.abort(ConnectionResetError("given up"))
            self._connection = None

    async def _connect(self) -> Connection:
        """Connect by the address as it resolves now."""
        loop = asyncio.get_running_loop()
        options = self._options

        def factory() -> Connection:
            return Connection(self, user_timeout_seconds=self._deadline_seconds)

        if "path" in options:
            _, connection = await loop.create_unix_connection(factory, options["path"])
            return connection
        host, port = options.get("host", "localhost"), options.get("port", 6379)
        context = None
        if options.get("connection_class") is SSLConnection:
            settings: dict[str, Any] = {k: v for k, v in options.items() if k != "connection_class"}
            context = SSLConnection(**settings).ssl_context.get()
        _, connection = await loop.create_connection(factory, host, port, ssl=context)
        return connection

    async def _handshake(self, connection: Connection) -> tuple[History, Position, bool]:
        """RESP3, the identity check, and what Redis does when its memory is full."""
        options = self._options
        hello: list[str | int] = ["HELLO", 3]
        if options.get("password"):
            hello += ["AUTH", options.get("username") or "default", options["password"]]
        await connection.ask(*hello, "SETNAME", "fanlight-gateway")
        meta = self._partition.meta
        position, epoch, breaks = await connection.ask("EVAL", _SCRIPT, 1, meta, "check")
        history = History.parse(epoch.decode(), breaks.decode())
        memory = _verbatim(await connection.ask("INFO", "memory"))
        fields = dict(line.partition(":")[::2] for line in memory.splitlines())
        policy = fields.get("maxmemory_policy", "noeviction")
        evicting = policy != "noeviction" and fields.get("maxmemory", "0") != "0"
        if policy != "noeviction":
            self._log.warning("redis_may_evict", policy=policy, advice="set maxmemory-policy noeviction")
        return history, Position.parse(position.decode()), evicting

    # From the connection.

    def push(self, push: list[Any]) -> None:
        """The answers to SUBSCRIBE and UNSUBSCRIBE are pushes too; the floors' reads tell of them."""
        if push[0] == b"message":
            self._ingest.message(self._name(push[1]), push[2])

    def end_of_batch(self) -> None:
        self._ingest.end_of_batch()

    def connection_lost(self, error: Exception | None) -> None:
        self._in_sync = False
        if self.state.connected:
            self.state.connected = False
            self.state.lost_at = asyncio.get_running_loop().time()
        self._ingest.lost()
        if not self._lost.done():
            self._lost.set_result(error)

    # Commands.

    def _name(self, live: bytes) -> Channel:
        return Channel(live[len(self._live_prefix) :].decode("ascii", "replace"))

    def _work_interest(self) -> None:
        self._work_due = False
        connection = self._connection
        while connection is not None and self._in_sync and (work := self._interest.take(_BATCH)):
            live, commands = self._partition.live, []
            if work.subscribe:
                commands.append((("SUBSCRIBE", *map(live, work.subscribe)), None))
            if work.unsubscribe:
                commands.append((("UNSUBSCRIBE", *map(live, work.unsubscribe)), None))
            if commands:
                connection.send(*commands)
            if work.floors:
                self._read_floors(connection, work)

    def _read_floors(self, connection: Connection, work: Work) -> None:
        """Tails first, then the position: what comes between them is in the chain of messages."""
        tails: list[bytes | None] = []

        def tails_read(reply: Reply) -> None:
            if self._checked(reply):
                tails.extend(reply)

        def position_read(position: Position, epoch: str) -> None:
            self._ingest.position(position, epoch, 0)
            if connection.closed:  # the epoch has changed
                return
            given = set(self._interest.floors_read(work))
            for channel, tail in zip(work.floors, tails, strict=True):
                if channel in given:
                    id_, _, flag = (tail or b"").decode().partition(" ")
                    self._ingest.floor(
                        channel, position, EventId.parse(id_) if id_ else None, ended=flag == "end"
                    )

        names = map(self._partition.tail, work.floors)
        connection.send((("MGET", *names), tails_read), self._position_command(position_read))

    def _position_command(
        self, then: Callable[[Position, str], None]
    ) -> tuple[tuple[str, ...], Callable[[Reply], None]]:
        sent = perf_counter()

        def read(reply: Reply) -> None:
            if not self._checked(reply):
                return
            self.state.round_trip_seconds = perf_counter() - sent
            position, epoch = reply
            if position is None or epoch is None:
                self.restart("the partition's meta is gone")
                return
            then(Position.parse(position.decode()), epoch.decode())

        return ("HMGET", self._partition.meta, "position", "epoch"), read

    def _checked(self, reply: Reply) -> bool:
        if isinstance(reply, Exception):
            self.restart(str(reply))
            return False
        return True


def _verbatim(reply: bytes | str) -> str:
    """INFO's text; RESP3 may carry it as a verbatim string."""
    return reply.decode() if isinstance(reply, bytes) else reply

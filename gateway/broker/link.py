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
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Protocol

import hiredis
from redis.asyncio.connection import parse_url

from gateway.broker.backoff import backoff_seconds
from gateway.broker.connection import Connection, Reply
from gateway.broker.dial import dial, shake_hands
from gateway.logs import get_logger
from gateway.protocol.epochs import History
from gateway.protocol.interest import Interest, Work
from publisher.channels import Channel, Partition
from publisher.ids import EventId, Position

_BATCH: Final = 500
"""Channels in one SUBSCRIBE: keeps a reconnect's answers interleaved with messages."""
_COUNT_SECONDS: Final = 60.0
_WORK: Final = 64
"""Subscriptions advanced before the loop gets its turn."""


class Ingest(Protocol):
    """Who is told: the hub."""

    def connected(self, history: History, position: Position, *, evicting: bool) -> None: ...
    def floor(
        self,
        name: Channel,
        position: Position,
        tail: EventId | None,
        *,
        ended: bool = False,
        doubtful: bool = False,
    ) -> None: ...
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
        self.probe_channel = partition.probe(secrets.token_hex(8))
        """This node's own, for `gateway.broker.probe`."""
        self.on_probe: Callable[[bytes], None] = _unheard
        self._options = parse_url(url)
        self._partition = partition
        self._probe_bytes = self.probe_channel.encode()
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
        self._may_count = True

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

    def count_subscriptions(self) -> None:
        """Compare the server's count of our subscriptions with ours. Commands are executed in order, so
        at that moment the two are equal, or one of us is wrong and the link is made anew."""
        connection = self._connection
        if connection is None or not self._in_sync or not self._may_count:
            return
        expected = self._interest.asked + 1  # the probe's channel

        def counted(reply: Reply) -> None:
            if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOPERM"):
                self._may_count = False
                self._log.warning("subscriptions_not_counted", error=str(reply), advice="allow CLIENT INFO")
            elif self._checked(reply):
                found = re.search(rb" sub=(\d+)", reply if isinstance(reply, bytes) else reply.encode())
                if found is not None and int(found[1]) != expected:
                    self.restart(f"Redis counts {int(found[1])} subscriptions of {expected}")

        connection.send((("CLIENT", "INFO"), counted))

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
            except (OSError, hiredis.HiredisError, ValueError) as failed:
                error = failed
            self.state.last_error = f"{type(error).__name__}: {error}" if error else "closed by Redis"
            self._log.warning("redis_lost", error=self.state.last_error, generation=self.state.generation)
            attempt = 0 if loop.time() - started > self._deadline_seconds else attempt + 1
            await asyncio.sleep(backoff_seconds(attempt, self._reconnect_max_seconds))

    async def _generation(self) -> Exception | None:
        """One connection, from connect to loss."""
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[Exception | None] = loop.create_future()
        self._lost = lost
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self._deadline_seconds):
                connection = await dial(self._options, self, user_timeout_seconds=self._deadline_seconds)
                greeting = await shake_hands(connection, self._options, self._partition)
            self._connection = connection
            self._interest.reset()
            self._in_sync = True
            self.state.connected = True
            self.state.generation += 1
            self.state.lost_at = None
            self._log.info("redis_connected", generation=self.state.generation, epoch=greeting.history.epoch)
            if greeting.policy != "noeviction":
                advice = "set maxmemory-policy noeviction: evicted events are missing without an error"
                self._log.warning("redis_may_evict", policy=greeting.policy, advice=advice)
            connection.send((("SUBSCRIBE", self.probe_channel), None))
            self._ingest.connected(greeting.history, greeting.position, evicting=greeting.evicting)
            self.up.set()
            self._work_interest()
            count_at = loop.time() + _COUNT_SECONDS
            while not lost.done():
                self.read_position()
                if loop.time() >= count_at:
                    count_at += _COUNT_SECONDS
                    self.count_subscriptions()
                await asyncio.wait({lost}, timeout=self._interval_seconds)
                if connection.oldest_wait_seconds() > self._deadline_seconds:
                    connection.abort(TimeoutError("Redis did not answer a position read"))
            return lost.result()
        finally:
            if connection is not None:
                connection.abort(ConnectionResetError("given up"))
            self._connection = None

    # From the connection.

    def push(self, push: list[Any]) -> None:
        """The answers to SUBSCRIBE and UNSUBSCRIBE are pushes too; the floors' reads tell of them."""
        if push[0] != b"message":
            return
        if push[1] == self._probe_bytes:
            self.on_probe(push[2])
        else:
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
                    self._give_floor(channel, position, tail)

        names = map(self._partition.tail, work.floors)
        connection.send((("MGET", *names), tails_read), self._position_command(position_read))

    def _give_floor(self, channel: Channel, position: Position, tail: bytes | None) -> None:
        """One channel's tail that can't be read must not cost the others their link."""
        if tail is None:
            self._ingest.floor(channel, position, None)
            return
        id_, _, flag = tail.partition(b" ")
        try:
            last = EventId.parse(id_.decode("ascii"))
        except ValueError:
            self._ingest.floor(channel, position, None, doubtful=True)
        else:
            self._ingest.floor(channel, position, last, ended=flag == b"end")

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
            try:
                at = Position.parse(position.decode())
            except ValueError as error:
                self.restart(f"the partition's meta is not ours: {error}")
                return
            then(at, epoch.decode("ascii", "replace"))

        return ("HMGET", self._partition.meta, "position", "epoch"), read

    def _checked(self, reply: Reply) -> bool:
        if isinstance(reply, Exception):
            self.restart(str(reply))
            return False
        return True


def _unheard(_: bytes) -> None:
    """Nobody probes."""

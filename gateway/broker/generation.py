"""One generation of the link: what is said on one connection, from its handshake to its loss.

After the handshake, in this order: SUBSCRIBE what is wanted, read the tails of these channels, read the
position. When the position's reply is reached, everything up to it, of every channel that was subscribed
before, has passed: that is the channels' floor. Once a second the position is read again, which moves the
node on while all is quiet, and serves as PING.

Everything here happens synchronously, as data arrives.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from time import perf_counter, time
from typing import Any, Final

import hiredis

from gateway.broker.connection import Connection, Reply
from gateway.broker.dial import Greeting
from gateway.broker.ingest import Ingest
from gateway.logs import get_logger
from gateway.protocol.clock_offset import ClockOffset
from gateway.protocol.interest import Interest, Work
from publisher.channels import Channel, Partition
from publisher.ids import EventId, Position

_BATCH: Final = 500
"""Channels in one SUBSCRIBE: keeps a reconnect's answers interleaved with messages."""


class Refused(ConnectionError):
    """Redis answered with an error, or with what is not ours to read."""


class Generation:
    """The listener of one connection, and the commands that are sent on it."""

    connection: Connection
    """Set once the connection is made; nothing is sent before `begin`."""

    def __init__(
        self,
        partition: Partition,
        interest: Interest,
        ingest: Ingest,
        clock: ClockOffset,
        *,
        probe_channel: str,
        on_probe: Callable[[bytes], None],
    ) -> None:
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        """Done when the connection is gone, with what ended it."""
        self.round_trip_seconds = 0.0
        """Of the last position read."""
        self._partition = partition
        self._interest = interest
        self._ingest = ingest
        self._clock = clock
        self._probe_channel = probe_channel
        self._probe_bytes = probe_channel.encode()
        self._on_probe = on_probe
        self._live_prefix = partition.live(Channel("")).encode()
        self._log = get_logger("link")
        self._begun = False
        self._work_due = False
        self._may_count = True

    def begin(self, greeting: Greeting) -> None:
        """The handshake is done: nothing is subscribed yet."""
        self._begun = True
        self._interest.reset()
        self._clock.reset()
        self.connection.send((("SUBSCRIBE", self._probe_channel), None))
        self._ingest.connected(greeting.history, greeting.position, evicting=greeting.evicting)
        self._work_interest()

    def end(self, error: Exception) -> None:
        """Give the connection up. The hub has heard of it when this returns."""
        self.connection.abort(error)

    # From the connection.

    def push(self, push: list[Any]) -> None:
        """The answers to SUBSCRIBE and UNSUBSCRIBE are pushes too; the floors' reads tell of them."""
        if push[0] != b"message":
            return
        if push[1] == self._probe_bytes:
            self._on_probe(push[2])
        else:
            name = push[1][len(self._live_prefix) :].decode("ascii", "replace")
            self._ingest.message(Channel(name), push[2])

    def end_of_batch(self) -> bool:
        return self._ingest.end_of_batch()

    def connection_lost(self, error: Exception | None) -> None:
        self._begun = False
        self._ingest.lost()
        if not self.lost.done():
            self.lost.set_result(error)

    # Commands.

    def interest_changed(self) -> None:
        """Work on the interest at the end of this loop turn: what came together is sent together."""
        if self._begun and not self._work_due:
            self._work_due = True
            asyncio.get_running_loop().call_soon(self._work_interest)

    def read_position(self, ticket: int) -> None:
        """Ask for the position now, and for the time, which costs Redis a microsecond."""
        if self._begun:
            self.connection.send(
                self._time_command(), self._position_command(lambda p, e: self._ingest.position(p, e, ticket))
            )

    def count_subscriptions(self) -> None:
        """Compare the server's count of our subscriptions with ours. Commands are executed in order, so
        at that moment the two are equal, or one of us is wrong and the link is made anew."""
        if not self._begun or not self._may_count:
            return
        expected = self._interest.asked + 1  # the probe's channel

        def counted(reply: Reply) -> None:
            if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOPERM"):
                self._may_count = False
                self._log.warning("subscriptions_not_counted", error=str(reply), advice="allow CLIENT INFO")
            elif self._checked(reply):
                found = re.search(rb" sub=(\d+)", reply if isinstance(reply, bytes) else reply.encode())
                if found is not None and int(found[1]) != expected:
                    self.end(Refused(f"Redis counts {int(found[1])} subscriptions of {expected}"))

        self.connection.send((("CLIENT", "INFO"), counted))

    def _work_interest(self) -> None:
        self._work_due = False
        while self._begun and (work := self._interest.take(_BATCH)):
            live, commands = self._partition.live, []
            if work.subscribe:
                commands.append((("SUBSCRIBE", *map(live, work.subscribe)), None))
            if work.unsubscribe:
                commands.append((("UNSUBSCRIBE", *map(live, work.unsubscribe)), None))
            if commands:
                self.connection.send(*commands)
            if work.floors:
                self._read_floors(work)

    def _read_floors(self, work: Work) -> None:
        """Tails first, then the position: what comes between them is in the chain of messages.

        Redis' clock goes with them, since what a missing tail proves depends on when it was missing. The
        position is no clock: it stands still for as long as nobody publishes.
        """
        tails: list[bytes | None] = []
        now_ms = 0

        def tails_read(reply: Reply) -> None:
            if self._checked(reply):
                tails.extend(reply)

        def time_read(read_ms: int) -> None:
            nonlocal now_ms
            now_ms = read_ms

        def position_read(position: Position, epoch: str) -> None:
            self._ingest.position(position, epoch, 0)
            if self.connection.closed:  # the epoch has changed
                return
            given = set(self._interest.floors_read(work))
            for channel, tail in zip(work.floors, tails, strict=True):
                if channel in given:
                    self._give_floor(channel, position, tail, now_ms)

        names = map(self._partition.tail, work.floors)
        self.connection.send(
            (("MGET", *names), tails_read),
            self._time_command(time_read),
            self._position_command(position_read),
        )

    def _give_floor(self, channel: Channel, position: Position, tail: bytes | None, now_ms: int) -> None:
        """One channel's tail that can't be read must not cost the others their link."""
        if tail is None:
            self._ingest.floor(channel, position, None, now_ms=now_ms)
            return
        id_, _, flag = tail.partition(b" ")
        try:
            last = EventId.parse(id_.decode("ascii"))
        except ValueError:
            self._ingest.floor(channel, position, None, now_ms=now_ms, doubtful=True)
        else:
            self._ingest.floor(channel, position, last, now_ms=now_ms, ended=flag == b"end")

    def _time_command(
        self, then: Callable[[int], None] | None = None
    ) -> tuple[tuple[str, ...], Callable[[Reply], None]]:
        """`then` is told Redis' clock, in ms."""
        sent = time()

        def read(reply: Reply) -> None:
            if self._checked(reply):
                seconds, microseconds = map(int, reply)
                self._clock.note(sent=sent, received=time(), theirs=seconds + microseconds / 1e6)
                if then is not None:
                    then(seconds * 1000 + microseconds // 1000)

        return ("TIME",), read

    def _position_command(
        self, then: Callable[[Position, str], None]
    ) -> tuple[tuple[str, ...], Callable[[Reply], None]]:
        sent = perf_counter()

        def read(reply: Reply) -> None:
            if not self._checked(reply):
                return
            self.round_trip_seconds = perf_counter() - sent
            position, epoch = reply
            if position is None or epoch is None:
                self.end(Refused("the partition's meta is gone"))
                return
            try:
                at = Position.parse(position.decode())
            except ValueError as error:
                self.end(Refused(f"the partition's meta is not ours: {error}"))
                return
            then(at, epoch.decode("ascii", "replace"))

        return ("HMGET", self._partition.meta, "position", "epoch"), read

    def _checked(self, reply: Reply) -> bool:
        if isinstance(reply, Exception):
            self.end(Refused(str(reply)))
            return False
        return True

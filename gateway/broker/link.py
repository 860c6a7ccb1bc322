"""The link: keeps a subscriber connection alive, and tells the hub what came of it.

One owner task connects, shakes hands, and watches; what is said in between is `gateway.broker.generation`'s.
A connection that is lost is never mended: the next one is a new generation, on which everything is
subscribed anew.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import hiredis
from redis.asyncio.connection import parse_url

from gateway.broker.backoff import backoff_seconds
from gateway.broker.connection import Connection, Reads
from gateway.broker.dial import dial, shake_hands
from gateway.broker.generation import Generation, Refused
from gateway.broker.ingest import Ingest
from gateway.broker.primary import Primary
from gateway.logs import get_logger
from gateway.protocol.clock_offset import ClockOffset
from gateway.protocol.interest import Interest
from publisher.channels import Partition
from publisher.sentinel.url import shown_address

_COUNT_SECONDS: Final = 60.0
_WORK: Final = 64
"""Subscriptions advanced before the loop gets its turn."""


@dataclass(slots=True)
class LinkState:
    """What health checks and metrics say of the link."""

    connected: bool = False
    address: str = ""
    """Of the server that it was dialled at last: host and port, or a path."""
    generation: int = 0
    lost_at: float | None = None
    last_error: str = ""
    round_trip_seconds: float = 0.0
    connected_at: float = 0.0
    catch_up_seconds: float = 0.0
    """How long after its handshake all streams were live again that the link before it had lost."""


class Link:
    """The subscriber connection to one Redis primary, over all its generations."""

    def __init__(
        self,
        primary: Primary,
        partition: Partition,
        interest: Interest,
        ingest: Ingest,
        *,
        position_read_seconds: float = 1.0,
        deadline_seconds: float = 5.0,
        reconnect_max_seconds: float = 5.0,
        turn_seconds: float = 0.01,
    ) -> None:
        self.state = LinkState()
        self.clock = ClockOffset()
        """Of the server that it is connected to."""
        self.up = asyncio.Event()
        """Set by the first connect, and from then on."""
        self.probe_channel = partition.probe(secrets.token_hex(8))
        """This node's own, for `gateway.broker.probe`."""
        self.on_probe: Callable[[bytes], None] = _unheard
        self.url = ""
        """Of the server that it was dialled at last. A secret."""
        self.primary = primary
        self._partition = partition
        self._interest = interest
        self._ingest = ingest
        self._interval_seconds = position_read_seconds
        self._deadline_seconds = deadline_seconds
        self._reconnect_max_seconds = reconnect_max_seconds
        self._turn_seconds = turn_seconds
        self._log = get_logger("link")
        self._generation: Generation | None = None
        """The one whose handshake is done."""
        self._ticket = 0
        self._waking = False

    # For the hub.

    def interest_changed(self) -> None:
        if self._generation is not None:
            self._generation.interest_changed()

    def read_position(self) -> int:
        """Ask for the position now. Without a link the ticket is answered after the next connect."""
        self._ticket += 1
        if self._generation is not None:
            self._generation.read_position(self._ticket)
        return self._ticket

    def restart(self, reason: str) -> None:
        """Give this generation up."""
        if self._generation is not None:
            self._generation.end(Refused(reason))

    def caught_up(self) -> None:
        """The streams that the last loss had sent to replay are live again."""
        if self.state.connected:
            seconds = asyncio.get_running_loop().time() - self.state.connected_at
            self.state.catch_up_seconds = seconds
            self._log.info("caught_up", generation=self.state.generation, seconds=round(seconds, 3))

    @property
    def reads(self) -> Reads:
        """Of this generation."""
        return self._generation.connection.reads if self._generation is not None else Reads(0, 0)

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
                error = await self._run_generation()
            except (OSError, hiredis.HiredisError, ValueError) as failed:
                error = failed
            if self.state.connected:
                self.state.connected = False
                self.state.lost_at = loop.time()
            self.state.last_error = _told(error)
            self._log.warning("redis_lost", error=self.state.last_error, generation=self.state.generation)
            attempt = 0 if loop.time() - started > self._deadline_seconds else attempt + 1
            await asyncio.sleep(backoff_seconds(attempt, self._reconnect_max_seconds))

    async def _run_generation(self) -> Exception | None:
        """One connection, from connect to loss."""
        generation = Generation(
            self._partition,
            self._interest,
            self._ingest,
            self.clock,
            probe_channel=self.probe_channel,
            on_probe=lambda token: self.on_probe(token),
        )
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self._deadline_seconds):
                self.url = await self.primary.url()
                options = parse_url(self.url)
                self.state.address = _shown(options)
                connection = generation.connection = await dial(
                    options,
                    generation,
                    user_timeout_seconds=self._deadline_seconds,
                    turn_seconds=self._turn_seconds,
                )
                greeting = await shake_hands(connection, options, self._partition, named=self.primary.named)
            if generation.lost.done():  # since the last answer
                return generation.lost.result()
            self.state.connected = True
            self.state.generation += 1
            self.state.lost_at = None
            self.state.connected_at = asyncio.get_running_loop().time()
            self._log.info(
                "redis_connected",
                generation=self.state.generation,
                epoch=greeting.history.epoch,
                address=self.state.address,
            )
            if greeting.policy != "noeviction":
                advice = "set maxmemory-policy noeviction: evicted events are missing without an error"
                self._log.warning("redis_may_evict", policy=greeting.policy, advice=advice)
            self._generation = generation
            generation.begin(greeting)
            self.up.set()
            await self._watch(generation)
            return generation.lost.result()
        finally:
            self._generation = None
            if connection is not None:
                generation.end(ConnectionResetError("given up"))

    async def _watch(self, generation: Generation) -> None:
        """Read the position, and count the subscriptions, from time to time, until the generation is over.

        A node that can't keep up finds each answer behind all that was published before it. The node is
        late then, and its link not dead: to replay what it is just reading would make it later still. So
        it is silence that counts, no answer at all while the socket is read dry, and not how long one took.
        """
        loop = asyncio.get_running_loop()
        most_silent = max(2, math.ceil(self._deadline_seconds / self._interval_seconds))
        silent = 0
        count_at = loop.time() + _COUNT_SECONDS
        while not generation.lost.done():
            self.read_position()
            if loop.time() >= count_at:
                count_at += _COUNT_SECONDS
                generation.count_subscriptions()
            connection = generation.connection
            answers, reads = connection.answers, connection.reads
            await asyncio.wait({generation.lost}, timeout=self._interval_seconds)
            self.state.round_trip_seconds = generation.round_trip_seconds
            if connection.answers != answers:
                silent = 0
            elif not connection.reads.behind_since(reads):
                silent += 1
            if silent == most_silent:
                generation.end(TimeoutError("Redis did not answer a position read"))


def _shown(options: Mapping[str, Any]) -> str:
    if "path" in options:
        return str(options["path"])
    return shown_address((options.get("host", "localhost"), options.get("port", 6379)))


def _told(error: Exception | None) -> str:
    """What ended a generation, for logs."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"Redis has a certificate that is not trusted: {error.verify_message}; see redis_ca_file"
    if isinstance(error, TimeoutError) and not str(error):
        return "TimeoutError: no hand-shake within link_deadline_seconds"
    return f"{type(error).__name__}: {error}" if error else "closed by Redis"


def _unheard(_: bytes) -> None:
    """Nobody probes."""

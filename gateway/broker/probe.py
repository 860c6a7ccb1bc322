"""Finds a subscription that is dead but looks alive.

The link's position reads prove that its server answers. They don't prove that it is still the server to
which events are published (a demoted primary answers too), nor that what is published reaches us. So now
and then the node publishes to a channel of its own, over a connection whose address is resolved anew, and
listens for it on the link. It is a bare PUBLISH that writes no key: a full Redis is no false alarm.

Where sentinels name the primary they are asked first, and a link to another server than they name is given up
at once: an old primary that is cut off from them lives on, and may well be heard. Sentinels that don't answer
say nothing about the link.

Silence means that the link is given up, provided that this process was not the one that was late (its
socket has been read dry), and that the PUBLISH itself succeeded on a link that is still the same.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from time import perf_counter
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from gateway.logs import get_logger
from publisher.async_client import AsyncClient
from publisher.sentinel.answers import PrimaryUnknown

if TYPE_CHECKING:
    from gateway.broker.link import Link
    from gateway.broker.primary import Primary


class Probe:
    """One node's probe of its own link."""

    def __init__(
        self, primary: Primary, link: Link, *, interval_seconds: float, deadline_seconds: float
    ) -> None:
        self._primary = primary
        self._link = link
        self._interval_seconds = interval_seconds
        self._deadline_seconds = deadline_seconds
        self._log = get_logger("probe")
        self._number = 0
        self._waiting: tuple[bytes, asyncio.Future[None]] | None = None
        self.round_trip_seconds = 0.0
        """Of the last probe that was heard."""
        self.heard_total = 0
        self.silent_total = 0
        """Probes that were published and not heard: each has cost the link its generation."""
        self.failed_total = 0
        """Probes that could not be published, which says nothing about the link."""
        self.moved_total = 0
        """How often the sentinels named another server than the link's, which has cost it its generation."""

    async def run(self) -> None:
        """Probe for as long as the node lives."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            if self._link.state.connected:
                await self._probe()

    def heard(self, token: bytes) -> None:
        """A message on the node's own channel."""
        if self._waiting is not None and self._waiting[0] == token and not self._waiting[1].done():
            self._waiting[1].set_result(None)

    async def _probe(self) -> None:
        self._number += 1
        token = b"%d" % self._number
        generation = self._link.state.generation
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting = (token, heard)
        started = perf_counter()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                url = await self._url()
                if url != self._link.url:
                    self._moved(generation)
                    return
                await self._publish(url, token)
        except (RedisError, OSError) as error:
            self.failed_total += 1
            self._log.warning("probe_not_published", error=f"{type(error).__name__}: {error}")
            return
        if await self._silent(heard):
            if self._is(generation):
                self.silent_total += 1
                self._link.restart("a probe was published, and not heard")
            return
        self.heard_total += 1
        self.round_trip_seconds = perf_counter() - started

    async def _url(self) -> str:
        """Where to publish."""
        try:
            return await self._primary.url()
        except PrimaryUnknown as error:
            self._log.warning("primary_unknown", error=str(error))
            return self._link.url

    def _moved(self, generation: int) -> None:
        if self._is(generation):
            self.moved_total += 1
            self._link.restart("the sentinels name another primary")

    def _is(self, generation: int) -> bool:
        """Whether the link is still that one."""
        return self._link.state.connected and self._link.state.generation == generation

    async def _silent(self, heard: asyncio.Future[None]) -> bool:
        """Whether nothing was heard within the deadline, in short waits: a loop that was stopped for
        longer than the deadline gets the time to read what has arrived meanwhile. A wait after which the node
        is still behind does not count."""
        parts, silent = 10, 0
        while silent < parts:
            reads = self._link.reads
            done, _ = await asyncio.wait({heard}, timeout=self._deadline_seconds / parts)
            if done:
                return False
            silent += not self._link.reads.behind_since(reads)
        return True

    async def _publish(self, url: str, token: bytes) -> None:
        client = AsyncClient.from_url(url, most_calls=1, deadline_seconds=self._deadline_seconds)
        async with aclosing(client):
            await client.run(lambda redis: redis.publish(self._link.probe_channel, token))

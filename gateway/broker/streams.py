"""Reads of the Redis streams, on a pool of their own, shared between those who want the same page.

Clients that come back together mostly hold the same cursor: a page that is under way, or was read a
moment ago, serves all of them. It carries the bound up to which it is complete, so it serves a reader
with a later target just as well: that one goes on from the bound.

A generation of the link has a pool of its own, which is given up with it, and with all reads that are
under way: they may speak of a history that broke off, to a primary that is none any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError, ResponseError

from gateway.broker.backoff import backoff_seconds
from gateway.broker.entry_sizes import EntrySizes
from gateway.broker.pages import KEPT_SECONDS, Pages
from gateway.logs import get_logger
from gateway.protocol.merge import Page, Read, Start
from gateway.protocol.publication import Publication
from publisher.async_client import AsyncClient
from publisher.channels import Channel, Partition
from publisher.ids import Position
from publisher.payload import FIELD, InvalidPayload

if TYPE_CHECKING:
    from redis.asyncio import Redis

_MOST_PATIENCE: Final = 8.0
Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


class Streams:
    """The log, as the hub reads it."""

    def __init__(
        self,
        connect: Callable[[], AsyncClient],
        partition: Partition,
        spawn: Spawn,
        *,
        page_bytes: int,
        max_last_bytes: int,
        max_payload_bytes: int,
    ) -> None:
        """`connect` makes a client with a pool of its own; it is closed here."""
        self._connect = connect
        self._client = connect()
        self._tasks: set[asyncio.Task[None]] = set()
        self._partition = partition
        self._spawn = spawn
        self._page_bytes = page_bytes
        self._max_last_bytes = max_last_bytes
        self._max_payload_bytes = max_payload_bytes
        self._sizes = EntrySizes()
        self._under_way: dict[tuple[Channel, Position], asyncio.Future[Page]] = {}
        self._pages = Pages()
        self._forgetting: asyncio.TimerHandle | None = None
        self._log = get_logger("streams")
        self.pages_read = 0
        self.pages_shared = 0
        self.invalid_entries = 0

    def new_generation(self) -> None:
        """Forget what was read, and give up what is under way: its `done` is never called.

        The reads are cancelled before their connections are closed: redis-py answers a connection that
        is closed under its user with errors of every kind, AttributeError among them.
        """
        self._under_way = {}
        self._pages.clear()
        client, self._client = self._client, self._connect()
        self._spawn(_close(client, self._cancelled()), "replay-disconnect")

    async def aclose(self) -> None:
        """Give up what is under way, and close the connections."""
        await _close(self._client, self._cancelled())

    def _cancelled(self) -> set[asyncio.Task[None]]:
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        return tasks

    def _start(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        tasks, task = self._tasks, self._spawn(coroutine, name)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def read(self, reads: Sequence[Read], done: Callable[[Sequence[Page]], None]) -> None:
        """Read a page for each, and call `done`: at once where all of them are at hand."""
        pages: list[Page] = []
        for read in reads:
            page = self._pages.find(read.channel, read.lower)
            if page is None:
                break
            pages.append(page)
        else:
            self.pages_shared += len(pages)
            done(pages)
            return
        self._start(self._read_all(reads, done), "replay-read")

    def newest(
        self,
        channels: Sequence[Channel],
        target: Position,
        count: int,
        wanted: Callable[[], bool],
        done: Callable[[Sequence[Start]], None],
    ) -> None:
        """For each channel, where its newest `count` events up to `target` begin, or as many of them as have
        its share of `max_last_bytes`: one at least."""
        self._start(self._newest(channels, target, count, wanted, done), "replay-newest")

    async def _read_all(self, reads: Sequence[Read], done: Callable[[Sequence[Page]], None]) -> None:
        # A round is written to its connection at once, so it is all its pages together that are bounded.
        most_bytes = self._page_bytes // len(reads)
        done(await asyncio.gather(*(self._page(read, most_bytes) for read in reads)))

    async def _page(self, read: Read, most_bytes: int) -> Page:
        kept = self._pages.find(read.channel, read.lower)
        if kept is not None:
            self.pages_shared += 1
            return kept
        key = (read.channel, read.lower)
        under_way = self._under_way.get(key)
        if under_way is not None:
            self.pages_shared += 1
            return await asyncio.shield(under_way)
        shared = self._under_way
        future = shared[key] = asyncio.get_running_loop().create_future()
        try:
            page = await self._read(read, most_bytes)
        except BaseException:
            future.cancel()
            raise
        finally:
            del shared[key]
        future.set_result(page)
        if shared is self._under_way:  # still the same generation
            self._keep(read, page)
        return page

    def _keep(self, read: Read, page: Page) -> None:
        loop = asyncio.get_running_loop()
        self._pages.keep(read.channel, read.lower, page, loop.time())
        if self._forgetting is None:
            self._forgetting = loop.call_later(KEPT_SECONDS, self._forget)

    def _forget(self) -> None:
        """By a timer: the last reader of a crowd leaves nobody behind who would clear up."""
        loop = asyncio.get_running_loop()
        self._pages.forget_old(loop.time())
        self._forgetting = loop.call_later(KEPT_SECONDS / 4, self._forget) if len(self._pages) else None

    async def _read(self, read: Read, most_bytes: int) -> Page:
        """One XRANGE, tried again for as long as Redis fails. At least an entry, where there is one."""
        stream = self._partition.stream(read.channel)
        count = self._sizes.count(read.channel, most_bytes)

        entries = await self._persist(
            lambda redis: redis.xrange(stream, f"({read.lower}", str(read.target), count)
        )
        self.pages_read += 1
        if entries is None:
            return Page((), read.target, expected=read.expected)
        publications: list[Publication] = []
        invalid: list[Position] = []
        size = 0
        for taken, (raw_id, fields) in enumerate(entries):
            entry_bytes = sum(map(len, fields.values())) if fields else 0
            if taken and size + entry_bytes > most_bytes:
                # XRANGE counts entries, not bytes: what is too much is left for the next page.
                entries = entries[:taken]
                count = taken
                break
            size += entry_bytes
            position = Position.parse(raw_id.decode())
            publication = self._decode(read.channel, position, fields)
            if publication is None:
                invalid.append(position)
            else:
                publications.append(publication)
        if entries:
            self._sizes.note(read.channel, size / len(entries))
        if len(entries) == count:
            return Page(tuple(publications), Position.parse(entries[-1][0].decode()), tuple(invalid))
        return Page(tuple(publications), read.target, tuple(invalid), read.expected)

    def _decode(self, channel: Channel, position: Position, fields: dict[bytes, bytes]) -> Publication | None:
        raw = fields.get(FIELD) if fields else None
        if raw is not None and len(raw) <= self._max_payload_bytes:
            try:
                publication = Publication.decode(channel, raw)
            except InvalidPayload:
                pass
            else:
                if publication.position == position:
                    return publication
        self.invalid_entries += 1
        return None

    async def _newest(
        self,
        channels: Sequence[Channel],
        target: Position,
        count: int,
        wanted: Callable[[], bool],
        done: Callable[[Sequence[Start]], None],
    ) -> None:
        most_bytes = self._max_last_bytes // len(channels)
        done([await self._newest_of(channel, target, count, most_bytes, wanted) for channel in channels])

    async def _newest_of(
        self, channel: Channel, target: Position, count: int, most_bytes: int, wanted: Callable[[], bool]
    ) -> Start:
        """Page by page, from the newest on: one reply holds about `page_bytes`, not all of them."""
        stream = self._partition.stream(channel)
        upper, below = str(target), target
        found = size = 0
        while found < count and wanted():
            asked = min(count - found, self._sizes.count(channel, min(self._page_bytes, most_bytes)))
            entries = await self._persist(partial(_newest, stream, upper, asked)) or ()
            sizes = [sum(map(len, fields.values())) if fields else 0 for _, fields in entries]
            for (raw_id, _), entry_bytes in zip(entries, sizes, strict=True):
                if found and size + entry_bytes > most_bytes:
                    return Start(below, cut=True)
                found += 1
                size += entry_bytes
                below = Position.parse(raw_id.decode()).before()
                upper = f"({raw_id.decode()}"
            if len(entries) < asked:
                break
            self._sizes.note(channel, sum(sizes) / len(sizes))
        return Start(below)

    async def _persist(self, command: Callable[[Redis], Awaitable[Any]]) -> Any:
        """Run a read until it succeeds. None where the key is not a stream.

        A read that was not answered in time gets twice the time: else an entry of 50 MB, over a line that
        needs longer for it, would keep those who replay its channel waiting for ever.
        """
        attempt, patience = 0, 1.0
        while True:
            try:
                return await self._client.run(command, patience=patience)
            except ResponseError as error:
                if str(error).startswith("WRONGTYPE"):
                    return None
                failed: Exception = error
            except (RedisError, OSError) as error:
                failed = error
                if isinstance(error, TimeoutError):
                    patience = min(2 * patience, _MOST_PATIENCE)
            if attempt in (0, 8):
                self._log.warning("stream_read_failed", error=f"{type(failed).__name__}: {failed}")
            await asyncio.sleep(backoff_seconds(attempt, 2.0))
            attempt += 1


async def _newest(stream: str, target: str, count: int, redis: Redis) -> Any:
    return await redis.xrevrange(stream, target, "-", count)


async def _close(client: AsyncClient, users: set[asyncio.Task[None]]) -> None:
    """Close a client, once those who were using it have ended."""
    if users:
        await asyncio.wait(users)
    with suppress(RedisError, OSError):
        await client.aclose()

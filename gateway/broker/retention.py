"""Looks after the laggards: will they get there before what they need is trimmed?

Every two seconds, and only while there are any: one pipeline, for a bounded number of channels, over a
connection of its own. A node whose streams are all live asks Redis nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError, ResponseError

from gateway.logs import get_logger
from gateway.protocol.clock_offset import ClockOffset
from gateway.protocol.retention import Kept, Laggards, seconds_left, share_left
from publisher.async_client import AsyncClient
from publisher.channels import Channel, Partition
from publisher.ids import Position

if TYPE_CHECKING:
    from redis.asyncio import Redis

_PERIOD_SECONDS: Final = 2.0


class Retention:
    """What the last look has found."""

    def __init__(
        self,
        client: AsyncClient,
        partition: Partition,
        laggards: Callable[[], Laggards],
        offset: ClockOffset,
        *,
        retention_events: int,
    ) -> None:
        """`client` is closed here. A stream that has lost nothing yet is taken to hold `retention_events`."""
        self._client = client
        self._partition = partition
        self._laggards = laggards
        self._offset = offset
        self._retention_events = retention_events
        self._log = get_logger("retention")
        self._may_look = True
        self.behind_seconds = 0.0
        self.left_seconds = math.inf
        """Until the first of the laggards loses something. Infinity where there is none."""
        self.left_share = 1.0
        """The least that any of them has left of what its channel keeps. 1 where there is none."""
        self._kept_by_channel: Mapping[Channel, Kept | None] = {}
        self._looked_ms = 0.0

    async def run(self) -> None:
        """Look from time to time, for as long as the node lives."""
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look now. While Redis can't be asked, what was found before stands."""
        found = self._laggards()
        if found.cursors and self._may_look:
            try:
                kept = await self._client.run(lambda redis: self._kept(redis, list(found.cursors)))
            except ResponseError as error:
                self._may_look = False
                self._log.warning("laggards_not_read", error=str(error), advice="allow XINFO and PTTL")
                return
            except (RedisError, OSError):
                return  # the link tells of it
            now_ms = (time.time() + (self._offset.seconds or 0.0)) * 1000
            self._kept_by_channel, self._looked_ms = dict(zip(found.cursors, kept, strict=True)), now_ms
            each = [(self.left_of(channel, cursor), cursor) for channel, cursor in found.cursors.items()]
        else:
            self._kept_by_channel, each, now_ms = {}, [], 0.0
        self.behind_seconds = found.behind_seconds
        self.left_seconds = min((seconds for seconds, _ in each), default=math.inf)
        self.left_share = min((share_left(*one, now_ms=now_ms) for one in each), default=1.0)

    def left_of(self, channel: Channel, cursor: Position) -> float:
        """How long one that stands there has, by the last look; infinity where it saw nothing of it."""
        if channel not in self._kept_by_channel:
            return math.inf
        kept = self._kept_by_channel[channel]
        return seconds_left(kept, cursor, most_entries=self._retention_events, now_ms=self._looked_ms)

    async def _kept(self, redis: Redis, channels: Sequence[Channel]) -> list[Kept | None]:
        """What the streams of these channels hold; None for one that is gone."""
        pipeline = redis.pipeline(transaction=False)
        for stream in map(self._partition.stream, channels):
            pipeline.xinfo_stream(stream)
            pipeline.pttl(stream)
        answers = await pipeline.execute(raise_on_error=False)
        return [_kept(info, ttl_ms) for info, ttl_ms in zip(answers[::2], answers[1::2], strict=True)]

    async def aclose(self) -> None:
        await self._client.aclose()


def _kept(info: Any, ttl_ms: Any) -> Kept | None:
    for answer in (info, ttl_ms):
        if isinstance(answer, Exception):
            if str(answer).startswith(("no such key", "WRONGTYPE", "ERR no such key")):
                return None
            raise answer
    if not info["length"]:
        return None
    first, last = (Position.parse(info[f"{which}-entry"][0].decode()) for which in ("first", "last"))
    has_lost = info.get("entries-added", 0) > info["length"]  # Redis 7 on; before, it is said too late
    return Kept(first, last, info["length"], has_lost, ttl_ms / 1000 if ttl_ms >= 0 else math.inf)

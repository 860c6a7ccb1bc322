"""All open streams of the node: what is done for each of them from time to time, by one task.

The streams stand in buckets, of which one is looked after each tick: a heartbeat, the end of a stream
that has reached its age, and of one whose client takes nothing any more. Those whose authorisation ends
before that stand in a second order too, by its end, which is looked at each second.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gateway.http.expiry import Expiries
from gateway.http.index import Index
from gateway.http.stream import EventStream
from gateway.http.stream_log import StreamLog
from gateway.protocol import sse
from gateway.protocol.closing import CloseReason
from gateway.protocol.unauthorized import unauthorized
from publisher.channels import Channel
from publisher.control import By, Target

if TYPE_CHECKING:
    from gateway.http.current import Current
    from gateway.hub.hub import Hub

_BUCKETS: Final = 16
_SPREAD: Final = 0.8
"""The part of a drain in which streams are ended; in the rest, the last of them get rid of their backlog."""
ENDED_AT_ONCE: Final = 256
"""Tokens that were made together end together: others get their turn between so many of them."""
_HEARTBEAT: Final = (sse.COMMENT, sse.chunk(sse.COMMENT))


class Streams:
    """The registry of open streams."""

    def __init__(self, hub: Hub, current: Current) -> None:
        self._hub = hub
        self._current = current
        self._buckets: tuple[set[EventStream], ...] = tuple(set() for _ in range(_BUCKETS))
        self._expiries: Expiries[EventStream] = Expiries()
        self._by_subject: Index[EventStream] = Index()
        self._by_token: Index[EventStream] = Index()
        self.log = StreamLog(current.settings.log_streams_per_second)
        self._loop = asyncio.get_running_loop()
        self.write_buffer_bytes = current.settings.write_buffer_bytes
        self.accepting = True
        """False while the node drains."""
        self._drained: asyncio.Event | None = None
        self.open = 0
        self.compressed = 0
        """Of the open ones."""
        self.opened_total = 0
        self.closed_total: Counter[CloseReason] = Counter()

    def retry_ms(self, factor: float = 1.0) -> int:
        """A reconnection time with jitter: half to one and a half of the setting."""
        retry_ms = self._current.settings.retry_ms
        return max(1, int(retry_ms * factor * random.uniform(0.5, 1.5)))  # noqa: S311 - jitter

    # From the streams.

    @property
    def max_upload_bytes(self) -> int:
        return self._current.settings.max_upload_bytes

    def opened(self, stream: EventStream) -> None:
        now = self._loop.time()
        stream.opened_at = now
        most_seconds = self._current.settings.max_stream_age_seconds
        stream.expires_at = now + most_seconds * random.uniform(0.8, 1.0)  # noqa: S311 - jitter
        stream.bucket = self.opened_total % _BUCKETS
        self._buckets[stream.bucket].add(stream)
        if stream.authorised_until < math.inf:
            self._expiries.add(stream, stream.authorised_until)
        if stream.place is not None:
            stream.place.taken = True
        self._by_subject.add(stream.bearer.subject, stream)
        self._by_token.add(stream.bearer.token_id, stream)
        self.open += 1
        self.compressed += stream.compressed
        self.opened_total += 1

    def filled(self, stream: EventStream) -> None:
        stream.marked_at = self._loop.time()
        stream.mark_bytes = stream.backlog_bytes
        self._hub.filled(stream.subscription)

    def drained(self, stream: EventStream) -> None:
        stream.marked_at = 0.0  # what is noted of this backlog says nothing of the next
        self._hub.drained(stream.subscription)

    def closed(self, stream: EventStream) -> None:
        self._buckets[stream.bucket].discard(stream)
        if stream.authorised_until < math.inf:
            self._expiries.discard(stream, stream.authorised_until)
        if stream.place is not None:
            stream.place.leave()
        self._by_subject.discard(stream.bearer.subject, stream)
        self._by_token.discard(stream.bearer.token_id, stream)
        self.open -= 1
        self.compressed -= stream.compressed
        if not self.open and self._drained is not None:
            self._drained.set()
        now = self._loop.time()
        self._hub.unregister(stream.subscription, now)
        reason = stream.reason or CloseReason.CLIENT_LEFT
        self.closed_total[reason] += 1
        self.log.ended(stream, reason, now - stream.opened_at)

    # For who ends them.

    def about(self, target: Target) -> tuple[EventStream, ...]:
        """The open streams that a revocation names."""
        match target.by:
            case By.SUBJECT:
                return self._by_subject.find(target.value)
            case By.TOKEN:
                return self._by_token.find(target.value)
            case By.CHANNEL:
                channel = self._hub.node.channels.get(Channel(target.value))
                followers = () if channel is None else channel.subscriptions
                # One that has not been started is a request still, and is judged when it becomes a stream.
                sinks = (follower.sink for follower in followers if follower.started)
                return tuple(sink for sink in sinks if isinstance(sink, EventStream))

    def unauthorise(self, stream: EventStream, reason: CloseReason) -> None:
        """End a stream whose client may read no more, and tell it why."""
        stream.write(unauthorized(stream.encoding, reason))
        self.send_away(stream, reason)

    # From time to time.

    async def tend(self) -> None:
        """Look after all streams, a bucket each tick, for as long as the node lives."""
        while True:
            for bucket in self._buckets:
                await asyncio.sleep(self._current.settings.heartbeat_seconds / _BUCKETS)
                self.log.tell_left_out()
                now = self._loop.time()
                self._hub.expire_idle(now)
                for stream in tuple(bucket):
                    self._tend(stream, now)

    def _tend(self, stream: EventStream, now: float) -> None:
        if stream.reason is None and now > stream.expires_at:
            self.send_away(stream, CloseReason.MAX_AGE)
        elif stream.full or stream.reason is not None:
            backlog = stream.backlog_bytes
            if backlog < stream.mark_bytes or not stream.marked_at:
                stream.mark_bytes, stream.marked_at = backlog, now
            elif now - stream.marked_at > self._current.settings.stall_seconds:
                stream.abort(CloseReason.STALLED)
        else:
            stream.write(_HEARTBEAT[stream.encoding.chunked])

    async def expire(self) -> None:
        """End the streams whose authorisation is over, within a second, for as long as the node lives."""
        while True:
            # At whole seconds: most tokens end at one.
            await asyncio.sleep(1 - time.time() % 1)
            for number, stream in enumerate(self._expiries.due(time.time()), 1):
                self.unauthorise(stream, CloseReason.EXPIRED)
                if number % ENDED_AT_ONCE == 0:
                    await asyncio.sleep(0)

    def send_away(self, stream: EventStream, reason: CloseReason) -> None:
        """End a stream whose client shall come back, after a time of its own."""
        stream.write(stream.encoding.framed(sse.retry(self.retry_ms())))
        stream.end(reason)

    # At the end.

    async def drain(self, seconds: float) -> None:
        """End all streams, spread over a window, so that their clients come back spread too."""
        self.accepting = False
        streams = [stream for bucket in self._buckets for stream in bucket]
        random.shuffle(streams)
        started = self._loop.time()
        for number, stream in enumerate(streams):
            due = started + _SPREAD * seconds * number / len(streams)
            if due > self._loop.time():
                await asyncio.sleep(due - self._loop.time())
            self.send_away(stream, CloseReason.DRAINED)
        if self.open:
            self._drained = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, started + seconds - self._loop.time())):
                    await self._drained.wait()

    def abort_all(self) -> None:
        """What is left at the deadline."""
        for bucket in self._buckets:
            for stream in tuple(bucket):
                stream.abort(CloseReason.DRAINED)

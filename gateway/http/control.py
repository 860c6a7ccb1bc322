"""The node as a subscriber of the control channel: it hears of revocations, and ends what they cover.

It is a subscription of the hub like any client's, and gets the same bytes: replay from a cursor, then live,
gaps told. So a node whose link was lost reads what it has missed when it is back, by the one mechanism.

1. At the start it reads all that can still count, and is in sync once it is live. Until then the node takes
   no token.
2. What it is told of holds for the requests that come, and the streams that it covers are ended, some at a
   time, so that others get their turn.
3. At a gap there may be revocations that it has missed. It forgets none that it knows, reads all that is
   there once more, and says so: what Redis has lost nobody can read again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gateway.auth.revocations import Revocation, Revocations
from gateway.http.streams import ENDED_AT_ONCE
from gateway.hub.subscription import Phase, Subscription
from gateway.logs import get_logger
from gateway.metrics import counters, gauge
from gateway.protocol import frames
from gateway.protocol.closing import CloseReason
from gateway.protocol.gaps import GAP_TYPE, GapReason
from gateway.protocol.sse import OPEN_TYPE, Encoding
from publisher.control import CONTROL, REVOKE_TYPE, By
from publisher.ids import EventId, Position
from publisher.payload import END_TYPE

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from gateway.auth.grants import Bearer
    from gateway.http.stream import EventStream
    from gateway.http.streams import Streams
    from gateway.hub.hub import Hub
    from gateway.settings import Settings
    from publisher.channels import Channel

_BEGINNING_MS: Final = 45_000_000
"""Between `MAX_COUNTED_SECONDS`, for which an entry can count, and `KEPT_SECONDS`, for which it is there: a
quarter of an hour and half an hour, by which the clocks of Redis and of this node may differ."""
_REVOKE: Final = REVOKE_TYPE.encode()
_END: Final = END_TYPE.encode()
_PLAIN: Final = Encoding(chunked=False)
_PAUSE_SECONDS: Final = 1.0
_PRUNE_SECONDS: Final = 60.0
_ADVICE: Final = "revocations may be missing: repeat those of the last hours"


class Control:
    """What a node knows of revocations. It is the sink of its own subscription."""

    full = False

    def __init__(self, hub: Hub, streams: Streams, settings: Settings) -> None:
        self.synced = asyncio.Event()
        """Set when it is in sync for the first time, and from then on."""
        self._hub = hub
        self._streams = streams
        self.counted_seconds = settings.max_token_life_seconds + settings.jwt_leeway_seconds
        """For how long a revocation must count: no token that this node takes is good for longer."""
        self._revocations = Revocations()
        self._subscription: Subscription | None = None
        self._whole = False
        """It reads from the beginning, and is not live yet."""
        self._due: deque[tuple[Revocation, tuple[EventStream, ...]]] = deque()
        self._awake = asyncio.Event()
        self._applied: Counter[By] = Counter()
        self._gaps: Counter[str] = Counter()
        self._log = get_logger("control")

    @property
    def in_sync(self) -> bool:
        """Whether it knows all revocations that Redis has told of."""
        return self._subscription is not None and self._subscription.phase is Phase.LIVE

    def find(self, bearer: Bearer, channels: Collection[Channel]) -> Revocation | None:
        """One that keeps the bearer from these channels, or from everything."""
        return self._revocations.find(bearer, channels, time.time())

    async def run(self) -> None:
        """Follow the channel, and end what is revoked, for as long as the node lives."""
        self._begin()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PRUNE_SECONDS):
                    await self._awake.wait()
            self._awake.clear()
            for number, stream in enumerate(self._covered(), 1):
                self._streams.unauthorise(stream, CloseReason.REVOKED)
                if number % ENDED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            self._revocations.prune(time.time())

    def _covered(self) -> Iterator[EventStream]:
        while self._due:
            revocation, streams = self._due.popleft()
            for stream in streams:
                if stream.reason is None and revocation.covers(stream.bearer, stream.subscription.channels):
                    yield stream

    # The subscription.

    def _begin(self) -> None:
        """Follow the channel from its beginning. What is known stays known."""
        self._whole = True
        self._subscription = Subscription(self, [CONTROL], encoding=_PLAIN)
        self._hub.register(self._subscription)
        if self._hub.is_ready(self._subscription):
            self.ready()

    def _begin_again(self, pause_seconds: float = 0.0) -> None:
        """Soon: what leads here is told within a step of the hub's."""
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            asyncio.get_running_loop().call_later(pause_seconds, self._replace, subscription)

    def _replace(self, subscription: Subscription) -> None:
        self._hub.unregister(subscription, asyncio.get_running_loop().time())
        self._begin()

    def _start(self) -> None:
        """What the handler of a request does, once the channel has its floor."""
        subscription = self._subscription
        if subscription is None or subscription.started or not self._hub.is_ready(subscription):
            return  # the link was lost again: `ready` comes again, too
        node = self._hub.node
        oldest = Position(max(0, int(time.time() * 1000) - _BEGINNING_MS), 0)
        # The node's position stands still for as long as nobody publishes, and may be older than that.
        subscription.cursor = EventId(min(oldest, node.position), node.history.epoch)
        subscription.shown = subscription.cursor
        self._hub.start(subscription)

    # As a sink.

    def ready(self) -> None:
        asyncio.get_running_loop().call_soon(self._start)

    def write(self, data: bytes) -> None:
        for told in frames.read(data):
            if told.type == _REVOKE:
                self._revoke(told)
            elif told.type == GAP_TYPE:
                self._gap(told)
            elif told.type == OPEN_TYPE:
                self._whole = False
                self.synced.set()
            elif told.type != _END:  # `end` follows
                self._tell(GapReason.INVALID.value)

    def end(self, reason: CloseReason) -> None:
        """Somebody has run the script to close the channel. It goes on with the next revocation."""
        self._tell(reason.value)
        self._begin_again(_PAUSE_SECONDS)

    def _revoke(self, told: frames.Told) -> None:
        at = EventId.parse(told.id.decode()).position.ms / 1000
        try:
            revocation = Revocation.parse(told.data, at, self.counted_seconds)
        except ValueError:
            self._tell(GapReason.INVALID.value)
            return
        if self._revocations.add(revocation, time.time()):
            self._applied[revocation.target.by] += 1
            streams = self._streams.about(revocation.target)
            if streams:
                self._due.append((revocation, streams))
                self._awake.set()

    def _gap(self, told: frames.Told) -> None:
        gap = json.loads(told.data)
        self._tell(gap["reason"])
        # One of the channel itself is found again by whoever reads from the beginning. The others are of a
        # cursor that was of no use, or of a break.
        if gap["channel"] is None or not self._whole:
            self._begin_again()

    def _tell(self, reason: str) -> None:
        self._gaps[reason] += 1
        self._log.warning("revocations_missed", reason=reason, advice=_ADVICE)

    @property
    def missed(self) -> Mapping[str, int]:
        """Gaps among the revocations, by reason."""
        return self._gaps

    def metrics(self) -> Iterable[Metric]:
        applied = {by.value: float(self._applied[by]) for by in By}
        reasons = [*(reason.value for reason in GapReason), CloseReason.CHANNELS_ENDED.value]
        missed = {reason: float(self._gaps[reason]) for reason in reasons}
        yield gauge("revocations", "Revocations that count.", len(self._revocations))
        yield counters("revocations_applied", "Revocations heard of, by what they name.", "by", applied)
        yield gauge("revocations_in_sync", "Whether this node knows all of them.", self.in_sync)
        yield counters("revocations_missed", "Gaps among them, by reason.", "reason", missed)

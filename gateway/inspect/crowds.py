"""Presence events: how many streams follow a channel, told to those streams of it that asked for that.

    event: fanlight.presence
    data: {"channel":"room.1","streams":42,"complete":true}

Counts and no comings and goings: nobody knows of a node that was killed which of its streams have left, and a
stream that comes back elsewhere would be one that left and one that joined. A count that is asked for anew
each time is right again a moment after either.

A node asks all others, about channels that somebody here wants to know of, once in a period at most, and
about a bounded number of channels; where there are more, each has its turn. It tells what has changed. The
event has no id: it is no place to resume from. One that a stream has no room for is left out, as the next
count holds all the same.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from gateway.hub.subscription import Phase
from gateway.inspect.line import Away
from gateway.protocol import sse
from gateway.protocol.inquiry import MOST_CHANNELS

if TYPE_CHECKING:
    from gateway.hub.subscription import Subscription
    from publisher.channels import Channel

PRESENCE_TYPE: Final = b"fanlight.presence"
_TOLD_AT_ONCE: Final = 256
"""Streams written to before others get their turn."""


@dataclass(frozen=True, slots=True)
class Presence:
    """How many streams follow some channels, over all nodes that have answered."""

    streams: dict[Channel, int]
    listening: int
    """How many processes have heard the question."""
    answered: int

    @property
    def complete(self) -> bool:
        """Else the true counts may be higher."""
        return self.answered >= self.listening


Told = tuple[int, bool]


class Crowds:
    """The streams of this process that want to know, by channel. With a period of 0 nobody is told."""

    def __init__(
        self, ask: Callable[[tuple[Channel, ...]], Awaitable[Presence]], period_seconds: float
    ) -> None:
        self.period_seconds = period_seconds
        self._ask = ask
        self._watching: dict[Subscription, None] = {}
        self._crowds: dict[Channel, dict[Subscription, Told | None]] = {}
        """With what each was told. The channels that were asked about the longest ago come first."""

    def __len__(self) -> int:
        """Channels that somebody wants to know of."""
        return len(self._crowds)

    def watch(self, subscription: Subscription) -> None:
        """Tell it of all its channels, from the next time on, until it ends."""
        self._watching[subscription] = None
        for channel in subscription.channels:
            self._crowds.setdefault(channel, {})[subscription] = None

    async def run(self) -> None:
        """Ask and tell, for as long as the node lives."""
        while True:
            await asyncio.sleep(self.period_seconds)
            await self.tell()

    async def tell(self) -> None:
        """Ask about the channels whose turn it is, and tell what has changed."""
        self._forget_ended()
        channels = tuple(islice(self._crowds, MOST_CHANNELS))
        if not channels:
            return
        for channel in channels:
            self._crowds[channel] = self._crowds.pop(channel)
        try:
            presence = await self._ask(channels)
        except Away:
            return  # what was told before stands until it is known again
        written = 0
        for channel in channels:
            count = presence.streams[channel], presence.complete
            frame, crowd = _event(channel, *count), self._crowds[channel]
            for subscription, told in tuple(crowd.items()):
                if told != count and subscription.phase is Phase.LIVE and not subscription.sink.full:
                    crowd[subscription] = count
                    subscription.sink.write(subscription.encoding.framed(frame))
                    written += 1
                    if written % _TOLD_AT_ONCE == 0:
                        await asyncio.sleep(0)

    def _forget_ended(self) -> None:
        for subscription in [each for each in self._watching if each.phase is Phase.ENDED]:
            del self._watching[subscription]
            for channel in subscription.channels:
                crowd = self._crowds[channel]
                del crowd[subscription]
                if not crowd:
                    del self._crowds[channel]


def _event(channel: Channel, streams: int, complete: bool) -> bytes:
    data = {"channel": channel, "streams": streams, "complete": complete}
    return sse.event(PRESENCE_TYPE, json.dumps(data, separators=(",", ":")).encode(), None)
